"""`manifest create`: make the manifest of your own images, which stay where they are."""

import argparse
from pathlib import Path


def add_action(actions) -> None:
    """Add the parser of `create`."""
    action = actions.add_parser(
        "create",
        help="make the manifest of your own images, which stay where they are",
        description="DATA is a folder with a sub-folder for each class; a folder with such folders train, test or val; "
        "a list file (`relative/path label` a line); or a table (.csv) with columns path and label (or class), and "
        "split, group, date and place if they are known. Without a split one is drawn.",
    )
    action.add_argument("data", type=Path, metavar="DATA", help="where the images are, as above")
    action.add_argument("--name", required=True, help="of the benchmark, as the other verbs take it")
    action.add_argument(
        "--test", type=Path, metavar="DATA", help="the test images, if DATA is the training images alone"
    )
    action.add_argument(
        "--source", type=Path, metavar="DATA", help="images of the source domain, to train a network on"
    )
    action.add_argument(
        "--root", type=Path, metavar="FOLDER", help="where the paths in lists start (default: beside them)"
    )
    action.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="OURS=THEIRS",
        help="the column of a table that holds path, label, split, group, date or place; may be repeated",
    )
    action.add_argument("--classes", type=Path, metavar="FILE", help="class names, one a line in head order")
    action.add_argument(
        "--seen",
        default="0.5",
        help="the seen classes: names separated by commas, a file with one a line, or a share that each seed draws "
        "(default: %(default)s)",
    )
    action.add_argument(
        "--test-share", type=float, metavar="SHARE", help="of each class, where the split is drawn (default: 0.2)"
    )
    action.add_argument(
        "--group",
        default="",
        metavar="PATTERN",
        help="a regular expression; images in whose paths it matches the same text are never divided",
    )
    action.add_argument("--model", default="", metavar="ARCH", help="the timm architecture to fine-tune")
    action.add_argument(
        "--image-size", type=int, metavar="N", help="pixels (default: what timm states for ARCH, or 224)"
    )
    action.add_argument("--title", default="", help="of the benchmark, for people")
    action.set_defaults(act=act)


def act(arguments: argparse.Namespace) -> None:
    """Write the manifest, and print its counts."""
    from ...benchmarks.own_manifest import OwnData, create_manifest
    from ...benchmarks.own_rows import COLUMNS
    from ...core import paths
    from ...core.errors import UserError, unknown

    given = {name: value for name, value in vars(arguments).items() if name in OwnData.__dataclass_fields__}
    columns = {}
    for written in arguments.column:
        ours, sign, theirs = written.partition("=")
        if not sign or not theirs:
            raise UserError(f"--column is {written!r}; write our name = the table's, such as label=species")
        if ours not in COLUMNS:
            raise unknown("--column", ours, COLUMNS)
        columns[ours] = theirs
    manifest = create_manifest(OwnData(**given, columns=columns))
    counts = ", ".join(
        f"{n} {split}" for split, n in manifest.body["split"].value_counts(sort=False).sort_index().items()
    )
    print(f"{paths.display(paths.manifest_head(manifest.name))}: {len(manifest.class_names)} classes; images: {counts}")
