import numpy as np
import pandas as pd
import pytest
import torch

from analysis_lib.analysis.gamma.curve import seen_absent_curve, shift_logits
from analysis_lib.analysis.metrics.accuracy import accuracies
from analysis_lib.analysis.stats.claims import Contrast, State
from analysis_lib.analysis.stats.sample_numbers import SampleNumbers
from analysis_lib.core import paths
from analysis_lib.core.run_spec import RunSpec
from analysis_lib.runs.run_set import RunSet
from analysis_lib.runs.sweep import cell_name, cells, read_sweep
from analysis_lib.studies import ablation_claims, ablations
from analysis_lib.studies.ablations import CHANGE, Ablation

SEEDS = [0, 1]


@pytest.fixture
def length(digits_root, monkeypatch):
    monkeypatch.setenv("FTC_ROOT", str(digits_root))
    return ablations.open_ablation("length", "digits", "smoke", SEEDS, "cpu")


@pytest.fixture
def found(length):
    return ablations.numbers(length)


def value(found, state, metric):
    return found.whole[:, found.names.index((state, metric))]


def test_numbers_are_those_of_the_networks(length, found):
    runs = length.runs
    for cell, specs in length.cells.items():
        name = cell_name(cell)
        for place, spec in enumerate(specs):
            split = runs.split(spec)
            before, after = (runs.outputs(spec, epoch, "test") for epoch in (0, spec.epochs))
            plain = [accuracies(outputs.logits, outputs.labels, split) for outputs in (before, after)]
            curves = [seen_absent_curve(outputs.logits, outputs.labels, split) for outputs in (before, after)]
            shifted = shift_logits(after.logits, split, curves[1].best().gamma)
            best = accuracies(shifted, after.labels, split)
            for metric in ("acc_sy", "acc_uy", "acc_yy"):
                assert value(found, State(name, "none"), metric)[place] == pytest.approx(plain[1][metric])
                assert value(found, State(name, "gamma* (oracle)"), metric)[place] == pytest.approx(best[metric])
                changed = plain[1][metric] - plain[0][metric]
                assert value(found, State(name, CHANGE), metric)[place] == pytest.approx(changed)
            assert value(found, State(name, "none"), "acc_uu")[place] == pytest.approx(plain[1]["acc_uu"])
            assert value(found, State(name), "ausuc")[place] == pytest.approx(curves[1].ausuc)
            assert value(found, State(name, CHANGE), "ausuc")[place] == pytest.approx(curves[1].ausuc - curves[0].ausuc)


def test_by_epoch_agrees_with_the_numbers(length, found):
    table = ablations.by_epoch(length)
    for cell, specs in length.cells.items():
        last = table[(table["cell"] == cell_name(cell)) & (table["epoch"] == specs[0].epochs)]
        for metric, state in (("acc_uy", State(cell_name(cell), "none")), ("ausuc", State(cell_name(cell)))):
            ours = last[last["metric"] == metric].sort_values("seed")["value"].to_numpy()
            assert ours == pytest.approx(value(found, state, metric).numpy())


def test_fields_stand_beside_the_cells(length, found):
    table = ablations.with_fields(ablations.summary(found), length)
    for cell, (spec, *_) in length.cells.items():
        own = table[table["cell"] == cell_name(cell)]
        assert set(own["lr"]) == {spec.lr} and set(own["epochs"]) == {spec.epochs}


def series(values, lr=0.1, epochs=4, seed=0):
    rows = [("c", lr, epochs, seed, epoch, "acc_uy", each) for epoch, each in enumerate(values)]
    return pd.DataFrame(rows, columns=["cell", "lr", "epochs", "seed", "epoch", "metric", "value"])


def test_collapse_is_the_first_epoch_below_half_and_the_rates_until_then():
    table = pd.concat([series([0.8, 0.5, 0.39, 0.6, 0.1]), series([0.8, 0.7, 0.6, 0.5, 0.4], seed=1)])
    first, never = ablations.collapse(table).itertuples()
    assert first.epoch == 2 and np.isnan(never.epoch) and np.isnan(never.rate_sum)
    steps = np.arange(0, 2, 1e-4) / 4  # the cosine's mean over many steps of the first two epochs
    assert first.rate_sum == pytest.approx((0.1 * (1 + np.cos(np.pi * steps)) / 2).mean() * 2, rel=1e-3)


def full(name):
    """The cells of the profile `full` with specs that were never run, one seed."""
    sweep = read_sweep(paths.sweep(name))
    recipe = {"benchmark": "glyphs", "data": "", "model": "m", "init": "", "seed": 0, "epochs": 5, "lr": 2e-2}
    specs = {}
    for cell in cells(sweep, "full"):
        known = {key: value for key, value in cell if not key.startswith("seen_")}
        specs[cell] = [RunSpec(**recipe | known)]
    return Ablation(sweep, specs, RunSet(None, ()))


