"""Does a gamma that was estimated early still serve later? Accuracies, gamma and regret by period of the test images.

Estimates that use the fine-tuning data alone are made once and kept for all periods (*early*). Transductive ones are
made again on each period's unlabelled images. gamma* is the best of each period (*oracle*); `PAST` is that of the first
period, kept for the later ones (*oracle*). The *regret* of a method is the Acc_Y/Y of the period's gamma* minus its
own. gamma* is chosen on the images that score it, so regrets are rather too large, the more so in small periods.
"""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import torch

from ..analysis.gamma.curve import seen_absent_curve
from ..analysis.gamma.estimators import ALG, ESTIMATORS, NONE, ORACLE, estimate_gamma, offered
from ..core.run_spec import RunSpec
from ..runs.class_folds import third_specs
from ..runs.plan import plan
from ..runs.run_set import FINE_TUNED, PRE_TRAINED, RunSet
from . import calibration

EARLY = (ALG, "stand_in", "transported_cv")
PAST = "gamma* of the first period (oracle)"


def specs(benchmark: str, profile: str, seeds: Sequence[int]) -> list[RunSpec]:
    """The runs of a profile, each with the folds of transported cross-validation."""
    return [each for spec in plan(benchmark, profile, seeds) for each in (spec, *third_specs(spec))]


def periods(runs: RunSet) -> dict[str, torch.Tensor]:
    """The test samples of each period, (N,) bool, in order of time.

    Periods in which some run has no seen or no absent test sample are left out: they have no gamma*.
    """
    index = runs.outputs(runs.specs[0], 0, "test").index  # the seeds share the test samples, in one order
    names, labels = runs.manifest.periods.iloc[index.numpy()], runs.manifest.labels[index]
    found = {}
    for name in names.cat.categories:
        inside = torch.tensor((names == name).to_numpy())
        seen = [runs.split(spec).is_seen(labels[inside]) for spec in runs.specs]
        if all(each.any() and not each.all() for each in seen):
            found[name] = inside
    return found


def contents(runs: RunSet) -> pd.DataFrame:
    """What each period tests: columns seed, period, group (seen or absent), classes, images."""
    labels, rows = runs.outputs(runs.specs[0], 0, "test").labels, []
    for spec in runs.specs:
        seen = runs.split(spec).is_seen(labels)
        for period, inside in periods(runs).items():
            for group, mask in (("seen", seen), ("absent", ~seen)):
                own = labels[inside & mask]
                rows.append((spec.seed, period, group, len(own.unique()), len(own)))
    return pd.DataFrame(rows, columns=["seed", "period", "group", "classes", "images"])


def gammas(runs: RunSet, spec: RunSpec) -> dict[str, dict[str, float]]:
    """gamma of the fine-tuned model by each method, for each period. Raises UserError as `estimate_gamma`."""
    known, test = calibration.evidence(runs, spec), runs.outputs(spec, spec.epochs, "test")
    early = {method: estimate_gamma(method, known) for method in EARLY if ESTIMATORS[method].needs <= known.holds}
    anew = [method for method in offered(known.holds) if ESTIMATORS[method].transductive or method == ORACLE]
    found: dict[str, dict[str, float]] = {}
    for period, inside in periods(runs).items():
        own = test.where(inside)
        here = replace(known, target_logits=own.logits, target_labels=own.labels)
        found[period] = {NONE: 0.0} | early | {method: estimate_gamma(method, here) for method in anew}
    past = next(iter(found.values()))[ORACLE]
    return {period: chosen | {PAST: past} for period, chosen in found.items()}


def by_period(runs: RunSet) -> pd.DataFrame:
    """Every network with every gamma in every period: columns seed, period, checkpoint, method, metric, value.

    The fine-tuned network has every method of `gammas`, the pre-trained one no shift and its own gamma* (*oracle*).
    Metrics: gamma, acc_sy, acc_uy, acc_yy, regret, and ausuc, which no shift changes.
    """
    rows = []
    for spec in runs.specs:
        split, chosen = runs.split(spec), gammas(runs, spec)
        for checkpoint, epoch in ((PRE_TRAINED, 0), (FINE_TUNED, spec.epochs)):
            test = runs.outputs(spec, epoch, "test")
            for period, inside in periods(runs).items():
                own = test.where(inside)
                curve = seen_absent_curve(own.logits, own.labels, split)
                best = curve.best()
                methods = chosen[period] if checkpoint == FINE_TUNED else {NONE: 0.0, ORACLE: best.gamma}
                for method, gamma in methods.items():
                    point = curve.at(gamma)
                    measured = vars(point) | {"regret": best.acc_yy - point.acc_yy, "ausuc": curve.ausuc}
                    rows += [(spec.seed, period, checkpoint, method, *pair) for pair in measured.items()]
    return pd.DataFrame(rows, columns=["seed", "period", "checkpoint", "method", "metric", "value"])
