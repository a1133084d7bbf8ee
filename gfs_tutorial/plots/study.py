"""Curves of the MNIST experiment: the mean over seeds, with the range from the least to the greatest.

Chapter *The MNIST experiment*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from gfs_tutorial.experiments import thresholds as find
from gfs_tutorial.plots.heatmap import heatmap
from gfs_tutorial.plots.style import line_styles, short

__all__ = [
    "against_iterations",
    "against_size",
    "dense_and_sizes",
    "groups",
    "mean_and_range",
    "side_by_side",
    "study_heatmap",
    "thresholds",
]

Row = Mapping[str, Any]
AXES = {
    "t": "pre-training iterations $t$",
    "m": "training images $m$",
    "N": "neurons of the dense network $N$",
    "k": "picks $k$",
}


def mean_and_range(rows: Sequence[Row], key: str, over: str) -> tuple[list, list, list, list]:
    """Values of ``over`` in order, and the mean, least and greatest ``key`` of the rows at each."""
    places = sorted({row[over] for row in rows})
    groups = [[row[key] for row in rows if row[over] == place] for place in places]
    return places, [sum(g) / len(g) for g in groups], [min(g) for g in groups], [max(g) for g in groups]


def _band(ax: Axes, rows: Sequence[Row], key: str, over: str, style: dict[str, Any], label: str) -> None:
    places, mean, low, high = mean_and_range(rows, key, over)
    ax.plot(places, mean, label=label, **style)
    ax.fill_between(places, low, high, color=style["color"], alpha=0.15, linewidth=0)


def _labelled(key: str) -> str:
    return "accuracy" if key.endswith("accuracy") else r"loss $\ell$"


def against_iterations(
    rows: Sequence[Row], keys: dict[str, str], *, of: Callable[[Row], bool], ax: Axes | None = None
) -> Axes:
    """Entries of the rows against pre-training iterations, one line a key.

    Args:
        rows: Rows of the experiment.
        keys: Entry to the name of its line.
        of: Which rows to draw, e.g. those of one m.
        ax: Axes to draw on; ``None`` makes a figure.
    """
    ax = ax or plt.subplots()[1]
    chosen = [row for row in rows if of(row)]
    for (key, name), style in zip(keys.items(), line_styles()):
        _band(ax, chosen, key, "t", style, name)
    ax.set_xscale("symlog", linthresh=10)
    if not key.endswith("accuracy"):
        ax.set_yscale("log")
    ax.set(xlabel=AXES["t"], ylabel=_labelled(key))
    ax.legend()
    return ax


def dense_and_sizes(rows: Sequence[Row], key: str, *, sizes: Sequence[int], ax: Axes | None = None) -> Axes:
    """The dense network and its subnetworks of several k against pre-training iterations.

    Args:
        rows: Rows of one N and one m.
        key: ``"loss"``, ``"train_accuracy"`` or ``"test_accuracy"``.
        sizes: Which k.
        ax: Axes to draw on; ``None`` makes a figure.
    """
    shown, smallest = f"subnetwork_{key}", sizes[0]
    dense = [{**row, "k": 0, shown: row[f"dense_{key}"]} for row in rows if row["k"] == smallest]
    lines = {0: "dense network", **{k: f"$k = {k:,}$" for k in sizes}}
    return groups([*dense, *rows], shown, over="t", group="k", lines=lines, ax=ax)


def side_by_side(studies: dict[str, Sequence[Row]], key: str, *, ax: Axes | None = None) -> Axes:
    """Dense network and subnetwork of several studies against pre-training iterations, two lines a study.

    Args:
        studies: What tells a study from the others, to its rows of one N, one m and one k.
        key: ``"loss"``, ``"train_accuracy"`` or ``"test_accuracy"``.
        ax: Axes to draw on; ``None`` makes a figure.
    """
    lines = {(who, name): f"{who}, {name}" for name in studies for who in ("dense", "subnetwork")}
    rows = [
        {**row, "line": (who, name), key: row[f"{who}_{key}"]} for who, name in lines for row in studies[name]
    ]
    return groups(rows, key, over="t", group="line", lines=lines, ax=ax)


def against_size(rows: Sequence[Row], key: str, *, times: Sequence[int], ax: Axes | None = None) -> Axes:
    """One entry against the number of training images m, one line for each of some iterations t.

    Args:
        rows: Rows of the experiment.
        key: Which entry.
        times: Which iterations.
        ax: Axes to draw on; ``None`` makes a figure.
    """
    return groups(rows, key, over="m", lines={t: f"$t = {t:,}$" for t in times}, group="t", ax=ax)


def groups(
    rows: Sequence[Row],
    key: str,
    *,
    over: str,
    group: str,
    lines: dict[Any, str],
    ax: Axes | None = None,
) -> Axes:
    """One entry against another, one line for each of some values of a third.

    Args:
        rows: Rows of an experiment.
        key: Which entry, upwards.
        over: Which entry to draw it against: ``"t"``, ``"m"``, ``"N"`` or ``"k"``.
        group: Which entry tells the lines apart.
        lines: Values of ``group`` to the names of their lines.
        ax: Axes to draw on; ``None`` makes a figure.
    """
    ax = ax or plt.subplots()[1]
    for (value, name), style in zip(lines.items(), line_styles()):
        _band(ax, [row for row in rows if row[group] == value], key, over, style, name)
    if not key.endswith("accuracy"):
        ax.set_yscale("log")
    if over == "t":
        ax.set_xscale("symlog", linthresh=10)
        ax.set_xlim(-1, None)
    else:
        ax.set_xscale("log")
        places = sorted({row[over] for row in rows})
        ax.set_xticks(places, [short(place) for place in places])
        ax.minorticks_off()
    ax.set(xlabel=AXES[over], ylabel=_labelled(key))
    ax.legend()
    return ax


def study_heatmap(
    rows: Sequence[Row],
    key: str,
    *,
    label: str,
    log: bool = True,
    fmt: str = "{:.2g}",
    ax: Axes | None = None,
) -> Axes:
    """The mean over seeds of one entry, for every m (columns) and t (rows, from the bottom up).

    Args:
        rows: Rows of the experiment.
        key: Which entry.
        label: What it is called.
        log, fmt, ax: As in :func:`gfs_tutorial.plots.heatmap`.
    """
    times = sorted({row["t"] for row in rows})
    tables = [mean_and_range([row for row in rows if row["t"] == t], key, "m") for t in times]
    ax = ax or plt.subplots(figsize=(6.4, 5.2))[1]
    names = {"xlabel": AXES["m"], "ylabel": AXES["t"], "label": label}
    return heatmap([table[1] for table in tables], times, tables[0][0], log=log, fmt=fmt, ax=ax, **names)


def thresholds(
    rows: Sequence[Row],
    key: str,
    *,
    levels: Sequence[float],
    laws: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """First iterations at which an entry reaches each level, against m: markers are seeds, lines their means.

    A mean is drawn only where every seed reaches the level.

    Args:
        rows: Rows of one N and one k.
        key: Which entry.
        levels: The levels, one line each.
        laws: Draw the fitted power (whole line) and logarithm (dashed) in place of the means.
        ax: Axes to draw on; ``None`` makes a figure.
    """
    ax = ax or plt.subplots()[1]
    sizes = sorted({row["m"] for row in rows})
    for level, style in zip(levels, line_styles()):
        marker, name = style.pop("marker"), f"level {level:g}"
        found = find.thresholds(rows, key, level)
        reached = [(run.m, run.t) for run in found if run.t is not None]
        at, first = [m for m, _ in reached], [t for _, t in reached]
        dots = {"marker": marker, "color": style["color"], "linestyle": "", "alpha": 0.6}
        ax.plot(at, first, **dots, label=name if laws else None)
        if laws:
            _draw_laws(ax, at, first, style["color"])
            continue
        runs = [[run.t for run in found if run.m == m] for m in sizes]
        means = [float("nan") if None in times else sum(t or 0 for t in times) / len(times) for times in runs]
        ax.plot(sizes, means, label=name, **style)
    ax.set_xscale("log")
    ax.set_xticks(sizes, [short(m) for m in sizes])
    ax.minorticks_off()
    ax.set(xlabel=AXES["m"], ylabel="first iteration $t^*$")
    if laws:
        ax.set_yscale("log")
    else:
        ax.set_ylim(0, None)
    ax.legend()
    return ax


def _draw_laws(ax: Axes, sizes: Sequence[float], times: Sequence[float], color: str) -> None:
    """The fitted power and logarithm over the range of ``sizes``."""
    laws, places = find.fit_laws(sizes, times), np.geomspace(min(sizes), max(sizes), 100)
    ax.plot(places, laws["power"](places), color=color)
    ax.plot(places, laws["logarithm"](places), color=color, linestyle="--")
