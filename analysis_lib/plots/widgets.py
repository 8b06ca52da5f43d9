"""Sliders for JupyterLab. Without a reader at the other end, what is shown first stays as a still figure."""

import math

import ipywidgets
import torch
from IPython.display import display
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ..analysis.gamma.curve import seen_absent_curve, shift_logits
from ..analysis.metrics.confusion import group_confusion
from ..core.class_split import ClassSplit
from . import calibration, style

STEP = 0.05


def gamma_figure(logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit, gamma: float) -> Figure:
    """The curve, the accuracies and the confusion between the groups at one gamma, for test logits (N, C) and labels
    (N,).
    """
    figure, axes = style.new_axes(3, width=3.9)
    calibration.draw_gamma(
        seen_absent_curve(logits, labels, split),
        group_confusion(shift_logits(logits, split, gamma), labels, split),
        gamma,
        axes,
    )
    return figure


def gamma_slider(
    logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit, gamma: float = 0.0
) -> ipywidgets.FloatSlider:
    """Show `gamma_figure` at once, and return a slider that redraws it as it moves.

    The slider spans every state of the curve, in steps from the given gamma. Raises UserError as `seen_absent_curve`.
    """
    ends = seen_absent_curve(logits, labels, split).gamma
    down, up = math.ceil((gamma - float(ends[0])) / STEP), math.ceil((float(ends[-1]) - gamma) / STEP)
    slider = ipywidgets.FloatSlider(
        gamma,
        min=gamma - STEP * max(down, 0),  # a browser moves what is no whole number of steps from here
        max=gamma + STEP * max(up, 0),
        step=STEP,
        description="gamma",
        layout=ipywidgets.Layout(width="60%"),
    )
    figure = gamma_figure(logits, labels, split, gamma)
    shown = display(figure, display_id=True)
    plt.close(figure)

    def redraw(change: dict) -> None:
        figure = gamma_figure(logits, labels, split, change["new"])
        shown.update(figure)
        plt.close(figure)

    slider.observe(redraw, "value")
    return slider
