import shutil
from dataclasses import replace
from itertools import pairwise

import pandas as pd
import pytest
import torch

from analysis_lib import UserError
from analysis_lib.analysis.influence.attribution import rank_correlation
from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.benchmarks.preprocess import normalizer
from analysis_lib.benchmarks.tasks import load_task
from analysis_lib.core import files, paths
from analysis_lib.models.create import create_random_model
from analysis_lib.models.stages import stages_and_logits
from analysis_lib.runs import execute, measured_tasks
from analysis_lib.runs.measured_tasks import MeasuredRun, task_distance, task_predictions
from analysis_lib.runs.plan import plan, pretraining, run_before, sequence
from analysis_lib.runs.run_set import RunSet
from analysis_lib.studies import forgetting, task_sequence

OTHER = ["printed_digits", "printed_letters"]
HEAD = load_manifest("digits").head
NORMALIZE = normalizer(HEAD.mean, HEAD.std, torch.float64, torch.device("cpu"))


@pytest.fixture
def started(project):
    """An empty project whose starting network is random: no pre-training, which the tests do not need."""
    spec = pretraining(load_manifest("digits"), "float64")
    model = create_random_model("digits_cnn", 10, seed=3)
    files.write_tensors(paths.run_model(spec.run_id), model.state_dict())
    files.write_text(paths.run_done(spec.run_id), "")
    return model


@pytest.fixture
def pretrained(digits_root, project):
    """An empty project whose pre-training is done."""
    run_id = pretraining(load_manifest("digits"), "float64").run_id
    paths.runs().mkdir()
    paths.run(run_id).symlink_to(digits_root / "runs" / run_id)


def finished(**changes):
    """A fine-tuning run on the digits, made here."""
    (spec,) = plan("digits", "smoke", [0], **({"epochs": 1, "lr": 5e-3} | changes))
    execute.execute(spec, "cpu")
    return spec


def opened(*specs):
    return RunSet(load_manifest("digits"), specs, "cpu")


def test_a_network_whose_features_stay_has_a_change_of_exactly_zero(started):
    spec = finished(method="linear_probe")
    runs = opened(spec)
    found = forgetting.changes(runs, [spec])
    table = forgetting.by_seed(found)
    assert table["task"].unique().tolist() == OTHER == forgetting.other_tasks(runs)
    assert (table[["delta", "low", "high"]] == 0).all(axis=None) and (table["before"] == table["after"]).all()
    assert (forgetting.over_seeds(found)[["mean", "low", "high"]] == 0).all(axis=None)
    assert (forgetting.distances(runs, found)["value"] == 0).all()


def test_a_heavier_penalty_moves_features_less_and_forgets_less(pretrained):
    """The acceptance check of LDIFS; weight 0 is plain fine-tuning."""
    specs = [finished(method="ldifs", options=(("weight", w),), lr=2e-2, epochs=4) for w in (0.0, 10.0, 100.0)]
    runs = opened(*specs)
    found = forgetting.changes(runs, specs)
    moved = forgetting.distances(runs, found).query("distance == 'feature'")
    for task in OTHER:
        values = moved[moved["task"] == task]["value"].tolist()
        assert values == sorted(values, reverse=True) and values[-1] < values[0] / 3
    table = forgetting.by_seed(found).query("metric == 'lp'")
    size = table["delta"].abs().groupby(table["options"], sort=False).mean().tolist()
    assert size[0] > size[-1]


def test_the_columns_are_what_they_say(started):
    specs = [finished(), finished(method="l2sp", options=(("weight", 1.0),))]
    runs = opened(*specs)
    found = forgetting.changes(runs, specs)
    table = forgetting.by_seed(found)
    before, after = execute.load_before_after(specs[0], "cpu")
    task = load_task("printed_letters", 16)
    truth = task.labels[task.test]
    rows = table.query("method == 'finetune' and task == 'printed_letters'").set_index("metric")
    for column, model in (("before", before), ("after", after)):
        for metric, predicted in task_predictions(model, task, NORMALIZE).items():
            assert rows.loc[metric, column] == pytest.approx((predicted == truth).double().mean().item(), abs=1e-12)
    assert table["delta"].to_list() == pytest.approx((table["after"] - table["before"]).to_list())
    assert (table["low"] <= table["delta"]).all() and (table["delta"] <= table["high"]).all()
    assert table["n"].unique().tolist() == [600]
    assert table["options"].unique().tolist() == ["", "weight=1.0"]
    means = forgetting.over_seeds(found)
    assert means["mean"].to_list() == pytest.approx(table["delta"].to_list()), "one seed"
    assert set(means["interval"]) == {"classes"} and set(means["n_seeds"]) == {1}


