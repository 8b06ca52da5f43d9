"""The networks that a verb is given: opened, and cut to the classes that are named."""

import argparse
from pathlib import Path

from ..core import external_files, paths
from ..models.user_network import UserNetwork, open_network


def open_cut(arguments: argparse.Namespace, path: Path) -> UserNetwork:
    """The network at `path`; if --classes has fewer names than it has named outputs, only those outputs.

    Raises UserError as `open_network`, and for names that are none of its outputs.
    """
    network = open_network(arguments.model, path, arguments.image_size)
    if not arguments.classes or network.names is None:
        return network
    names = external_files.read_lines(arguments.classes)
    if not 0 < len(names) < network.model.num_classes:
        return network
    return network.cut(network.names.rows(names, paths.display(path)), names)
