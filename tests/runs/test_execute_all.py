import pytest

from analysis_lib import UserError
from analysis_lib.core import paths
from analysis_lib.runs.execute import state
from analysis_lib.runs.execute_all import execute_all
from analysis_lib.runs.plan import plan
from tests.conftest import make_root


def contents(spec):
    folder = paths.run(spec.run_id)
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.safetensors")}


def test_two_processes_make_the_same_bytes_as_one(project, tmp_path_factory, monkeypatch):
    specs = plan("digits", "smoke", [0, 1])
    finished = list(execute_all(specs, "cpu", processes=2))
    assert sorted(spec.seed for spec in finished) == [0, 1]
    ours = [contents(spec) for spec in specs]
    monkeypatch.setenv("FTC_ROOT", str(make_root(tmp_path_factory.mktemp("one"))))
    assert list(execute_all(specs, "cpu")) == specs
    assert ours == [contents(spec) for spec in specs] and all(len(files) >= 4 for files in ours)


def test_a_mistake_in_a_process_is_one_sentence_and_later_runs_do_not_begin(project):
    wrong = plan("digits", "smoke", [0], method="none")[0]
    later = plan("digits", "smoke", [1, 2, 3, 4, 5, 6])
    with pytest.raises(UserError, match="unknown method 'none'"):
        list(execute_all([wrong, *later], "cpu", processes=2))
    assert state(later[-1].run_id) == "missing"