def test_distances_are_those_of_the_stages_and_of_the_weights(started):
    spec = finished()
    task = load_task("printed_letters", 16)
    moved = MeasuredRun(spec, HEAD, "cpu").distances(task)
    before, after = execute.load_before_after(spec, "cpu")
    x = NORMALIZE(task.images[task.test[::3]])
    with torch.no_grad():
        pairs = zip(stages_and_logits(before, x)[0], stages_and_logits(after, x)[0])
    unit = torch.nn.functional.normalize
    by_stage = [(unit(a, dim=2) - unit(b, dim=2)).square().mean() for a, b in pairs]
    assert moved["feature"] == pytest.approx(torch.stack(by_stage).mean().item(), rel=1e-6)
    first, last = (torch.cat([p.flatten() for p in m.blocks.parameters()]).detach() for m in (before, after))
    assert moved["parameter"] == pytest.approx(((last - first).norm() / first.norm()).item(), rel=1e-9)
    assert task_distance(before, before, task, NORMALIZE) == 0


def test_predictions_are_made_once(started, monkeypatch):
    spec = finished()
    runs = opened(spec)
    first = forgetting.changes(runs, [spec])
    first_moved = forgetting.distances(runs, first)
    monkeypatch.setattr(measured_tasks, "load_before_after", None)
    again = forgetting.changes(runs, [spec])
    assert all(torch.equal(a.right, b.right) for a, b in zip(first, again))
    assert forgetting.distances(runs, again).equals(first_moved)


def test_two_runs_of_one_name_and_unfinished_runs_are_refused(started):
    spec = finished()
    with pytest.raises(UserError, match="two of the runs have the same method, options and seed"):
        forgetting.changes(opened(spec), [spec, replace(spec, lr=0.0)])
    with pytest.raises(UserError, match="is not finished; make it with"):
        forgetting.by_seed(forgetting.changes(opened(spec), [replace(spec, seed=1)]))


def test_correlations_are_spearmans_over_methods_within_seeds():
    methods = ["a", "b", "c", "d"]
    values = {0: ([1.0, 2, 3, 4], [0.0, -1, -2, -3]), 1: ([1.0, 2, 3, 4], [-1.0, 0, -3, -2])}
    keys = [(seed, method, "", "t") for seed in values for method in methods]
    far = [x for seed in values for x in values[seed][0]]
    delta = [x for seed in values for x in values[seed][1]]
    names = ["seed", "method", "options", "task"]
    changed = pd.DataFrame(keys, columns=names).assign(metric="lp", delta=delta)
    moved = pd.DataFrame(keys, columns=names).assign(distance="feature", value=far)
    (row,) = forgetting.correlations(changed, moved).to_dict("records")
    expected = [rank_correlation(*(torch.tensor([x]) for x in values[seed])).item() for seed in values]
    assert row["mean"] == pytest.approx(sum(expected) / 2) and expected[0] == pytest.approx(-1)
    assert (row["n_methods"], row["n_seeds"], row["task"], row["distance"]) == (4, 2, "t", "feature")
    assert -1 <= row["low"] <= row["mean"] <= row["high"] <= 1
    joined = forgetting.against_distance(changed.drop(columns="seed").assign(mean=0.0).drop_duplicates("method"), moved)
    assert joined["value"].tolist() == [1.0, 2, 3, 4]


# the sequence
def test_each_run_starts_from_the_one_before_and_smoke_is_small():
    specs = task_sequence.sequence_specs("digits", "smoke", [4, 5])
    assert [spec.method for spec in specs] == ["finetune"] * 3 + ["ldifs"] * 3 and {spec.seed for spec in specs} == {4}
    manifest = load_manifest("digits")
    assert run_before(specs[0], manifest) == pretraining(manifest, "float64")
    for earlier, later in pairwise(specs[:3]):
        assert later.init == earlier.run_id and run_before(later, manifest) == earlier
        assert later.tasks[:-1] == earlier.tasks
    full = task_sequence.sequence_specs("digits", "full", [0, 1])
    assert len(full) == 2 * 3 * len(task_sequence.METHODS) and full[0].tasks == ("digits",)
    assert full[2].tasks == task_sequence.SEQUENCES["digits"]
    assert task_sequence.sequence_specs("emoji", "full", [0]) == [], "no sequence for its network"
    (spec,) = plan("emoji", "smoke", [0])
    assert run_before(sequence(spec, ["digits", "emoji"])[0], load_manifest("emoji")) is None


def test_a_new_field_of_the_spec_keeps_old_ids():
    (spec,) = plan("digits", "smoke", [0])
    assert spec.run_id == "digits-finetune-s0-f0ce36d5d8" and spec.tasks == ()
    assert sequence(spec, ["digits"])[0].run_id != spec.run_id


@pytest.fixture
def learnt(started):
    """Two tasks learnt one after another, with LDIFS."""
    (start,) = plan("digits", "smoke", [0], method="ldifs", epochs=2)
    specs = sequence(start, ("digits", "printed_letters"))
    execute.execute(specs[-1], "cpu")  # makes the first one too
    return specs


