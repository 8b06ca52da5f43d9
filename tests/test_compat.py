import subprocess
import sys

import pytest
import torch

CPU_ONLY = torch.version.cuda is None


def fresh(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(not CPU_ONLY, reason="torch is a CUDA build")
def test_beside_a_cpu_torch_timm_and_torchvision_import():
    assert fresh("import sys, analysis_lib, timm, torchvision.transforms; print(sys.modules['torchvision._meta_registrations'].__file__ if hasattr("
                 "sys.modules['torchvision._meta_registrations'], '__file__') else 'stand-in')") == "stand-in"


def test_nothing_is_touched_where_the_operators_load():
    assert fresh("import analysis_lib.compat as c, sys; sys.modules.pop(c.STUB, None); c.compiled_ops_load = lambda: True; "
                 "print(c.enable_torchvision(), c.STUB in sys.modules)") == "False False"


def test_nothing_is_touched_for_a_cuda_torch():
    assert fresh("import analysis_lib.compat as c, sys, torch; sys.modules.pop(c.STUB, None); torch.version.cuda = '13.0'; "
                 "print(c.enable_torchvision(), c.STUB in sys.modules)") == "False False"
