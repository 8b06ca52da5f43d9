import re
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from analysis_lib import UserError
from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.core import files, paths
from analysis_lib.runs.execute import execute
from analysis_lib.runs.plan import plan, pretraining
from analysis_lib.runs.seen_choice import NEARNESS, choose_seen, grown
from analysis_lib.runs.sweep import Sweep, specs_by_cell
from tests.conftest import make_root


@pytest.fixture(scope="module")
def pretrained_root(tmp_path_factory):
    """A project folder with the starting network of `digits`."""
    root = make_root(tmp_path_factory.mktemp("choice"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTC_ROOT", str(root))
        execute(pretraining(load_manifest("digits"), "float64"), "cpu")
    return root


@pytest.fixture
def spec(pretrained_root, monkeypatch):
    monkeypatch.setenv("FTC_ROOT", str(pretrained_root))
    return plan("digits", "smoke", [0])[0]


def chosen(spec, rule, number):
    return choose_seen(spec, load_manifest("digits"), rule, number).seen


def on_circle(*degrees):
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack((angles.cos(), angles.sin()), 1)


def test_clustered_takes_neighbours_and_spread_takes_corners():
    rows = on_circle(0, 10, 25, 90, 180, 270)
    order = [0, 5, 4, 3, 2, 1]
    assert grown(rows, order, 3, "clustered") == [0, 1, 2]
    assert grown(rows, order, 4, "spread")[:2] == [0, 4] and set(grown(rows, order, 4, "spread")) == {0, 3, 4, 5}
    assert grown(rows, [3, 0, 2], 3, "clustered") == [3, 2, 0], "only classes that may be chosen"


def test_clustered_looks_at_the_mean_and_not_at_the_nearest():
    rows = on_circle(0, 40, 75, -36)
    assert grown(rows, [1, 0, 2, 3], 2, "clustered") == [1, 2]
    assert grown(rows, [1, 0, 2, 3], 3, "clustered") == [1, 2, 0], "-36 is nearer to 0 alone"


@pytest.mark.parametrize("rule", NEARNESS)
def test_each_step_is_the_best_by_brute_force(rule, random):
    rows = functional.normalize(torch.randn(12, 5, dtype=torch.float64, generator=random), dim=1)
    order = torch.randperm(12, generator=random).tolist()
    found = grown(rows, order, 8, rule)
    for step in range(1, 8):
        before, added = found[:step], found[step]
        if rule == "clustered":
            nearness = {c: sum(rows[c] @ rows[o] for o in before) for c in range(12) if c not in before}
            best = max(nearness, key=nearness.get)
        else:
            nearness = {c: max(rows[c] @ rows[o] for o in before) for c in range(12) if c not in before}
            best = min(nearness, key=nearness.get)
        assert added == best


@pytest.mark.parametrize("rule", ["random", *NEARNESS])
def test_the_sets_of_a_seed_are_nested_and_begin_with_one_class(spec, rule):
    sets = [set(chosen(spec, rule, number)) or set(own_names(spec)) for number in (2, 3, 5, 9)]
    assert [len(names) for names in sets] == [2, 3, 5, 9]
    assert sets[0] < sets[1] < sets[2] < sets[3]
    assert set(chosen(spec, "random", 2)) & sets[0]


def own_names(spec):
    manifest = load_manifest("digits")
    return [manifest.class_names[c] for c in manifest.class_split(spec.seed).seen]


def test_the_head_s_rows_decide(spec):
    weight = files.read_tensors(paths.run_model(spec.init))["head.weight"]
    cosines = functional.cosine_similarity(weight[:, None], weight[None], dim=2)
    (first,) = set(chosen(spec, "clustered", 2)) & set(chosen(spec, "spread", 2))
    to_first = cosines[int(first)]
    others = [c for c in range(10) if c != int(first)]
    for rule, pick in (("clustered", max), ("spread", min)):
        assert set(chosen(spec, rule, 2)) == {first, str(pick(others, key=to_first.__getitem__))}


def test_seeds_draw_other_classes(spec):
    assert len({chosen(replace(spec, seed=seed), "random", 3) for seed in range(5)}) > 1


def test_the_manifest_s_own_choice_is_the_recipe(spec):
    manifest = load_manifest("digits")
    assert choose_seen(spec, manifest) == choose_seen(spec, manifest, "random", 5) == spec
    assert chosen(spec, "random", 4)
    own = replace(spec, seen=("1", "2", "3"))
    assert choose_seen(own, manifest).seen != own.seen, "the number stays, not the names"
    assert len(choose_seen(own, manifest).seen) == 3


def test_classes_without_training_images_are_not_chosen(spec):
    manifest = load_manifest("digits")
    body = manifest.body.copy()
    body.loc[body["label"].isin([0, 1, 2]), "split"] = "test"
    manifest = replace(manifest, body=body)
    for rule in ("random", *NEARNESS):
        assert set(choose_seen(spec, manifest, rule, 7).seen) == set("3456789")
    with pytest.raises(UserError, match="seen_number is 8 for benchmark 'digits'; give a number from 2 to 7"):
        choose_seen(spec, manifest, "spread", 8)


@pytest.mark.parametrize("number", [0, 1, 10, -3])
def test_a_number_out_of_range(spec, number):
    with pytest.raises(UserError, match=f"seen_number is {number} for benchmark 'digits'; give a number from 2 to 9"):
        chosen(spec, "random", number)


def test_an_unknown_rule(spec):
    with pytest.raises(UserError, match=re.escape("unknown seen_choice 'spred' (did you mean 'spread'?)")):
        chosen(spec, "spred", 3)


def test_without_the_starting_network(project):
    (spec,) = plan("digits", "smoke", [0])
    assert chosen(spec, "random", 3)
    with pytest.raises(UserError, match=f"run {spec.init} is not finished; make it with `python -m analysis_lib run"):
        chosen(spec, "clustered", 3)


def sweep(**grid):
    return Sweep(title="t", benchmark="digits", seeds=(0, 1), runs={"smoke": [grid]})


def test_a_sweep_resolves_the_choice_for_every_seed(spec):
    found = specs_by_cell(sweep(seen_choice=["random", "spread"], seen_number=[3, 5]), "digits", "smoke", (0, 1))
    assert next(iter(found)) == (("seen_choice", "random"), ("seen_number", 3)) and len(found) == 4
    for cell, specs in found.items():
        assert [each.seed for each in specs] == [0, 1]
        plain = plan("digits", "smoke", (0, 1))
        assert specs == [choose_seen(each, load_manifest("digits"), **dict(cell)) for each in plain]
    assert found[(("seen_choice", "random"), ("seen_number", 5))] == plan("digits", "smoke", (0, 1))
    assert len({each.run_id for specs in found.values() for each in specs}) == 8


def test_a_sweep_s_choice_has_types(spec):
    with pytest.raises(UserError, match="seen_number is 2.5 in a sweep; give a value of type int"):
        specs_by_cell(sweep(seen_number=2.5), "digits", "smoke", (0,))


def test_named_weights_of_a_change_win(spec):
    changes = {"model": "tf_efficientnet_lite0", "init": "efficientnet_lite0_imagenet1k"}
    (changed,) = plan("digits", "smoke", [0], **changes)
    assert changed == replace(spec, **changes)
    with pytest.raises(UserError, match="unknown weights 'efficientnet_lite7_imagenet1k' .did you mean"):
        plan("digits", "smoke", [0], init="efficientnet_lite7_imagenet1k")
