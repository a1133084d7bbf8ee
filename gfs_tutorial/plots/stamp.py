"""A line below a figure that says where its numbers come from.

Chapter *The MNIST experiment*.
"""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["origin", "stamp"]


def origin(record: dict[str, Any]) -> str:
    """The run behind a result, its data, machine and day, in one line.

    Args:
        record: A result file, as :func:`gfs_tutorial.results.stored` reads it.
    """
    run = record["command"].removeprefix("python -m gfs_tutorial ")
    return f"{run} | {record['data'].split(', sha')[0]} | {record['hardware']} | {record['date'][:10]}"


def stamp(drawn: Axes | Figure, record: dict[str, Any]) -> Axes | Figure:
    """Write :func:`origin` below a figure, in as many lines as it needs.

    Args:
        drawn: The figure, or one of its axes.
        record: The result that was drawn.

    Returns:
        ``drawn``.
    """
    figure = drawn if isinstance(drawn, Figure) else drawn.figure
    figure.supxlabel(origin(record), fontsize=8, color="0.35", x=0.99, ha="right", wrap=True)
    return drawn
