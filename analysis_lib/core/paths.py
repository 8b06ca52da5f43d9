"""Every path that the package reads or writes. No other module joins path strings."""

import os
from pathlib import Path

from .errors import UserError


def root() -> Path:
    """The project folder: `FTC_ROOT` if set, else the checkout that holds this package, else the current folder.

    A folder that is not there is made by what writes into it. Raises UserError for a setting that is no folder.
    """
    if written := os.environ.get("FTC_ROOT"):
        if os.path.exists(written) and not os.path.isdir(written):
            raise UserError(f"FTC_ROOT is {written!r}, which is no folder; set another")
        return Path(written).resolve()
    return checkout() if (checkout() / "data_manifests").is_dir() else Path.cwd()


def checkout() -> Path:
    """The folder that holds the package, and, in a checkout, docs/ and data_manifests/."""
    return Path(__file__).resolve().parents[2]


def display(path: Path) -> str:
    """`path` as text for messages: relative to the project folder if it lies inside."""
    path = Path(path)
    return str(path.relative_to(root())) if path.is_relative_to(root()) else str(path)


# data
def manifests() -> Path:
    return root() / "data_manifests"


def manifest_head(benchmark: str) -> Path:
    return manifests() / f"{benchmark}.json"


def manifest_body(benchmark: str) -> Path:
    return root() / "data_manifests" / f"{benchmark}.csv"


def emoji_classes() -> Path:
    return root() / "data_manifests" / "emoji_classes.csv"


def glyphs_families() -> Path:
    return root() / "data_manifests" / "glyphs_families.csv"


def emoji_years_sets() -> Path:
    return root() / "data_manifests" / "emoji_years_sets.csv"


def image_folder(source: str) -> Path:
    return (root() / source).resolve()


def packages() -> Path:
    return root() / "data" / "packages"


def npm_archive(package: str, version: str) -> Path:
    return packages() / f"{package.lstrip('@').replace('/', '-')}-{version}.tgz"


def image_cache(benchmark: str, digest: str) -> Path:
    return root() / "data" / f"{benchmark}-{digest}.safetensors"


def imported_weights(name: str) -> Path:
    return root() / "data" / "weights" / f"{name}.safetensors"


def imported_config(name: str) -> Path:
    return root() / "data" / "weights" / f"{name}.json"


def sweep(name: str) -> Path:
    return checkout() / "studies" / f"{name}.json"


# runs
def runs() -> Path:
    return root() / "runs"


def run(run_id: str) -> Path:
    return runs() / run_id


def run_spec(run_id: str) -> Path:
    return run(run_id) / "spec.json"


def run_environment(run_id: str) -> Path:
    return run(run_id) / "environment.json"


def lock(name: str) -> Path:
    return runs() / f".{name}.lock"


def run_metrics(run_id: str) -> Path:
    return run(run_id) / "metrics.jsonl"


def run_checkpoint(run_id: str) -> Path:
    return run(run_id) / "checkpoint.safetensors"


def run_model(run_id: str) -> Path:
    return run(run_id) / "model.safetensors"


def run_head(run_id: str, epoch: int) -> Path:
    return run(run_id) / f"epoch_{epoch:03d}" / "head.safetensors"


def run_outputs(run_id: str, epoch: int, part: str) -> Path:
    return run(run_id) / f"epoch_{epoch:03d}" / f"{part}.safetensors"


def run_fold(run_id: str) -> Path:
    return run(run_id) / "fold.safetensors"


def run_done(run_id: str) -> Path:
    return run(run_id) / "done"


# computed from finished runs; the run folders themselves never change
def derived(run_id: str) -> Path:
    return root() / "derived" / run_id


def run_step(run_id: str) -> Path:
    return derived(run_id) / "step.safetensors"


def run_displacement(run_id: str) -> Path:
    return derived(run_id) / "displacement.safetensors"


def run_views(run_id: str) -> Path:
    return derived(run_id) / "views.safetensors"


def run_linear_probe(run_id: str, epoch: int) -> Path:
    return derived(run_id) / f"linear_probe_{epoch:03d}.safetensors"


def run_first_step(run_id: str, targets: int) -> Path:
    return derived(run_id) / f"first_step_{targets}.safetensors"


def tangents(init: str, data: str, dtype: str, directions: int) -> Path:
    return derived(init) / f"tangents_{data}_{dtype}_{directions}.safetensors"


def pretrained_outputs(init: str, data: str, dtype: str, device: str) -> Path:
    return derived(init) / f"outputs_{data}_{dtype}_{device}.safetensors"


def task_predictions(network: str, data: str, dtype: str, device: str, task: str) -> Path:
    return derived(network) / f"task_{task}_{data}_{dtype}_{device}.safetensors"


def run_task_distance(run_id: str, task: str) -> Path:
    return derived(run_id) / f"task_distance_{task}.safetensors"


def run_interpolated(run_id: str, alpha: float, part: str) -> Path:
    return derived(run_id) / f"interpolated_{alpha:.2f}" / f"{part}.safetensors"


def run_wise(run_id: str, alpha: float) -> Path:
    return derived(run_id) / f"wise_{alpha:.2f}.safetensors"


# tables, figures and executed notebooks
def table(benchmark: str, name: str) -> Path:
    return root() / "results" / benchmark / f"{name}.csv"


def figure(benchmark: str, name: str, suffix: str) -> Path:
    return root() / "figures" / benchmark / f"{name}.{suffix}"


def executed_notebook(benchmark: str, name: str) -> Path:
    return root() / "executed" / benchmark / f"{name}.ipynb"
