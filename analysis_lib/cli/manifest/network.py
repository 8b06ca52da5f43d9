"""`manifest network NAME`: make a network of yours the one that a benchmark starts from."""

import argparse
from pathlib import Path

SHOWN = 12  # classes whose outputs are printed


def add_action(actions) -> None:
    """Add the parser of `network`."""
    action = actions.add_parser(
        "network",
        help="make a network of yours the one that a benchmark starts from",
        description="Imports a checkpoint into the project, cuts its head to the classes of the manifest by name, and "
        "names it in the manifest's head. The same command again changes nothing.",
    )
    action.add_argument("benchmark", metavar="NAME", help="the manifest, data_manifests/NAME.json")
    action.add_argument(
        "--weights",
        required=True,
        type=Path,
        metavar="WEIGHTS",
        help=".safetensors or .pth with a state dict, a folder of transformers or of timm, or `timm` for what timm "
        "downloads",
    )
    action.add_argument(
        "--model", metavar="ARCH", help="timm's architecture, or torchvision/resnet18; a folder states its own"
    )
    action.add_argument(
        "--classes", type=Path, metavar="FILE", help="names of the outputs, if the checkpoint does not state them"
    )
    action.add_argument(
        "--source-start",
        action="store_true",
        help="import it without its head: the training on the manifest's source images starts from it",
    )
    action.add_argument("--image-size", type=int, metavar="N", help="pixels (default: what the network states)")
    for name in ("mean", "std"):
        action.add_argument(
            f"--{name}", type=float, nargs=3, metavar=("R", "G", "B"), help="(default: what the network states)"
        )
    action.set_defaults(act=act)


def act(arguments: argparse.Namespace) -> None:
    """Import the network and set it in the manifest."""
    from ...core import paths
    from ...core.errors import UserError
    from ...models.imported import set_network
    from ...models.user_network import open_network

    if arguments.image_size is not None and arguments.image_size < 1:
        raise UserError(f"--image-size is {arguments.image_size}; give a positive number")
    if arguments.std and min(arguments.std) <= 0:
        raise UserError(f"--std is {arguments.std}; give three positive numbers")
    given = {"image_size": arguments.image_size, "mean": arguments.mean, "std": arguments.std}
    looks = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items() if value}
    network = open_network(arguments.model, arguments.weights, arguments.image_size)
    manifest, name, changed = set_network(
        arguments.benchmark, network, looks, arguments.classes, arguments.source_start
    )
    head = manifest.head
    what = "the backbone of" if arguments.source_start else f"{len(head.class_names)} outputs of"
    print(f"{what} {head.model} at {head.image_size} pixels: {paths.display(paths.imported_weights(name))}")
    print(f"{paths.display(paths.manifest_head(manifest.name))} {'names it now' if changed else 'named it already'}")
    cut = network.names and not arguments.source_start and not arguments.classes
    if cut and network.names.names != head.class_names:  # names such as `mouse` have several meanings: show which
        for name in head.class_names[:SHOWN]:
            print(f"  {name}: {', '.join(network.names.writings(network.names.find(name)))}")
        if head.class_names[SHOWN:]:
            print(f"  and {len(head.class_names) - SHOWN} others")
