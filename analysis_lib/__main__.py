"""`python -m analysis_lib <verb>`: the steps that `make` strings together, one by one."""

import argparse
import sys
from pathlib import Path

from . import calibrate_cli, notebooks, paths, prediction, protocol, runs, store, study
from .data.embedded import EMBEDDED
from .data.images import load_images
from .data.manifest import load_manifest
from .errors import UserError, unknown
from .spec import grid


def data(arguments: argparse.Namespace) -> None:
    manifest = load_manifest(arguments.benchmark)
    images = load_images(manifest)
    counts = manifest.body["split"].value_counts()
    print(f"{manifest.name}: {manifest.head.title}; {len(manifest.class_names)} classes, {counts['train']} training and "
          f"{counts['test']} test images of {images.shape[2]}x{images.shape[3]} pixels")


def run(arguments: argparse.Namespace) -> None:
    wanted, seeds = (arguments.benchmark, arguments.profile), notebooks.parse_integers("seeds", arguments.seeds)
    specs = runs.plan(*wanted, seeds)
    for group in (seeds, grid(*wanted).development):
        specs += [spec for cell in protocol.cell_specs(*wanted, group).values() for spec in cell] if group else []
    for spec in dict.fromkeys(specs):
        for each in (spec, *runs.fold_specs(spec)):
            print(paths.shown(paths.run(runs.execute(each, arguments.device))), flush=True)
    designed = prediction.dissimilar_study(study.open_study(*wanted, seeds, arguments.device))
    print(paths.shown(paths.run(designed.specs[0].run_id)))


def notebook(arguments: argparse.Namespace) -> None:
    source = Path(arguments.file).resolve()
    benchmark = next((s.removeprefix("benchmark=") for s in arguments.settings if s.startswith("benchmark=")), None)
    benchmark = benchmark or notebooks.parameters_of(source).get("benchmark", "any")
    output = paths.executed_notebook(benchmark, source.stem)
    notebooks.run_notebook(source, output, arguments.settings)
    print(paths.shown(output))


def report(arguments: argparse.Namespace) -> None:
    summary = store.read_table(arguments.benchmark, "summary_mean")
    summary["text"] = [f"{row.mean:.3f}" + (f" ± {row.std:.3f}" if row.n > 1 else "") + f" (n={row.n})" for row in summary.itertuples()]
    print(summary.pivot(index="metric", columns="checkpoint", values="text")[[study.PRE_TRAINED, study.FINE_TUNED]].to_string())


def manifest(arguments: argparse.Namespace) -> None:
    if arguments.benchmark not in EMBEDDED:
        raise unknown("benchmark with a manifest made here", arguments.benchmark, EMBEDDED)
    EMBEDDED[arguments.benchmark].make_manifest()
    data(arguments)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m analysis_lib", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = top.add_subparsers(dest="verb", required=True, metavar="verb")

    verb = verbs.add_parser("data", help="download, verify and decode a benchmark's images")
    verb.add_argument("benchmark", help="a name from data_manifests/, such as digits or emoji")
    verb.set_defaults(act=data)

    verb = verbs.add_parser("run", help="make the fine-tuning runs of a profile and of its grid, their cross-validation folds, and the one on dissimilar classes; continues what was interrupted")
    verb.add_argument("benchmark", help="a name from data_manifests/, such as digits or emoji")
    verb.add_argument("--profile", default="default", help="smoke, default or full (default: %(default)s)")
    verb.add_argument("--seeds", default="0,1,2", help="class splits and training orders (default: %(default)s)")
    verb.add_argument("--device", default="", help="cpu, cuda or cuda:N (default: CUDA where there is one)")
    verb.set_defaults(act=run)

    verb = verbs.add_parser("notebook", help="execute a notebook into executed/<benchmark>/")
    verb.add_argument("file", help="a notebook, such as notebooks/01_fine_tuning.ipynb")
    verb.add_argument("settings", nargs="*", metavar="name=value", help="values for its parameters cell, such as benchmark=emoji seeds=0,1,2")
    verb.set_defaults(act=notebook)

    calibrate_cli.add_verb(verbs)

    verb = verbs.add_parser("report", help="print the summary that notebook 05 wrote")
    verb.add_argument("benchmark", help="a name from data_manifests/, such as digits or emoji")
    verb.set_defaults(act=report)

    verb = verbs.add_parser("manifest", help="for maintainers: make a benchmark's manifest anew")
    verb.add_argument("benchmark", help="digits or emoji")
    verb.set_defaults(act=manifest)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; 0 when it worked, 2 with one sentence when the user can mend it."""
    parsed = parser().parse_args(arguments)
    try:
        parsed.act(parsed)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command continues where it stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
