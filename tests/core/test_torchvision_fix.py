import subprocess
import sys

import pytest
import torch

CPU_ONLY = torch.version.cuda is None
FIRST = "import sys, analysis_lib.core.torchvision_fix as fix; sys.modules.pop(fix.REGISTRATION, None); "


def fresh(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(not CPU_ONLY, reason="torch is a CUDA build")
@pytest.mark.parametrize("first", ["import analysis_lib, timm", "import timm"])
def test_beside_a_cpu_torch_timm_and_torchvision_import(first):
    """Also in a user's own first line, in the environment that `make setup` makes."""
    assert fresh(f"{first}, torchvision.transforms, sys; print(hasattr(sys.modules['torchvision._meta_registrations'], '__file__'))") == "False"


def test_a_start_of_python_imports_nothing_heavy():
    assert fresh("import sys; print([name for name in ('torch', 'torchvision', 'numpy') if name in sys.modules])") == "[]"


def test_the_finder_is_installed_once():
    assert fresh(FIRST + "fix.install(); fix.install(); print(sum(isinstance(finder, fix.EmptyRegistration) for finder in sys.meta_path))") == "1"


def test_nothing_is_touched_where_the_operators_load():
    assert fresh(FIRST + "fix.compiled_ops_load = lambda: True; print(fix.EmptyRegistration().find_spec(fix.REGISTRATION))") == "None"


def test_nothing_is_touched_for_a_cuda_torch():
    assert fresh(FIRST + "fix.is_cpu_torch = lambda: False; print(fix.EmptyRegistration().find_spec(fix.REGISTRATION))") == "None"


def test_no_other_module_is_touched():
    assert fresh(FIRST + "print(fix.EmptyRegistration().find_spec('torchvision'), fix.EmptyRegistration().find_spec('json'))") == "None None"
