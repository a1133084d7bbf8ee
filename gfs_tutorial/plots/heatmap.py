"""A table of numbers as a picture, with each number in its cell.

Chapter *The MNIST experiment*.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from gfs_tutorial.plots.style import short

__all__ = ["heatmap"]


def heatmap(
    values: Sequence[Sequence[float]],
    rows: Sequence[float],
    columns: Sequence[float],
    *,
    xlabel: str,
    ylabel: str,
    label: str,
    log: bool = False,
    fmt: str = "{:.2g}",
    ax: Axes | None = None,
) -> Axes:
    """Draw ``values`` as a grid; lightness rises with the value, so it reads in greyscale too.

    Args:
        values: One list of numbers for each row, drawn from the bottom up.
        rows, columns: The number that each row and each column stands for.
        xlabel, ylabel, label: Of the columns, the rows and the values.
        log: Whether colours follow the logarithm of the values.
        fmt: How a number is written in its cell.
        ax: Axes to draw on; ``None`` makes a figure.
    """
    grid = np.asarray(values, dtype=float)  # (rows, columns)
    ax = ax or plt.subplots()[1]
    norm = LogNorm(grid.min(), grid.max()) if log else plt.Normalize(grid.min(), grid.max())
    image = ax.imshow(grid, origin="lower", aspect="auto", cmap="cividis", norm=norm)
    for (row, column), value in np.ndenumerate(grid):
        shade = "black" if float(norm(value)) > 0.55 else "white"
        ax.text(column, row, fmt.format(value), ha="center", va="center", color=shade)
    ax.set(xticks=range(grid.shape[1]), yticks=range(grid.shape[0]), xlabel=xlabel, ylabel=ylabel)
    ax.set_xticklabels([short(name) for name in columns])
    ax.set_yticklabels([short(name) for name in rows])
    ax.grid(False)
    ax.figure.colorbar(image, ax=ax, label=label)
    return ax
