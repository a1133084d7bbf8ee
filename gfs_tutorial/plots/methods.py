"""Accuracies of several methods in the cells of the CIFAR-10 study, as dots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from gfs_tutorial.plots.style import line_styles

__all__ = ["methods"]


def methods(
    rows: Sequence[Mapping[str, Any]], key: str, names: Mapping[str, str], *, ax: Axes | None = None
) -> Axes:
    """A line for each cell (images and iterations) with a dot for each method and seed.

    Args:
        rows: Of the study.
        key: ``"before"`` or ``"after"`` fine-tuning; rows without it are left out.
        names: Methods to the names in the legend.
        ax: Axes to draw on; ``None`` makes a figure.

    Raises:
        ValueError: no row is of these methods.
    """
    shown = [row for row in rows if row["method"] in names and row[key] is not None]
    if not shown:
        raise ValueError(f"no row of {', '.join(names)} has {key!r}")
    cells = sorted({(row["m"], row["t"]) for row in shown})
    ax = ax or plt.subplots(figsize=(6.4, 1.5 + 0.45 * len(cells)))[1]
    for (method, name), style in zip(names.items(), line_styles()):
        mine = [row for row in shown if row["method"] == method]
        if not mine:
            continue  # its style stays its own, so that panels before and after fine-tuning agree
        places = [cells.index((row["m"], row["t"])) for row in mine]
        dots = {"color": style["color"], "marker": style["marker"], "linestyle": "", "alpha": 0.8}
        ax.plot([row[key] for row in mine], places, markersize=8, label=name, **dots)
    ax.set_yticks(range(len(cells)), [f"m = {m:,}, t = {t:,}" for m, t in cells])
    ax.set_ylim(len(cells) - 0.5, -0.5)
    ax.set(xlabel=f"top-1 accuracy {key} fine-tuning")
    ax.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=3)
    return ax
