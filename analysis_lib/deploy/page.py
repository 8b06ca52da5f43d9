"""The page of the verbs `calibrate` and `finetune`: one HTML file with its pictures, and advice."""

import base64
import io

import jinja2
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..analysis.gamma.curve import SeenAbsentCurve
from ..analysis.metrics.accuracy import max_over
from ..core.class_split import ClassSplit
from ..plots import calibration, style
from .absent_share import CLASSES, ESTIMATED, GIVEN

COLUMNS = {"acc_sy": "seen, Acc_S/Y", "acc_uy": "absent, Acc_U/Y", "acc_yy": "all, Acc_Y/Y"}
SEEN_COLUMNS = {"acc_ss": "among the seen classes, Acc_S/S", "acc_sy": "among all classes, Acc_S/Y"}
ROWS = {
    "pretrained": "pre-trained",
    "before": "as fine-tuned",
    "after": "calibrated",
    "oracle": "best constant (oracle: chosen on these test labels)",
}
SOURCES = {CLASSES: "their share of the classes", GIVEN: "given", ESTIMATED: "estimated from unlabelled samples"}
# fractions: least plausible accuracy, samples moved to absent classes, and distance to gamma* that need a word
ENOUGH, MANY, FAR = 0.5, 0.1, 0.02


def advice(report: dict) -> list[str]:
    """Advice on what to do next, one sentence or paragraph an entry."""
    own, test = report["fine_tuning_data"], report.get("test")
    lines = []
    if own["acc_ss"] < ENOUGH:
        lines.append(
            f"Only {own['acc_ss']:.0%} of the fine-tuning samples are right among the seen classes. Check the order "
            "of the classes, the image size, and mean and std: they must be those of the fine-tuning."
        )
    if report["gamma"] <= 0:
        lines.append(
            "gamma is not positive: by this estimate the seen classes are not scored too high. Keep the model as it "
            "was fine-tuned, or try another estimator."
        )
    if own["after"]["predicted_absent"] > MANY:
        lines.append(
            f"{own['after']['predicted_absent']:.0%} of the fine-tuning samples are now predicted as absent classes, "
            f"against {own['before']['predicted_absent']:.0%} before: gamma may be too large."
        )
    lines += _share_advice(report["absent_share"])
    lines += _held_out_advice(report.get("held_out"))
    if not report.get("gamma_in_checkpoint", True):
        lines.append("The checkpoint is as fine-tuned: gamma is not in it. The verb `calibrate` can add it later.")
    if not test:
        lines.append(
            "Nothing here measures the absent classes. If you have labelled samples of them, pass them with --test."
        )
        return lines
    before, after, oracle = test["before"], test["after"], test["oracle"]
    lines.append(
        f"On the test data the absent classes go from {before['acc_uy']:.1%} to {after['acc_uy']:.1%}, the seen ones "
        f"from {before['acc_sy']:.1%} to {after['acc_sy']:.1%}, all together from {before['acc_yy']:.1%} to "
        f"{after['acc_yy']:.1%}."
    )
    if after["acc_yy"] < before["acc_yy"]:
        lines.append("Over all samples it loses: use it only if absent classes matter more to you than seen ones.")
    if oracle["acc_yy"] - after["acc_yy"] > FAR:
        side = "stops short of it" if oracle["gamma"] > report["gamma"] else "goes past it"
        lines.append(
            f"The best constant would be {oracle['gamma']:.2f} ({oracle['acc_yy']:.1%} over all). It is an oracle, "
            f"chosen on these labels: the estimate {side}; another estimator may come closer, but then judge it on "
            "samples that did not choose it."
        )
    if "pretrained" in test and test["pretrained"]["acc_yy"] > after["acc_yy"]:
        lines.append(
            f"The pre-trained model is better over all ({test['pretrained']['acc_yy']:.1%}): this fine-tuning did not "
            "pay."
        )
    return lines


def _share_advice(share: dict | None) -> list[str]:
    """What share of absent samples was assumed, and how it could be known better; nothing if none was."""
    if not share:
        return []
    found, value = share["estimate"], f"{share['value']:.0%}"
    measured = ""
    if found:
        measured = (
            f"{found['share']:.0%} ({found['low']:.0%} to {found['high']:.0%}), from {found['n_unlabelled']} "
            f"unlabelled and {found['n_held_out']} held-out samples"
        )
    if share["source"] == ESTIMATED:
        return [f"The share of absent samples is estimated as {measured}."]
    if share["source"] == GIVEN:
        line = f"The share of absent samples was given: {value}."
        if found and not found["low"] <= share["value"] <= found["high"]:
            line += f" The unlabelled samples say otherwise: {measured}. Check which is right."
        return [line]
    line = (
        f"{value} of the samples in use are assumed to be of absent classes, which is their share of the classes. If "
        "you expect another, say so with --absent-share; or give images from the place of use with --unlabelled beside "
        "held-out ones, and it is estimated."
    )
    return [line]


