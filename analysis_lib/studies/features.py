"""Features of a study's runs, by epoch and by checkpoint, as tidy tables.

Epoch 0 is the pre-trained network. Features are those of the test samples unless a metric says otherwise. Metrics of
absent samples use their labels (*oracle*), for analysis and not for deployment.
"""

from functools import partial

import pandas as pd
import torch
from torch.nn.functional import normalize

from ..analysis.metrics import feature_drift, feature_space
from ..analysis.metrics.accuracy import accuracies
from ..analysis.metrics.linear_probe import linear_probe_scores
from ..analysis.metrics.ncm import class_means
from ..core import files, paths
from ..core.run_spec import RunSpec
from ..core.seeds import seed_for
from ..runs.outputs import Outputs
from ..runs.run_set import FINE_TUNED, PRE_TRAINED, RunSet

COLUMNS = ["seed", "epoch", "metric", "value"]
VIEWS = ("pca", "umap", "tsne")


def features_by_epoch(runs: RunSet) -> pd.DataFrame:
    """Displacement and dispersion of the features: columns seed, epoch, metric, value.

    Metrics: `displacement_s displacement_u cosine_class cosine_s cosine_u cosine_su` and `cka` against epoch 0;
    `motion_*_train` and `motion_*_test`, the displacement of class means since the last stored epoch; the 16 distances
    of `feature_drift.dispersion` as `<part>_<group>_<to>`.
    """
    rows = []
    for spec in runs.specs:
        split, first = runs.split(spec), runs.outputs(spec, 0, "test")
        last_means = {}
        for epoch in runs.epochs(spec):
            train, test = runs.outputs(spec, epoch, "train"), runs.outputs(spec, epoch, "test")
            spread = feature_drift.dispersion(train.features, train.labels, test.features, test.labels, split)
            found = {f"{part}_{group}_{to}": distance for part, group, to, distance in spread.itertuples(index=False)}
            means = {
                "train": class_means(train.features, train.labels, split.num_classes),
                "test": class_means(test.features, test.labels, split.num_classes),
            }
            if epoch:
                found |= feature_drift.displacement(first.features, test.features, test.labels, split)
                found["cka"] = feature_space.linear_cka(first.features, test.features)
                for part, now in means.items():
                    motion = feature_drift.mean_motion(last_means[part], now, split)
                    found |= {f"{name}_{part}": value for name, value in motion.items()}
            last_means = means
            rows += [(spec.seed, epoch, *pair) for pair in found.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def space_by_checkpoint(runs: RunSet) -> pd.DataFrame:
    """The feature space of each network compared: columns seed, checkpoint, metric, value.

    Metrics: `separability`, the test AUC of a linear classifier of S against U; `rank effective_rank
    participation_ratio` of the test features.
    """
    rows = []
    for spec in runs.specs:
        for checkpoint, (run, epoch) in runs.checkpoints(spec).items():
            train, test = runs.outputs(run, epoch, "train"), runs.outputs(run, epoch, "test")
            auc = feature_drift.separability(train.features, train.labels, test.features, test.labels, runs.split(spec))
            found = {"separability": auc}
            found |= feature_space.feature_dimensions(test.features)
            rows += [(spec.seed, checkpoint, *pair) for pair in found.items()]
    return pd.DataFrame(rows, columns=["seed", "checkpoint", "metric", "value"])


def linear_probe_by_checkpoint(runs: RunSet) -> pd.DataFrame:
    """The five accuracies of a linear probe of each network: columns seed, checkpoint, metric, value. *Oracle*.

    Metrics: `probe_acc_yy` and so on. The probe is fitted on training features of all classes, and computed once and
    cached.
    """
    rows = []
    for spec in runs.specs:
        for checkpoint, (run, epoch) in runs.checkpoints(spec).items():
            train, test = runs.outputs(run, epoch, "train"), runs.outputs(run, epoch, "test")
            fit = partial(_probe, train, test, runs.split(spec).num_classes)
            scores = files.cached(paths.run_linear_probe(run.run_id, epoch), fit)["scores"]
            found = accuracies(scores, test.labels, runs.split(spec))
            rows += [(spec.seed, checkpoint, f"probe_{name}", value) for name, value in found.items()]
    return pd.DataFrame(rows, columns=["seed", "checkpoint", "metric", "value"])


def _probe(train: Outputs, test: Outputs, num_classes: int) -> dict[str, torch.Tensor]:
    return {"scores": linear_probe_scores(train.features, train.labels, test.features, num_classes)}


def views(runs: RunSet, spec: RunSpec) -> pd.DataFrame:
    """Unit test features before and after in one plane, by PCA, UMAP and t-SNE; computed once and cached.

    Columns: view, sample (row of the manifest), label (class name), group, checkpoint, x, y.
    """
    split = runs.split(spec)
    ends = {PRE_TRAINED: runs.outputs(spec, 0, "test"), FINE_TUNED: runs.outputs(spec, spec.epochs, "test")}

    def project() -> dict[str, torch.Tensor]:
        before = normalize(ends[PRE_TRAINED].features.double(), dim=1)
        after = normalize(ends[FINE_TUNED].features.double(), dim=1)
        seed = seed_for("views", spec.run_id) % 2**32
        planes = {
            "pca": feature_space.joint_pca(before, after)[:2],
            "umap": feature_space.joint_umap(before, after, seed),
            "tsne": feature_space.joint_tsne(before, after, seed),
        }
        return {view: torch.stack(pair) for view, pair in planes.items()}

    points = files.cached(paths.run_views(spec.run_id), project)
    test = ends[PRE_TRAINED]
    groups = ["seen" if seen else "absent" for seen in split.is_seen(test.labels)]
    names = [runs.manifest.class_names[y] for y in test.labels]
    frames = []
    for view in VIEWS:
        for checkpoint, plane in zip(ends, points[view]):
            columns = {
                "view": view,
                "sample": test.index,
                "label": names,
                "group": groups,
                "checkpoint": checkpoint,
                "x": plane[:, 0],
                "y": plane[:, 1],
            }
            frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)
