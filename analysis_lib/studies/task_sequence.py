"""Three tasks learnt one after another: what is left of the first, and what the later ones gain or lose before their
turn.

Each task gets a fresh head, and penalties pull towards the network at the start of the task. Source: Mukhoti et al.
2024.
"""

from collections.abc import Sequence

import pandas as pd

from ..benchmarks.manifest import load_manifest
from ..benchmarks.tasks import load_task
from ..core.run_spec import RunSpec
from ..runs.measured_tasks import MeasuredRun
from ..runs.plan import plan, sequence

SEQUENCES = {  # by benchmark, which names the network
    "digits": ("digits", "printed_letters", "printed_digits")
}
METHODS = ("finetune", "l2sp", "ldifs")
EPOCHS = 6


def sequence_specs(benchmark: str, profile: str, seeds: Sequence[int]) -> list[RunSpec]:
    """The runs of the sequence of tasks, by seed, method and task; none for a benchmark without a sequence.

    The profile `smoke` has one seed and no `l2sp`. Otherwise the recipe is the benchmark's.
    """
    if benchmark not in SEQUENCES:
        return []
    methods = [method for method in METHODS if profile != "smoke" or method != "l2sp"]
    specs = []
    for seed in seeds[:1] if profile == "smoke" else seeds:
        for method in methods:
            (start,) = plan(benchmark, profile, [seed], method=method, epochs=EPOCHS)
            specs += sequence(start, SEQUENCES[benchmark])
    return specs


def plan_with_sequence(benchmark: str, profile: str, seeds: Sequence[int]) -> list[RunSpec]:
    """The runs of a profile, and the sequences of tasks."""
    return [*plan(benchmark, profile, seeds), *sequence_specs(benchmark, profile, seeds)]


def sequence_accuracies(specs: Sequence[RunSpec], device: str = "") -> pd.DataFrame:
    """Linear-probe accuracy on every task of a sequence, after each task: columns seed, method, after, task, learnt,
    accuracy, n.

    specs : the finished runs of `sequence_specs`. after : the number of tasks learnt, 0 for the starting network;
    learnt : the place of the row's task in the sequence, from 1 on; n test images.
    """
    rows = []
    for spec in specs:
        head = load_manifest(spec.benchmark).head
        measured = MeasuredRun(spec, head, device)
        networks = {len(spec.tasks): spec.run_id}
        if len(spec.tasks) == 1:
            networks = {0: spec.init} | networks
        for after, network in networks.items():
            for learnt, name in enumerate(SEQUENCES[spec.benchmark], 1):
                task = load_task(name, head.image_size)
                predicted = measured.predictions(network, task)["lp"]
                accuracy = (predicted == task.labels[task.test]).double().mean().item()
                rows.append((spec.seed, spec.method, after, name, learnt, accuracy, len(predicted)))
    return pd.DataFrame(rows, columns=["seed", "method", "after", "task", "learnt", "accuracy", "n"])


def sequence_summary(accuracies: pd.DataFrame) -> pd.DataFrame:
    """What a sequence kept and lost: columns seed, method, metric, task, value.

    accuracies : from `sequence_accuracies`. Metrics, per task and as their mean (task `mean`): `final`, the accuracy at
    the end; `forgetting`, the accuracy right after the task was learnt minus `final`, for all but the last task;
    `transfer`, the accuracy right before the task is learnt minus that of the starting network, for all but the first.
    """
    rows = []
    for (seed, method), part in accuracies.groupby(["seed", "method"], sort=False):
        wide = part.pivot(index="task", columns="after", values="accuracy")
        place = part.drop_duplicates("task").set_index("task")["learnt"]
        last = int(place.max())
        metrics = {
            "final": {task: wide.loc[task, last] for task in place.index},
            "forgetting": {t: wide.loc[t, p] - wide.loc[t, last] for t, p in place.items() if p < last},
            "transfer": {t: wide.loc[t, p - 1] - wide.loc[t, 0] for t, p in place.items() if p > 1},
        }
        for metric, values in metrics.items():
            values["mean"] = sum(values.values()) / len(values)
            rows += [(seed, method, metric, *pair) for pair in values.items()]
    return pd.DataFrame(rows, columns=["seed", "method", "metric", "task", "value"])