def _held_out_advice(held_out: dict | None) -> list[str]:
    """What fine-tuning and gamma did to held-out samples of seen classes; nothing if there are none."""
    if not held_out:
        return []
    steps = {"pretrained": "before fine-tuning", "before": "after it", "after": "with gamma"}
    told = [f"{held_out[row]['acc_sy']:.1%} {when}" for row, when in steps.items() if row in held_out]
    lines = [f"On {held_out['samples']} held-out samples the seen classes among all are right in {', '.join(told)}."]
    if "pretrained" in held_out and held_out["after"]["acc_sy"] <= held_out["pretrained"]["acc_sy"]:
        lines.append("The seen classes gained nothing: train longer or at another learning rate.")
    return lines


def page(report: dict, pictures: dict[str, Figure], loading: str) -> str:
    """The HTML text. pictures : figures under their captions; loading : Python code that loads the result, or empty."""
    templates = jinja2.Environment(loader=jinja2.PackageLoader(__package__, "."), autoescape=True)
    drawn = {caption: _svg(figure) for caption, figure in pictures.items()}
    template = templates.get_template("page.html")
    tables = {"columns": COLUMNS, "seen_columns": SEEN_COLUMNS, "rows": ROWS, "sources": SOURCES}
    return template.render(report=report, loading=loading, pictures=drawn, **tables)


def _svg(figure: Figure) -> str:
    with style.any_letters(), io.BytesIO() as file:
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        return base64.b64encode(file.getvalue()).decode()


def draw_gaps(logits: torch.Tensor, split: ClassSplit, gamma: float, ax: Axes) -> Axes:
    """Histogram of largest seen minus largest absent logit on the fine-tuning samples, with gamma as a line."""
    gap = max_over(logits, split.seen)[0] - max_over(logits, split.absent)[0]
    ax.hist(gap[gap.isfinite()].numpy(), bins=40, color=style.SEEN)
    ax.axvline(gamma, color="black", linestyle="--", label=f"$\\gamma$ = {gamma:.2f}: left of it, now absent")
    ax.legend(fontsize=9)
    ax.set(xlabel="largest seen logit minus largest absent logit", ylabel="fine-tuning samples")
    return ax


def draw_curve(curve: SeenAbsentCurve, test: dict, ax: Axes) -> Axes:
    """The seen-absent curve of the test data, with points before and after calibration and at gamma*."""
    ax.plot(100 * curve.acc_sy, 100 * curve.acc_uy, color=style.ABSENT, linewidth=1)
    for row, marker in (("pretrained", "D"), ("before", "o"), ("after", "^"), ("oracle", "*")):
        if row not in test:
            continue
        label, size = ROWS[row], 48
        if row == "oracle":
            label, size = "$\\gamma^*$ (oracle)", 110
        ax.scatter(
            100 * test[row]["acc_sy"],
            100 * test[row]["acc_uy"],
            marker=marker,
            s=size,
            label=label,
            zorder=3,
            color=style.BOTH if row == "pretrained" else style.ABSENT,
            edgecolor="white",
        )
    ax.legend(fontsize=9)
    ax.set(xlabel="Acc$_{S/Y}$ (%)", ylabel="Acc$_{U/Y}$ (%)", xlim=(0, None), ylim=(0, None))
    return ax


def draw_before_after(test: dict, ax: Axes) -> Axes:
    """The accuracies before and after calibration, side by side."""
    for offset, row, hatch in ((-0.2, "before", "//"), (0.2, "after", "")):
        values = [100 * test[row][key] for key in COLUMNS]
        bars = ax.bar(
            [place + offset for place in range(3)],
            values,
            0.38,
            hatch=hatch,
            label=ROWS[row],
            edgecolor="white",
            color=[style.SEEN, style.ABSENT, style.BOTH],
        )
        ax.bar_label(bars, fmt="%.1f", fontsize=9)
    ax.set_xticks(range(3), list(COLUMNS.values()))
    ax.legend(fontsize=9)
    ax.set(ylabel="test accuracy (%)", ylim=(0, 108))
    return ax


def draw_pictures(
    logits: torch.Tensor, split: ClassSplit, names: list[str], report: dict, curve: SeenAbsentCurve | None
) -> dict[str, Figure]:
    """All pictures under their captions; those of the test data only if there is any."""
    pictures = {}

    def axes(caption: str) -> Axes:
        pictures[caption] = Figure(figsize=(6.4, 3.9), layout="constrained")
        return pictures[caption].subplots()

    if curve:
        test = report["test"]
        draw_before_after(test, axes("Test accuracy before and after calibration."))
        caption = (
            "Seen-absent curve of the fine-tuned model on the test data. The star is an oracle, chosen on these labels."
        )
        draw_curve(curve, test, axes(caption))
        shown = names or [f"class {c}" for c in range(split.num_classes)]
        for when in ("before", "after"):
            rows = [row for row in test["seen_confusions"] if row[when]]
            seen = [shown[row["seen"]] for row in rows]
            confused = pd.DataFrame({"seen": seen, "taken": [row[when] for row in rows]})
            if len(confused):
                caption = f"The seen classes that take absent-class test samples, {when} calibration."
                calibration.draw_seen_confusions(confused, axes(caption))
    caption = "The fine-tuning samples, all of seen classes: by how much a seen class wins."
    draw_gaps(logits, split, report["gamma"], axes(caption))
    return pictures