def made_up(names, value_of):
    """Numbers of 3 seeds and 4 classes that are `value_of` their state, with a little noise."""
    noise = 1e-3 * torch.rand(3, len(names), 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = torch.tensor([value_of(*name) for name in names], dtype=torch.float64).expand(3, -1)
    return SampleNumbers(names, whole + noise.mean(2), whole[..., None] + noise, torch.full((len(names),), 100))


def all_states(ablation):
    treatments = {"none": ("acc_sy", "acc_uy", "acc_yy"), "gamma* (oracle)": ("acc_uy", "acc_yy"), "": ("ausuc",)}
    treatments |= {CHANGE: ("acc_uy", "acc_uu", "ncm_acc_uy", "ausuc")}
    return [
        (State(cell_name(cell), treatment), metric)
        for cell in ablation.cells
        for treatment, metrics in treatments.items()
        for metric in metrics
    ]


@pytest.mark.parametrize("name", ablations.SWEEPS)
def test_every_rule_has_its_cells_in_the_full_profile(name):
    ablation = full(name)
    groups = ablation_claims.Groups(ablation)
    claims = list(ablation_claims.RULES[name](groups))
    assert claims and all(groups.members.values()), groups.members
    judged = ablation_claims.verdicts(name, ablation, made_up(all_states(ablation), lambda state, metric: 0.5))
    assert len(judged) == len(claims)


def test_optimizers_are_judged_by_the_means_of_their_cells():
    ablation = full("optimizers")
    names = {cell_name(cell): dict(cell) for cell in ablation.cells}

    def value_of(state, metric):
        cell = names[state.checkpoint]
        harmed = cell["optimizer"] != "sgd" and cell["lr"] >= 1e-2
        return 0.2 if harmed else 0.6

    judged = ablation_claims.verdicts("optimizers", ablation, made_up(all_states(ablation), value_of))
    assert set(judged["verdict"]) == {"holds"}
    where = judged["claim"].str.contains("mean of the grid: SGD above adamw")
    assert judged[where]["mean"].item() == pytest.approx(0.4 / 4, abs=2e-3)  # one of four learning rates is harmed
    reverse = ablation_claims.verdicts(
        "optimizers", ablation, made_up(all_states(ablation), lambda *name: 0.8 - value_of(*name))
    )
    assert (reverse["verdict"] == "does not hold").sum() == 2 * len(ablation_claims.ADAPTIVE)


def test_rules_without_their_cells_are_left_out(length, found):
    assert ablation_claims.verdicts("length", length, found).empty
    opened = {"length": length, "nothing": Ablation(length.sweep, {}, length.runs)}
    cells, claims = ablation_claims.measured(opened)
    assert set(cells["study"]) == {"length"} and {"lr", "epochs"} <= set(cells) and claims.empty
    assert "no rule" in ablation_claims.verdict_text(opened, claims, "length")


def test_means_of_states_and_their_differences_are_the_means():
    names = [(State("a"), "m"), (State("b"), "m"), (State("c"), "m")]
    found = made_up(names, lambda state, metric: {"a": 0.2, "b": 0.4, "c": 0.9}[state.checkpoint])
    wider = found.with_means({State("ab"): [State("a"), State("b")]})
    assert wider.names[-1] == (State("ab"), "m")
    assert torch.equal(wider.whole[:, 3], found.whole[:, :2].mean(1))
    table = wider.differences([Contrast(State("c"), State("ab"), "m")])
    assert table["mean"].item() == pytest.approx((found.whole[:, 2] - found.whole[:, :2].mean(1)).mean().item())
    level = wider.levels([(State("ab"), "m")])
    assert level["mean"].item() == pytest.approx(found.whole[:, :2].mean().item())


def test_a_class_that_one_number_lacks_leaves_it_as_it_is():
    whole = torch.tensor([[0.5, 0.3]], dtype=torch.float64)
    without = torch.tensor([[[0.4, torch.nan], [torch.nan, 0.1]]], dtype=torch.float64)
    found = SampleNumbers([(State("a"), "m"), (State("b"), "m")], whole, without, torch.tensor([4, 4]))
    table = found.differences([Contrast(State("a"), State("b"), "m")])
    changes = np.array([(0.4 - 0.3) - 0.2, (0.5 - 0.1) - 0.2])
    assert table["class_error"].item() == pytest.approx(np.sqrt(1 / 2 * np.square(changes).sum()))
