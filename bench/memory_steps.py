"""The steps of `memory.py`: every analysis, on Outputs of two networks that are mapped from files."""

import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import sklearn.linear_model
import torch
from torch import nn

from analysis_lib import ClassSplit
from analysis_lib.analysis.gamma.curve import seen_absent_curve
from analysis_lib.analysis.gamma.estimators import NONE, Evidence, estimate_gamma
from analysis_lib.analysis.gamma.estimators.absent_share import estimate_absent_share, group_gaps
from analysis_lib.analysis.gamma.estimators.pseudo_cv import Fold
from analysis_lib.analysis.gamma.estimators.share_baselines import posterior_em_share
from analysis_lib.analysis.gamma.estimators.stand_in import stand_in_gaps
from analysis_lib.analysis.metrics import confusion, feature_drift, feature_space, head_weights
from analysis_lib.analysis.metrics.accuracy import accuracies, top_k_accuracies
from analysis_lib.analysis.metrics.calibration_error import calibration_errors
from analysis_lib.analysis.metrics.decomposition import softmax_decomposition
from analysis_lib.analysis.metrics.linear_probe import linear_probe_scores
from analysis_lib.analysis.metrics.ncm import class_means, ncm_scores
from analysis_lib.analysis.stats.intervals import estimate
from analysis_lib.analysis.stats.sample_numbers import sample_numbers
from analysis_lib.core.run_spec import RunSpec
from analysis_lib.runs.outputs import Outputs, extract, load_outputs, save_outputs
from analysis_lib.runs.run_set import FINE_TUNED, PRE_TRAINED, RunSet
from analysis_lib.studies import calibration, estimator_grid, posthoc, uncertainty

SEEDS = 3
ITERATIONS = 12  # of a solver: more than the steps that L-BFGS remembers


