"""Tables of docs/petl.md: parameter-efficient methods and feature probing compared."""

import torch

from ...analysis.gamma.estimators import ESTIMATORS, MATCHED, NONE, ORACLE
from ...core.seeds import generator_for
from ...models.create import create_model
from ...models.petl import TECHNIQUES
from ...models.petl.inserted import inserted_parameters
from ...studies.fine_tuning_methods import NCM
from ...studies.petl import TITLES
from ..markdown import interval, number, table
from .cells import PERCENT, STAR, find, maybe, seeds
from .methods import choices, costs

REFERENCE_NETWORK = "vit_base_patch16_224"
ESTIMATED = (NONE, "alg", "max_gap", "stand_in", "pcv_thirds", "transported_cv", MATCHED)


def named(method: str) -> str:
    """A method's title; a network that no method trained keeps its name."""
    return TITLES.get(method, f"*{method}*")


def petl_parameters(ref) -> str:
    """The weights of ViT-B/16 that each technique trains beside the head, with its default options."""
    rows = []
    for name, technique in TECHNIQUES.items():
        with torch.device("meta"):
            model = create_model(REFERENCE_NETWORK, 2)
        head = {id(parameter) for parameter in model.get_classifier().parameters()}
        own = {id(p): p.numel() for p in technique().trained(model) if id(p) not in head}
        technique().insert(model, generator_for("counted"))
        count = sum(own.values()) + sum(parameter.numel() for parameter in inserted_parameters(model))
        words = ["yes" if technique.folds else "", "yes" if technique.any_network else ""]
        rows.append([f"`{name}`", technique.title, f"{count:,}", *words])
    return table(rows, ["name", "technique", "weights of ViT-B/16", "folds into a plain checkpoint", "any network"])


def petl_methods(ref) -> str:
    """Every method: trained weights, accuracies without and with shifts, gamma*, AUSUC, and NCM."""
    found, weights = ref.table("13_methods"), ref.table("13_costs").set_index("method")["trainable"]
    area = found.query("metric == 'ausuc' and treatment == 'none'").sort_values("mean", ascending=False)
    rows = []
    for name in area["method"]:
        own = found[found["method"] == name]
        trained = f"{weights[name]:,}" if name in weights else ""
        plain = [maybe(own, treatment=NONE, metric=metric, **PERCENT) for metric in ("acc_sy", "acc_uy", "acc_yy")]
        shifted = [maybe(own, treatment=way, metric="acc_yy", **PERCENT) for way in ("stand_in", ORACLE)]
        gamma = maybe(own, treatment=ORACLE, metric="gamma")
        curve = maybe(own, treatment=NONE, metric="ausuc", **PERCENT)
        rows.append(
            [
                named(name),
                trained,
                *plain,
                *shifted,
                gamma,
                curve,
                maybe(own, treatment=NCM, metric="acc_uy", **PERCENT),
            ]
        )
    shifts = ["Acc_Y/Y, stand-ins", f"Acc_Y/Y, {STAR}", STAR]
    head = ["trained weights", "Acc_S/Y", "Acc_U/Y", "Acc_Y/Y", *shifts, "AUSUC", "NCM Acc_U/Y (*oracle*)"]
    return table(rows, [seeds(found), *head])


def petl_differences(ref) -> str:
    """Every method minus full fine-tuning with the same treatment, with intervals."""
    found = ref.table("13_differences")
    columns = {
        "Acc_U/Y without a shift": {"treatment": NONE, "metric": "acc_uy"},
        "Acc_Y/Y without a shift": {"treatment": NONE, "metric": "acc_yy"},
        "Acc_Y/Y, each with its stand-ins": {"treatment": "stand_in", "metric": "acc_yy"},
        "AUSUC": {"treatment": NONE, "metric": "ausuc"},
        "NCM Acc_U/Y (*oracle*)": {"treatment": NCM, "metric": "acc_uy"},
    }
    rows = []
    for name in found.query("metric == 'ausuc'").sort_values("mean", ascending=False)["method"]:
        own = found[found["method"] == name]
        cells = [own[(own["treatment"] == c["treatment"]) & (own["metric"] == c["metric"])] for c in columns.values()]
        rows.append(
            [named(name), *(interval(cell.iloc[0], sign=True, **PERCENT) if len(cell) else "" for cell in cells)]
        )
    return table(rows, [f"minus full fine-tuning, points ({seeds(found)})", *columns])


