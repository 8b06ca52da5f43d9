"""The error for an architecture that no library has: the nearest names and how many there are."""

from collections.abc import Sequence
from difflib import get_close_matches

from ..core.errors import UserError


def unknown_architecture(name: str, choices: Sequence[str], library: str, kind: str | None = None) -> UserError:
    """The error for a name that is not among the `choices` of a library.

    kind : what the name should be; None for an architecture of the library.
    """
    near = get_close_matches(name, choices, n=4, cutoff=0.5)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    others = f"the nearest are {', '.join(near)}" if near else "none is near"
    return UserError(
        f"unknown {kind or library + ' architecture'} {name!r}{hint}; of {len(choices)} names in {library} {others}"
    )
