"""Tables of docs/results.md that explain: the first step, who gains, the head, and the example in the plane."""

from ..markdown import interval, number, table
from .cells import PERCENT, find, maybe, seeds


def first_step(ref) -> str:
    """The first fine-tuning step on absent samples, to first order: means over targets."""
    found = ref.table("06_target_means")
    labels = {
        "common": "cosine of a target's motion with that of other targets",
        "lasting": "cosine of the first step with the whole fine-tuning",
        "lasting_permuted": "the same of a step with permuted labels (null)",
        "lasting - lasting_permuted": "... difference: what the labels add",
        "lasting_seen": "cosine of the first step with the whole fine-tuning, samples of seen classes",
        "lasting_seen_permuted": "the same of a step with permuted labels (null)",
        "rank_cosine": "rank correlation of a class's pull with feature nearness",
        "rank_kernel": "rank correlation of a class's pull with kernel similarity",
        "share_kernel": "part of all pulls from the 5 seen classes of highest kernel similarity",
        "share_chance": "the same for 5 classes at random",
        "margin_change": "change of the NCM margin for learning rate 1 (*oracle*)",
        "margin_change_permuted": "the same of a step with permuted labels (null, *oracle*)",
        "margin_change - margin_change_permuted": "... difference (*oracle*)",
    }
    rows = [[label, interval(find(found, metric=metric))] for metric, label in labels.items()]
    return table(rows, [f"n = {int(found['n_samples'].max())} targets of one seed", "mean [95 % interval]"])


def step_check(ref) -> str:
    """Predicted against real displacement of one step, over its length."""
    found = ref.table("06_step_check")
    rows = [[f"{row['eta']:.2g}", number(row["cosine"]), number(row["relative_error"])] for _, row in found.iterrows()]
    return table(rows, ["learning rate of the step (n = 1 seed)", "cosine", "relative error"])


def gain_prediction(ref) -> str:
    """What foretells which absent class gains: rank correlations over absent classes, random splits."""
    found = ref.table("06_prediction").query("split == 'random'")
    labels = {
        "feature_cosine": "feature nearness to a seen class",
        "head_cosine": "nearness of head rows to a seen class",
        "kernel": "kernel similarity to a seen class",
        "first_order": "first-order change of the margin",
        "shift_agreement": "agreement with the seen classes' shift",
        "confidence": "confidence of the pre-trained model",
        "start": "NCM accuracy before fine-tuning (*oracle*)",
    }
    rows = []
    for name, label in labels.items():
        cells = [label]
        for outcome in ("margin_gain", "ncm_gain"):
            row = find(found, predictor=name, outcome=outcome)
            cells += [interval(row), number(row["corrected"]) or "undefined"]
        rows.append([*cells, number(row["same_images"]), number(row["nothing_happened"])])
    return table(
        rows,
        [
            f"{seeds(found)}, {int(found['n_classes'].max())} absent classes each",
            "gain in NCM margin",
            "... corrected",
            "gain in NCM accuracy",
            "... corrected",
            "... on the same images",
            "... if nothing had happened",
        ],
    )


def head(ref) -> str:
    """The head after fine-tuning: norms, where the logit gap comes from, and which way the rows moved."""
    found = ref.table("04_head_at_the_end")
    labels = {
        "weight_norm_s - weight_norm_u": "norm of seen rows minus norm of absent rows",
        "gap": "mean seen minus mean absent logit, on absent samples",
        "angle_part": "... of it from angles",
        "norm_part": "... of it from norms",
        "bias_part": "... of it from biases",
        "update_uu": "cosine between updates of two absent rows",
        "update_su": "cosine between updates of a seen and an absent row",
        "update_ss": "cosine between updates of two seen rows",
        "relation_change_u": "change of the differences between absent rows, relative to their length",
        "relation_change_s": "the same for seen rows",
    }
    rows = [[label, interval(find(found, metric=metric), digits=3)] for metric, label in labels.items()]
    return table(rows, [seeds(found), "mean [95 % interval]"])


def toy(ref) -> str:
    """The example in the plane: changes by fine-tuning, one thing varied at a time."""
    found = ref.table("07_changes")
    metrics = {
        "acc_uy": "Acc_U/Y",
        "star_acc_uy": "Acc_U/Y with gamma* (*oracle*)",
        "ncm_acc_uy": "NCM Acc_U/Y (*oracle*)",
        "ausuc": "AUSUC",
    }
    rows = [
        [variant, *(maybe(found, variant=variant, metric=metric, **PERCENT) for metric in metrics)]
        for variant in found["variant"].unique()
    ]
    return table(rows, [f"change in points (n = {int(found['n'].max())} runs)", *metrics.values()])
