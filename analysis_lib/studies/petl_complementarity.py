"""Which methods complement each other, and what ensembles of them gain, before and after each network's own shift.

The networks are given for each seed by name, as a run and an epoch. `open_tested` reads their test logits once; all
tables come from what it returns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import pandas as pd
import torch

from ..analysis.gamma.curve import ausuc_parts, shift_logits
from ..analysis.gamma.estimators import NONE, Evidence, estimate_gamma
from ..analysis.metrics import complementarity, ensembles
from ..analysis.metrics.accuracy import group_masks
from ..analysis.metrics.ensembles import BEST, ENSEMBLES, MEAN, mean_logits, mean_probabilities
from ..analysis.stats import intervals
from ..analysis.stats.claims import Contrast, State
from ..analysis.stats.sample_numbers import SampleNumbers, sample_numbers
from ..core.class_split import ClassSplit
from ..core.run_spec import RunSpec
from ..runs.run_set import RunSet
from .method_differences import STAND_IN
from .uncertainty import KEYS

TREATMENTS = (NONE, STAND_IN)
PAIR = ["a", "b", "treatment", "group", "metric"]


@dataclass(frozen=True)
class Tested:
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


def open_tested(runs: RunSet, networks: Mapping[int, Mapping[str, tuple[RunSpec, int]]]) -> dict[int, Tested]:
    """The test logits of networks, by seed.

    networks : for each seed the run and the epoch of every network by name, as `fine_tuning_methods.networks` gives
    them. All seeds have the same names. The pre-trained network needs no shift: its gamma is 0. Raises UserError for a
    run that is not finished.
    """
    found = {}
    for seed, members in networks.items():
        logits, gammas = {}, {}
        for name, (run, epoch) in members.items():
            test = runs.outputs(run, epoch, "test")
            logits[name] = test.logits
            gammas[name] = _stand_in(runs, run, epoch)
        found[seed] = Tested(logits, gammas, test.labels, runs.split(run))
    return found


def _stand_in(runs: RunSet, run: RunSpec, epoch: int) -> float:
    if epoch == 0:
        return 0.0
    after, before = runs.fine_tuning_outputs(run, epoch), runs.fine_tuning_outputs(run, 0)
    return estimate_gamma(STAND_IN, Evidence(after.logits, after.labels, runs.split(run), before.logits))


def pairs(tested: Mapping[int, Tested]) -> pd.DataFrame:
    """The measures of every pair of networks: columns seed, a, b, treatment, group, metric, value.

    Groups and metrics are those of `complementarity.complementarity`; the most and the least confident samples are half
    of all each.
    """
    frames = []
    for seed, test in tested.items():
        for treatment in TREATMENTS:
            logits = test.treated(treatment)
            found = complementarity.complementarity(logits, test.labels, test.split, test.confident)
            frames.append(found.assign(seed=seed, treatment=treatment))
    return pd.concat(frames, ignore_index=True)[["seed", *PAIR, "value"]]


def pair_means(tested: Mapping[int, Tested], measured: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of `pairs` with 95 % intervals: columns a, b, treatment, group, metric, n_samples, n_seeds,
    mean, low, high, interval.

    measured : from `pairs`. Intervals are those of `analysis.stats.intervals`, over seeds and classes; those of `cka`,
    which is no mean over samples, have no class part.
    """
    labels = next(iter(tested.values())).labels  # the seeds share the test samples, in one order
    similar = measured[measured["metric"] == "cka"].groupby(PAIR[:4])["value"].apply(list)
    rows, whole, without = [], [], []
    for treatment in TREATMENTS:
        known = {seed: test.predictions(treatment) for seed, test in tested.items()}
        for a, b in combinations(next(iter(known.values())), 2):
            by_seed = [_by_group(known[seed][a], known[seed][b], test) for seed, test in tested.items()]
            for group, names in by_seed[0].items():
                blocks = [torch.stack(list(values[group].values())) for values in by_seed]
                size = min(int((~block[0].isnan()).sum()) for block in blocks)
                parts = intervals.leave_one_out(blocks, labels)
                means, left_out = (complementarity.rates(dict(zip(names, part.unbind(1)))) for part in parts)
                means["cka"] = torch.tensor(similar[a, b, treatment, group])
                left_out["cka"] = torch.full_like(left_out["kappa"], torch.nan)
                rows += [(a, b, treatment, group, metric, size, len(tested)) for metric in means]
                whole += means.values()
                without += left_out.values()
    table = intervals.estimate(torch.stack(whole, 1), torch.stack(without, 1))
    named = pd.DataFrame(rows, columns=[*PAIR, "n_samples", "n_seeds"])
    return named.join(table[["mean", "low", "high", "interval"]])


