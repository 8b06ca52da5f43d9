"""Differences between fine-tuning methods with their intervals, and the claims about them."""

from functools import partial

import pandas as pd
import torch

from ..analysis.gamma.curve import shift_logits
from ..analysis.gamma.estimators import NONE, ORACLE
from ..analysis.metrics.accuracy import group_masks
from ..analysis.stats.claims import Claim, Contrast, State, judge
from ..analysis.stats.intervals import ERRORS
from ..analysis.stats.sample_numbers import SampleNumbers, sample_numbers
from ..core.run_spec import RunSpec
from ..methods import METHODS
from ..runs.run_set import RunSet
from .fine_tuning_methods import NCM, PLAIN, Networks, nearest_mean_scores, networks, treatments
from .uncertainty import KEYS, area_parts

STAND_IN = "stand_in"
TREATMENTS = (NONE, STAND_IN, ORACLE)  # with which methods are compared


def method_numbers(cells: dict[float, RunSet], profile: str) -> dict[float, SampleNumbers]:
    """Accuracies of every network with every treatment, and AUSUC of every network, for each learning rate.

    A state is a network (`fine_tuning_methods.networks`) with a treatment: a shift, or the nearest-class-mean probe
    (*oracle*). The states of AUSUC have none.
    """
    return {lr: network_numbers(runs, partial(networks, profile=profile)) for lr, runs in cells.items()}


def network_numbers(runs: RunSet, networks: Networks) -> SampleNumbers:
    """The numbers of `method_numbers` for the networks that are compared with each run."""
    values, areas = [], []
    for spec in runs.specs:
        values.append({})
        areas.append({})
        for name, (run, epoch) in networks(spec).items():
            values[-1] |= _values(runs, name, run, epoch)
            areas[-1][State(name)] = area_parts(runs.outputs(run, epoch, "test"), runs.split(spec))
    labels = runs.outputs(runs.specs[0], 0, "test").labels
    return sample_numbers(values, areas, labels)


def _values(runs: RunSet, name: str, run: RunSpec, epoch: int) -> dict[tuple[State, str], torch.Tensor]:
    """Whether each test sample is right, (N,) float64, NaN outside the metric's group."""
    split, test = runs.split(run), runs.outputs(run, epoch, "test")
    scores = {NCM: nearest_mean_scores(runs, run, epoch, test)}
    for treatment, gamma in treatments(runs, run, epoch).items():
        if treatment in TREATMENTS:
            scores[treatment] = shift_logits(test.logits, split, gamma)
    masks = group_masks(test.labels, split)
    found = {}
    for treatment, values in scores.items():
        right = (values.argmax(1) == test.labels).double()
        for metric, group in KEYS.items():
            found[State(name, treatment), metric] = right.where(masks[group], torch.nan)
    return found


def differences(numbers: dict[float, SampleNumbers]) -> pd.DataFrame:
    """`against_plain` at every learning rate, in a column lr."""
    frames = []
    for lr, found in numbers.items():
        table = against_plain(found)
        table.insert(0, "lr", lr)
        frames.append(table)
    return pd.concat(frames, ignore_index=True)


def against_plain(found: SampleNumbers) -> pd.DataFrame:
    """Every network minus plain fine-tuning, with the same treatment.

    Columns: method, treatment, metric, mean, low, high, n_samples, n_seeds. Intervals are those of
    `analysis.stats.intervals`, over seeds and classes. AUSUC has the treatment `none`, since no shift changes it.
    """
    others = [
        (state, metric)
        for state, metric in found.names
        if state.checkpoint != PLAIN and (State(PLAIN, state.method), metric) in found.names
    ]
    contrasts = [Contrast(state, State(PLAIN, state.method), metric) for state, metric in others]
    named = {
        "method": [state.checkpoint for state, _ in others],
        "treatment": [state.method or NONE for state, _ in others],
        "metric": [metric for _, metric in others],
    }
    table = found.differences(contrasts)
    return pd.DataFrame(named).join(table[["mean", "low", "high", "n_samples", "n_seeds"]])


def claims_about(methods: list[str]) -> tuple[Claim, ...]:
    """For each method, that plain fine-tuning with one constant beats it: four families of decision rules."""
    best, estimated = State(PLAIN, ORACLE), State(PLAIN, STAND_IN)
    found = []
    for name in methods:
        title, plain = METHODS[name].title, State(name, NONE)
        rules = (
            ("before the shift", "gamma* (oracle)", "without a shift", Contrast(best, plain, "acc_yy")),
            ("before the shift, no oracle", "stand-ins", "without a shift", Contrast(estimated, plain, "acc_yy")),
            (
                "after the shift",
                "gamma* (oracle)",
                "with its own gamma*",
                Contrast(best, State(name, ORACLE), "acc_yy"),
            ),
        )
        for family, shift, other, contrast in rules:
            statement = f"plain fine-tuning with {shift} beats {title} {other} over all classes"
            found.append(Claim(family, statement, contrast, "above", 0, "paper, abstract"))
        area = Contrast(State(PLAIN), State(name), "ausuc")
        statement = f"plain fine-tuning has a higher seen-absent curve (AUSUC) than {title}"
        found.append(Claim("curve", statement, area, "above", 0, "paper, calibration"))
    return tuple(found)


def verdicts(numbers: dict[float, SampleNumbers]) -> pd.DataFrame:
    """The claims about every method at every learning rate: columns lr and method, then those of `claims.judge`.

    The p values of a family are corrected at each learning rate by itself.
    """
    frames = []
    for lr, found in numbers.items():
        names = dict.fromkeys(state.checkpoint for state, _ in found.names)
        claims = claims_about([name for name in names if name in METHODS and name != PLAIN])
        table = judged(found, claims)
        table.insert(0, "lr", lr)
        table.insert(1, "method", [contrast.b.checkpoint for contrast in table["quantity"]])
        frames.append(table)
    return pd.concat(frames, ignore_index=True)


def judged(found: SampleNumbers, claims: tuple[Claim, ...]) -> pd.DataFrame:
    """The verdicts of claims about contrasts of these numbers: the columns of `claims.judge`."""
    contrasts = [claim.quantity for claim in claims]
    evidence = found.differences(contrasts).assign(quantity=contrasts)
    columns = ["quantity", "mean", "low", "high", *ERRORS, "n_samples", "n_seeds", "interval"]
    return judge(evidence[columns], claims)
