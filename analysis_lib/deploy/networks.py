"""The networks that a verb is given: opened, and cut to the classes that are named."""

import argparse
from pathlib import Path

from ..benchmarks.manifest import read_manifest
from ..benchmarks.user_images import is_manifest
from ..core import external_files, paths
from ..models.user_network import UserNetwork, open_network


def open_cut(arguments: argparse.Namespace, path: Path) -> UserNetwork:
    """The network at `path`; if fewer classes are named than it has named outputs, only those outputs.

    The names are those of --classes, else the classes of a manifest. Raises UserError as `open_network`, and for names
    that are none of its outputs.
    """
    network = open_network(arguments.model, path, arguments.image_size)
    names = _named_classes(arguments)
    if network.names is None or not 0 < len(names) < network.model.num_classes:
        return network
    return network.cut(network.names.rows(names, paths.display(path)), names)


def _named_classes(arguments: argparse.Namespace) -> list[str]:
    if arguments.classes:
        return external_files.read_lines(arguments.classes)
    return read_manifest(arguments.data).class_names if is_manifest(arguments.data) else []
