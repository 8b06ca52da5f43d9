import os
import subprocess
import sys

import pytest

SHOWN = "import os; print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('OMP_WAIT_POLICY'))"


def fresh(code, **environment):
    """What a new process prints whose environment has none of the two variables but those given."""
    kept = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    command = [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"]
    return subprocess.run(command, env=kept | environment, capture_output=True, text=True, check=True).stdout.strip()


def test_threads_sleep_soon_where_nothing_is_set():
    assert fresh(f"import analysis_lib; {SHOWN}") == "10000 None"


def test_the_package_is_what_sets_it():
    assert fresh(SHOWN) == "None None"


@pytest.mark.parametrize(
    ("environment", "kept"),
    [
        ({"GOMP_SPINCOUNT": "7"}, "7 None"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "None ACTIVE"),
        ({"GOMP_SPINCOUNT": ""}, " None"),
    ],
)
def test_what_the_user_has_set_stays(environment, kept):
    assert fresh(f"import analysis_lib; {SHOWN}", **environment) == kept.strip()


def test_it_is_set_before_torch_is_loaded_and_child_processes_inherit_it():
    child = f"import subprocess; print(subprocess.check_output([sys.executable, '-S', '-c', {SHOWN!r}], text=True))"
    assert fresh(f"import analysis_lib; assert 'torch' not in sys.modules; {child}") == "10000 None"


def test_in_the_environment_of_make_setup_every_process_has_it():
    """Its start-up file imports the package; so do a notebook's kernel and a first line `import torch`."""
    kept = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    shown = subprocess.run([sys.executable, "-c", SHOWN], env=kept, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["10000", "None"]
