"""UserError, the one exception whose message is written for users."""

from difflib import get_close_matches


class UserError(ValueError):
    """A mistake that the user can fix: one sentence that says what is wrong, where, and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


def unknown(kind: str, name: object, choices) -> UserError:
    """The error for a name that is not among `choices`; it suggests the nearest name and lists the first twelve."""
    choices = sorted(map(str, choices))
    near = get_close_matches(str(name), choices, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    listed = ", ".join(choices[:12]) + (", ..." if len(choices) > 12 else "")
    return UserError(f"unknown {kind} {name!r}{hint}; available: {listed}")
