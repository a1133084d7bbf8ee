"""The walk of greedy forward selection in the convex hull of its neurons, in two dimensions."""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from scipy.spatial import ConvexHull
from torch import Tensor

from gfs_tutorial.plots.style import COLORS

__all__ = ["hull_walk", "walk_points"]


def walk_points(points: Tensor, picks: Tensor) -> Tensor:
    """The averages u_1, u_2, ... of the picked points: (N, 2) and (k,) to (k, 2)."""
    return points[picks].cumsum(0) / torch.arange(1, len(picks) + 1)[:, None]


def hull_walk(points: Tensor, target: Tensor, picks: Tensor, *, ax: Axes | None = None) -> Axes:
    """Draw neurons as points, their convex hull, the target y, and the averages u_1, ..., u_k.

    Args:
        points: (N, 2) float64, feature vectors of the neurons on a data set of two rows.
        target: (2,), the labels.
        picks: (k,) int64, the neurons picked, in order.
        ax: Axes to draw on; ``None`` makes a figure.
    """
    ax = ax or plt.subplots(figsize=(4.6, 4.2))[1]
    corners = points[ConvexHull(points).vertices]  # (corners, 2)
    walk = walk_points(points, picks)
    ax.fill(*corners.T, color=COLORS["sky"], alpha=0.18, label="convex hull")
    _mark(ax, points, "o", 18, "black", "neurons $\\Phi_i$", 2)
    ax.plot(
        *walk.T, color=COLORS["blue"], marker="o", markersize=4, linewidth=1.2, label="$u_1, u_2, \\ldots$"
    )
    for k, (x, y) in enumerate(walk[:3].tolist(), start=1):
        ax.annotate(f"$u_{k}$", (x, y), xytext=(5, 4), textcoords="offset points", color=COLORS["blue"])
    _mark(ax, points.mean(0, keepdim=True), "s", 44, "green", r"dense net $\bar q$", 3)
    _mark(ax, target[None], "*", 150, "vermillion", "target $y$", 4)
    ax.set(xlabel="output on $x_1$", ylabel="output on $x_2$", aspect="equal")
    ax.legend(fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def _mark(ax: Axes, points: Tensor, marker: str, size: int, color: str, label: str, order: int) -> None:
    x, y = points.T  # (n,) each
    ax.scatter(x, y, marker=marker, s=size, color=COLORS[color], label=label, zorder=order)
