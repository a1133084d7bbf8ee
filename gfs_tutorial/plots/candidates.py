"""How many neurons a selection had to compute at each step, since bounds could not rule them out."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from gfs_tutorial.plots.style import COLORS
from gfs_tutorial.selection import SelectionPath

__all__ = ["candidates"]


def candidates(path: SelectionPath, *, ax: Axes | None = None) -> Axes:
    """Candidates at each step, beside the number of all neurons.

    Args:
        path: A selection that went by bounds, as those of large networks do.
        ax: Axes to draw on; ``None`` makes a figure.

    Raises:
        ValueError: the path has no candidates: its network was too small for bounds.
    """
    if not path.candidates:
        raise ValueError("path has no candidates: small networks are selected from without bounds")
    ax = ax or plt.subplots(figsize=(6.4, 3.2))[1]
    steps = range(1, len(path) + 1)
    ax.axhline(path.num_neurons, color=COLORS["black"], linestyle="--", label="all neurons")
    ax.plot(steps, path.candidates, ".", color=COLORS["blue"], label="could not be ruled out")
    ax.set(yscale="log", xlabel="step", ylabel="neurons")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.18), ncols=2)
    return ax
