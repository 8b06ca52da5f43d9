"""The head and the features of a study's runs, epoch by epoch, as tidy tables: columns seed, epoch, metric, value.

Epoch 0 is the pre-trained network. Features and logits are those of the test samples unless a metric says otherwise.
Whatever is asked of absent samples uses their labels (*oracle*), to understand and not to deploy.
"""

import pandas as pd
import torch
from torch.nn.functional import normalize

from . import paths, runtime, store
from .analysis import head, motion, representation
from .analysis.ncm import class_means
from .spec import RunSpec
from .study import PRE_TRAINED, Study

COLUMNS = ["seed", "epoch", "metric", "value"]
VIEWS = ("pca", "umap", "tsne")


def head_by_epoch(study: Study) -> pd.DataFrame:
    """What happens to the linear head, and to the logits of absent samples.

    Metrics: `weight_norm_* bias_* feature_norm_*` per group and `weight_norm_s - weight_norm_u`; `gap norm_part angle_part
    bias_part` of the mean logit gap on absent samples, and `angle_part - norm_part`; `logit_true logit_other_absent logit_seen`; against epoch 0,
    `update_ss update_uu update_su` (mean cosines of head updates), `update_uu - update_su`, and `relation_change
    relation_cosine` among absent classes.
    """
    rows = []
    for spec in study.specs:
        split, start = study.split(spec), study.head(spec, 0)[0]
        for epoch in study.epochs(spec):
            (weight, bias), test = study.head(spec, epoch), study.outputs(spec, epoch, "test")
            absent = test.features[~split.is_seen(test.labels)]
            found = head.head_norms(weight, bias, split) | head.feature_norms(test.features, test.labels, split)
            found["weight_norm_s - weight_norm_u"] = found["weight_norm_s"] - found["weight_norm_u"]
            found |= head.logit_gap(weight, bias, absent, split) | motion.absent_logits(test.logits, test.labels, split)
            found["angle_part - norm_part"] = found["angle_part"] - found["norm_part"]
            if epoch:
                blocks = head.block_means(head.update_similarity(start, weight), split)
                found |= {f"update_{name}": value for name, value in blocks.items()} | {"update_uu - update_su": blocks["uu"] - blocks["su"]}
                found |= head.relation_change(start, weight, split.absent)
            rows += [(spec.seed, epoch, *pair) for pair in found.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def update_similarity(study: Study, spec: RunSpec) -> torch.Tensor:
    """Cosines (C, C) between the head rows' changes over the whole fine-tuning of a run."""
    return head.update_similarity(study.head(spec, 0)[0], study.head(spec, spec.epochs)[0])


def features_by_epoch(study: Study) -> pd.DataFrame:
    """How the features move and spread.

    Metrics: `displacement_s displacement_u cosine_class cosine_s cosine_u cosine_su` and `cka` against epoch 0;
    `motion_*_train` and `motion_*_test`, of class means since the epoch stored before; the 16 of `motion.dispersion` as
    `<part>_<group>_<to>`.
    """
    rows = []
    for spec in study.specs:
        split, first, last_means = study.split(spec), study.outputs(spec, 0, "test"), None
        for epoch in study.epochs(spec):
            train, test = (study.outputs(spec, epoch, part) for part in ("train", "test"))
            spread = motion.dispersion(train.features, train.labels, test.features, test.labels, split)
            found = {f"{part}_{group}_{to}": distance for part, group, to, distance in spread.itertuples(index=False)}
            means = {part: class_means(outputs.features, outputs.labels, split.num_classes) for part, outputs in (("train", train), ("test", test))}
            if epoch:
                found |= motion.displacement(first.features, test.features, test.labels, split)
                found["cka"] = representation.linear_cka(first.features, test.features)
                for part, now in means.items():
                    found |= {f"{name}_{part}": value for name, value in motion.mean_motion(last_means[part], now, split).items()}
            last_means = means
            rows += [(spec.seed, epoch, *pair) for pair in found.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def space_by_checkpoint(study: Study) -> pd.DataFrame:
    """The feature space before and after: columns seed, checkpoint, metric, value.

    Metrics: `separability`, the test AUC of a linear classifier of S against U; `rank effective_rank
    participation_ratio` of the test features.
    """
    rows = []
    for spec in study.specs:
        for checkpoint, epoch in study.checkpoints(spec).items():
            train, test = (study.outputs(spec, epoch, part) for part in ("train", "test"))
            found = {"separability": motion.separability(train.features, train.labels, test.features, test.labels, study.split(spec))}
            found |= representation.feature_dimensions(test.features)
            rows += [(spec.seed, checkpoint, *pair) for pair in found.items()]
    return pd.DataFrame(rows, columns=["seed", "checkpoint", "metric", "value"])


def views(study: Study, spec: RunSpec) -> pd.DataFrame:
    """Unit test features before and after in one plane, by PCA, UMAP and t-SNE; made once and stored beside the run.

    Columns: view, sample (row of the manifest), label (class name), group, checkpoint, x, y.
    """
    split = study.split(spec)
    ends = {checkpoint: study.outputs(spec, epoch, "test") for checkpoint, epoch in study.checkpoints(spec).items()}

    def project() -> dict[str, torch.Tensor]:
        before, after = (normalize(part.features.double(), dim=1) for part in ends.values())
        seed = runtime.seed_for("views", spec.run_id) % 2**32
        planes = (representation.joint_pca(before, after)[:2], representation.joint_umap(before, after, seed), representation.joint_tsne(before, after, seed))
        return {view: torch.stack(pair) for view, pair in zip(VIEWS, planes)}

    points, test = store.kept(paths.run_views(spec.run_id), project), ends[PRE_TRAINED]
    groups = ["seen" if seen else "absent" for seen in split.is_seen(test.labels)]
    names = [study.manifest.class_names[y] for y in test.labels]
    frames = [pd.DataFrame({"view": view, "sample": test.index, "label": names, "group": groups, "checkpoint": checkpoint, "x": plane[:, 0], "y": plane[:, 1]})
              for view in VIEWS for checkpoint, plane in zip(ends, points[view])]
    return pd.concat(frames, ignore_index=True)


def offsets(study: Study, gammas: pd.DataFrame) -> pd.DataFrame:
    """The head's own offset against the absent classes beside the gammas that undo it (M8): columns seed, quantity, value.

    `head offset`: what the whole change of the head adds to the mean seen logit over the mean absent one, on absent test
    features after fine-tuning. The other quantities are the methods of `gammas`, from `shifts.calibrations`.
    """
    rows = []
    for spec in study.specs:
        split, test = study.split(spec), study.outputs(spec, spec.epochs, "test")
        (weight, bias), (start, first) = study.head(spec, spec.epochs), study.head(spec, 0)
        absent = test.features[~split.is_seen(test.labels)]
        rows.append((spec.seed, "head offset", head.logit_gap(weight - start, bias - first, absent, split)["gap"]))
    frame = pd.DataFrame(rows, columns=["seed", "quantity", "value"])
    chosen = gammas[gammas["checkpoint"] != PRE_TRAINED].rename(columns={"method": "quantity", "gamma": "value"})
    return pd.concat([frame, chosen[["seed", "quantity", "value"]]], ignore_index=True)
