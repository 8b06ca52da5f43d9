import json

import pytest

from analysis_lib import UserError
from analysis_lib.runs import sweep
from analysis_lib.runs.plan import plan

GOOD = {"title": "A sweep", "benchmark": "digits", "seeds": [0, 1], "runs": {"smoke": [{"lr": [0.01, 1], "epochs": 2}]}}


def written(folder, **changes):
    """A sweep file with some keys changed."""
    path = folder / "sweep.json"
    path.write_text(json.dumps(GOOD | changes))
    return path


def test_every_cell_has_a_run_for_each_seed(project):
    by_cell = sweep.specs_by_cell(sweep.read_sweep(written(project)), "digits", "smoke", [3, 4])
    assert list(by_cell) == [(("lr", 0.01), ("epochs", 2)), (("lr", 1.0), ("epochs", 2))]
    assert [[(spec.lr, spec.epochs, spec.seed) for spec in specs] for specs in by_cell.values()] == [
        [(0.01, 2, 3), (0.01, 2, 4)],
        [(1.0, 2, 3), (1.0, 2, 4)],
    ]


def test_a_cell_that_two_grids_name_is_there_once_and_grids_are_not_crossed(project):
    grids = [{"lr": [0.01, 0.1]}, {"lr": 0.01}, {"warmup": [0, 0.5], "head": "cosine"}, {}]
    found = sweep.cells(sweep.read_sweep(written(project, runs={"smoke": grids})), "smoke")
    assert found == [
        (("lr", 0.01),),
        (("lr", 0.1),),
        (("warmup", 0.0), ("head", "cosine")),
        (("warmup", 0.5), ("head", "cosine")),
        (),
    ]


def test_1_and_1_0_are_the_same_run(project):
    ids = []
    for value in (1, 1.0):
        read = sweep.read_sweep(written(project, runs={"smoke": [{"lr": value}]}))
        ((spec,),) = sweep.specs_by_cell(read, "digits", "smoke", [0]).values()
        ids.append(spec.run_id)
    assert ids[0] == ids[1] == plan("digits", "smoke", [0], lr=1.0)[0].run_id


@pytest.mark.parametrize(
    ("grid", "sentence"),
    [
        ({"epochs": 2.0}, "epochs is 2.0 in a sweep; give a value of type int"),
        ({"epochs": True}, "epochs is True in a sweep; give a value of type int"),
        ({"lr": "0.1"}, "lr is '0.1' in a sweep; give a value of type float"),
        ({"lr": False}, "lr is False in a sweep; give a value of type float"),
        ({"augmented": 0}, "augmented is 0 in a sweep; give a value of type bool"),
    ],
)
def test_a_value_of_another_type_is_refused(project, grid, sentence):
    read = sweep.read_sweep(written(project, runs={"smoke": [grid]}))
    with pytest.raises(UserError) as raised:
        sweep.cells(read, "smoke")
    assert str(raised.value) == sentence


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"runs": {"smoke": [{"optimiser": "sgd"}]}},
            r"unknown field in sweep.json: 'optimiser' \(did you mean 'optim",
        ),
        ({"runs": {"smoke": [{"seed": 1}]}}, r"unknown field in sweep.json: 'seed'"),
        ({"runs": {"smoke": {"lr": 1}}}, r"the sweep file sweep.json is wrong at 'runs.smoke': "),
        ({"titel": "A sweep"}, r"the sweep file sweep.json is wrong at 'titel': "),
        ({"seeds": "20"}, r"the sweep file sweep.json is wrong at 'seeds': "),
    ],
)
def test_a_wrong_file_is_one_sentence_with_the_place(project, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        sweep.read_sweep(written(project, **changes))


def test_a_file_that_is_absent_or_no_json_is_one_sentence(project):
    with pytest.raises(UserError, match="there is no sweep file absent.json; those that ship lie in studies/"):
        sweep.read_sweep(project / "absent.json")
    for content in (b"{", b"\xff\xfe\x00", b'"'):
        path = project / "broken.json"
        path.write_bytes(content)
        with pytest.raises(UserError, match="broken.json.*; give a JSON file"):
            sweep.read_sweep(path)


def test_an_unknown_profile_is_answered_with_those_of_the_file(project):
    with pytest.raises(UserError, match=r"unknown profile of the sweep 'A sweep' 'smok' \(did you mean 'smoke'\?\)"):
        sweep.cells(sweep.read_sweep(written(project)), "smok")
