"""The hull walk as a picture that the reader moves."""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from gfs_tutorial import checks
from gfs_tutorial.plots.hull import hull_walk
from gfs_tutorial.plots.interactive import InteractiveFigure, interactive_figure
from gfs_tutorial.selection import select_neurons

__all__ = ["interactive_hull_walk"]


def interactive_hull_walk(points: Tensor, target: Tensor, *, steps: int = 40) -> InteractiveFigure:
    """A hull walk with sliders for k, N and the target, which can be dragged too, and a Play button.

    The page computes the walk itself, in double precision and by the definition; the still picture is
    :func:`gfs_tutorial.select_neurons`'s.

    Args:
        points: (N, 2) finite feature vectors of at least three neurons.
        target: (2,), the labels to begin with.
        steps: The most picks that the slider offers.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message).
    """
    checks.float_matrix("points", points, "(N, 2)")
    if points.shape[1] != 2 or len(points) < 3:
        raise ValueError(f"points must be (N, 2) with N at least 3, got {tuple(points.shape)}")
    if target.shape != (2,):
        raise ValueError(f"target must be (2,), got {tuple(target.shape)}")
    data = {
        "points": points.tolist(),
        "target": target.tolist(),
        "steps": checks.positive_int("steps", steps),
    }
    still = plt.figure(figsize=(6.4, 3.6))
    hull_walk(points, target, planar_picks(points, target, steps), ax=still.add_subplot())
    label = f"Walk of greedy forward selection among {len(points)} neurons in the plane, towards a target"
    words = f"The walk of {steps} picks. Where scripts run, sliders for k, N and the target move it."
    return interactive_figure("walk", data, still, label=label, words=words)


def planar_picks(points: Tensor, target: Tensor, steps: int) -> Tensor:
    """Greedy picks (steps,) among points (N, 2) that are feature vectors already."""
    double = points.double() * 2**0.5  # select_neurons divides by the root of m = 2
    ones = torch.ones(len(points), 1, dtype=torch.float64)
    return select_neurons(double.T, ones, target.double()[:, None] * 2**0.5, steps).indices