def petl_claims(ref) -> str:
    """How many claims of each family hold, and for which methods they do and do not."""
    found = ref.table("13_claims")
    rows = []
    for family, own in found.groupby("family", sort=False):
        counts = own["verdict"].value_counts()
        verdicts = [str(counts.get(verdict, 0)) for verdict in ("holds", "undecided", "does not hold")]
        lists = [
            ", ".join(map(named, own[own["verdict"] == verdict]["method"])) for verdict in ("holds", "does not hold")
        ]
        rows.append([family, *verdicts, *lists])
    return table(rows, [f"family ({seeds(found)})", "holds", "undecided", "does not hold", "holds for", "does not for"])


def petl_regrets(ref) -> str:
    """What Acc_Y/Y lacks to that with gamma*, for every method and some estimators."""
    found = ref.table("13_regrets")
    estimators = [name for name in ESTIMATED if name in set(found["estimator"])]
    rows = []
    for name, own in found.groupby("method", sort=False):
        rows.append([named(name), *(maybe(own, estimator=each, **PERCENT) for each in estimators)])
    titles = [ESTIMATORS[name].title.replace("(transductive)", "(*transductive*)") for name in estimators]
    return table(rows, [f"regret, points ({seeds(found)})", *titles])


def petl_wise(ref) -> str:
    """Acc_Y/Y of WiSE at every alpha, without a shift and with stand-ins."""
    found = ref.table("13_wise_means")
    alphas = sorted(found["alpha"].unique())
    rows = []
    for (name, treatment), own in found[found["treatment"] != ORACLE].groupby(["method", "treatment"], sort=False):
        words = "without" if treatment == NONE else "stand-ins"
        rows.append([named(name), words, *(maybe(own, alpha=alpha, **PERCENT) for alpha in alphas)])
    return table(rows, [f"Acc_Y/Y ({seeds(found)})", "shift", *(f"alpha {alpha:g}" for alpha in alphas)])


def petl_ensembles(ref) -> str:
    """Ensembles of all methods beside single networks, without and with each member's stand-ins."""
    found = ref.table("13_ensembles")
    rows = []
    for (name, treatment), own in found.groupby(["ensemble", "treatment"], sort=False):
        star = " (*oracle*)" if own["oracle"].iloc[0] else ""
        accuracies = [interval(find(own, metric=metric), **PERCENT) for metric in ("acc_sy", "acc_uy", "acc_yy")]
        words = "without" if treatment == NONE else "stand-ins"
        rows.append([name.replace("_", " ") + star, words, *accuracies])
    return table(rows, [f"networks together ({seeds(found)})", "shift", "Acc_S/Y", "Acc_U/Y", "Acc_Y/Y"])


def petl_choice(ref) -> str:
    """The learning rates among which was chosen on development seeds: the area under the curve, the choice in bold."""
    return choices(ref.table("13_choice"), named, "learning rate")


def petl_costs(ref) -> str:
    """What a step costs, relative to full fine-tuning, on the machine of the reference."""
    return costs(ref.table("13_costs"), named)


def petl_memory(ref) -> str:
    """What a training step of ViT-B/16 keeps for its backward pass, beside VQT."""
    rows = [
        [
            named(row.method),
            f"{row.trainable:,}",
            number(row.saved_mb, 0),
            number(row.times_saved, 2),
            number(row.times, 2),
            number(row.memory_mb, 0),
        ]
        for row in ref.shared("petl_memory").itertuples()
    ]
    head = [
        "trained weights",
        "kept for the backward pass, MB",
        "beside VQT",
        "time of a step beside VQT",
        "peak of the process, MB",
    ]
    return table(rows, ["n = 1 process", *head])


def petl_depths(ref) -> str:
    """In how many of the last blocks of ViT-B/16 a technique fits into the memory of VQT in all of them."""
    rows = [
        [f"{row.queries}", number(row.vqt_mb, 1), named(row.method), f"{row.blocks}", *_mb(row.saved_mb, row.next_mb)]
        for row in ref.shared("petl_depths").itertuples()
    ]
    return table(
        rows, ["queries of VQT", "its MB", "technique", "blocks that fit", "MB with so many", "MB with one more"]
    )


def _mb(*sizes: float) -> list[str]:
    return [number(size, 1) for size in sizes]
