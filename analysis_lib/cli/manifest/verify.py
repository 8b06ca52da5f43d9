"""`manifest verify`: compare a manifest with its files."""

import argparse

from ..data import BENCHMARK


def add_action(actions) -> None:
    """Add the parser of `verify`."""
    action = actions.add_parser("verify", help="check every rule and every file of a manifest; name what is wrong")
    action.add_argument("benchmark", help=BENCHMARK)
    action.set_defaults(act=act)


def act(arguments: argparse.Namespace) -> None:
    """Print one line if all is well, else the offenders. Raises UserError that counts them."""
    from ...benchmarks.manifest import load_manifest
    from ...benchmarks.own_checks import changed, in_two_subsets, under_two_classes
    from ...core import paths
    from ...core.errors import UserError

    manifest = load_manifest(arguments.benchmark)
    wrong = []
    if manifest.head.builder == "folder":
        wrong += changed(manifest.body, paths.image_folder(manifest.head.source))
    for row in in_two_subsets(manifest.body).itertuples():
        wrong.append(f"{row.path}: its picture lies in another subset than {row.split} too")
    if wrong:
        print("\n".join(wrong))
        raise UserError(
            f"{len(wrong)} of {len(manifest.body)} images of {manifest.name!r} break the manifest; restore the files, "
            "or create it again"
        )
    two = under_two_classes(manifest.body)
    also = f"; {two['sha256'].nunique()} pictures under two classes, first {two['path'].iloc[0]}" if len(two) else ""
    made = "" if manifest.head.builder == "folder" else f" (they are checked when `data {manifest.name}` makes them)"
    print(f"{manifest.name}: {len(manifest.body)} images as listed{made}, none in two subsets{also}")
