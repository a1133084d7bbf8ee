"""Tables of the ImageNet chapter: published figures beside ours, and what a full run should cost."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

from gfs_tutorial import results
from gfs_tutorial.cnn.models import published_accuracy
from gfs_tutorial.experiments.published import PUBLISHED

__all__ = ["cost_table", "figures_table", "own_figures"]

STORED = {"imagenet-paper.json": "ImageNet-1k", "imagenet-laptop.json": "a sample"}
CATALOGUE = ("resnet34", "resnet50", "mobilenet-v2", "mobilenet-v3-large")


def own_figures(name: str) -> list[dict[str, Any]]:
    """Means over seeds of one of our result files, at the largest calibration.

    Returns:
        One dictionary for each network, share of MACs and method: ``network``, ``method``, ``macs`` (of an
        image), ``top1`` and ``top5`` (shares), ``images`` (a seed) and ``seeds``.

    Raises:
        FileNotFoundError: there is no such result.
    """
    rows = results.stored(name)["rows"]
    most = max(row["calibration"] for row in rows)
    rows = [row for row in rows if row["calibration"] in (0, most)]
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["network"], row["macs"], row["method"]), []).append(row)
    return [
        {
            "network": network,
            "method": method,
            "macs": mean(row["kept_macs"] for row in group),
            "top1": mean(row["top1"] for row in group),
            "top5": mean(row["top5"] for row in group),
            "images": group[0]["images"],
            "seeds": len(group),
        }
        for (network, _, method), group in groups.items()
    ]


def figures_table() -> str:
    """Published figures and ours, as a Markdown table, network by network; sources in a list below."""
    lines = ["| network | method | MACs | top-1 | top-5 | measured on |", "|---|---|---|---|---|---|"]
    rows: list[tuple] = [
        (r.network, r.method, r.macs, r.top1, None, "ImageNet-1k", r.source) for r in PUBLISHED
    ]
    for name in CATALOGUE:
        published = published_accuracy(name)
        assert published is not None, name  # torchvision has all of the catalogue
        source = "torchvision, for the weights that the study starts from"
        rows.append((name, "dense, our start", None, *published, "ImageNet-1k", source))
    for file, where in STORED.items():
        rows += _own(file, where)
    notes = list(dict.fromkeys(row[-1] for row in rows))
    for network in dict.fromkeys(row[0] for row in rows):
        for _, method, macs, top1, top5, where, source in (row for row in rows if row[0] == network):
            cells = (_millions(macs), f"{top1:.1f}", "" if top5 is None else f"{top5:.1f}")
            number = notes.index(source) + 1
            lines.append(f"| {network} | {method} | {' | '.join(cells)} | {where} ({number}) |")
    return "\n".join([*lines, "", *(f"{i}. {note}" for i, note in enumerate(notes, 1))])


def _own(file: str, where: str) -> list[tuple]:
    try:
        rows = own_figures(file)
    except FileNotFoundError:
        return []
    return [
        (
            row["network"],
            f"ours, {row['method']}",
            row["macs"],
            100 * row["top1"],
            100 * row["top5"],
            f"{where}: {row['images']} photographs",
            f"`results/{file}`, {row['seeds']} seed{'s' * (row['seeds'] > 1)}",
        )
        for row in rows
    ]


def _millions(macs: float | None) -> str:
    return "" if macs is None else f"{macs / 1e6:,.0f}M"


def cost_table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of ``results/benchmark-imagenet-estimate.json`` as a Markdown table."""
    lines = [
        "| network | GPUs | images a second, computed | and read | limited by | a pass | selection: passes "
        "| fine-tuning | dollars |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        speeds = "{gpu_images_a_second:,.0f} | {images_a_second:,.0f} | {limited_by}".format(**row)
        times = "{pass_minutes:.1f} min | {selection_seconds:.0f} s | {fine_tuning_hours:.1f} h".format(**row)
        lines.append(f"| {row['network']} | {row['gpus']} | {speeds} | {times} | {row['dollars']:,.0f} |")
    return "\n".join(lines)
