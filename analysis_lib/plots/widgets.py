"""Sliders for JupyterLab. Without a reader at the other end, what is shown first stays as a still figure."""

import ipywidgets
import torch
from IPython.display import display
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ..analysis.gamma.curve import seen_absent_curve, shift_logits
from ..analysis.metrics.confusion import group_confusion
from ..core.class_split import ClassSplit
from . import calibration, style


def gamma_figure(logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit, gamma: float) -> Figure:
    """The curve, the accuracies and the confusion between the groups at one gamma, for test logits (N, C) and labels (N,)."""
    figure, axes = style.new_axes(3, width=3.9)
    calibration.draw_gamma(seen_absent_curve(logits, labels, split), group_confusion(shift_logits(logits, split, gamma), labels, split), gamma, axes)
    return figure


def gamma_slider(logits: torch.Tensor, labels: torch.Tensor, split: ClassSplit, gamma: float = 0.0) -> ipywidgets.FloatSlider:
    """Show `gamma_figure` at once, and return a slider that redraws it as it moves.

    The slider spans every state of the curve. Raises UserError as `seen_absent_curve`.
    """
    ends = seen_absent_curve(logits, labels, split).gamma
    slider = ipywidgets.FloatSlider(gamma, min=float(ends[0].clamp(max=gamma)), max=float(ends[-1].clamp(min=gamma)), step=0.05, description="gamma",
                                    layout=ipywidgets.Layout(width="60%"))
    figure = gamma_figure(logits, labels, split, gamma)
    shown = display(figure, display_id=True)
    plt.close(figure)

    def redraw(change: dict) -> None:
        figure = gamma_figure(logits, labels, split, change["new"])
        shown.update(figure)
        plt.close(figure)

    slider.observe(redraw, "value")
    return slider
