"""The names of a network's outputs, and which output a written class name means.

ImageNet's classes have synonyms: `tabby`, `tabby cat` and the WordNet id n02123045 are one class.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from ..core.errors import UserError

IMAGENET = 1000  # outputs of an ImageNet-1k head
MOST = 900  # of them that must agree before labels are taken for ImageNet's


@dataclass(frozen=True)
class OutputNames:
    """Names in head order, each once.

    ranks : from plain writing to outputs, one table a way to write a class; the first table with one output decides.
    """

    names: list[str]
    ranks: tuple[Mapping[str, list[int]], ...]

    def find(self, written: str) -> int | None:
        """The output that a written name means; None for no output or for several."""
        for table in self.ranks:
            found = table.get(_plain(written), [])
            if len(found) == 1:
                return found[0]
        return None

    def writings(self, row: int) -> list[str]:
        """The ways to write an output, its synonyms and ids among them, each by itself."""
        found = [text for table in self.ranks for text, rows in table.items() if row in rows]
        return list(dict.fromkeys(text for text in found if ", " not in text))

    def rows(self, wanted: Sequence[str], where: str) -> list[int]:
        """The output of each wanted class. Raises UserError that lists those without one, and for one that two mean."""
        found = [self.find(name) for name in wanted]
        missing = [name for name, row in zip(wanted, found) if row is None]
        if missing:
            listed = ", ".join(self._described(name) for name in missing[:8]) + (", ..." if missing[8:] else "")
            raise UserError(
                f"{where} has no output for {len(missing)} of {len(wanted)} classes: {listed}; rename the classes, "
                "give another network, or name its outputs with --classes"
            )
        for name, row in zip(wanted, found):
            if found.count(row) > 1:
                raise UserError(
                    f"{where}: the class {name!r} and another one both mean the output {self.names[row]!r}; keep one"
                )
        return found

    def _described(self, name: str) -> str:
        """A missing name with the classes that it may mean."""
        several = [row for table in self.ranks for row in table.get(_plain(name), [])]
        if several:
            meant = " or ".join(repr(self.names[row]) for row in dict.fromkeys(several))
            return f"{name!r} (it could be {meant})"
        known = {written: rows[0] for table in self.ranks for written, rows in table.items()}
        near = get_close_matches(_plain(name), known, n=1)
        return f"{name!r} (did you mean {near[0]!r}?)" if near else repr(name)


def named(labels: Sequence[str], descriptions: Mapping[str, str] | None = None) -> OutputNames:
    """The names of outputs that are labelled so in head order.

    descriptions : of labels that are ids; the first of the synonyms in it becomes the name. Labels that are ImageNet's
    get its synonyms and ids too.
    """
    texts = [(descriptions or {}).get(label, label) for label in labels]
    also: list[Sequence[str]] = [()] * len(labels)
    if len(labels) == IMAGENET:
        ids, lemmas = _imagenet()
        if sum(label == own for label, own in zip(labels, ids)) > MOST:
            texts, also = list(lemmas), [(own,) for own in ids]
        elif sum(_plain(_first(text)) == _plain(_first(own)) for text, own in zip(texts, lemmas)) > MOST:
            also = [(own, *own_text.split(", ")) for own, own_text in zip(ids, lemmas)]
    names = [_first(text) if text != label or also[k] else label for k, (label, text) in enumerate(zip(labels, texts))]
    repeated = {name for name, times in Counter(names).items() if times > 1}
    names = [f"{name} ({also[k][0] if also[k] else k})" if name in repeated else name for k, name in enumerate(names)]
    writings = [
        [[name] for name in names],
        [[label, text, *more[:1]] for label, text, more in zip(labels, texts, also)],
        [[_first(text)] for text in texts],
        [[*text.split(", "), *more] for text, more in zip(texts, also)],
    ]
    return OutputNames(names, tuple(map(_table, writings)))


def imagenet_names() -> OutputNames:
    """The names of ImageNet-1k's classes in the order of timm's and torchvision's heads."""
    return named(_imagenet()[0])


def _imagenet() -> tuple[list[str], list[str]]:
    """The WordNet ids of ImageNet-1k's classes and their synonyms, separated by commas."""
    from timm.data import ImageNetInfo  # heavy, and only needed here

    info = ImageNetInfo()
    return info.label_names(), info.label_descriptions()


def _table(writings: Sequence[Sequence[str]]) -> dict[str, list[int]]:
    table = defaultdict(list)
    for row, written in enumerate(writings):
        for plain in dict.fromkeys(map(_plain, written)):
            table[plain].append(row)
    return dict(table)


def _first(text: str) -> str:
    return text.split(", ")[0]


def _plain(written: str) -> str:
    """A name without case, underscores, hyphens and repeated blanks."""
    return " ".join(written.casefold().replace("_", " ").replace("-", " ").split())
