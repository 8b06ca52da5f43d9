"""A row of the tables: what is spoilt, what the user types, and which words the answer must have."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One malformed input.

    spoil : makes it, with the project folder as the current one.
    words : what the sentence on the error stream must name, and what it must say to do.
    environment : variables of the environment, beside the usual ones.
    """

    title: str
    spoil: Callable[[], object]
    command: str
    words: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


def nothing():
    """The command alone is the mistake."""


def text(path, content):
    """Write UTF-8 text."""
    return raw(path, content.encode())


def raw(path, content):
    """Write bytes."""

    def spoil():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content)

    return spoil


def cut(path, share=0.5):
    """Keep only the first part of a file."""

    def spoil():
        whole = Path(path).read_bytes()
        Path(path).write_bytes(whole[: int(share * len(whole))])

    return spoil


def change(path, **fields):
    """Set fields of the object in a JSON file."""
    return lambda: Path(path).write_text(json.dumps(json.loads(Path(path).read_text()) | fields))


def replace(path, old, new):
    """Replace bytes in a file that has them."""

    def spoil():
        content = Path(path).read_bytes()
        assert old in content
        Path(path).write_bytes(content.replace(old, new, 1))

    return spoil


def every(path, old, new):
    """Replace bytes in a file wherever they are."""
    return lambda: Path(path).write_bytes(Path(path).read_bytes().replace(old, new))


def remove(path):
    """Remove a file or a folder."""
    return lambda: shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


def folder_at(path):
    """An empty folder, in place of a file that is there."""

    def spoil():
        if os.path.isfile(path):
            os.unlink(path)
        Path(path).mkdir(parents=True, exist_ok=True)

    return spoil


def both(*spoils):
    """One after another."""
    return lambda: [spoil() for spoil in spoils]


def link(path, target):
    """A symbolic link, in place of a file that is there."""

    def spoil():
        if os.path.lexists(path):
            os.unlink(path)
        os.symlink(target, path)

    return spoil
