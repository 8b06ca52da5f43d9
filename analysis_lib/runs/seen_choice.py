"""Which classes are seen: at random, one region of similar classes, or classes far from each other.

Each rule puts the classes in an order, and the first of them are seen. So the sets of one rule and seed are nested, and
all rules begin with the same class.
"""

from dataclasses import replace

import torch
from torch.nn import functional

from ..benchmarks.manifest import Manifest
from ..core.errors import UserError, unknown
from ..core.run_spec import RunSpec
from ..core.seeds import generator_for
from ..models.backbone import head_name
from ..models.create import create_model
from .execute import check_finished, initial_weights
from .plan import run_before

# How near each class is to the chosen ones, (C,), from its cosines to them (C, n): the nearest is chosen next.
NEARNESS = {"clustered": lambda cosines: cosines.mean(1), "spread": lambda cosines: -cosines.max(1).values}
RULES = ("random", *NEARNESS)


def choose_seen(
    spec: RunSpec, manifest: Manifest, seen_choice: str = "random", seen_number: int | None = None
) -> RunSpec:
    """The run of `spec` with `seen_number` seen classes, chosen by a rule; None for as many as it has.

    `random` draws them, as a manifest does that states a share. `clustered` and `spread` begin with a drawn class and
    add one after another: the class with the largest mean cosine to those chosen, or the one whose largest cosine to
    them is smallest. The cosines are between the rows of the starting network's head, so no target data is used. Only
    classes with a training image are chosen. A choice that is the run's own already leaves it as it is. Source: ours,
    after the paper's study of the choice of classes.

    Raises UserError for an unknown rule, a number out of range, and a starting network that is not finished.
    """
    if seen_choice not in RULES:
        raise unknown("seen_choice", seen_choice, RULES)
    own = manifest.class_split(spec.seed, spec.seen)
    drawn = _drawn_order(manifest, spec.seed)
    number = len(own.seen) if seen_number is None else seen_number
    most = min(len(drawn), own.num_classes - 1)
    if not 2 <= number <= most:
        raise UserError(
            f"seen_number is {number} for benchmark {manifest.name!r}; give a number from 2 to {most}, which leaves a "
            "class absent and takes only classes with training images"
        )
    if seen_choice == "random":
        chosen = drawn[:number]
    else:
        chosen = grown(_unit_rows(spec, manifest), drawn, number, seen_choice)
    if tuple(sorted(chosen)) == own.seen:
        return spec
    return replace(spec, seen=tuple(manifest.class_names[c] for c in sorted(chosen)))


def grown(rows: torch.Tensor, drawn: list[int], number: int, rule: str) -> list[int]:
    """`number` classes in the order in which a rule of `NEARNESS` adds them.

    rows : (C, D), the unit rows of a head. drawn : the classes that may be chosen; its first is the first.
    """
    cosines = rows @ rows.T
    chosen = drawn[:1]
    while len(chosen) < number:
        nearness = NEARNESS[rule](cosines[:, chosen])
        rest = sorted(set(drawn) - set(chosen))
        chosen = [*chosen, rest[nearness[rest].argmax()]]
    return chosen


def _drawn_order(manifest: Manifest, seed: int) -> list[int]:
    """The classes with a training image, in the order in which `Manifest.class_split` draws them."""
    order = torch.randperm(len(manifest.class_names), generator=generator_for("split", manifest.name, seed))
    return order[torch.isin(order, manifest.labels[manifest.rows("train")])].tolist()


def _unit_rows(spec: RunSpec, manifest: Manifest) -> torch.Tensor:
    """The rows of the head that fine-tuning starts from, each of length 1, (C, D) float64."""
    before = run_before(spec, manifest)
    if before:
        check_finished(before)
    model = create_model(spec.model, len(manifest.class_names))
    weights = initial_weights(spec, manifest, model)
    return functional.normalize(weights[f"{head_name(model)}.weight"].double(), dim=1)
