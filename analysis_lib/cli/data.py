"""`data`: download, verify and decode a benchmark's images."""

import argparse

BENCHMARK = "a name from data_manifests/, such as digits or emoji"


def add_verb(verbs) -> None:
    """Add the parser of `data` to argparse's sub-parsers."""
    verb = verbs.add_parser("data", help="download, verify and decode a benchmark's images")
    verb.add_argument("benchmark", help=BENCHMARK)
    verb.set_defaults(act=act)


def act(arguments: argparse.Namespace) -> None:
    """Build the images if missing, and print how many there are."""
    from ..benchmarks.images import load_images
    from ..benchmarks.manifest import load_manifest

    manifest = load_manifest(arguments.benchmark)
    images = load_images(manifest)
    counts = manifest.body["split"].value_counts()
    print(f"{manifest.name}: {manifest.head.title}; {len(manifest.class_names)} classes, {counts['train']} training and "
          f"{counts['test']} test images of {images.shape[2]}x{images.shape[3]} pixels")
