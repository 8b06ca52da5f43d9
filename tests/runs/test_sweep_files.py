"""The sweep files that ship, resolved to runs."""

from dataclasses import replace

import pytest

from analysis_lib.core import paths
from analysis_lib.runs import sweep as sweeps
from analysis_lib.runs.plan import plan
from analysis_lib.runs.seen_choice import choose_seen

NAMES = sorted(path.stem for path in paths.sweep("any").parent.glob("*.json"))
WITH_THE_RECIPE = ("augmentation", "backbones", "cosine_head", "images", "seen_classes", "warmup")


@pytest.fixture
def resolved(project, monkeypatch):
    """From a file's name and a profile to its runs by cell, on its benchmark or another one."""

    def random_only(spec, manifest, **choice):  # the other rules read a starting network, which takes minutes to train
        return choose_seen(spec, manifest, **choice | {"seen_choice": "random"})

    def resolve(name, profile, benchmark=None):
        sweep = sweeps.read_sweep(paths.sweep(name))
        return sweeps.specs_by_cell(sweep, benchmark or sweep.benchmark, profile, sweep.seeds)

    monkeypatch.setattr(sweeps, "choose_seen", random_only)
    return resolve


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_of_a_file_is_a_list_of_runs(resolved, name):
    sweep = sweeps.read_sweep(paths.sweep(name))
    assert sweep.question.endswith("?") and sweep.statement.endswith(".")
    assert {"smoke", "default", "full"} <= set(sweep.runs)
    assert resolved(name, "full"), "the full profile answers the question"
    resolved(name, "smoke", "digits")
    resolved(name, "default", "emoji")


@pytest.mark.parametrize("name", WITH_THE_RECIPE)
def test_a_variation_stands_beside_the_recipe(resolved, name):
    benchmark, seeds = sweeps.read_sweep(paths.sweep(name)).benchmark, (20, 21, 22)
    plain = [replace(spec, record_every=5) for spec in plan(benchmark, "full", seeds)]
    found = resolved(name, "full")
    assert plain in found.values()
    assert len(found) > 1


def test_a_default_sweep_adds_at_most_one_cell_to_the_recipe(resolved):
    recipe = plan("emoji", "default", (20, 21, 22))
    for name in WITH_THE_RECIPE:
        cells = list(resolved(name, "default", "emoji").values())
        assert len([specs for specs in cells if specs != recipe]) <= 1, name
