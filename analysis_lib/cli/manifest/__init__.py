"""`manifest`: make, check and show the manifest of a benchmark. One file per action."""

from . import create, network, paper, rebuild, show, verify

ACTIONS = (create, paper, network, verify, show, rebuild)


def add_verb(verbs) -> None:
    """Add the parser of `manifest` and those of its actions to argparse's sub-parsers."""
    verb = verbs.add_parser("manifest", help="make, check and show the manifest of a benchmark")
    actions = verb.add_subparsers(dest="action", required=True, metavar="action")
    for action in ACTIONS:
        action.add_action(actions)
