"""VTAB-1k: fine-tuning methods on 19 tasks of 1,000 images, with a search for each task and method.

The search trains on 800 images at every learning rate and weight decay, and the highest accuracy on the other 200 after
the last epoch wins. Then the winner trains on all 1,000, and is tested after the last epoch. All classes are trained,
so none is absent here. Source: the protocol of the PETL study (arXiv 2409.16434), and
for its own grid that of VQT (arXiv 2212.03220); see docs/vtab_1k.md.
"""

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from torch import nn

from ..benchmarks.manifest import Manifest
from ..benchmarks.vtab_1k import NATURAL, SPECIALIZED, STRUCTURED, TASKS, TaskManifests
from ..core import paths
from ..core.errors import UserError
from ..core.run_spec import RunSpec
from ..core.seeds import generator_for
from ..methods import create_method
from ..models.petl import TECHNIQUES
from ..runs.execute import check_finished
from ..runs.outputs import load_outputs
from ..runs.plan import starting_network
from ..runs.states import count_states

SEED = 42  # of every search
GROUPS = (NATURAL, SPECIALIZED, STRUCTURED)
THREE_GROUPS, ALL_TASKS = "mean of the groups", "mean of the tasks"


@dataclass(frozen=True)
class SearchGrid:
    """All pairs of learning rate and weight decay that a search tries, the other fields of its runs, and the options of
    the method.
    """

    lr: tuple[float, ...]
    weight_decay: tuple[float, ...]
    recipe: Mapping[str, object]
    options: tuple[tuple[str, float | str], ...] = ()


PETL = SearchGrid(
    lr=(1e-3, 1e-2),
    weight_decay=(1e-4, 1e-3),
    recipe={"optimizer": "adamw", "batch_size": 64, "epochs": 100, "warmup": 0.1},
)
VQT = SearchGrid(  # the published rates, 0.05 to 1 for batches of 256, for half as large ones
    lr=(0.025, 0.05, 0.125, 0.25, 0.5),
    weight_decay=(0.0, 1e-4, 1e-3, 1e-2),
    recipe={"optimizer": "adam", "batch_size": 128, "epochs": 100, "warmup": 0.1},
    options=(("start", "fresh"),),
)
GRIDS: dict[str, SearchGrid] = dict.fromkeys(("linear_probe", "finetune", *TECHNIQUES), PETL) | {"vqt": VQT}
"""The methods compared, each with its grid."""


def _spec(manifest: Manifest, method: str, seed: int, lr: float, weight_decay: float) -> RunSpec:
    """One run by a method on all classes of a benchmark. Only the first and the last Outputs are stored."""
    recipe = GRIDS[method].recipe
    return RunSpec(
        benchmark=manifest.name,
        data=manifest.digest,
        model=manifest.head.model,
        init=starting_network(manifest, "float32"),
        seed=seed,
        lr=lr,
        weight_decay=weight_decay,
        method=method,
        options=GRIDS[method].options,
        tuned_on="all",
        augmented=False,
        record_every=recipe["epochs"],
        **recipe,
    )


def search_specs(task: TaskManifests, method: str) -> list[RunSpec]:
    """The runs of the search for a method's values on a task: smaller learning rates first, then smaller decays."""
    pairs = itertools.product(sorted(GRIDS[method].lr), sorted(GRIDS[method].weight_decay))
    return [_spec(task.search, method, SEED, *pair) for pair in pairs]


def check_methods(methods: Sequence[str], model: nn.Module) -> None:
    """Raise UserError for a method whose modules have no place in the network."""
    for method in methods:
        create_method(method, dict(GRIDS[method].options)).insert(copy.deepcopy(model), generator_for("tried"))


def accuracy(spec: RunSpec) -> tuple[float, int]:
    """The accuracy of a finished run on the n test images of its benchmark after the last epoch, and n."""
    check_finished(spec)
    test = load_outputs(paths.run_outputs(spec.run_id, spec.epochs, "test"))
    right = test.logits.argmax(1) == test.labels
    return right.double().mean().item(), len(right)


def choose(task: TaskManifests, method: str) -> tuple[RunSpec, float]:
    """The run of a finished search with the highest accuracy on the 200 images, and this accuracy.

    Of equal ones, that with the smaller learning rate, then with the smaller weight decay. Raises UserError for a
    search of which any run is not finished.
    """
    specs = search_specs(task, method)
    done = count_states(specs)["done"]
    if done < len(specs):
        raise UserError(
            f"the search of {method} on {task.task} is not finished ({done} of {len(specs)} runs are done), so nothing "
            "is chosen; the command `vtab1k` with the same options makes the others"
        )
    scored = [(spec, accuracy(spec)[0]) for spec in specs]
    return max(scored, key=lambda pair: pair[1])  # the first of equal ones


def final_specs(task: TaskManifests, method: str, seeds: Sequence[int] = (SEED,)) -> list[RunSpec]:
    """The runs on all training images with the values that the search chose. Raises UserError as `choose`."""
    won, _ = choose(task, method)
    return [_spec(task.whole, method, seed, won.lr, won.weight_decay) for seed in seeds]


def results(tasks: Sequence[TaskManifests], methods: Sequence[str], seeds: Sequence[int] = (SEED,)) -> pd.DataFrame:
    """Test accuracies of finished runs: columns task, group, method, seed, lr, weight_decay, val_accuracy,
    test_accuracy, and n, the number of test images.

    Raises UserError for a search or a final run that is not finished.
    """
    rows = []
    for task, method in itertools.product(tasks, methods):
        _, val_accuracy = choose(task, method)
        for spec in final_specs(task, method, seeds):
            test_accuracy, n = accuracy(spec)
            group = TASKS[task.task].group
            rows.append(
                (task.task, group, method, spec.seed, spec.lr, spec.weight_decay, val_accuracy, test_accuracy, n)
            )
    columns = ["task", "group", "method", "seed", "lr", "weight_decay", "val_accuracy", "test_accuracy", "n"]
    return pd.DataFrame(rows, columns=columns)


def group_means(table: pd.DataFrame) -> pd.DataFrame:
    """Mean test accuracies over tasks, each the mean of its seeds: columns method, group, accuracy, n_tasks, n_seeds.

    Groups: the three of VTAB, the mean of their means, and the mean of all tasks. A group of which a task is missing in
    `table`, as `results` returns it, has no row.
    """
    by_task = table.groupby(["method", "group", "task"], sort=False)["test_accuracy"].agg(["mean", "count"])
    rows = []
    for method, own in by_task.groupby(level="method", sort=False):
        means = {}
        for group in GROUPS:
            tasks = own[own.index.get_level_values("group") == group]
            if len(tasks) == sum(task.group == group for task in TASKS.values()):
                means[group] = tasks["mean"].mean(), len(tasks)
        if len(means) == len(GROUPS):
            means[THREE_GROUPS] = sum(mean for mean, _ in means.values()) / len(GROUPS), len(own)
            means[ALL_TASKS] = own["mean"].mean(), len(own)
        rows += [(method, group, *found, own["count"].min()) for group, found in means.items()]
    return pd.DataFrame(rows, columns=["method", "group", "accuracy", "n_tasks", "n_seeds"])
