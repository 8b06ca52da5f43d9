"""The tables and values that a page can name: each is a few lines that turn reference results into Markdown.

A function of `TABLES` or `VALUES` takes the reference of one benchmark and the options of its mark, and returns text. A
table of means says how many seeds, runs or samples (n) stand behind it; what used labels of absent classes reads
*oracle*.
"""

import pandas as pd

from ..analysis.gamma.estimators import (
    AUTO,
    ESTIMATORS,
    HALVES,
    LABELS,
    MATCHED_STAND_IN,
    NONE,
    ORACLE,
    PRETRAINED,
    THIRDS,
    UNLABELLED,
)
from ..core.errors import UserError
from .markdown import interval, number, spread, table

PERCENT = {"digits": 1, "scale": 100}
PRE_TRAINED, BATCHNORM_ONLY, FINE_TUNED = "pre-trained", "BatchNorm only", "fine-tuned"
STAR = "gamma* (*oracle*)"
MEASURES = {  # metric: label, format
    "gamma": ("gamma", {}),
    "acc_sy": ("seen among all, Acc_S/Y", PERCENT),
    "acc_uy": ("absent among all, Acc_U/Y", PERCENT),
    "acc_yy": ("all, Acc_Y/Y", PERCENT),
    "share": ("recovered gain: share of the oracle's gain in Acc_Y/Y", {}),
    "acc_ss": ("seen among seen, Acc_S/S", PERCENT),
    "acc_uu": ("absent among absent, Acc_U/U", PERCENT),
    "ncm_acc_sy": ("features, NCM Acc_S/Y (*oracle* means)", PERCENT),
    "ncm_acc_uy": ("features, NCM Acc_U/Y (*oracle* means)", PERCENT),
    "ausuc": ("AUSUC (0 to 100)", PERCENT),
    "p_absent_u": ("mean P(U given x) of absent samples", PERCENT),
    "confusion_u": ("absent samples that end in a seen class", PERCENT),
    "ece_y": ("calibration error of confidences (ECE)", PERCENT),
    "ece_u": ("the same, absent samples", PERCENT),
}
NEEDS = {
    PRETRAINED: "pre-trained model",
    HALVES: "3 runs on half of the seen classes",
    THIRDS: "3 runs on two thirds of the seen classes",
    UNLABELLED: "unlabelled target images",
    LABELS: "their labels",
}
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
CELL_SUMMARIES = ("median", "worst")


def find(frame: pd.DataFrame, **wanted: object) -> pd.Series:
    """The one row whose columns have the wanted values. Raises UserError where there is none, or several."""
    for column, value in wanted.items():
        frame = frame[frame[column] == value]
    if len(frame) != 1:
        named = ", ".join(f"{column} {value!r}" for column, value in wanted.items())
        raise UserError(f"the reference has {len(frame)} rows with {named}; expected one, so name another")
    return frame.iloc[0]


def maybe(frame: pd.DataFrame, digits: int = 2, scale: float = 1, **wanted: object) -> str:
    """`mean ± std` of the wanted row, or nothing where there is no such row."""
    try:
        return spread(find(frame, **wanted), digits, scale)
    except UserError:
        return ""


def title(method: str) -> str:
    """An estimator's name on a page: what `auto` takes is bold, and *oracle* and *transductive* stand out."""
    if method not in ESTIMATORS:
        return method.replace("(oracle)", "(*oracle*)")
    if method == ORACLE:
        return STAR
    plain = ESTIMATORS[method].title.replace("\n", " ").replace("(transductive)", "(*transductive*)")
    return f"**{plain}** (`auto`)" if method in AUTO else plain


def needs_of(method: str) -> frozenset[str]:
    """What an estimator needs; the cross-fitted oracle, none of `ESTIMATORS`, needs what the oracle does."""
    return ESTIMATORS.get(method, ESTIMATORS[ORACLE]).needs


def seeds(frame: pd.DataFrame) -> str:
    """How many seeds stand behind a table, for its first head cell: `n = 3 seeds`."""
    count = int(frame["n_seeds" if "n_seeds" in frame else "n"].max())
    return f"n = {count} seed{'s' * (count > 1)}"


