"""WiSE at every alpha, with and without a shift: weights between before and after plain fine-tuning.

BatchNorm's statistics are re-estimated from the fine-tuning images at every alpha but 0 and 1, whose networks have
their own.
"""

from collections.abc import Sequence
from functools import partial

import pandas as pd
import torch

from ..analysis.gamma.curve import seen_absent_curve
from ..analysis.gamma.estimators import NONE, ORACLE, Evidence, estimate_gamma
from ..benchmarks.images import load_images
from ..core import files, paths
from ..core.run_spec import RunSpec
from ..models.batchnorm import reestimate
from ..models.petl.wise import interpolated
from ..runs.execute import load_before_after, training_data
from ..runs.outputs import extract
from ..runs.rows import training_rows
from ..runs.run_set import RunSet
from .method_differences import STAND_IN

ALPHAS = {"full": (0.1, 0.25, 0.5, 0.75, 0.9)}
FEW = (0.5,)  # in the other profiles


def wise_curve(cells: dict[float, RunSet], profile: str) -> pd.DataFrame:
    """Accuracies of the interpolated networks.

    Columns: lr, seed, alpha, treatment, gamma, acc_sy, acc_uy, acc_yy, ausuc.
    alpha : from 0, the pre-trained network, to 1, the fine-tuned one. Treatments: no shift, stand-ins and gamma*
    (*oracle*); the pre-trained network has no stand-ins. The logits of each network are computed once and cached.
    """
    frames = []
    for lr, runs in cells.items():
        for spec in runs.specs:
            table = run_curve(runs, spec, profile)
            table.insert(0, "lr", lr)
            frames.append(table)
    return pd.concat(frames, ignore_index=True)


def run_curve(runs: RunSet, run: RunSpec, profile: str) -> pd.DataFrame:
    """`wise_curve` of one run, by any method between whose network and the pre-trained one others lie.

    Raises UserError where there are none, as `models.petl.wise.interpolated`.
    """
    rows = []
    for alpha, logits in _logits_by_alpha(runs, run, ALPHAS.get(profile, FEW)).items():
        rows += [(run.seed, alpha, *found) for found in _treated(runs, run, alpha, *logits)]
    columns = ["seed", "alpha", "treatment", "gamma", "acc_sy", "acc_uy", "acc_yy", "ausuc"]
    return pd.DataFrame(rows, columns=columns)


def _logits_by_alpha(
    runs: RunSet, spec: RunSpec, alphas: Sequence[float]
) -> dict[float, tuple[torch.Tensor, torch.Tensor]]:
    """The logits of the fine-tuning data and of the test samples, in the order of their Outputs, for each alpha."""

    def stored(epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        return runs.fine_tuning_outputs(spec, epoch).logits, runs.outputs(spec, epoch, "test").logits

    found = {0.0: stored(0)}
    for alpha in alphas:
        tensors = files.cached(paths.run_wise(spec.run_id, alpha), partial(_interpolated_logits, runs, spec, alpha))
        found[alpha] = tensors["train"], tensors["test"]
    return found | {1.0: stored(spec.epochs)}


def _interpolated_logits(runs: RunSet, spec: RunSpec, alpha: float) -> dict[str, torch.Tensor]:
    before, model = load_before_after(spec, runs.device)
    model = interpolated(before.state_dict(), model, alpha)
    manifest, device = runs.manifest, next(model.parameters()).device
    images, labels = load_images(manifest), manifest.labels
    data = training_data(images, labels, training_rows(manifest, spec), spec, manifest.head, device)
    reestimate(model, data.passes("batchnorm"))
    found = {}
    for part, outputs in (("train", runs.fine_tuning_outputs(spec, 0)), ("test", runs.outputs(spec, 0, "test"))):
        prepared = runs.prepared(spec, outputs.index, device)
        found[part] = extract(model, prepared.images, labels, outputs.index, prepared.normalize).logits
    return found


def _treated(runs: RunSet, spec: RunSpec, alpha: float, train: torch.Tensor, test: torch.Tensor) -> list[tuple]:
    """The treatment, its gamma, the accuracies with it and AUSUC, from logits of both parts."""
    start, split = runs.fine_tuning_outputs(spec, 0), runs.split(spec)
    curve = seen_absent_curve(test, runs.outputs(spec, 0, "test").labels, split)
    gammas = {NONE: 0.0, ORACLE: curve.best().gamma}
    if alpha > 0:
        gammas[STAND_IN] = estimate_gamma(STAND_IN, Evidence(train, start.labels, split, start.logits))
    rows = []
    for treatment, gamma in gammas.items():
        point = curve.at(gamma)
        rows.append((treatment, gamma, point.acc_sy, point.acc_uy, point.acc_yy, curve.ausuc))
    return rows
