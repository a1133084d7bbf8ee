"""One look for all figures: colours that differ in lightness, and a second mark beside every colour.

Chapter *A two-layer net and SGD*.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from gfs_tutorial.plots.image import compact_png

__all__ = ["COLORS", "line_styles", "short", "use_style"]

# From the palette of Okabe and Ito (2008), which colour-blind readers can tell apart, darkest first.
COLORS = {
    "black": "#000000",
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "green": "#009E73",
    "sky": "#56B4E9",
}


def line_styles() -> Iterator[dict[str, Any]]:
    """Keyword arguments for successive lines: a colour, a dash and a marker each, then around again."""
    dashes, markers = ("-", "--", "-.", ":", (0, (6, 1))), ("o", "s", "^", "D", "v")
    while True:
        for color, dash, marker in zip(COLORS.values(), dashes, markers):
            yield {"color": color, "linestyle": dash, "marker": marker}


def short(number: float) -> str:
    """A number for a crowded axis: 8,000 as it is, 15,000 as 15k."""
    return f"{number // 1000:,}k" if number >= 10_000 and number % 1000 == 0 else f"{number:,}"


def use_style() -> None:
    """Set matplotlib's defaults for the book: sizes that survive a phone, thin grids, sharp pixels.

    In a notebook, figures are shown through :func:`gfs_tutorial.plots.image.compact_png` from now on.
    """
    mpl.rcParams.update(
        {
            "figure.figsize": (6.4, 4.0),
            "figure.dpi": 160,
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.grid": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "grid.alpha": 0.3,
            "grid.linewidth": 0.6,
            "lines.linewidth": 1.8,
            "lines.markersize": 5,
            "legend.frameon": False,
            "savefig.bbox": "tight",
        }
    )
    shell = _notebook()
    if shell is not None:
        shell.run_line_magic("matplotlib", "inline")  # now: later it would put its own printer back
        shell.display_formatter.formatters["image/png"].for_type(Figure, compact_png)


def _notebook() -> Any | None:
    """The IPython shell of a notebook, or ``None`` elsewhere."""
    if "IPython" not in sys.modules:
        return None
    shell = sys.modules["IPython"].get_ipython()
    return shell if hasattr(shell, "kernel") else None
