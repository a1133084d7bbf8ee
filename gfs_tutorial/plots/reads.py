"""Which of the Gram columns that were computed together proved useful.

Chapter *Selection at scale*.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from gfs_tutorial.plots.style import COLORS
from gfs_tutorial.selection import SelectionPath

__all__ = ["useful_columns"]


def useful_columns(path: SelectionPath, *, ax: Axes | None = None) -> Axes:
    """A column of squares for each read of the activations, one for each Gram column that it computed.

    Args:
        path: A selection that went through the draft.
        ax: Axes to draw on; ``None`` makes a figure.
    """
    ax = ax or plt.subplots(figsize=(6.4, 3.2))[1]
    picked = set(path.indices.tolist())
    squares = [(x, y, q in picked) for x, read in enumerate(path.reads, 1) for y, q in enumerate(read, 1)]
    for useful, color, label in ((True, "blue", "picked later on"), (False, "sky", "never picked")):
        points = [(x, y) for x, y, u in squares if u is useful]
        ax.scatter(
            *zip(*points) if points else ((), ()),
            marker="s" if useful else "x",
            s=22,
            color=COLORS[color],
            label=label,
        )
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="read of the activations", ylabel="Gram columns computed in it")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.18), ncols=2)
    return ax
