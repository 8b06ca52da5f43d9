"""Pages that are filled from the reference results, so that no number on them is typed by hand.

A page marks where a table or a value of `blocks` belongs. What stands between the two comments is written by `fill`:

    <!-- table: claims benchmark=emoji -->
    <!-- end -->

A value stands inside a sentence, and never at the beginning of a line, where Markdown would end the paragraph.
"""

import inspect
import re
import shlex
from pathlib import Path

from ..core import files
from ..core.errors import UserError, unknown
from . import blocks
from .reference import Missing, Reference

KINDS = {"table": blocks.TABLES, "value": blocks.VALUES}
CODE = r"```.*?```|`[^`\n]+`"  # is left alone
MARK = re.compile(CODE + r"|<!-- (?P<kind>\w+): (?P<call>[^\n]*?) -->(?P<body>.*?)<!-- end -->", re.DOTALL)


def pages(root: Path) -> list[Path]:
    """README.md and the pages of docs/."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def render(root: Path, kind: str, call: str) -> str:
    """The text of one mark, such as `table` and `claims benchmark=emoji`.

    Raises UserError for an unknown kind, name or option, and Missing where the reference is not there.
    """
    if kind not in KINDS:
        raise unknown("mark", kind, KINDS)
    name, *settings = shlex.split(call)
    if name not in KINDS[kind]:
        raise unknown(kind, name, KINDS[kind])
    function = KINDS[kind][name]
    options = dict(setting.partition("=")[::2] for setting in settings)
    reference = Reference(root, options.pop("benchmark", ""))
    for option in options:
        if option not in list(inspect.signature(function).parameters)[1:]:
            raise unknown(f"option of {name}", option, ["benchmark", *list(inspect.signature(function).parameters)[1:]])
    return function(reference, **options)


def marks(text: str) -> list[re.Match]:
    """The marks of a page, in order: each with kind, call and body."""
    return [match for match in MARK.finditer(text) if match["kind"]]


def filled(text: str, root: Path) -> str:
    """A page with every mark filled; where there is no reference yet, the sentence that says how to make it.

    Raises UserError as `render`, and for a mark without an end.
    """

    def fill_one(match: re.Match) -> str:
        if match["kind"] is None:
            return match[0]
        if "<!-- " in match["body"]:
            raise UserError(f"the mark {match['call']!r} has no <!-- end --> before the next mark; add one")
        try:
            content = render(root, match["kind"], match["call"])
        except Missing as missing:
            content = f"*{missing}*"
        around = "\n\n" if match["kind"] == "table" else ""
        return f"<!-- {match['kind']}: {match['call']} -->{around}{content}{around}<!-- end -->"

    result = MARK.sub(fill_one, text)
    outside = MARK.sub("", text)
    if loose := re.search(r"<!-- (\w+:[^\n]*|end) -->", outside):
        raise UserError(f"{loose[0]} stands alone; a mark is a pair, <!-- table: NAME --> and <!-- end -->")
    return result


def fill(root: Path) -> list[Path]:
    """Fill every page in place; returns those that changed. Raises UserError as `filled`, naming the page."""
    changed = []
    for page in pages(root):
        text = page.read_text()
        try:
            new = filled(text, root)
        except UserError as error:
            raise UserError(f"{page.relative_to(root)}: {error}") from None
        if new != text:
            files.write_text(page, new)
            changed.append(page)
    return changed
