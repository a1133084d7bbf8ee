"""Pictures of channel pruning: a unit inside its block, error curves, what stays of each layer.

Chapter *Channels*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from gfs_tutorial.plots.style import COLORS, line_styles

__all__ = ["channels_kept", "draw_unit", "error_curves", "league"]


def draw_unit(channels: int = 6, removed: Sequence[int] = (1, 4), *, ax: Axes | None = None) -> Axes:
    """A residual block with one unit: its producer, the channels, and its consumer.

    Args:
        channels: Channels to draw.
        removed: Which of them are crossed out.
        ax: Axes to draw on; ``None`` makes a figure.
    """
    ax = ax or plt.subplots(figsize=(6.4, 3.4))[1]
    ax.set(xlim=(0, 10), ylim=(0.4, 4.3))
    ax.axis("off")
    for x, name, color in (
        (0.9, "conv 1\nproducer", "blue"),
        (2.7, "norm,\nReLU", "black"),
        (6.5, "conv 2\nconsumer", "vermillion"),
    ):
        box = FancyBboxPatch(
            (x, 0.8), 1.5, 2.0, boxstyle="round,pad=0.05", fill=False, edgecolor=COLORS[color]
        )
        ax.add_patch(box)
        ax.text(x + 0.75, 1.8, name, ha="center", va="center", color=COLORS[color])
    for i in range(channels):
        y, gone = 0.75 + 2.1 * i / max(1, channels - 1), i in removed
        color = "0.6" if gone else COLORS["blue"]
        ax.plot([4.3, 6.4], [y, y], linewidth=2, color=color, linestyle=":" if gone else "-")
        if gone:
            ax.plot(5.35, y, marker="x", markersize=10, color=COLORS["vermillion"], markeredgewidth=2)
    ax.text(5.35, 3.1, "channels of the unit", ha="center", color=COLORS["blue"])
    ax.annotate("", (8.9, 1.8), (8.1, 1.8), arrowprops={"arrowstyle": "->"})
    ax.annotate("", (0.8, 1.8), (0.0, 1.8), arrowprops={"arrowstyle": "->"})
    ax.text(9.1, 1.8, "+", ha="center", va="center", fontsize=18)
    ax.annotate("", (9.65, 1.8), (9.25, 1.8), arrowprops={"arrowstyle": "->"})
    ax.plot([0.35, 0.35, 9.1, 9.1], [1.8, 3.8, 3.8, 2.05], color=COLORS["black"], linewidth=1)
    ax.text(4.8, 3.95, "shortcut: its channels are in a sum, so they stay", ha="center")
    return ax


def error_curves(curves: Mapping[str, Sequence[float]], *, ax: Axes | None = None) -> Axes:
    """Relative error of a consumer's output against the number of channels kept, one line a rule.

    Args:
        curves: Name of the rule to its errors at 1, 2, ... channels.
        ax: Axes to draw on; ``None`` makes a figure.
    """
    ax = ax or plt.subplots()[1]
    for (name, errors), style in zip(curves.items(), line_styles()):
        ax.semilogy(range(1, len(errors) + 1), [max(float(e), 1e-6) for e in errors], label=name, **style)
    ax.set(xlabel="channels kept", ylabel="relative squared error")
    ax.legend()
    return ax


def channels_kept(channels: Mapping[str, tuple[int, int]], *, ax: Axes | None = None) -> Axes:
    """How many channels of each unit stay, as bars in front of how many there were.

    Args:
        channels: Name of the unit to (kept, size), as in a report of :func:`gfs_tutorial.cnn.prune`.
        ax: Axes to draw on; ``None`` makes a figure.
    """
    ax = ax or plt.subplots(figsize=(6.4, 0.6 + 0.32 * len(channels)))[1]
    names = list(channels)
    kept, sizes = zip(*channels.values())
    ax.barh(names, sizes, color="0.88", edgecolor="0.5", label="dense")
    ax.barh(names, kept, color=COLORS["blue"], height=0.5, label="kept")
    for row, (name, count) in enumerate(zip(names, kept)):
        ax.text(channels[name][1], row, f" {count}", va="center")
    ax.invert_yaxis()
    ax.set(xlabel="channels")
    ax.grid(axis="y", visible=False)
    ax.legend(loc="upper right")
    return ax


def league(scores: Mapping[str, Sequence[float]], dense: float, *, ax: Axes | None = None) -> Axes:
    """Accuracies of several methods as dots with their seeds' range, best first.

    Args:
        scores: Name of the method to its accuracies, one a seed.
        dense: Accuracy of the dense network, a line.
        ax: Axes to draw on; ``None`` makes a figure.
    """
    ax = ax or plt.subplots(figsize=(6.4, 0.9 + 0.3 * len(scores)))[1]
    names = sorted(scores, key=lambda name: sum(scores[name]) / len(scores[name]))
    for row, name in enumerate(names):
        values = scores[name]
        color = COLORS["vermillion"] if name == "default" else COLORS["blue"]
        ax.plot([min(values), max(values)], [row, row], color=color, linewidth=1.5)
        ax.plot(sum(values) / len(values), row, marker="D" if name == "default" else "o", color=color)
    ax.axvline(dense, color=COLORS["black"], linestyle=":")
    ax.set(yticks=range(len(names)), xlabel="top-1 accuracy (dotted: dense network)")
    ax.set_yticklabels(names)
    return ax