def _by_group(
    a: complementarity.Predictions, b: complementarity.Predictions, test: Tested
) -> dict[str, dict[str, torch.Tensor]]:
    """`complementarity.sample_values` for each group of samples: (N,) float64, NaN outside the group."""
    found = {}
    for group, rows in complementarity.pair_rows(a, b, test.labels, test.split, test.confident).items():
        values = complementarity.sample_values(a.classes[rows], b.classes[rows], test.labels[rows])
        outside = a.confidence.new_full((len(test.labels),), torch.nan)
        found[group] = {name: outside.index_copy(0, rows, value) for name, value in values.items()}
    return found


def ensemble_table(tested: Mapping[int, Tested]) -> pd.DataFrame:
    """The accuracy of every ensemble and its gains: columns seed, ensemble, oracle, treatment, group, metric, value.

    Groups and metrics are those of `ensembles.ensembles`. All networks of a seed are members.
    """
    frames = []
    for seed, test in tested.items():
        for treatment in TREATMENTS:
            found = ensembles.ensembles(test.treated(treatment), test.labels, test.split)
            frames.append(found.assign(seed=seed, treatment=treatment))
    columns = ["seed", "ensemble", "oracle", "treatment", "group", "metric", "value"]
    return pd.concat(frames, ignore_index=True)[columns]


def ensemble_numbers(tested: Mapping[int, Tested]) -> SampleNumbers:
    """The accuracies of every ensemble with every treatment, and AUSUC of the single networks and of the two means."""
    values, areas = [], []
    for test in tested.values():
        values.append({})
        areas.append({})
        masks = group_masks(test.labels, test.split)
        for treatment in TREATMENTS:
            members = ensembles.stacked(test.treated(treatment), test.labels, test.split)
            for name, ensemble in ENSEMBLES.items():
                right = ensemble.right(members, test.labels)
                for metric, group in KEYS.items():
                    values[-1][State(name, treatment), metric] = right.where(masks[group], torch.nan)
            for name, parts in _areas(members, test).items():
                seen = masks["s"]
                areas[-1][State(name, treatment)] = (parts.where(seen, torch.nan), parts.where(~seen, torch.nan))
    return sample_numbers(values, areas, next(iter(tested.values())).labels)


def _areas(members: torch.Tensor, test: Tested) -> dict[str, torch.Tensor]:
    """What each sample adds to AUSUC, (N,) float64, for what has logits to shift."""
    single = torch.stack([ausuc_parts(each, test.labels, test.split) for each in members])
    return {
        MEAN: single.mean(0),
        BEST: single[ensembles.best_member(members, test.labels)],
        "mean_logits": ausuc_parts(mean_logits(members), test.labels, test.split),
        "mean_probabilities": ausuc_parts(mean_probabilities(members), test.labels, test.split),
    }


def ensemble_levels(numbers: SampleNumbers) -> pd.DataFrame:
    """`ensemble_numbers` with 95 % intervals over seeds and classes: columns ensemble, oracle, treatment, metric, mean,
    low, high, interval, n_samples, n_seeds.
    """
    return _named([state for state, _ in numbers.names], numbers.names, numbers.levels(numbers.names))


def ensemble_gains(numbers: SampleNumbers) -> pd.DataFrame:
    """Paired differences between every ensemble and the single networks: the columns of `ensemble_levels`, and over.

    over : `best_single` (an *oracle*) or `mean_single`, with the same treatment; or `none`, the ensemble itself without
    a shift.
    """
    known, frames = set(numbers.names), []
    for over in (BEST, MEAN, NONE):
        chosen = []
        for state, metric in numbers.names:
            other = State(state.checkpoint, NONE) if over == NONE else State(over, state.method)
            if other != state and (other, metric) in known:
                chosen.append(Contrast(state, other, metric))
        names = [(contrast.a, contrast.metric) for contrast in chosen]
        frames.append(_named([contrast.b for contrast in chosen], names, numbers.differences(chosen)).assign(over=over))
    return pd.concat(frames, ignore_index=True)


def _named(others: list[State], names: list[tuple[State, str]], table: pd.DataFrame) -> pd.DataFrame:
    """Rows of intervals with the ensembles and metrics that they are of; `oracle` if either side is one."""
    named = {
        "ensemble": [state.checkpoint for state, _ in names],
        "oracle": [
            ENSEMBLES[state.checkpoint].oracle or ENSEMBLES[other.checkpoint].oracle
            for (state, _), other in zip(names, others)
        ],
        "treatment": [state.method for state, _ in names],
        "metric": [metric for _, metric in names],
    }
    return pd.DataFrame(named).join(table[["mean", "low", "high", "interval", "n_samples", "n_seeds"]])