# what happened, and what one constant brings back
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


# estimates of gamma
def estimators(ref) -> str:
    """The regret of each estimate of gamma: in each setting, their median and the worst, and the recovered gain."""
    found = ref.table("09_regrets")
    settings = [cell for cell in found["cell"].unique() if cell not in CELL_SUMMARIES]
    rows = []
    for method in found["method"].unique():
        own = found[found["method"] == method]
        needs = ", ".join(text for need, text in NEEDS.items() if need in needs_of(method)) or "nothing more"
        regrets = [
            interval(find(own, cell=cell, measure="regret"), value="value", scale=100, digits=2)
            for cell in (*settings, *CELL_SUMMARIES)
        ]
        share = number(find(own, cell="worst", measure="recovered_gain")["value"])
        rows.append([title(method), needs, *regrets, share])
    heads = [*settings, "median", "worst", "least recovered gain"]
    return table(rows, [f"estimator ({seeds(found)})", "needs beside the fine-tuned model and its data", *heads])


def label_shift(ref) -> str:
    """The regret in points where a share of the images is absent, for estimates told the share of the classes or
    another.
    """
    found = ref.table("09_label_shift_regret")
    columns = {
        "no shift": ("nothing", NONE),
        "stand-ins, share of the classes": ("classes", "stand_in"),
        "stand-ins, true share": ("true", "stand_in"),
        "stand-ins, estimated share": ("estimated", "stand_in"),
        "matched with stand-ins, share of the classes": ("classes", MATCHED_STAND_IN),
        "matched with stand-ins, true share": ("true", MATCHED_STAND_IN),
        "matched with stand-ins, estimated share": ("estimated", MATCHED_STAND_IN),
    }
    rows = []
    for share, own in found.groupby("absent_share"):
        picked = (find(own, told=told, method=method) for told, method in columns.values())
        rows.append([f"{100 * share:.0f} %", *(interval(row, value="regret", **PERCENT) for row in picked)])
    return table(rows, [f"absent images ({seeds(found)})", *columns])


def absent_share(ref) -> str:
    """How far estimates of the absent share are from the truth, in points, and how often the interval holds it."""
    found = ref.table("09_absent_share_errors")
    ways = list(found["estimate"].unique())
    rows = []
    for share, own in found.groupby("absent_share"):
        errors = []
        for way in ways:
            row = find(own, estimate=way)
            errors.append(f"{number(row['bias'], sign=True, **PERCENT)} ± {number(row['spread'], **PERCENT)}")
        covered = own.dropna(subset="covered")
        covers = ", ".join(f"{number(row['covered'])}" for _, row in covered.iterrows())
        rows.append([f"{100 * share:.0f} %", *errors, covers])
    with_interval = found.dropna(subset="covered")["estimate"].unique()
    head = [f"absent images (n = {int(found['n'].max())} pools)", *ways, f"interval covers: {', '.join(with_interval)}"]
    return table(rows, head)


# why
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


def claims(ref) -> str:
    """Every statement with its verdict, its difference with the interval, and the p value that decides."""
    rows = []
    for _, row in ref.table("claims").iterrows():
        in_points = row["quantity"].split(": ")[-1].startswith(("acc_", "ncm_acc_", "p_absent_", "ausuc"))
        style = PERCENT if in_points else {}
        samples = "" if pd.isna(row["n_samples"]) else f"{row['n_samples']:.0f} x "
        verdict = f"**{row['verdict']}**" if row["verdict"] != "undecided" else row["verdict"]
        rows.append(
            [
                row["claim"],
                row["family"],
                verdict,
                interval(row, sign=True, **style),
                "points" if in_points else "",
                "< 0.001" if row["p"] < 0.001 else number(row["p"], digits=3),
                f"{samples}{row['n_seeds']:.0f}",
            ]
        )
    head = ["claim", "family", "verdict", "difference [95 % interval]", "unit", "p (Holm)"]
    return table(rows, [*head, "n (samples or classes x seeds)"])


