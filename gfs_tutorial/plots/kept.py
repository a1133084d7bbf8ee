"""Which channels of each unit stay, as a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from gfs_tutorial.plots.style import COLORS

__all__ = ["which_channels"]


def which_channels(
    kept: Mapping[str, Sequence[int]], sizes: Mapping[str, int], *, ax: Axes | None = None
) -> Axes:
    """A row for each unit with a square for each of its channels, dark where the channel stays.

    Args:
        kept: Name of a unit to the channels that stay, as in a report of :func:`gfs_tutorial.cnn.prune`.
        sizes: Name of a unit to how many channels it had.
        ax: Axes to draw on; ``None`` makes a figure.

    Raises:
        ValueError: there is no unit, or a channel is out of range.
    """
    if not kept:
        raise ValueError("kept is empty: pass at least one unit, as {name: channels}")
    grid = np.full((len(kept), max(sizes[name] for name in kept)), np.nan)
    for row, (name, channels) in enumerate(kept.items()):
        chosen = [int(channel) for channel in channels]
        if chosen and not 0 <= min(chosen) <= max(chosen) < sizes[name]:
            raise ValueError(f"channels of {name} must lie between 0 and {sizes[name] - 1}")
        grid[row, : sizes[name]] = 0
        grid[row, chosen] = 1
    ax = ax or plt.subplots(figsize=(6.4, 0.8 + 0.28 * len(kept)))[1]
    ax.pcolormesh(grid, cmap=ListedColormap(["0.88", COLORS["blue"]]), vmin=0, vmax=1, edgecolors="white")
    ax.set_yticks(np.arange(len(kept)) + 0.5, list(kept))
    if not ax.yaxis_inverted():  # it is already where axes are shared
        ax.invert_yaxis()
    ax.grid(visible=False)
    ax.set(xlabel="channel")
    return ax
