"""Concept forgetting: what fine-tuning does to other tasks than the one that is fine-tuned on.

A network's features are measured by classifiers fitted anew on a task's training images: a linear probe (`lp`) and the
nearest class mean (`ncm`). Both use the labels of the task, so this is a diagnosis and no calibration. Source: Mukhoti
et al. 2024.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from ..analysis.stats import intervals
from ..analysis.stats.bootstrap import draw_cluster_resamples, resampled_means
from ..analysis.stats.correlation import spearman_over_groups
from ..benchmarks.tasks import Task, load_task, task_names
from ..core.errors import UserError
from ..core.run_spec import RunSpec
from ..core.seeds import generator_for
from ..runs.measured_tasks import MeasuredRun
from ..runs.run_set import RunSet

METRICS = ("lp", "ncm")
KEYS = ["method", "options", "task", "metric"]


def other_tasks(runs: RunSet) -> list[str]:
    """The tasks that the runs were not fine-tuned on, for networks of their size."""
    return [name for name in task_names(runs.manifest.head.image_size) if name != runs.benchmark]


@dataclass(frozen=True)
class Change:
    """One run and one task: per test image, whether each metric is right before and after, (2, M, n) float64."""

    spec: RunSpec
    task: Task
    right: torch.Tensor


def changes(runs: RunSet, specs: Sequence[RunSpec], tasks: Sequence[str] | None = None) -> list[Change]:
    """The predictions on other tasks before and after each finished fine-tuning run, made once and cached.

    specs : one run for each method, options and seed; tasks : names, by default `other_tasks`. Raises UserError for two
    runs of one method, options and seed, and as loading networks and tasks does.
    """
    known = [(spec.method, spec.options, spec.seed) for spec in specs]
    if len(set(known)) < len(known):
        raise UserError(
            "two of the runs have the same method, options and seed; give one, for example without the controls"
        )
    found = []
    for spec in specs:
        measured = MeasuredRun(spec, runs.manifest.head, runs.device)
        for name in other_tasks(runs) if tasks is None else tasks:
            task = load_task(name, runs.manifest.head.image_size)
            predicted = measured.predictions(spec.init, task), measured.predictions(spec.run_id, task)
            right = [torch.stack([by[m] == task.labels[task.test] for m in METRICS]) for by in predicted]
            found.append(Change(spec, task, torch.stack(right).double()))
    return found


def by_seed(found: Sequence[Change]) -> pd.DataFrame:
    """Accuracy on other tasks before and after each run: columns seed, `KEYS`, before, after, delta, low, high, n.

    low and high : a 95 % interval of delta for this very pair of networks, by a paired bootstrap of the clusters of the
    n test images. A delta below 0 is forgetting, above 0 transfer.
    """
    rows = []
    for change in found:
        task, spec = change.task, change.spec
        before, after = change.right.mean(2).tolist()
        draws = generator_for("forgetting bootstrap", task.name)
        resampled = resampled_means([change.right[1] - change.right[0]], *_cluster_draws(task, draws))
        ends = resampled.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64), 0).T.tolist()
        for number, metric in enumerate(METRICS):
            delta = after[number] - before[number]
            keys = (spec.seed, spec.method, options_text(spec), task.name, metric)
            rows.append((*keys, before[number], after[number], delta, *ends[number], len(task.test)))
    return pd.DataFrame(rows, columns=["seed", *KEYS, "before", "after", "delta", "low", "high", "n"])


def _cluster_draws(task: Task, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    return draw_cluster_resamples(task.clusters[task.test], 1, generator)


def options_text(spec: RunSpec) -> str:
    """The options of a run's method that are not its defaults, for tables: empty if there are none."""
    return ", ".join(f"{name}={value}" for name, value in spec.options)


def over_seeds(found: Sequence[Change]) -> pd.DataFrame:
    """Delta over seeds by the house rule, seeds and the task's classes being drawn: columns `KEYS`, those of
    `intervals.estimate`, n_seeds, n.
    """
    together: dict[tuple, list[Change]] = {}
    for change in found:
        key = (change.spec.method, options_text(change.spec), change.task.name)
        together.setdefault(key, []).append(change)
    tables = []
    for key, group in together.items():
        task = group[0].task
        values = [change.right[1] - change.right[0] for change in group]
        table = intervals.estimate(*intervals.leave_one_out(values, task.labels[task.test]))
        keys = {"method": key[0], "options": key[1], "task": key[2], "metric": METRICS}
        tables.append(pd.DataFrame(keys).join(table).assign(n_seeds=len(group), n=len(task.test)))
    return pd.concat(tables, ignore_index=True)


def distances(runs: RunSet, found: Sequence[Change]) -> pd.DataFrame:
    """How far each run moved its network: columns seed, method, options, task, distance, value.

    Distances: `feature`, the LDIFS distance on the task's test images; `parameter`, that of all weights but the head's,
    relative to their length at the start, which is the same for every task.
    """
    rows = []
    for change in found:
        spec, task = change.spec, change.task
        moved = MeasuredRun(spec, runs.manifest.head, runs.device).distances(task)
        rows += [(spec.seed, spec.method, options_text(spec), task.name, *pair) for pair in moved.items()]
    return pd.DataFrame(rows, columns=["seed", "method", "options", "task", "distance", "value"])


def against_distance(deltas: pd.DataFrame, moved: pd.DataFrame) -> pd.DataFrame:
    """The rows of `over_seeds` with the mean of each distance over seeds, from `distances`: columns distance and value
    added.
    """
    keys = ["method", "options", "task"]
    means = moved.groupby([*keys, "distance"], sort=False)["value"].mean().reset_index()
    return deltas.merge(means, on=keys)


def correlations(changed: pd.DataFrame, moved: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation over methods of delta with each distance, by task and metric.

    changed : from `by_seed`; moved : from `distances`. Correlated within each seed, then averaged; the interval is over
    seeds and over methods, left out one by one. Columns: task, metric, distance, mean, low, high, seed_error, seed_df,
    method_error, method_df, n_methods, n_seeds. NaN for fewer than three methods. Below 0: the farther, the more is
    forgotten.
    """
    both = changed.merge(moved, on=["seed", "method", "options", "task"])
    both["item"] = both.groupby(["method", "options"], sort=False).ngroup()
    rows = []
    for keys, part in both.groupby(["task", "metric", "distance"], sort=False):
        seeds = [seed for _, seed in part.groupby("seed")]
        far, delta, item = ([torch.tensor(s[name].to_numpy()) for s in seeds] for name in ("value", "delta", "item"))
        counts = {"n_methods": part["item"].nunique(), "n_seeds": len(seeds)}
        names = dict(zip(("task", "metric", "distance"), keys))
        rows.append(names | spearman_over_groups(far, delta, item) | counts)
    table = pd.DataFrame(rows).drop(columns="interval")
    return table.rename(columns={"class_error": "method_error", "class_df": "method_df"})
