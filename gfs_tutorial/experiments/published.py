"""Figures of ImageNet that others have published, beside which ours stand."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PUBLISHED", "Published", "fractions"]

SOURCE = (
    "the repository of i-SpaSP, another method by authors of Wolfe et al. (2024): "
    "its table of ImageNet results"
)


@dataclass(frozen=True)
class Published:
    """One row of a table.

    Attributes:
        network, method: As it names them; ``"dense"`` is the network before pruning.
        macs: Multiply-accumulates an image.
        top1: Accuracy, in per cent.
        source: Where it stands.
    """

    network: str
    method: str
    macs: float
    top1: float
    source: str = SOURCE


PUBLISHED = (
    Published("resnet34", "dense", 3.68e9, 73.4),
    Published("resnet34", "GFS", 2.64e9, 73.5),
    Published("resnet34", "GFS", 2.07e9, 72.9),
    Published("resnet34", "multi-layer GFS", 2.20e9, 73.5),
    Published("resnet34", "multi-layer GFS", 1.90e9, 73.3),
    Published("resnet34", "FPGM", 2.16e9, 72.5),
    Published("mobilenet-v2", "dense", 314e6, 72.0),
    Published("mobilenet-v2", "GFS", 258e6, 71.9),
    Published("mobilenet-v2", "GFS", 220e6, 71.6),
    Published("mobilenet-v2", "multi-layer GFS", 245e6, 72.2),
    Published("mobilenet-v2", "multi-layer GFS", 218e6, 71.7),
    Published("mobilenet-v2", "uniform", 220e6, 70.0),
    Published("mobilenet-v2", "AMC", 220e6, 70.8),
    Published("mobilenet-v2", "MetaPruning", 217e6, 71.2),
)


def fractions(network: str) -> tuple[float, ...]:
    """Shares of the MACs at which forward selection has published figures, most first; else .8, .7 and .5.

    One a little below the least is added, to see where it goes.
    """
    rows = [row for row in PUBLISHED if row.network == network]
    dense = next((row.macs for row in rows if row.method == "dense"), None)
    if dense is None:
        return (0.8, 0.7, 0.5)
    reached = sorted({round(row.macs / dense, 3) for row in rows if row.method.endswith("GFS")}, reverse=True)
    return (*reached, round(0.8 * reached[-1], 2))
