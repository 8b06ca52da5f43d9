"""What ensembles of methods gain over single networks, before and after each network's own shift.

All networks of a seed that `petl_complementarity.open_members` opened are members.
"""

from collections.abc import Mapping

import pandas as pd
import torch

from ..analysis.gamma.curve import ausuc_parts
from ..analysis.gamma.estimators import NONE
from ..analysis.metrics import ensembles
from ..analysis.metrics.accuracy import group_masks
from ..analysis.metrics.ensembles import BEST, ENSEMBLES, MEAN
from ..analysis.stats.claims import Contrast, State
from ..analysis.stats.sample_numbers import SampleNumbers, sample_numbers
from .petl_complementarity import TREATMENTS, Members
from .uncertainty import KEYS

INTERVAL = ["mean", "low", "high", "interval", "n_samples", "n_seeds"]


def ensemble_table(members: Mapping[int, Members]) -> pd.DataFrame:
    """The accuracy of every ensemble and its gains: columns seed, ensemble, oracle, treatment, group, metric, value.

    Groups and metrics are those of `ensembles.ensembles`.
    """
    frames = []
    for seed, test in members.items():
        for treatment in TREATMENTS:
            found = ensembles.ensembles(test.treated(treatment), test.labels, test.split)
            frames.append(found.assign(seed=seed, treatment=treatment))
    columns = ["seed", "ensemble", "oracle", "treatment", "group", "metric", "value"]
    return pd.concat(frames, ignore_index=True)[columns]


def ensemble_numbers(members: Mapping[int, Members]) -> SampleNumbers:
    """The accuracies of every ensemble with every treatment, and AUSUC of the single networks and of the two means.

    A state is an ensemble with a treatment.
    """
    values, areas = [], []
    for test in members.values():
        values.append({})
        areas.append({})
        masks = group_masks(test.labels, test.split)
        for treatment in TREATMENTS:
            logits = ensembles.stacked(test.treated(treatment), test.labels, test.split)
            for name, ensemble in ENSEMBLES.items():
                right = ensemble.right(logits, test.labels)
                for metric, group in KEYS.items():
                    values[-1][State(name, treatment), metric] = right.where(masks[group], torch.nan)
            for name, parts in _areas(logits, test).items():
                areas[-1][State(name, treatment)] = tuple(parts.where(masks[group], torch.nan) for group in "su")
    labels = next(iter(members.values())).labels  # the seeds share the test samples, in one order
    return sample_numbers(values, areas, labels)


def _areas(logits: torch.Tensor, test: Members) -> dict[str, torch.Tensor]:
    """What each sample adds to AUSUC, (N,) float64, for what has logits to shift."""
    single = torch.stack([ausuc_parts(each, test.labels, test.split) for each in logits])
    return {
        MEAN: single.mean(0),
        BEST: single[ensembles.best_member(logits, test.labels)],
        "mean_logits": ausuc_parts(ensembles.mean_logits(logits), test.labels, test.split),
        "mean_probabilities": ausuc_parts(ensembles.mean_probabilities(logits), test.labels, test.split),
    }


def ensemble_levels(numbers: SampleNumbers) -> pd.DataFrame:
    """`ensemble_numbers` with 95 % intervals over seeds and classes: columns ensemble, oracle, treatment, metric, mean,
    low, high, interval, n_samples, n_seeds.
    """
    named = {
        "ensemble": [state.checkpoint for state, _ in numbers.names],
        "oracle": [ENSEMBLES[state.checkpoint].oracle for state, _ in numbers.names],
        "treatment": [state.method for state, _ in numbers.names],
        "metric": [metric for _, metric in numbers.names],
    }
    return pd.DataFrame(named).join(numbers.levels(numbers.names)[INTERVAL])


def ensemble_gains(numbers: SampleNumbers) -> pd.DataFrame:
    """Every ensemble less others, as paired differences: the columns of `ensemble_levels`, and over.

    over : `best_single` (an *oracle*) or `mean_single`, with the same treatment; or `none`, the ensemble itself without
    a shift. `oracle` marks rows in which either side is one.
    """
    contrasts, over = [], []
    for state, metric in numbers.names:
        others = {single: State(single, state.method) for single in (BEST, MEAN)}
        others[NONE] = State(state.checkpoint, NONE)
        for name, other in others.items():
            if other != state:
                contrasts.append(Contrast(state, other, metric))
                over.append(name)
    named = {
        "ensemble": [contrast.a.checkpoint for contrast in contrasts],
        "oracle": [
            any(ENSEMBLES[each.checkpoint].oracle for each in (contrast.a, contrast.b)) for contrast in contrasts
        ],
        "treatment": [contrast.a.method for contrast in contrasts],
        "metric": [contrast.metric for contrast in contrasts],
        "over": over,
    }
    return pd.DataFrame(named).join(numbers.differences(contrasts)[INTERVAL])