def contents(spec):
    folder = paths.run(spec.run_id)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_task_begins_with_the_network_before_and_a_fitted_head(learnt, monkeypatch):
    """The penalty's reference is the network at the start of the task, whose distance is 0."""
    first, second = learnt
    assert execute.state(first.run_id) == execute.state(second.run_id) == "done"
    seen = []

    def stop(model, method, data, spec, after_epoch):
        method.prepare(model, data)
        method.before_epoch(model, 0.0)
        x, y = data.batch(data.rows[:40], data.generator("test"))
        plain = torch.nn.functional.cross_entropy(model(x), y)
        seen.append((model.eval(), method.loss(model.train(), x, y)[0].item() - plain.item()))
        raise KeyboardInterrupt

    monkeypatch.setattr(execute, "train", stop)
    shutil.rmtree(paths.run(second.run_id))
    with pytest.raises(KeyboardInterrupt):
        execute.execute(second, "cpu")
    model, penalty = seen[-1]
    assert penalty == pytest.approx(0, abs=1e-12)
    learnt_before = files.read_tensors(paths.run_model(first.run_id))
    state = model.state_dict()
    weights = [name for name in state if name.startswith("blocks") and "running" not in name and "num_" not in name]
    assert all(torch.equal(state[name], learnt_before[name]) for name in weights)
    task = load_task("printed_letters", 16)
    logits = model.eval()(NORMALIZE(task.images[task.train]))
    assert (logits.argmax(1) == task.labels[task.train]).double().mean() > 0.8, "the head is fitted"


@pytest.mark.parametrize("stop_at", range(0, 8, 2))
def test_an_interrupted_task_continues_to_the_same_bytes(learnt, stop_at_write, stop_at):
    second = learnt[1]
    expected = contents(second)
    shutil.rmtree(paths.run(second.run_id))
    stop_at_write(stop_at)
    with pytest.raises(KeyboardInterrupt):
        execute.execute(second, "cpu")
    assert execute.state(second.run_id) != "done"
    stop_at_write(None)
    execute.execute(second, "cpu")
    assert contents(second) == expected


def test_accuracies_along_the_sequence(digits_root, monkeypatch):
    """On the smoke runs of the study."""
    monkeypatch.setenv("FTC_ROOT", str(digits_root))
    specs = task_sequence.sequence_specs("digits", "smoke", [0, 1])
    table = task_sequence.sequence_accuracies(specs, "cpu")
    assert len(table) == 2 * 4 * 3 and not table.duplicated(["seed", "method", "after", "task"]).any()
    start = table[table["after"] == 0].pivot(index="task", columns="method", values="accuracy")
    assert (start["finetune"] == start["ldifs"]).all(), "both start from one network"
    assert table["accuracy"].between(0.5, 1).all()
    summary = task_sequence.sequence_summary(table)
    value = summary.set_index(["method", "metric", "task"])["value"]
    at = table.set_index(["method", "task", "after"])["accuracy"]
    for method in ("finetune", "ldifs"):
        assert value[method, "forgetting", "digits"] == at[method, "digits", 1] - at[method, "digits", 3]
        assert value[method, "transfer", "printed_digits"] == (
            at[method, "printed_digits", 2] - at[method, "printed_digits", 0]
        )
        final = [at[method, task, 3] for task in task_sequence.SEQUENCES["digits"]]
        assert value[method, "final", "mean"] == pytest.approx(sum(final) / 3)


def test_a_network_that_stays_forgets_nothing_and_a_drop_is_counted_once():
    accuracy = {"x": [0.2, 0.9, 0.9, 0.5], "y": [0.3, 0.1, 0.8, 0.7], "z": [0.4, 0.4, 0.6, 0.9]}
    rows = [
        (0, method, after, task, learnt, values[after] if method == "moves" else 0.4, 10)
        for method in ("moves", "stays")
        for learnt, (task, values) in enumerate(accuracy.items(), 1)
        for after in range(4)
    ]
    columns = ["seed", "method", "after", "task", "learnt", "accuracy", "n"]
    summary = task_sequence.sequence_summary(pd.DataFrame(rows, columns=columns))
    value = summary.set_index(["method", "metric", "task"])["value"]
    assert (value["stays"].drop("final", level="metric").abs() < 1e-12).all()
    moves = value["moves"].round(9).to_dict()
    assert moves == {
        ("final", "x"): 0.5,
        ("final", "y"): 0.7,
        ("final", "z"): 0.9,
        ("final", "mean"): 0.7,
        ("forgetting", "x"): 0.4,
        ("forgetting", "y"): 0.1,
        ("forgetting", "mean"): 0.25,
        ("transfer", "y"): -0.2,
        ("transfer", "z"): 0.2,
        ("transfer", "mean"): 0.0,
    }
