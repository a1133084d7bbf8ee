"""The certificate against the number of picks, with sliders for k, N, t and V."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gfs_tutorial.plots.curves import loss_against_size
from gfs_tutorial.plots.image import figure_of
from gfs_tutorial.plots.interactive import InteractiveFigure, interactive_figure
from gfs_tutorial.selection import SelectionPath

__all__ = ["interactive_bound"]


def interactive_bound(paths: Mapping[tuple[int, int], SelectionPath]) -> InteractiveFigure:
    r"""The promise :math:`\frac12(\sqrt{2L} + \sqrt{V/k})^2` of several networks beside what each achieved.

    Sliders choose the network by its width and its training, and the number of picks; a fourth sets V to
    anything, and then only the promise is drawn. Chapter *A certificate*.

    Args:
        paths: (N, t) to a selection with replacement from the network of N neurons after t iterations, for
            every pair of some widths and some times, all of one size. The one seen first, and the one in
            the still picture, has the most neurons and the middle one of the times.

    Raises:
        ValueError: a pair is missing, or the selections are of different sizes or without replacement.
    """
    widths, times = (sorted({pair[i] for pair in paths}) for i in (0, 1))
    missing = [(N, t) for N in widths for t in times if (N, t) not in paths]
    if missing or not paths:
        raise ValueError(f"paths must hold every pair of N and t, missing: {missing or 'all'}")
    if len({len(path) for path in paths.values()}) > 1:
        raise ValueError(f"paths must be of one size, got {sorted({len(path) for path in paths.values()})}")
    if not all(path.with_replacement for path in paths.values()):
        raise ValueError("paths must be selections with replacement: the bound is theirs")
    steps = len(paths[widths[0], times[0]])
    sizes = np.unique(np.geomspace(1, steps, 80).round().astype(int)).tolist()  # where the curves are drawn
    nets = [describe(N, t, paths[N, t], sizes) for N in widths for t in times]
    lowest = min(min(net["loss"], *net["losses"]) for net in nets)
    highest = max(max(net["losses"]) for net in nets)
    first = len(times) // 2
    data = {
        "nets": nets,
        "widths": widths,
        "times": times,
        "sizes": sizes,
        "first": first,
        "range": [lowest / 1.5, 20 * highest],
    }
    still = figure_of(loss_against_size(paths[widths[-1], times[first]]))
    label = f"Certificate and loss of networks of {widths[0]:,} to {widths[-1]:,} neurons against picks k"
    shown = f"N = {widths[-1]:,} after {times[first]:,} iterations"
    words = f"{shown}. Where scripts run, sliders change k, N, t and V."
    return interactive_figure("bound", data, still, label=label, words=words)


def describe(N: int, t: int, path: SelectionPath, sizes: list[int]) -> dict[str, Any]:
    """What the page needs of one network: its two numbers and the losses that were achieved."""
    losses = [float(f"{path.losses[k - 1]:.4g}") for k in sizes]
    return {"N": N, "t": t, "loss": path.dense_loss, "variance": path.variance, "losses": losses}
