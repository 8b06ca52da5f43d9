"""Image lists and class orders of the paper's published code, read from the user's own copy of its repository.

Nothing in that copy is executed.
"""

import ast
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from ..core import external_files, paths
from ..core.errors import UserError

ORDERS = "py/HT_HARDCODED.py"


@dataclass(frozen=True)
class Counts:
    """Numbers of images of a task: of all classes, of seen and of absent ones."""

    train: int
    train_seen: int
    test: int
    test_seen: int
    test_absent: int


def read_list(repository: Path, name: str) -> list[tuple[str, int]]:
    """The paths and labels of a list file: one `relative/path label` a line, divided at the last space.

    Raises UserError for a missing file and for the first line that is none, or whose path is absolute or has `..`.
    """
    file = repository / name
    found = []
    for number, line in enumerate(external_files.read_lines(file), 1):
        path, _, label = line.rpartition(" ")
        posix = PurePosixPath(path)
        if not path or not label.isdecimal() or posix.is_absolute() or ".." in posix.parts:
            raise UserError(
                f"{paths.display(file)}, line {number}: {line[:80]!r} is no `relative/path label`; restore the list"
            )
        found.append((path, int(label)))
    if not found:
        raise UserError(f"{paths.display(file)} is empty; restore the list")
    return found


def class_order(repository: Path, name: str) -> list[int]:
    """The class order that `py/HT_HARDCODED.py` assigns to `name`: a list of numbers, alone or inside one call.

    Raises UserError if the file is missing or no Python, or has no such list of different whole numbers.
    """
    file = repository / ORDERS
    try:
        statements = ast.parse(external_files.read_text(file)).body
    except (SyntaxError, MemoryError, RecursionError):  # the last two for what is nested too deeply
        raise UserError(f"{paths.display(file)} is no Python; restore it") from None
    for statement in statements:
        if isinstance(statement, ast.Assign) and any(getattr(goal, "id", "") == name for goal in statement.targets):
            order = _literal(statement.value)
            if isinstance(order, (list, tuple)) and _different_numbers(order):
                return list(order)
            raise UserError(f"{paths.display(file)}: {name} is no list of different class numbers; restore the file")
    raise UserError(f"{paths.display(file)} has no class order {name}; give a whole copy of the published repository")


def _literal(value: ast.expr) -> object:
    """What is written in `[...]` or `call([...])`; None for anything else."""
    written = value.args[0] if isinstance(value, ast.Call) and value.args else value
    try:
        return ast.literal_eval(written)
    except (ValueError, TypeError):
        return None


def _different_numbers(order: Sequence) -> bool:
    return all(type(number) is int and number >= 0 for number in order) and len(set(order)) == len(order)


def seen_classes(order: Sequence[int], seen: int, absent: int) -> list[int]:
    """The seen classes of an order: the first `seen` of those that stand before the last `absent`.

    The published code takes the pool of seen classes as long as the head, 1000 for the 200 classes of ImageNet-R, so
    that a random choice from it could draw absent classes. Raises UserError if the two groups are not the whole order.
    """
    pool = order[: len(order) - absent]
    if len(pool) != seen:
        raise UserError(
            f"the class order has {len(order)} classes; expected {seen} seen and {absent} absent ones; give an "
            "unchanged copy of the published repository"
        )
    return list(pool[:seen])


def check_counts(rows: pd.DataFrame, seen: Sequence[int], expected: Counts, task: str) -> None:
    """Raise UserError that names both, if the train and test rows are not as many as published. seen : labels."""
    known = rows["label"].isin(seen)
    train, test = rows["split"] == "train", rows["split"] == "test"
    sums = (train, train & known, test, test & known, test & ~known)
    found = Counts(*(int(mask.sum()) for mask in sums))
    if found != expected:
        raise UserError(
            f"the lists of {task} have {' / '.join(map(str, astuple(found)))} images (train / of seen classes / test / "
            f"of seen / of absent classes); expected {' / '.join(map(str, astuple(expected)))}; give an unchanged copy "
            "of the published repository"
        )
