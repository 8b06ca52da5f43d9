"""The choice of every fine-tuning method's option, on seeds that are never reported and on seen classes alone.

A third of the seen classes plays the absent ones. The criterion is the area under the seen-absent curve, which no shift
changes, on images that were not trained on. Every method has the same number of values, and as many gradient steps.
"""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from ..analysis.gamma.curve import seen_absent_curve
from ..core.run_spec import RunSpec
from ..methods import SPARING
from ..runs.class_folds import folds_of, third_specs
from ..runs.plan import plan
from ..runs.run_set import RunSet


def candidates(spec: RunSpec) -> list[RunSpec]:
    """The run by plain fine-tuning, and by every method that has a choice with each of its values."""
    found = [spec]
    for name, method in SPARING.items():
        if method.choices:
            option, values = method.choices
            found += [replace(spec, method=name, options=((option, value),)) for value in values]
    return found


def specs(benchmark: str, profile: str, seeds: Sequence[int]) -> list[RunSpec]:
    """The runs of the choice: the first third left out, for every candidate and seed."""
    return [third_specs(each)[0] for spec in plan(benchmark, profile, seeds) for each in candidates(spec)]


def score(runs: RunSet, run: RunSpec) -> dict[str, float]:
    """`ausuc` and, without a shift, `acc_sy acc_uy acc_yy` of a run's first third, among the seen classes.

    On images of the left-out classes, and on held-out images of the others.
    """
    (fold,) = folds_of(runs, run, third_specs(run)[:1])
    tested = fold.where(~fold.trained)
    curve = seen_absent_curve(tested.logits, tested.labels, fold.split)
    plain = curve.at(0.0)
    return {"ausuc": curve.ausuc, "acc_sy": plain.acc_sy, "acc_uy": plain.acc_uy, "acc_yy": plain.acc_yy}


def scores(runs: RunSet) -> pd.DataFrame:
    """The metrics of `score` for every candidate: columns seed, method, option, value, metric, score."""
    rows = []
    for spec in runs.specs:
        for each in candidates(spec):
            option, value = each.options[0] if each.options else ("", float("nan"))
            rows += [(spec.seed, each.method, option, value, *pair) for pair in score(runs, each).items()]
    return pd.DataFrame(rows, columns=["seed", "method", "option", "value", "metric", "score"])


def choose(scored: pd.DataFrame) -> pd.DataFrame:
    """The mean of each metric over n seeds, and the choice: columns method, option, value, the metrics, n, chosen.

    Of equal areas under the curve the first is chosen.
    """
    keys = ["method", "option", "value"]
    means = scored.pivot_table("score", keys, "metric", dropna=False, sort=False).dropna(how="all").reset_index()
    means["n"] = scored["seed"].nunique()
    best = means.groupby("method")["ausuc"].transform("max")
    means["chosen"] = means["ausuc"] == best
    return means.rename_axis(columns=None)
