"""Options as fields of a dataclass, with the numbers that they allow."""

import math
from collections.abc import Callable
from dataclasses import field, fields

from .errors import UserError


def bounded(default: float, allowed: Callable[[float], bool], words: str):
    """A field for an option that must be `allowed`; `words` say which numbers are."""
    return field(default=default, metadata={"allowed": allowed, "words": words})


def not_negative(default: float):
    """A field for a number that is 0 or more."""
    return bounded(default, lambda value: 0 <= value < math.inf, "a number, 0 or more")


def positive(default: float):
    """A field for a number above 0."""
    return bounded(default, lambda value: 0 < value < math.inf, "a number above 0")


def fraction(default: float):
    """A field for a number in 0..1."""
    return bounded(default, lambda value: 0 <= value <= 1, "a number in 0..1")


def part(default: float):
    """A field for a fraction that leaves something over."""
    return bounded(default, lambda value: 0 <= value < 1, "a number from 0 to below 1")


def count(default: int):
    """A field for a whole number, at least 1."""
    return bounded(default, lambda value: value >= 1 and isinstance(value, int), "a whole number, 1 or more")


def check_options(method, title: str) -> None:
    """Raise UserError for an option of a method, a dataclass, whose number is out of range."""
    for option in fields(method):
        value = getattr(method, option.name)
        if "allowed" in option.metadata and not option.metadata["allowed"](value):
            raise UserError(f"option {option.name} of the method {title!r} is {value}; give {option.metadata['words']}")
