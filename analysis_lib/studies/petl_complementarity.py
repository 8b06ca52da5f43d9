"""Which methods complement each other: pairs of networks, before and after each network's own shift.

The networks are given for each seed by name, as a run and an epoch. `open_members` reads their test logits once;
these tables and those of `petl_ensembles` come from what it returns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import pandas as pd
import torch

from ..analysis.gamma.curve import shift_logits
from ..analysis.gamma.estimators import NONE, Evidence, estimate_gamma
from ..analysis.metrics import complementarity
from ..analysis.stats import intervals
from ..core.class_split import ClassSplit
from ..core.run_spec import RunSpec
from ..runs.run_set import RunSet
from .method_differences import STAND_IN

TREATMENTS = (NONE, STAND_IN)
PAIR = ["a", "b", "treatment", "group", "metric"]


@dataclass(frozen=True)
class Members:
    """The test samples of one seed, with the logits (N, C) of every network and its own gamma by stand-ins."""

    logits: dict[str, torch.Tensor]
    gammas: dict[str, float]
    labels: torch.Tensor
    split: ClassSplit

    def treated(self, treatment: str) -> dict[str, torch.Tensor]:
        """The logits with a treatment: `none`, or `stand_in`, every network shifted by its own gamma."""
        if treatment == NONE:
            return self.logits
        return {name: shift_logits(each, self.split, self.gammas[name]) for name, each in self.logits.items()}

    def predictions(self, treatment: str) -> dict[str, complementarity.Predictions]:
        """The predictions of every network with a treatment."""
        return {name: complementarity.predictions(each) for name, each in self.treated(treatment).items()}

    @property
    def confident(self) -> int:
        """How many samples count as confident, and how many as not: half."""
        return max(1, len(self.labels) // 2)


def open_members(runs: RunSet, networks: Mapping[int, Mapping[str, tuple[RunSpec, int]]]) -> dict[int, Members]:
    """The test logits of networks, by seed.

    networks : for each seed the run and the epoch of every network by name, as `fine_tuning_methods.networks` gives
    them. All seeds have the same names. The pre-trained network needs no shift: its gamma is 0. Raises UserError for a
    run that is not finished.
    """
    found = {}
    for seed, named in networks.items():
        logits, gammas = {}, {}
        for name, (run, epoch) in named.items():
            test = runs.outputs(run, epoch, "test")
            logits[name] = test.logits
            gammas[name] = _stand_in(runs, run, epoch)
        found[seed] = Members(logits, gammas, test.labels, runs.split(run))
    return found


def _stand_in(runs: RunSet, run: RunSpec, epoch: int) -> float:
    if epoch == 0:
        return 0.0
    after, before = runs.fine_tuning_outputs(run, epoch), runs.fine_tuning_outputs(run, 0)
    return estimate_gamma(STAND_IN, Evidence(after.logits, after.labels, runs.split(run), before.logits))


def pairs(members: Mapping[int, Members]) -> pd.DataFrame:
    """The measures of every pair of networks: columns seed, a, b, treatment, group, metric, value.

    Groups and metrics are those of `complementarity.complementarity`; the most and the least confident samples are half
    of all each.
    """
    frames = []
    for seed, test in members.items():
        for treatment in TREATMENTS:
            logits = test.treated(treatment)
            found = complementarity.complementarity(logits, test.labels, test.split, test.confident)
            frames.append(found.assign(seed=seed, treatment=treatment))
    return pd.concat(frames, ignore_index=True)[["seed", *PAIR, "value"]]


def pair_means(members: Mapping[int, Members], measured: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of `pairs` with 95 % intervals: columns a, b, treatment, group, metric, n_samples, n_seeds,
    mean, low, high, interval.

    measured : from `pairs`. Intervals are those of `analysis.stats.intervals`, over seeds and classes; those of `cka`,
    which is no mean over samples, have no class part.
    """
    labels = next(iter(members.values())).labels  # the seeds share the test samples, in one order
    similar = measured[measured["metric"] == "cka"].groupby(PAIR[:4])["value"].apply(list)
    rows, whole, without = [], [], []
    for treatment in TREATMENTS:
        known = {seed: test.predictions(treatment) for seed, test in members.items()}
        for a, b in combinations(next(iter(known.values())), 2):
            by_seed = [_by_group(known[seed][a], known[seed][b], test) for seed, test in members.items()]
            for group, names in by_seed[0].items():
                blocks = [torch.stack(list(values[group].values())) for values in by_seed]
                size = min(int((~block[0].isnan()).sum()) for block in blocks)
                parts = intervals.leave_one_out(blocks, labels)
                means, left_out = (complementarity.rates(dict(zip(names, part.unbind(1)))) for part in parts)
                means["cka"] = torch.tensor(similar[a, b, treatment, group], dtype=torch.float64)
                left_out["cka"] = torch.full_like(left_out["kappa"], torch.nan)
                rows += [(a, b, treatment, group, metric, size, len(members)) for metric in means]
                whole += means.values()
                without += left_out.values()
    table = intervals.estimate(torch.stack(whole, 1), torch.stack(without, 1))
    named = pd.DataFrame(rows, columns=[*PAIR, "n_samples", "n_seeds"])
    return named.join(table[["mean", "low", "high", "interval"]])


def _by_group(
    a: complementarity.Predictions, b: complementarity.Predictions, test: Members
) -> dict[str, dict[str, torch.Tensor]]:
    """`complementarity.sample_values` for each group of samples: (N,) float64, NaN outside the group."""
    found = {}
    for group, rows in complementarity.pair_rows(a, b, test.labels, test.split, test.confident).items():
        values = complementarity.sample_values(a.classes[rows], b.classes[rows], test.labels[rows])
        outside = a.confidence.new_full((len(test.labels),), torch.nan)
        found[group] = {name: outside.index_copy(0, rows, value) for name, value in values.items()}
    return found
