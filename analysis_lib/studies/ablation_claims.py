"""The statements about ablations, as decision rules. They were written before the runs of `full` were read.

A family is a sweep. *As*: the difference of two cells lies within a margin, which takes two rules, one for each side.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from ..analysis.gamma.estimators import NONE, ORACLE
from ..analysis.stats.claims import COLUMNS, KEEPS, Claim, Contrast, Level, State, judge
from ..analysis.stats.sample_numbers import SampleNumbers
from .ablations import CHANGE, Ablation, numbers, summary, with_fields

ADAPTIVE = ("adam", "adamw", "rmsprop", "adagrad", "adadelta")
RATES = (1e-2, 1e-3, 1e-4, 1e-5)  # that all optimisers have; Adadelta has larger ones besides
CLOSE = 0.05  # five points: what counts as ending alike
AREA, ABSENT = "AUSUC", "Acc_U/Y"


@dataclass
class Groups:
    """Means over cells, by name: `groups(title, optimizer="sgd")` names the mean of the cells with these fields.

    members : the cells of every name so far.
    """

    ablation: Ablation
    members: dict[str, list[str]] = field(default_factory=dict)

    def __call__(self, title: str, **fields: object) -> str:
        self.members[title] = self.ablation.where(**fields)
        return title

    def added_to(self, found: SampleNumbers) -> SampleNumbers:
        """The numbers with those of the groups, under every treatment."""
        treatments = dict.fromkeys(state.method for state, _ in found.names)
        groups = {
            State(title, treatment): [State(cell, treatment) for cell in cells]
            for title, cells in self.members.items()
            for treatment in treatments
            if cells
        }
        return found.with_means(groups)


def _area(a: str, b: str) -> Contrast:
    return Contrast(State(a), State(b), "ausuc")


def _absent(a: str, b: str) -> Contrast:
    return Contrast(State(a, NONE), State(b, NONE), "acc_uy")


def _alike(family: str, statement: str, contrast: Contrast, margin: float, source: str) -> Iterator[Claim]:
    yield Claim(family, f"{statement}: not above by more than the margin", contrast, "below", margin, source)
    yield Claim(family, f"{statement}: not below by more than the margin", contrast, "above", -margin, source)


def _optimizers(groups: Groups) -> Iterator[Claim]:
    family, source = "optimizers", "paper, optimiser study"
    sgd = groups("sgd, mean of the grid", optimizer="sgd", lr=RATES)
    large, small = groups("sgd, lr 0.01", optimizer="sgd", lr=1e-2), groups("sgd, lr 0.001", optimizer="sgd", lr=1e-3)
    light = groups("sgd, lr 0.01, no decay", optimizer="sgd", lr=1e-2, weight_decay=0.0)
    heavy = groups("sgd, lr 0.01, decay 0.005", optimizer="sgd", lr=1e-2, weight_decay=5e-3)
    yield from _alike(family, f"SGD: {AREA} at a tenth of the learning rate", _area(small, large), CLOSE, source)
    yield from _alike(family, f"SGD: {AREA} with large weight decay as with none", _area(heavy, light), CLOSE, source)
    for name in ADAPTIVE:
        whole = groups(f"{name}, mean of the grid", optimizer=name, lr=RATES)
        high = groups(f"{name}, lr 0.01", optimizer=name, lr=1e-2)
        low = groups(f"{name}, lr 0.0001", optimizer=name, lr=1e-4)
        yield Claim(family, f"{AREA}, mean of the grid: SGD above {name}", _area(sgd, whole), "above", 0, source)
        yield Claim(family, f"{name}: {AREA} is larger at lr 0.0001 than 0.01", _area(low, high), "above", 0, source)
        statement = f"{name} at lr 0.0001 comes up to SGD at 0.01 in {AREA}, within two points"
        yield Claim(family, statement, _area(low, large), "above", KEEPS, source)


def _length(groups: Groups) -> Iterator[Claim]:
    family = "length"
    harsh = groups("lr 0.02, 5 epochs", lr=2e-2, epochs=5)
    for lr in (2e-3, 5e-3, 2e-2):
        short = groups(f"lr {lr:g}, 5 epochs", lr=lr, epochs=5)
        long = groups(f"lr {lr:g}, 50 epochs", lr=lr, epochs=50)
        statement = f"lr {lr:g}: {ABSENT} is lower after 50 epochs than after 5"
        yield Claim(family, statement, _absent(long, short), "below", 0, "ours")
    for lr, epochs in ((2e-3, 50), (5e-3, 20)):
        gentle = groups(f"lr {lr:g}, {epochs} epochs", lr=lr, epochs=epochs)
        statement = f"{epochs} epochs at lr {lr:g} end as 5 at 0.02"
        yield from _alike(family, f"{statement} in {ABSENT}", _absent(gentle, harsh), CLOSE, "ours")
        yield from _alike(family, f"{statement} in {AREA}", _area(gentle, harsh), CLOSE, "ours")


def _seen_classes(groups: Groups) -> Iterator[Claim]:
    family, source = "seen classes", "paper, choice of classes"
    spread = groups("spread", seen_choice="spread")
    clustered = groups("clustered", seen_choice="clustered")
    sizes = sorted({dict(cell)["seen_number"] for cell in groups.ablation.cells})
    few = groups("random, fewest", seen_choice="random", seen_number=sizes[0])
    many = groups("random, most", seen_choice="random", seen_number=sizes[-1])
    for metric, title in (("acc_uu", "Acc_U/U"), ("ncm_acc_uy", "NCM Acc_U/Y"), ("acc_uy", ABSENT)):
        for a, b, words in (
            (spread, clustered, "spread seen classes serve absent ones better than clustered ones"),
            (many, few, "many seen classes serve absent ones better than few"),
        ):
            contrast = Contrast(State(a, CHANGE), State(b, CHANGE), metric)
            yield Claim(family, f"change of {title}: {words}", contrast, "above", 0, source)


def _cosine_head(groups: Groups) -> Iterator[Claim]:
    family, source = "cosine head", "paper, cosine classifier"
    cosine, linear = groups("cosine", head="cosine"), groups("linear", head="linear")
    yield from _alike(family, f"cosine head: {AREA} as with the linear head", _area(cosine, linear), CLOSE, source)
    yield from _alike(family, f"cosine head: {ABSENT} as with the linear head", _absent(cosine, linear), CLOSE, source)
    gain = Contrast(State(cosine, ORACLE), State(cosine, NONE), "acc_yy")
    yield Claim(family, "cosine head: gamma* (oracle) raises Acc_Y/Y, so norms are not all", gain, "above", 0, source)


def _augmentation(groups: Groups) -> Iterator[Claim]:
    without, plain = groups("no augmentation", augmented=False), groups("augmentation", augmented=True)
    yield Claim("augmentation", f"without augmentation {AREA} is lower", _area(without, plain), "below", 0, "ours")
    yield Claim("augmentation", f"without augmentation {ABSENT} is lower", _absent(without, plain), "below", 0, "ours")


def _warmup(groups: Groups) -> Iterator[Claim]:
    for lr in (2e-2, 5e-2):
        warm, cold = groups(f"warm-up, lr {lr:g}", warmup=0.2, lr=lr), groups(f"none, lr {lr:g}", warmup=0.0, lr=lr)
        yield Claim("warm-up", f"lr {lr:g}: warm-up raises {ABSENT}", _absent(warm, cold), "above", 0, "ours")
        yield Claim("warm-up", f"lr {lr:g}: warm-up raises {AREA}", _area(warm, cold), "above", 0, "ours")


def _images(groups: Groups) -> Iterator[Claim]:
    whole = groups("all images", images_per_class=0)
    few = groups("10 of a class, as many epochs", images_per_class=10, epochs=5)
    long = groups("10 of a class, as many steps", images_per_class=10, epochs=40)
    for other, title in ((few, "as many epochs"), (long, "as many steps")):
        statement = f"than with ten of a class and {title}"
        yield Claim("images", f"all images: {AREA} is larger {statement}", _area(whole, other), "above", 0, "ours")
        yield Claim("images", f"all images: {ABSENT} is lower {statement}", _absent(whole, other), "below", 0, "ours")


def _backbones(groups: Groups) -> Iterator[Claim]:
    family = "backbones"
    for name in dict.fromkeys(specs[0].model for specs in groups.ablation.cells.values()):
        cell = groups(name, model=name)
        change = State(cell, CHANGE)
        yield Claim(family, f"{name}: {ABSENT} falls", Level(change, "acc_uy"), "below", 0, "paper, abstract")
        yield Claim(family, f"{name}: {AREA} rises", Level(change, "ausuc"), "above", 0, "paper, calibration")
        gain = Contrast(State(cell, ORACLE), State(cell, NONE), "acc_yy")
        yield Claim(family, f"{name}: gamma* (oracle) raises Acc_Y/Y", gain, "above", 0, "paper, abstract")


RULES: dict[str, Callable[[Groups], Iterator[Claim]]] = {
    "optimizers": _optimizers,
    "length": _length,
    "seen_classes": _seen_classes,
    "cosine_head": _cosine_head,
    "augmentation": _augmentation,
    "warmup": _warmup,
    "images": _images,
    "backbones": _backbones,
}


def verdicts(name: str, ablation: Ablation, found: SampleNumbers) -> pd.DataFrame:
    """The rules of a sweep, judged: the columns of `claims.judge`. Rules whose cells were not run are left out."""
    groups = Groups(ablation)
    claims = list(RULES[name](groups))
    known = groups.added_to(found)
    measured = set(known.names)
    claims = [claim for claim in claims if measured >= set(_numbers_of(claim))]
    if not claims:
        return pd.DataFrame(columns=COLUMNS)
    quantities = dict.fromkeys(claim.quantity for claim in claims)
    rows = []
    for quantity in quantities:
        if isinstance(quantity, Contrast):
            row = known.differences([quantity])
        else:
            row = known.levels([(quantity.of, quantity.metric)])
        rows.append(row.assign(quantity=[quantity]))
    return judge(pd.concat(rows, ignore_index=True), tuple(claims))


def _numbers_of(claim: Claim) -> Sequence[tuple[State, str]]:
    quantity = claim.quantity
    states = (quantity.a, quantity.b) if isinstance(quantity, Contrast) else (quantity.of,)
    return [(state, quantity.metric) for state in states]


def measured(opened: Mapping[str, Ablation]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every number of every cell, and every rule, of several ablations.

    Columns of the first: study, those of `ablations.summary`, and the fields that the sweeps name; of the second:
    study, and those of `claims.judge`.
    """
    cells, claims = [], []
    for name, ablation in opened.items():
        if ablation.cells:
            found = numbers(ablation)
            cells.append(with_fields(summary(found), ablation).assign(study=name))
            claims.append(verdicts(name, ablation, found).assign(study=name))
    return pd.concat(cells, ignore_index=True), pd.concat(claims, ignore_index=True)


def verdict_text(opened: Mapping[str, Ablation], claims: pd.DataFrame, *names: str) -> str:
    """What is stated about some ablations, and the verdicts, one line each. claims : from `measured`."""
    lines = []
    for name in names:
        lines.append(f"{opened[name].sweep.title}. {opened[name].sweep.statement}")
        judged = claims[claims["study"] == name]
        text = judged[["claim", "verdict"]].to_string(index=False)
        lines.append("no rule has its runs in this profile" if judged.empty else text)
    return "\n".join(lines)
