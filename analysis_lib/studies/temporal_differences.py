"""Intervals of the numbers by period, of their changes since the first period, and the claims about them.

Intervals are those of `analysis.stats.intervals`, over seeds and classes, with every gamma held fixed.
"""

from dataclasses import dataclass, replace

import pandas as pd
import torch

from ..analysis.gamma.curve import shift_logits
from ..analysis.gamma.estimators import AUTO, ESTIMATORS, NONE, ORACLE
from ..analysis.metrics.accuracy import group_masks
from ..analysis.stats.claims import COLUMNS, KEEPS, Claim, Contrast, Level, State, judge
from ..analysis.stats.sample_numbers import SampleNumbers, sample_numbers
from ..core.run_spec import RunSpec
from ..runs.outputs import Outputs
from ..runs.run_set import FINE_TUNED, PRE_TRAINED, RunSet
from .temporal_shift import EARLY, PAST, gammas, periods
from .uncertainty import KEYS, area_parts

SERVES = -KEEPS  # "still serves": its regret grows by two points at most


@dataclass(frozen=True)
class PeriodState(State):
    """A network with its shift, on the test samples of one period."""

    period: str = ""

    def __str__(self) -> str:
        return f"{super().__str__()}, {self.period}"


def since_first(metric: str) -> str:
    """The name of a metric's change since the first period."""
    return f"{metric} since the first period"


def period_numbers(runs: RunSet) -> SampleNumbers:
    """All numbers by period, and their changes since the first one, for intervals and claims.

    Names are a `PeriodState` and a metric: acc_sy, acc_uy and acc_yy of every network and gamma; regret of every gamma
    of the fine-tuned network; acc_sy_change and acc_uy_change, what fine-tuning without a shift changed; ausuc.
    """
    values, areas = [], []
    for spec in runs.specs:
        chosen = gammas(runs, spec)
        values.append({})
        areas.append({})
        for period, inside in periods(runs).items():
            values[-1] |= _values(runs, spec, period, inside, chosen[period])
            for checkpoint, epoch in ((PRE_TRAINED, 0), (FINE_TUNED, spec.epochs)):
                areas[-1][PeriodState(checkpoint, period=period)] = _area_parts(runs, spec, epoch, inside)
    labels = runs.outputs(runs.specs[0], 0, "test").labels
    return _with_changes(sample_numbers(values, areas, labels), list(periods(runs)))


def _values(
    runs: RunSet, spec: RunSpec, period: str, inside: torch.Tensor, chosen: dict[str, float]
) -> dict[tuple[State, str], torch.Tensor]:
    """The value of each test sample, (N,) float64, NaN outside the period and the metric's group."""
    split = runs.split(spec)
    before, after = runs.outputs(spec, 0, "test"), runs.outputs(spec, spec.epochs, "test")
    masks = {group: mask & inside for group, mask in group_masks(after.labels, split).items()}

    def right(outputs: Outputs, gamma: float) -> torch.Tensor:
        return (shift_logits(outputs.logits, split, gamma).argmax(1) == outputs.labels).double()

    shifted = {PeriodState(FINE_TUNED, method, period): right(after, gamma) for method, gamma in chosen.items()}
    start, end = PeriodState(PRE_TRAINED, NONE, period), PeriodState(FINE_TUNED, NONE, period)
    plain = {start: right(before, 0.0)}
    found = {}
    for state, hits in (plain | shifted).items():
        for metric, group in KEYS.items():
            found[state, metric] = hits.where(masks[group], torch.nan)
    best = shifted[PeriodState(FINE_TUNED, ORACLE, period)]
    for state, hits in shifted.items():
        found[state, "regret"] = (best - hits).where(masks["y"], torch.nan)
    for metric in ("acc_sy", "acc_uy"):
        found[end, f"{metric}_change"] = found[end, metric] - found[start, metric]
    return found


