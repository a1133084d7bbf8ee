"""Accuracy after pruning against the number of calibration images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from gfs_tutorial.plots.study import mean_and_range
from gfs_tutorial.plots.style import line_styles

__all__ = ["against_calibration"]


def against_calibration(rows: Sequence[Mapping[str, Any]], *, ax: Axes | None = None) -> Axes:
    """Top-1 accuracy of pruned networks, one line for each share of the MACs; bars span the seeds.

    Args:
        rows: Of the ImageNet study, of one network; those of method ``"pruned"`` are drawn, and the mean of
            ``"dense"`` as a dotted line.
        ax: Axes to draw on; ``None`` makes a figure.
    """
    ax = ax or plt.subplots()[1]
    pruned = [row for row in rows if row["method"] == "pruned"]
    for macs, style in zip(sorted({row["macs"] for row in pruned}, reverse=True), line_styles()):
        of_one = [row for row in pruned if row["macs"] == macs]
        numbers, middle, low, high = mean_and_range(of_one, "top1", "calibration")
        spread = [[m - a for m, a in zip(middle, low)], [b - m for m, b in zip(middle, high)]]
        ax.errorbar(numbers, middle, spread, label=f"{macs:.0%} of the MACs", capsize=3, **style)
    dense = [row["top1"] for row in rows if row["method"] == "dense"]
    if dense:
        ax.axhline(sum(dense) / len(dense), color="black", linestyle=":", label="dense")
    ax.set_xscale("log")
    ax.set_xticks(numbers, [f"{number:,}" for number in numbers])
    ax.minorticks_off()
    ax.set(xlabel="calibration photographs", ylabel="top-1 accuracy")
    ax.legend()
    return ax