@dataclass(frozen=True)
class Data:
    """The folder of the Outputs, and their size: n training and n test samples."""

    folder: Path
    n: int
    classes: int
    features: int

    @property
    def split(self) -> ClassSplit:
        return ClassSplit(self.classes, range(self.classes // 2))

    def path(self, epoch: int, part: str) -> Path:
        return self.folder / f"{part}_{min(epoch, 1)}.safetensors"

    def outputs(self, epoch: int, part: str) -> Outputs:
        """Epoch 0 is the network before fine-tuning, any other the one after."""
        return load_outputs(self.path(epoch, part))

    def fine_tuning(self, epoch: int) -> Outputs:
        train = self.outputs(epoch, "train")
        return train.where(self.split.is_seen(train.labels))

    def runs(self, seeds: int) -> "Runs":
        specs = [RunSpec("synthetic", "", "", "", seed, epochs=1, lr=0.1) for seed in range(seeds)]
        return Runs(None, tuple(specs), data=self)


@dataclass(frozen=True)
class Runs(RunSet):
    """Runs that share the synthetic Outputs."""

    data: Data = None
    benchmark = "synthetic"

    def split(self, spec):
        return self.data.split

    def outputs(self, spec, epoch, part):
        return self.data.outputs(epoch, part)

    def clusters(self, outputs):
        return torch.arange(len(outputs.labels))

    def head(self, spec, epoch):
        generator = torch.Generator().manual_seed(epoch)
        return torch.randn(self.data.classes, self.data.features, generator=generator), torch.zeros(self.data.classes)


class Backbone(nn.Module):
    """A network as small as one with these features and classes can be."""

    def __init__(self, features, classes):
        super().__init__()
        self.body, self.head = nn.Linear(48, features), nn.Linear(features, classes)

    def forward_features(self, x):
        return self.body(x.flatten(1))

    def forward_head(self, x, pre_logits=True):
        return x

    def get_classifier(self):
        return self.head


def write(data):
    """Random Outputs whose logits know the label a little; the networks share the images."""
    for part, seed in (("train", 0), ("test", 1)):
        labels = torch.randint(data.classes, (data.n,), generator=torch.Generator().manual_seed(seed))
        for epoch in (0, 1):
            generator = torch.Generator().manual_seed(10 * epoch + seed)
            features = torch.randn(data.n, data.features, generator=generator)
            features[torch.arange(data.n), labels % data.features] += 8
            logits = torch.randn(data.n, data.classes, generator=generator)
            logits[torch.arange(data.n), labels] += 2 + epoch
            save_outputs(data.path(epoch, part), Outputs(features, logits, labels, torch.arange(data.n)))


def extraction(data):
    model, images = Backbone(data.features, data.classes), torch.zeros(data.n, 3, 4, 4, dtype=torch.uint8)
    extract(model, images, torch.zeros(data.n), torch.arange(data.n), lambda batch: batch.float())


def on_logits(function, data):
    test = data.outputs(1, "test")
    function(test.logits, test.labels, data.split)


def curve(data):
    test = data.outputs(1, "test")
    found = seen_absent_curve(test.logits, test.labels, data.split)
    found.best(), found.ausuc


def nearest_mean(data):
    train, test = data.outputs(1, "train"), data.outputs(1, "test")
    means = class_means(train.features, train.labels, data.classes)
    accuracies(ncm_scores(test.features, means), test.labels, data.split)


def few_iterations(function):
    """The function with solvers that stop early."""

    class Impatient(sklearn.linear_model.LogisticRegression):
        def __init__(self, C=1.0, max_iter=ITERATIONS, tol=1e-4):
            super().__init__(C=C, max_iter=ITERATIONS, tol=tol)

    def with_few(data):
        sklearn.linear_model.LogisticRegression = Impatient
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            function(data)

    return with_few


def probe(data):
    train, test = data.outputs(1, "train"), data.outputs(1, "test")
    linear_probe_scores(train.features, train.labels, test.features, data.classes)


def separability(data):
    train, test = data.outputs(1, "train"), data.outputs(1, "test")
    feature_drift.separability(train.features, train.labels, test.features, test.labels, data.split)


def displacement(data):
    before, after = data.outputs(0, "test"), data.outputs(1, "test")
    feature_drift.displacement(before.features, after.features, after.labels, data.split)


def dispersion(data):
    train, test = data.outputs(1, "train"), data.outputs(1, "test")
    feature_drift.dispersion(train.features, train.labels, test.features, test.labels, data.split)


def cka(data):
    feature_space.linear_cka(data.outputs(0, "test").features, data.outputs(1, "test").features)


def dimensions(data):
    feature_space.feature_dimensions(data.outputs(1, "test").features)


def head(data):
    test, (weight, bias) = data.outputs(1, "test"), data.runs(1).head(None, 1)
    head_weights.feature_norms(test.features, test.labels, data.split)
    head_weights.logit_gap(weight, bias, test.features, data.split)


def evidence(data):
    own, test = data.fine_tuning(1), data.outputs(1, "test")
    return Evidence(
        own.logits, own.labels, data.split, data.fine_tuning(0).logits, target_logits=test.logits, absent_share=0.4
    )


def estimators(names, data):
    found = evidence(data)
    for name in names:
        estimate_gamma(name, found)


def fold_estimators(data):
    """PCV and transported folds, with three folds that each leave out a third of the seen classes."""
    own, before, seen = data.fine_tuning(1), data.fine_tuning(0), len(data.split.seen)
    folds = []
    for part in torch.arange(seen).chunk(3):
        trained = [c for c in range(seen) if c not in part]
        held_out = torch.arange(len(own.labels)) % 5 == 0
        logits, pretrained = own.logits[:, :seen].clone(), before.logits[:, :seen].clone()
        clusters = torch.arange(len(own.labels))
        folds.append(Fold(logits, pretrained, own.labels, ClassSplit(seen, trained), held_out, clusters))
    found = Evidence(own.logits, own.labels, data.split, halves=folds, thirds=folds)
    for name in ("pcv", "pcv_thirds", "transported_cv"):
        estimate_gamma(name, found)


def absent_share(data):
    found = evidence(data)
    estimate_absent_share(found.target_logits, found.logits, data.split, torch.Generator().manual_seed(0), resamples=20)
    posterior_em_share(found.target_logits, data.split)
    group_gaps(found.target_logits, data.split, "target")
    stand_in_gaps(found.logits, found.pretrained_logits, found.labels, data.split)


def without_runs():
    """The studies' functions that would look for more runs than there are."""
    calibration.half_specs = calibration.third_specs = lambda spec: []
    posthoc.interpolated_outputs = lambda runs, spec: runs.outputs(spec, spec.epochs, "test")


def posthoc_table(data):
    without_runs()
    posthoc.comparison(data.runs(1))


def calibrated(data, methods):
    keys = ["seed", "checkpoint", "method", "gamma"]
    rows = [(seed, FINE_TUNED, method, 1.0) for seed in range(SEEDS) for method in methods]
    rows += [(seed, PRE_TRAINED, NONE, 0.0) for seed in range(SEEDS)]
    return pd.DataFrame(rows, columns=keys).assign(lr=0.1, epochs=1)


def class_intervals(data):
    """All numbers of one run, as if of three seeds, with intervals that leave out each class."""
    runs = data.runs(1)
    values = uncertainty.sample_values(runs, runs.specs[0], calibrated(data, [NONE, "alg", "stand_in", "max_gap"]))
    areas = {uncertainty.State(FINE_TUNED): uncertainty.area_parts(data.outputs(1, "test"), data.split)}
    found = sample_numbers([values] * SEEDS, [areas] * SEEDS, data.outputs(1, "test").labels)
    estimate(found.whole, found.without)


def gamma_intervals(data):
    """Two of the resamples: each is made and used alone."""
    without_runs()
    uncertainty.gamma_intervals(data.runs(1), resamples=2)


def grid_regrets(data):
    """One setting, three seeds and all resamples: shifts, cross-fitted oracle and bootstrap."""
    chosen = calibrated(data, [NONE, "alg", "stand_in"])
    estimator_grid.regrets({(0.1, 1): data.runs(SEEDS)}, chosen[chosen["checkpoint"] == FINE_TUNED])


STEPS = {
    "write Outputs": write,
    "read Outputs": lambda data: [data.outputs(epoch, part) for epoch in (0, 1) for part in ("train", "test")],
    "extract Outputs": extraction,
    "accuracies": partial(on_logits, accuracies),
    "top-5 accuracies": partial(on_logits, top_k_accuracies),
    "seen-absent curve and AUSUC": curve,
    "softmax decomposition": partial(on_logits, softmax_decomposition),
    "calibration error": partial(on_logits, calibration_errors),
    "confusion": partial(on_logits, confusion.seen_confusions),
    "logits of absent samples": partial(on_logits, feature_drift.absent_logits),
    "class means and NCM": nearest_mean,
    "linear probe": few_iterations(probe),
    "separability": few_iterations(separability),
    "displacement of features": displacement,
    "dispersion of features": dispersion,
    "CKA": cka,
    "dimensions of features": dimensions,
    "feature norms and logit gap": head,
    "ALG and largest-logit gap": partial(estimators, ["alg", "alg_change", "max_gap", "max_gap_change"]),
    "stand-ins": partial(estimators, ["stand_in", "stand_in_sure"]),
    "prior matching": partial(estimators, [name for name in calibration.offered(frozenset({"unlabelled"}))]),
    "PCV and transported folds": fold_estimators,
    "absent share": absent_share,
    "post-hoc table": posthoc_table,
    "intervals over seeds and classes": class_intervals,
    "intervals of gamma": gamma_intervals,
    "estimator grid with cross-fitting and bootstrap": grid_regrets,
}
