"""Figures of the book: readable in greyscale and by colour-blind readers.

The first of them are in chapter *Greedy forward selection*.
"""

from gfs_tutorial.plots.bound import interactive_bound
from gfs_tutorial.plots.calibration import against_calibration
from gfs_tutorial.plots.candidates import candidates
from gfs_tutorial.plots.channels import channels_kept, draw_unit, error_curves, league
from gfs_tutorial.plots.curves import loss_against_size, training_curve
from gfs_tutorial.plots.digits import show_digits
from gfs_tutorial.plots.heatmap import heatmap
from gfs_tutorial.plots.hull import hull_walk
from gfs_tutorial.plots.kept import which_channels
from gfs_tutorial.plots.methods import methods
from gfs_tutorial.plots.monitor import pretraining_monitor
from gfs_tutorial.plots.rates import rate_curves
from gfs_tutorial.plots.rivals import losses_against_neurons
from gfs_tutorial.plots.stamp import origin, stamp
from gfs_tutorial.plots.study import (
    against_iterations,
    against_size,
    dense_and_sizes,
    groups,
    side_by_side,
    study_heatmap,
    thresholds,
)
from gfs_tutorial.plots.style import COLORS, line_styles, use_style
from gfs_tutorial.plots.threshold_sliders import interactive_thresholds
from gfs_tutorial.plots.walk import interactive_hull_walk

__all__ = [
    "COLORS",
    "against_calibration",
    "against_iterations",
    "against_size",
    "candidates",
    "channels_kept",
    "dense_and_sizes",
    "draw_unit",
    "error_curves",
    "groups",
    "heatmap",
    "hull_walk",
    "interactive_bound",
    "interactive_hull_walk",
    "interactive_thresholds",
    "league",
    "line_styles",
    "loss_against_size",
    "methods",
    "origin",
    "pretraining_monitor",
    "losses_against_neurons",
    "rate_curves",
    "show_digits",
    "side_by_side",
    "stamp",
    "study_heatmap",
    "thresholds",
    "training_curve",
    "use_style",
    "which_channels",
]
