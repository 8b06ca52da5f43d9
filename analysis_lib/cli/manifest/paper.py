"""`manifest paper <benchmark> FOLDER`: the manifest of one of the paper's benchmarks over the user's own copy."""

import argparse
from pathlib import Path


def add_action(actions) -> None:
    """Add a parser for each of the paper's benchmarks."""
    action = actions.add_parser("paper", help="one of the paper's benchmarks, over your own copy of its images")
    benchmarks = action.add_subparsers(dest="benchmark", required=True, metavar="benchmark")
    home = _add(benchmarks, "office-home", office_home, "resnet50", "the folder with Art, Clipart, Product, Real World")
    home.add_argument("--task", required=True, help="source and target: Ar-Cl, Ar-Pr, Ar-Rw, Rw-Ar, Rw-Cl or Rw-Pr")
    renditions = _add(benchmarks, "imagenet-r", imagenet_r, "resnet50", "the folder with 200 class folders")
    renditions.add_argument(
        "--columns",
        type=int,
        choices=(200, 1000),
        default=200,
        help="score over its own classes, or over all of ImageNet-1k (default: %(default)s)",
    )
    sketch = _add(benchmarks, "imagenet-s", imagenet_s, "resnet50", "the folder with 1000 class folders")
    for parser in (home, renditions, sketch):
        parser.add_argument(
            "--lists",
            type=Path,
            metavar="REPOSITORY",
            help="a copy of the paper's published repository: its image lists and class orders (default: our own)",
        )
    vtab_task = _add(benchmarks, "vtab", vtab, "vit_base_patch32_clip_224", "the folder with a folder for each task")
    vtab_task.add_argument("--task", required=True, help="the name of a task's folder")
    camera = _add(benchmarks, "iwildcam", iwildcam, "resnet50", "the folder with metadata.csv")
    camera.add_argument("--task", required=True, metavar="PLACES", help="places by number, separated by commas")
    camera.add_argument(
        "--until", metavar="DAY", help="the last day of fine-tuning images (default: half are made by then)"
    )


def _add(benchmarks, name: str, collect, model: str, folder: str) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks share."""
    parser = benchmarks.add_parser(name)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help=folder)
    parser.add_argument("--model", default=model, metavar="ARCH", help="a timm architecture (default: %(default)s)")
    parser.add_argument("--image-size", type=int, metavar="N", help="pixels (default: what timm states for ARCH)")
    parser.add_argument(
        "--weights",
        metavar="NAME",
        help="packaged or imported weights with a head for these classes (default: `source`, trained here, where there "
        "is a source domain, else the manifest's name, until `manifest network` names others)",
    )
    parser.add_argument("--name", metavar="NAME", help="of the manifest (default: from benchmark and task)")
    parser.set_defaults(act=act, collect=collect)
    return parser


def office_home(arguments: argparse.Namespace):
    """The collection of an Office-Home task."""
    from ...benchmarks.office_home import collect

    return collect(arguments.folder, arguments.task, arguments.lists)


def imagenet_r(arguments: argparse.Namespace):
    """The collection of ImageNet-R."""
    from ...benchmarks.imagenet_r import collect

    return collect(arguments.folder, arguments.lists, arguments.columns)


def imagenet_s(arguments: argparse.Namespace):
    """The collection of ImageNet-Sketch."""
    from ...benchmarks.imagenet_s import collect

    return collect(arguments.folder, arguments.lists)


def vtab(arguments: argparse.Namespace):
    """The collection of a VTAB task."""
    from ...benchmarks.vtab import collect

    return collect(arguments.folder, arguments.task)


def iwildcam(arguments: argparse.Namespace):
    """The collection of places of iWildCam."""
    from ...benchmarks.iwildcam import collect

    return collect(arguments.folder, arguments.task.split(","), arguments.until)


def act(arguments: argparse.Namespace) -> None:
    """Check the user's copy, write the manifest, read it again, and print its counts."""
    from ...benchmarks.collection import network_fields
    from ...benchmarks.manifest import SOURCE
    from ...benchmarks.overview import overview
    from ...benchmarks.own_data import write_manifest
    from ...core import paths

    network = network_fields(arguments.model, arguments.image_size)
    collection = arguments.collect(arguments)
    name = _checked_name(arguments.name or collection.name, arguments.benchmark)
    weights = arguments.weights or (SOURCE if collection.trains_on_source else name)
    head = collection.head | network | {"weights": weights}
    manifest = write_manifest(
        name, collection.folder, collection.rows, collection.class_names, head, collection.origins
    )
    print(
        f"{paths.display(paths.manifest_head(name))}: {manifest.head.title}, {len(manifest.rows(SOURCE))} source images"
    )
    print(overview(manifest, [0]).drop(columns="seed").to_string(index=False))


def _checked_name(name: str, benchmark: str) -> str:
    """The name of a manifest. Raises UserError for a path, and for the name of another benchmark or manifest."""
    import re

    from ...benchmarks import BENCHMARKS
    from ...benchmarks.manifest import load_head
    from ...benchmarks.own_manifest import PLAIN_NAME
    from ...core import paths
    from ...core.errors import UserError

    if not re.fullmatch(PLAIN_NAME, name):
        raise UserError(f"--name is {name!r}; give letters, digits, dots, dashes and underscores only")
    if name in BENCHMARKS and name != benchmark:
        raise UserError(f"--name is {name!r}, the name of another benchmark; give a name of your own")
    head = paths.manifest_head(name)
    if head.exists() and load_head(name).recipe != benchmark:
        raise UserError(f"{paths.display(head)} is the manifest of other images; choose another --name, or delete it")
    return name
