"""The choice of every parameter-efficient method's learning rate, on seeds never reported and on seen classes alone.

As `method_choice` chooses options: a third of the seen classes plays the absent ones, and the criterion is the area
under the seen-absent curve, which no shift changes, on images that were not trained on. Every method has the same
rates.
"""

from collections.abc import Sequence

import pandas as pd

from ..core.run_spec import RunSpec
from ..runs.class_folds import third_specs
from ..runs.plan import plan
from ..runs.run_set import RunSet
from .method_choice import score
from .petl import by_method, compared

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


def candidates(spec: RunSpec, profile: str) -> list[RunSpec]:
    """A run of the profile by every method that it compares, at every rate."""
    return [by_method(spec, name, rate) for name in compared(spec.model, profile) for rate in RATES]


def specs(benchmark: str, profile: str, seeds: Sequence[int]) -> list[RunSpec]:
    """The runs of the choice: the first third left out, for every candidate and seed."""
    return [third_specs(each)[0] for spec in plan(benchmark, profile, seeds) for each in candidates(spec, profile)]


def scores(runs: RunSet, profile: str) -> pd.DataFrame:
    """The metrics of `method_choice.score` for every candidate: columns seed, method, option, value, metric, score."""
    rows = [
        (spec.seed, each.method, "lr", each.lr, *pair)
        for spec in runs.specs
        for each in candidates(spec, profile)
        for pair in score(runs, each).items()
    ]
    return pd.DataFrame(rows, columns=["seed", "method", "option", "value", "metric", "score"])
