"""UserError, the one exception whose message is written for users."""

import re
from difflib import get_close_matches

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # control characters, and what is no UTF-8


def printable(text: str) -> str:
    """The text with what moves a terminal's cursor escaped: names and files of strangers are quoted to users."""
    return UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


class UserError(ValueError):
    """A mistake that the user can fix: one sentence that says what is wrong, where, and what to do.

    The command line prints it without a traceback and exits with code 2. Control characters are escaped.
    """

    def __init__(self, sentence: str):
        super().__init__(printable(sentence))


def unknown(kind: str, name: object, choices) -> UserError:
    """The error for a name that is not among `choices`: the nearest name, and all of up to twelve.

    Of more choices it says how many there are, and which are near.
    """
    choices = sorted(map(str, choices))
    near = get_close_matches(str(name), choices, n=4, cutoff=0.5 if len(choices) > 12 else 0.6)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    if len(choices) <= 12:
        listed = f"available: {', '.join(choices)}"
    else:
        listed = f"of {len(choices)} names " + (f"the nearest are {', '.join(near)}" if near else "none is near")
    return UserError(f"unknown {kind} {name!r}{hint}; {listed}")
