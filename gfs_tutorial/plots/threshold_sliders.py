"""How much pre-training is enough, with sliders for the goal, the level, m and k."""

from __future__ import annotations

from typing import Any

from gfs_tutorial.plots import study
from gfs_tutorial.plots.image import figure_of
from gfs_tutorial.plots.interactive import InteractiveFigure, interactive_figure
from gfs_tutorial.plots.stamp import origin, stamp

__all__ = ["interactive_thresholds"]

Row = dict[str, Any]
Place = tuple[int, int, int, int]  # k, m, seed, t

# Entry, name, axis, the levels that the slider offers, and the ticks and the range of the axis.
GOALS = (
    ("loss", "training loss", "training loss", (0.3, 0.01), (0.01, 0.1, 1), (0.002, 1)),
    ("train_accuracy", "training accuracy", "accuracy", (0.8, 0.995), (0.7, 0.8, 0.9, 1), (0.6, 1)),
    ("test_accuracy", "accuracy on unseen images", "accuracy", (0.8, 0.98), (0.7, 0.8, 0.9, 1), (0.6, 1)),
)


def interactive_thresholds(record: dict[str, Any]) -> InteractiveFigure:
    """First iterations at which subnetworks reach a level, for a level that the reader moves.

    The page finds them as :func:`gfs_tutorial.experiments.thresholds.first_reached` does.

    Args:
        record: A result file of the MNIST experiment, one width and several m, k and seeds, as
            :func:`gfs_tutorial.results.stored` reads it.

    Raises:
        ValueError: the record holds several widths, or lacks a run.
    """
    rows, settings = record["rows"], record["settings"]
    axes = {name: sorted({row[name] for row in rows}) for name in ("N", "m", "k", "seed", "t")}
    if len(axes["N"]) != 1:
        raise ValueError(f"record must hold one width, got N = {axes['N']}")
    cells = {(row["k"], row["m"], row["seed"], row["t"]): row for row in rows}
    data = {
        "sizes": axes["m"],
        "sizeTicks": [m for m in axes["m"] if m in (1000, 4000, 15_000, 60_000)] or axes["m"],
        "picks": axes["k"],
        "times": axes["t"],
        "seeds": axes["seed"],
        "batch": settings["batch_size"],
        "goals": [describe(goal, cells, axes) for goal in GOALS],
    }
    picked = [row for row in rows if row["k"] == axes["k"][-1]]
    still = figure_of(stamp(study.thresholds(picked, "subnetwork_loss", levels=(0.2, 0.1, 0.05)), record))
    label = "First iteration at which the training loss of subnetworks reaches a level, against images m"
    words = (
        f"Three levels for {axes['k'][-1]} picks. Where scripts run, sliders change goal, level, m and k. "
        f"From {origin(record)}."
    )
    return interactive_figure("thresholds", data, still, label=label, words=words)


def describe(goal: tuple[Any, ...], cells: dict[Place, Row], axes: dict[str, list[int]]) -> Row:
    """One goal for the page: values[k][m][seed] and dense[m][seed] are lists over t."""
    key, name, axis, levels, ticks, limits = goal

    def runs(entry: str, k: int, m: int) -> list[list[float]]:
        try:
            return [[shortened(cells[k, m, seed, t][entry]) for t in axes["t"]] for seed in axes["seed"]]
        except KeyError as missing:
            raise ValueError(f"record lacks the run (k, m, seed, t) = {missing}") from None

    return {
        "name": name,
        "axis": axis,
        "loss": key == "loss",
        "levels": levels,
        "ticks": ticks,
        "range": limits,
        "values": [[runs(f"subnetwork_{key}", k, m) for m in axes["m"]] for k in axes["k"]],
        "dense": [runs(f"dense_{key}", axes["k"][0], m) for m in axes["m"]],
    }


def shortened(value: float) -> float:
    """Four digits: what a picture of 300 pixels can show, and more."""
    return float(f"{value:.4g}")
