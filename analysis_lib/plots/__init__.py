"""Figures: each draw_x takes tidy data and axes and returns the axes; save_figure writes the same bytes each time."""

from .ablations import draw_by_length, draw_cells, draw_ends, draw_map, draw_maps
from .calibration import (
    draw_accuracy_by_gamma,
    draw_curves,
    draw_gamma,
    draw_label_shift,
    draw_regrets,
    draw_seen_confusions,
)
from .complementarity import draw_ensembles, draw_pairs
from .explanation import (
    draw_correlations,
    draw_influences,
    draw_motion,
    draw_pulls,
    draw_step_check,
    draw_update_similarity,
    draw_view,
)
from .forgetting import draw_forgetting, draw_sequence
from .images import draw_images
from .methods import draw_method_key, draw_method_plane, draw_wise
from .petl import draw_over_parameters, draw_regret_map
from .series import draw_by_checkpoint, draw_by_epoch, draw_changes, draw_intervals, draw_series
from .style import new_axes, save_figure
from .temporal import draw_accuracy_by_period, draw_by_period
from .toy import draw_region_legend, draw_toy_displacement, draw_toy_grid, draw_toy_regions
from .vtab import draw_vtab
from .widgets import gamma_figure, gamma_slider

__all__ = [
    "draw_accuracy_by_gamma",
    "draw_accuracy_by_period",
    "draw_by_checkpoint",
    "draw_by_epoch",
    "draw_by_length",
    "draw_by_period",
    "draw_cells",
    "draw_changes",
    "draw_correlations",
    "draw_curves",
    "draw_ends",
    "draw_ensembles",
    "draw_forgetting",
    "draw_gamma",
    "draw_images",
    "draw_influences",
    "draw_intervals",
    "draw_label_shift",
    "draw_map",
    "draw_maps",
    "draw_method_key",
    "draw_method_plane",
    "draw_motion",
    "draw_over_parameters",
    "draw_pairs",
    "draw_pulls",
    "draw_region_legend",
    "draw_regret_map",
    "draw_regrets",
    "draw_seen_confusions",
    "draw_sequence",
    "draw_series",
    "draw_step_check",
    "draw_toy_displacement",
    "draw_toy_grid",
    "draw_toy_regions",
    "draw_update_similarity",
    "draw_view",
    "draw_vtab",
    "draw_wise",
    "gamma_figure",
    "gamma_slider",
    "new_axes",
    "save_figure",
]