# what a benchmark and a machine are
def overview(ref) -> str:
    """Classes and images of each group for each seed's split."""
    found = ref.table("00_overview")
    rows = [list(row) for row in found.itertuples(index=False)]
    return table(rows, ["seed", "group", "classes", "training images", "test images"])


def licences(ref) -> str:
    """Where the images come from, from the manifest."""
    rows = [
        [f"`{each['package']}` {each['version']}", each["name"], each["author"], each["licence"]]
        for each in ref.manifest()["licences"]
    ]
    return table(rows, ["package", "set", "author", "licence"])


def processors(ref) -> str:
    """The same runs under other instruction sets and numbers of threads; the last column says how far they part."""
    return _settings(ref.table("processors"))


def processors_before(ref) -> str:
    """`processors` as measured before the draws were made exact."""
    return _settings(ref.table("processors_before"))


def _settings(found: pd.DataFrame) -> str:
    """A table of `bench/processors.py`."""
    labels = {"gamma*": STAR, "gamma stand_in": "gamma by stand-ins", "mean logit": "mean logit"}
    rows = []
    for _, row in found.iterrows():
        label, style = MEASURES.get(row["metric"], (labels.get(row["metric"]), {}))
        rows.append([label, *(number(value, **style) for value in row.drop(["seed", "metric"]))])
    settings = [
        f"{name} thread{'s' * (not name.endswith(' 1'))}" for name in found.columns.drop(["seed", "metric", "range"])
    ]
    return table(rows, [f"seed {found['seed'].unique().item()}, n = 1 run each", *settings, "range"])


def made_on(ref) -> str:
    """Which machine, settings and versions the reference was made with, as a sentence."""
    made = ref.made_on()
    versions = ", ".join(f"{name} {version}" for name, version in sorted(made["versions"].items()))
    threads = " or ".join(map(str, made["threads"]))
    return (
        f"Made on {made['date']} with profile `{made['profile']}` and seeds {made['seeds']}, on {made['cores']} "
        f"cores of {made['processor']} ({made['level']}), {threads} threads; {versions}."
    )


# single values, for sentences
def mean(ref, metric: str, checkpoint: str = FINE_TUNED) -> str:
    """A metric of the summary, with spread and n."""
    row = find(ref.table("summary_mean"), metric=metric, checkpoint=checkpoint)
    _, style = MEASURES.get(metric.split(": ")[-1], ("", {}))
    return f"{spread(row, **style)} (n = {row['n']:.0f})"


def against(ref, method: str, metric: str = "acc_uy") -> str:
    """Points above the pre-trained model, with interval."""
    row = find(ref.table("05_against_pretrained"), checkpoint=FINE_TUNED, method=method, metric=metric)
    return interval(row, sign=True, **PERCENT) + f" (n = {row['n_seeds']:.0f})"


def images(ref) -> str:
    """How many images a benchmark has."""
    return f"{len(ref.images()):,}"


def classes(ref) -> str:
    """How many classes a benchmark has."""
    return str(len(ref.manifest()["class_names"]))


def verdicts(ref, verdict: str) -> str:
    """How many claims hold, do not hold or are undecided."""
    return str((ref.table("claims")["verdict"] == verdict).sum())


def minutes(ref, command: str) -> str:
    """How long a command took, as a range over machines."""
    row = find(ref.shared("times"), command=command)
    return f"{row['low']:.0f} to {row['high']:.0f} minutes"


WITHOUT_MEANS = {"overview": overview, "licences": licences}  # counts and names: no n to tell
TABLES = {
    function.__name__: function
    for function in (
        accuracy,
        untouched,
        against_pretrained,
        posthoc,
        learning_rates,
        estimators,
        label_shift,
        absent_share,
        first_step,
        step_check,
        gain_prediction,
        head,
        toy,
        claims,
        processors,
        processors_before,
    )
}
TABLES |= WITHOUT_MEANS
VALUES = {function.__name__: function for function in (made_on, mean, against, images, classes, verdicts, minutes)}
