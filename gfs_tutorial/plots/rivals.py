"""Several selections in one picture: loss against how many neurons each one needs.

Chapter *What else could one do?*.
"""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from gfs_tutorial.plots.style import COLORS, line_styles
from gfs_tutorial.selection import NeuronPath

__all__ = ["losses_against_neurons"]

MARKED = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)  # sizes that carry a marker


def losses_against_neurons(paths: Mapping[str, NeuronPath], *, ax: Axes | None = None) -> Axes:
    """Loss against the number of distinct neurons, one line a path, and that of the dense network.

    Where several steps have the same number of neurons, as when one is picked again, the last of them is
    drawn.

    Args:
        paths: Name of each rule to its path; all of one network.
        ax: Axes to draw on; ``None`` makes a figure.
    """
    if not paths:
        raise ValueError("paths is empty: pass at least one selection, as {name: path}")
    ax = ax or plt.subplots(figsize=(6.4, 5.4))[1]
    for position, ((name, path), style) in enumerate(zip(paths.items(), line_styles())):
        losses = {len(path.distinct(k)): float(path.losses[k - 1]) for k in range(1, len(path) + 1)}
        neurons = sorted(losses)
        face = style["color"] if position < len(COLORS) else "white"  # colours come round again: open markers
        ax.plot(
            neurons,
            [losses[n] for n in neurons],
            label=name,
            markevery=[neurons.index(n) for n in MARKED if n in losses],
            markerfacecolor=face,
            linewidth=1.8 if position < len(COLORS) else 1.0,
            **style,
        )
    dense = next(iter(paths.values()))
    ax.axhline(dense.dense_loss, color="0.5", linewidth=1, label=f"all {dense.num_neurons:,} neurons")
    ax.set(xscale="log", yscale="log", xlabel="number of neurons", ylabel=r"loss $\ell$")
    # Above the axes: beside them, a phone would shrink both.
    ax.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=2)
    return ax
