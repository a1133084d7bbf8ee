"""Losses against sizes on log axes, with lines of known slope to compare.

Chapter *Slopes, measured*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from gfs_tutorial.plots.style import COLORS, line_styles

__all__ = ["rate_curves"]

Curve = tuple[Sequence[float], Sequence[Sequence[float]]]


def rate_curves(
    curves: Mapping[str, Curve],
    *,
    guides: Mapping[str, tuple[float, float, float]] | None = None,
    ylabel: str = r"loss $\ell$",
    ax: Axes | None = None,
) -> Axes:
    """Curves on log axes: the geometric mean over seeds, with the range from the least to the greatest.

    Args:
        curves: Name of the line to its sizes (n,) and losses (seeds, n).
        guides: Name to (size, loss, slope): a thin line through that point with that slope.
        ylabel: Of the vertical axis.
        ax: Axes to draw on; ``None`` makes a figure.
    """
    ax = ax or plt.subplots()[1]
    for (name, (sizes, losses)), style in zip(curves.items(), line_styles()):
        values = np.asarray(losses, dtype=float)  # (seeds, n)
        ax.loglog(sizes, np.exp(np.log(values).mean(0)), label=name, **style)
        ax.fill_between(sizes, values.min(0), values.max(0), color=style["color"], alpha=0.15, linewidth=0)
    low, high = ax.get_xlim()
    for name, (size, loss, slope) in (guides or {}).items():
        ends = np.array([low, high])
        ax.loglog(ends, loss * (ends / size) ** slope, color=COLORS["black"], linewidth=0.7, linestyle=":")
        ax.annotate(name, (size, loss), xytext=(2, 5), textcoords="offset points")
    ax.set_xlim(low, high)
    ax.set(xlabel="number of neurons $k$", ylabel=ylabel)
    ax.legend()
    return ax
