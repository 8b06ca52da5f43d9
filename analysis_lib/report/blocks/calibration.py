"""Tables of docs/results.md: what fine-tuning does, and what one constant brings back."""

from ...analysis.gamma.estimators import ORACLE
from ..markdown import interval, spread, table
from .cells import BATCHNORM_ONLY, FINE_TUNED, MEASURES, PERCENT, PRE_TRAINED, STAR, find, maybe, seeds, title

TREATMENTS = {
    "none": "no treatment",
    "logit_adjustment": "logits adjusted by the training prior",
    "group_temperature": "a temperature for each group",
    "weight_alignment": "head weights of equal norm",
    "group_posterior": "group of the larger posterior first",
    "pretrained_head": "the head from before fine-tuning",
    "wise": "WiSE, halfway between before and after",
    "alg": "shift by ALG",
    "pcv": "shift by PCV",
    "stand_in": "shift by stand-ins",
    "transported_cv": "shift by transported folds",
    "ncm": "nearest class means (*oracle*)",
    "wise, gamma* (oracle)": "WiSE, shift by its own gamma* (*oracle*)",
    "fine-tuned on all classes (oracle)": "fine-tuned on all classes (*oracle*)",
    ORACLE: f"shift by {STAR}",
}


def accuracy(ref) -> str:
    """Before, after, and after with each gamma: accuracies, share of the oracle's gain, calibration error."""
    shifted, treated = ref.table("05_calibration"), ref.table("05_posthoc")
    heads = {"none": FINE_TUNED, "alg": "+ ALG", "pcv": "+ PCV", "stand_in": "+ stand-ins"}
    heads |= {"transported_cv": "+ transported folds", ORACLE: f"+ {STAR}"}
    rows = []
    for metric in ("gamma", "acc_sy", "acc_uy", "acc_yy", "share", "ece_y"):
        label, style = MEASURES[metric]
        before = (
            "" if metric == "share" else maybe(shifted, checkpoint=PRE_TRAINED, method="none", metric=metric, **style)
        )
        after = [
            maybe(shifted, checkpoint=FINE_TUNED, method=method, metric=metric, **style)
            or maybe(treated, method=method, metric=metric, **style)
            for method in heads
        ]
        rows.append([label, before, *after])
    return table(rows, [seeds(shifted), PRE_TRAINED, *heads.values()])


def untouched(ref) -> str:
    """Each network compared, the control among them: accuracies of absent samples, features, the curve, and the mass
    that fell.
    """
    means = ref.table("summary_mean")
    rows = []
    checkpoints = (PRE_TRAINED, BATCHNORM_ONLY, FINE_TUNED)
    best = f"{ORACLE}: acc_yy"
    for metric in ("acc_uy", "acc_uu", "ncm_acc_sy", "ncm_acc_uy", "ausuc", best, "p_absent_u", "confusion_u"):
        label, style = (f"all, Acc_Y/Y, with its own {STAR}", PERCENT) if metric == best else MEASURES[metric]
        rows.append([label, *(maybe(means, checkpoint=state, metric=metric, **style) for state in checkpoints)])
    return table(rows, [seeds(means), *checkpoints])


def against_pretrained(ref) -> str:
    """Accuracy of the shifted fine-tuned model minus the pre-trained one, with intervals."""
    found = ref.table("05_against_pretrained")
    own = found[found["checkpoint"] == FINE_TUNED]
    rows = [
        [
            title(method),
            *(
                interval(find(own, method=method, metric=metric), sign=True, **PERCENT)
                for metric in ("acc_uy", "acc_yy")
            ),
        ]
        for method in own["method"].unique()
    ]
    return table(rows, [seeds(found), "Acc_U/Y minus pre-trained", "Acc_Y/Y minus pre-trained"])


def posthoc(ref) -> str:
    """Shifts beside other treatments of a fine-tuned model."""
    found = ref.table("05_posthoc")
    metrics = {
        "acc_sy": "Acc_S/Y",
        "acc_uy": "Acc_U/Y",
        "acc_yy": "Acc_Y/Y",
        "ausuc": "AUSUC",
        "ece_y": "ECE",
        "ece_u": "ECE, absent",
    }
    rows = [
        [label, *(maybe(found, method=method, metric=metric, **PERCENT) for metric in metrics)]
        for method, label in TREATMENTS.items()
    ]
    return table(rows, [seeds(found), *metrics.values()])


def learning_rates(ref) -> str:
    """Every setting of the estimator grid without a shift, and over all classes with two shifts: damage depends on the
    recipe.
    """
    chosen = ref.table("09_choices")
    rows = []
    for (lr, epochs), own in chosen.groupby(["lr", "epochs"]):
        long = own.melt(["method"], ["acc_sy", "acc_uy", "acc_yy"], "metric")
        means = long.groupby(["method", "metric"])["value"].agg(["mean", "std"]).reset_index()
        plain = [
            spread(find(means, method="none", metric=metric), **PERCENT) for metric in ("acc_sy", "acc_uy", "acc_yy")
        ]
        shifted = [
            spread(find(means, method=method, metric="acc_yy"), **PERCENT)
            for method in ("stand_in", "transported_cv", ORACLE)
        ]
        rows.append([f"{lr:g}, {epochs} epochs", *plain, *shifted])
    count = chosen["seed"].nunique()
    return table(
        rows,
        [
            f"learning rate (n = {count} seeds)",
            "Acc_S/Y",
            "Acc_U/Y",
            "Acc_Y/Y",
            "Acc_Y/Y, stand-ins",
            "Acc_Y/Y, transported folds",
            f"Acc_Y/Y, {STAR}",
        ],
    )


def mean(ref, metric: str, checkpoint: str = FINE_TUNED) -> str:
    """A metric of the summary, with spread and n."""
    row = find(ref.table("summary_mean"), metric=metric, checkpoint=checkpoint)
    _, style = MEASURES.get(metric.split(": ")[-1], ("", {}))
    return f"{spread(row, **style)} (n = {row['n']:.0f})"


def against(ref, method: str, metric: str = "acc_uy") -> str:
    """Points above the pre-trained model, with interval."""
    row = find(ref.table("05_against_pretrained"), checkpoint=FINE_TUNED, method=method, metric=metric)
    return interval(row, sign=True, **PERCENT) + f" (n = {row['n_seeds']:.0f})"
