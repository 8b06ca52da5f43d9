"""`vtab1k`: the VTAB-1k protocol over the user's own copy: search, training on all images, group means."""

import argparse
from pathlib import Path

from .many_runs import add_engine, counted, make_missing, pick_engine, time_left

RESULTS = "vtab_1k"  # the folder in results/ and figures/


def add_verb(verbs) -> None:
    """Add the parser of `vtab1k` to argparse's sub-parsers."""
    verb = verbs.add_parser(
        "vtab1k",
        help="compare fine-tuning methods on VTAB-1k, from your own copy; continues what was interrupted",
        description="For each task and method: trains on the 800 at every learning rate and weight decay, takes what "
        "is best on the 200, trains on all 1,000 and tests. Finished runs cost nothing. docs/vtab_1k.md says more.",
    )
    verb.add_argument("folder", type=Path, metavar="FOLDER", help="the folder with a folder for each task")
    verb.add_argument(
        "--model", metavar="ARCH", help="the timm architecture, such as vit_base_patch16_224; a folder states its own"
    )
    verb.add_argument(
        "--weights",
        required=True,
        type=Path,
        metavar="WEIGHTS",
        help=".safetensors or .pth with a state dict, a folder of transformers or of timm, or `timm` for what timm "
        "downloads; its head is replaced",
    )
    verb.add_argument("--methods", metavar="NAMES", help="separated by commas (default: all)")
    verb.add_argument("--tasks", metavar="NAMES", help="separated by commas (default: all 19)")
    verb.add_argument("--seeds", default="42", help="of the training on all images (default: %(default)s)")
    verb.add_argument(
        "--list", action="store_true", help="only check the copy, write its manifests, and say how far the search is"
    )
    verb.add_argument("--device", default="", help="cpu, cuda or cuda:N (default: CUDA where there is one)")
    add_engine(verb)
    verb.set_defaults(act=act)


def act(arguments: argparse.Namespace) -> None:
    """Make the searches, then the final runs; write the tables and the figure, and print the group means."""
    from ..core import files, paths
    from ..report.notebooks import parse_integers
    from ..studies import vtab_1k

    methods = _named("method of vtab1k", arguments.methods, vtab_1k.GRIDS)
    names = _named("task of vtab1k", arguments.tasks, vtab_1k.TASKS)
    seeds = parse_integers("seeds", arguments.seeds)
    engine, settings = pick_engine(arguments)
    tasks = _manifests(arguments, names, methods)

    search = {
        spec: f"search, {task.task}, {method}, lr={spec.lr:g}, weight_decay={spec.weight_decay:g}"
        for task in tasks
        for method in methods
        for spec in vtab_1k.search_specs(task, method)
    }
    _show("search on 800 and 200", search, settings)
    if arguments.list:
        return
    make_missing(search, engine, settings)
    final = {
        spec: f"{task.task}, {method}, seed={spec.seed}"
        for task in tasks
        for method in methods
        for spec in vtab_1k.final_specs(task, method, seeds)
    }
    _show("training on 1,000", final, settings)
    make_missing(final, engine, settings)
    results = vtab_1k.results(tasks, methods, seeds)
    means = vtab_1k.group_means(results)
    for name, table in (("results", results), ("group_means", means)):
        print(paths.display(files.write_table(table, RESULTS, name)))
    print(_draw(means))
    print(_in_percent(results, means))


def _named(kind: str, written: str | None, known) -> list[str]:
    """The chosen names, each once, or all. Raises UserError for an unknown one."""
    from ..core.errors import unknown

    names = list(dict.fromkeys(written.split(","))) if written else list(known)
    for name in names:
        if name not in known:
            raise unknown(kind, name, known)
    return names


def _manifests(arguments, names, methods):
    """The manifests of the tasks, which start from the user's network. All is checked before anything is written."""
    from ..benchmarks.vtab_1k import read_task, write_task
    from ..models.imported import backbone_fields
    from ..models.user_network import open_network
    from ..studies.vtab_1k import check_methods

    for name in names:
        read_task(arguments.folder, name)
    network = open_network(arguments.model, arguments.weights)
    check_methods(methods, network.model)
    fields = backbone_fields(network)
    return [write_task(arguments.folder, name, fields) for name in names]


def _show(title: str, specs, settings) -> None:
    from ..runs.states import seconds_left

    left = time_left(seconds_left(list(specs), settings.workers))
    print(f"{title}: {len(specs)} runs: {counted(specs)}; {left}", flush=True)


def _draw(means) -> str:
    """Draw the group means beside the published ones; returns where the figure is."""
    from matplotlib import pyplot as plt

    from ..core import paths
    from ..plots import draw_vtab, new_axes, save_figure
    from ..report.reference import Reference

    published = Reference(paths.checkout(), "").shared("vtab_1k_published")
    figure, ax = new_axes(width=8, height=7)
    draw_vtab(means, published, ax)
    save_figure(figure, RESULTS, "group_means")
    plt.close(figure)
    return paths.display(paths.figure(RESULTS, "group_means", "png"))


def _in_percent(results, means) -> str:
    """The means of a group whose tasks are all there; else the accuracy on each task. In percent."""
    if means.empty:
        shown = 100 * results.pivot_table("test_accuracy", "task", "method", sort=False)
        return "no group is complete, so here are the tasks\n" + shown.to_string(float_format="%.2f")
    shown = 100 * means.pivot(index="method", columns="group", values="accuracy")
    shown = shown.reindex(index=means["method"].unique(), columns=means["group"].unique())
    return shown.to_string(float_format="%.2f", na_rep="")