def _area_parts(runs: RunSet, spec: RunSpec, epoch: int, inside: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What each test sample adds to the period's AUSUC, for seen and for absent samples: (N,), NaN elsewhere."""
    test = runs.outputs(spec, epoch, "test")
    spread = []
    for part in area_parts(test.where(inside), runs.split(spec)):
        whole = torch.full((len(inside),), torch.nan, dtype=torch.float64)
        whole[inside] = part
        spread.append(whole)
    return spread[0], spread[1]


def _with_changes(found: SampleNumbers, names: list[str]) -> SampleNumbers:
    """The numbers, and for every one of a later period what it changed since the first."""
    place = {name: row for row, name in enumerate(found.names)}
    later = [(state, metric) for state, metric in found.names if state.period != names[0]]
    a = [place[name] for name in later]
    b = [place[replace(state, period=names[0]), metric] for state, metric in later]
    # a class that only one of the two periods has leaves the other number as it is
    known = [found.without.where(~found.without.isnan(), found.whole[..., None])[:, rows] for rows in (a, b)]
    neither = found.without[:, a].isnan() & found.without[:, b].isnan()
    return SampleNumbers(
        names=[*found.names, *((state, since_first(metric)) for state, metric in later)],
        whole=torch.cat([found.whole, found.whole[:, a] - found.whole[:, b]], dim=1),
        without=torch.cat([found.without, (known[0] - known[1]).where(~neither, torch.nan)], dim=1),
        sizes=torch.cat([found.sizes, found.sizes[a].minimum(found.sizes[b])]),
    )


def period_intervals(found: SampleNumbers) -> pd.DataFrame:
    """Every number with its interval: columns period, checkpoint, method, metric, mean, low, high, n_samples, n_seeds.

    The method of AUSUC is `none`, since no shift changes it.
    """
    named = pd.DataFrame(
        [(state.period, state.checkpoint, state.method or NONE, metric) for state, metric in found.names],
        columns=["period", "checkpoint", "method", "metric"],
    )
    return named.join(found.levels(found.names)[["mean", "low", "high", "n_samples", "n_seeds"]])


def claims_about(methods: list[str], last: str) -> tuple[Claim, ...]:
    """The decision rules for the last period against the first, in three families.

    methods : those of the fine-tuned network.
    """

    def at(method: str, checkpoint: str = FINE_TUNED) -> PeriodState:
        return PeriodState(checkpoint, method, last)

    regret, found = since_first("regret"), []
    family = "an early gamma serves later"
    for method in (*(name for name in EARLY if name in methods), PAST):
        statement = f"{_title(method)}: its regret grows by two points at most"
        found.append(Claim(family, statement, Level(at(method), regret), "below", SERVES, "ours"))
    early = next(method for method in AUTO if method in methods)
    for method in (name for name in methods if name in ESTIMATORS and ESTIMATORS[name].transductive):
        for metric, says in ((regret, "its regret grows less than"), ("regret", "less regret in the last period than")):
            statement = f"{_title(method)}: {says} that of {_title(early)}"
            contrast = Contrast(at(method), at(early), metric)
            found.append(Claim("estimates made again follow", statement, contrast, "below", 0, "ours"))
    for state, metric, statement in (
        (at(NONE), "acc_uy", "after fine-tuning, absent classes fare worse in the last period than in the first"),
        (at(NONE), "acc_sy", "control: after fine-tuning, seen classes do too"),
        (at(NONE, PRE_TRAINED), "acc_uy", "control: before fine-tuning, absent classes do too"),
        (at(NONE), "acc_uy_change", "fine-tuning takes more from absent classes in the last period than in the first"),
    ):
        quantity = Level(state, since_first(metric))
        found.append(Claim("forgotten, or a harder period", statement, quantity, "below", 0, "ours"))
    return tuple(found)


def _title(method: str) -> str:
    known = ESTIMATORS.get(method)
    return known.title.replace("\n", " ") if known else method


def verdicts(found: SampleNumbers) -> pd.DataFrame:
    """The claims, judged: the columns of `claims.judge`; no row where there is one period only."""
    states = [state for state, _ in found.names]
    names = list(dict.fromkeys(state.period for state in states))
    if len(names) == 1:
        return pd.DataFrame(columns=COLUMNS)
    methods = list(dict.fromkeys(state.method for state in states if state.checkpoint == FINE_TUNED and state.method))
    claims = claims_about(methods, names[-1])
    parts = []
    for claim in claims:
        quantity = claim.quantity
        if isinstance(quantity, Contrast):
            row = found.differences([quantity])
        else:
            row = found.levels([(quantity.of, quantity.metric)])
        parts.append(row.assign(quantity=[quantity]))
    return judge(pd.concat(parts, ignore_index=True), claims)


def verdict_text(claims: pd.DataFrame) -> str:
    """The verdicts in words, one line each."""
    if claims.empty:
        return "one period: nothing to compare, so every question about drift stays open here"
    return claims[["family", "claim", "verdict"]].to_string(index=False)
