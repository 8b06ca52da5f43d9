"""`manifest show`: the classes of a manifest as a table and as pictures."""

import argparse

from ..data import BENCHMARK


def add_action(actions) -> None:
    """Add the parser of `show`."""
    action = actions.add_parser("show", help="print the images per class and subset, and draw a contact sheet")
    action.add_argument("benchmark", help=BENCHMARK)
    action.set_defaults(act=act)


def act(arguments: argparse.Namespace) -> None:
    """Print the counts, and write figures/<benchmark>/contact_sheet.png and .svg."""
    from dataclasses import replace

    from matplotlib import pyplot as plt

    from ...benchmarks import builder
    from ...benchmarks.manifest import load_manifest
    from ...benchmarks.overview import class_counts, one_of_each
    from ...core import paths
    from ...plots import draw_images, new_axes, save_figure

    manifest = load_manifest(arguments.benchmark)
    print(class_counts(manifest).to_string())
    rows, titles = one_of_each(manifest)
    build = builder(manifest.head.builder).build_images
    images = build(replace(manifest, body=manifest.body.iloc[rows]))
    figure, ax = new_axes(width=10, height=1.6 * -(-len(rows) // 8))
    draw_images(images, titles, ax)
    save_figure(figure, manifest.name, "contact_sheet")
    plt.close(figure)
    print(paths.display(paths.figure(manifest.name, "contact_sheet", "png")))
