"""The league table: ways to prune a network to the same MACs, from ``results/benchmark-channels.json``."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from gfs_tutorial import checks

__all__ = ["OURS", "cells_table", "half_width", "leaders", "leaders_table", "league_table"]

# Greedy selection: by matching pursuit, by the error of a layer, by the loss of the network.
OURS = ("default", "inputs dense", "uniform", "uniform, inputs dense", "local", "loss")
# Images that each network was evaluated on: all of CIFAR-10's test images, a half of 600 photographs.
EVALUATED = {"resnet20-cifar10": 10_000, "efficientnet-lite0": 300}
COLUMNS = {
    "accuracy": "before fine-tuning",
    "accuracy + labels": "after, on labels",
    "accuracy + dense": "after, on the dense net's answers",
}
CERTAIN = 1.96  # deviations that hold 95% of a normal distribution
Row = dict[str, Any]


def half_width(values: Sequence[float], images: int) -> float:
    """Half of a 95% interval around the mean of accuracies, one a seed.

    It counts that other calibration images would have been drawn, and other test images. Methods that were
    evaluated on the same images differ from each other with more certainty than this says.

    Args:
        values: Accuracies between 0 and 1.
        images: How many test images they were all measured on.
    """
    checks.positive_int("images", images)
    mean = statistics.mean(values)
    between = statistics.variance(values) / len(values) if len(values) > 1 else 0.0
    return CERTAIN * (between + mean * (1 - mean) / images) ** 0.5


def league_table(rows: Sequence[Row], network: str, macs: float) -> str:
    """Every method at one share of the MACs as a Markdown table, best first before fine-tuning.

    Args:
        rows: Of the benchmark.
        network: Which network.
        macs: Which share of the dense MACs.

    Raises:
        ValueError: there is no such row.
    """
    groups = _groups(rows, network, macs)
    columns = [
        column for column in COLUMNS if any(column in row for group in groups.values() for row in group)
    ]
    lines = [
        "| method | seeds | " + " | ".join(COLUMNS[column] for column in columns) + " |",
        "|---|---|" + "---|" * len(columns),
    ]
    for name in sorted(groups, key=lambda name: -_mean(groups[name])):
        cells = [_cell(groups[name], column, EVALUATED[network]) for column in columns]
        shown = f"**{name}**" if name in OURS else name
        lines.append(f"| {shown} | {len(groups[name])} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def leaders(rows: Sequence[Row], network: str, macs: float, column: str = "accuracy") -> dict[str, str]:
    """The best of ours, of the rivals as they are, and of the rivals with our allocation and fit.

    Returns:
        ``"ours"``, ``"standard"`` and ``"with ours"`` to the method and its mean, where one was run.

    Raises:
        ValueError: there is no such row.
    """
    groups = _groups(rows, network, macs)
    kinds = {
        "ours": lambda name: name in OURS,
        "standard": lambda name: name.endswith("standard"),
        "with ours": lambda name: ", ours" in name,
    }
    found = {}
    for kind, belongs in kinds.items():
        mine = {n: _mean(g, column) for n, g in groups.items() if belongs(n) and any(column in r for r in g)}
        if mine:
            best = max(mine, key=mine.__getitem__)
            found[kind] = f"{best} {mine[best]:.3f}"
    return found


def leaders_table(rows: Sequence[Row]) -> str:
    """:func:`leaders` of every network and share of the MACs as a Markdown table, before and after labels."""
    lines = [
        "| network | MACs | | best of ours | best standard | best criterion with our allocation and fit |",
        "|---|---|---|---|---|---|",
    ]
    for network, macs in sorted({(row["network"], row["macs"]) for row in rows if row["macs"] < 1})[::-1]:
        for column in ("accuracy", "accuracy + labels"):
            best = leaders(rows, network, macs, column)
            if best:
                cells = " | ".join(best.get(kind, "") for kind in ("ours", "standard", "with ours"))
                lines.append(f"| {network} | {macs:.0%} | {COLUMNS[column]} | {cells} |")
    return "\n".join(lines)


def cells_table(rows: Sequence[Row]) -> str:
    """Rows of the study (:mod:`~gfs_tutorial.experiments.cifar10`) as a Markdown table."""
    lines = [
        "| images | iterations | method | MACs | before fine-tuning | after |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        before = "" if row["before"] is None else f"{row['before']:.3f}"
        where = f"| {row['m']:,} | {row['t']:,} | {row['method']} | {row['macs']:.0%} "
        lines.append(f"{where}| {before} | {row['after']:.3f} |")
    return "\n".join(lines)


def _groups(rows: Sequence[Row], network: str, macs: float) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if (row["network"], row["macs"]) == (network, macs):
            groups.setdefault(row["variant"], []).append(row)
    if not groups:
        raise ValueError(f"no row of {network} at macs = {macs}: run benchmarks/channels.py with that budget")
    return groups


def _mean(group: Sequence[Row], column: str = "accuracy") -> float:
    return statistics.mean(row[column] for row in group if column in row)


def _cell(group: Sequence[Row], column: str, images: int) -> str:
    values = [row[column] for row in group if column in row]
    return f"{statistics.mean(values):.3f} ± {half_width(values, images):.3f}" if values else ""
