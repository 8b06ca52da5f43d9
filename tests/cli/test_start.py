"""The front door opens at once: what is imported before anything is computed. `bench/start.py` measures the seconds."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "pandas", "matplotlib", "scipy", "sklearn", "timm", "torchvision", "papermill")


def modules_after(code, rc=0):
    """The heavy modules that `code` imports, and how many modules in all."""
    report = f"lambda: print('|', [n for n in {HEAVY} if n in sys.modules], '|', len(sys.modules))"
    watched = f"import atexit, sys; atexit.register({report}); "
    result = subprocess.run([sys.executable, "-c", watched + code], capture_output=True, text=True, check=False)
    assert result.returncode == rc, result.stderr
    _, heavy, count = result.stdout.rsplit("|", 2)
    return heavy.strip(), int(count)


@pytest.mark.parametrize(
    ("code", "rc"),
    [
        ("import analysis_lib", 0),
        ("from analysis_lib.cli import main; main(['--help'])", 0),
        ("from analysis_lib.cli import main; main(['calibrate', '--help'])", 0),
        ("from analysis_lib.cli import main; main(['finetune', '--help'])", 0),
        ("from analysis_lib.cli import main; main(['sweep', '--help'])", 0),
        ("import sys; from analysis_lib.cli import main; sys.exit(main(['run', 'emoji', '--profle', 'smoke']))", 2),
        ("import sys; from analysis_lib.cli import main; sys.exit(main(['calibrat']))", 2),
    ],
)
def test_the_door_imports_nothing_heavy(code, rc):
    heavy, count = modules_after(code, rc)
    assert heavy == "[]" and count < 400


def test_public_names_are_there_and_come_on_demand():
    heavy, _ = modules_after("import analysis_lib; analysis_lib.calibrate")
    assert "torch" in heavy
    import analysis_lib

    assert {"ClassSplit", "UserError", "accuracies", "calibrate", "seen_absent_curve"} <= set(analysis_lib.__all__)
    assert all(getattr(analysis_lib, name) for name in analysis_lib.__all__)
