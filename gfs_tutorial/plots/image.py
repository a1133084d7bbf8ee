"""Pictures of figures, small: a drawing of lines and letters needs few colours."""

from __future__ import annotations

import base64
import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

__all__ = ["compact_png", "data_uri", "figure_of"]


def figure_of(drawn: Axes | Figure) -> Figure:
    """The figure, or that of axes: no picture of the book has figures in figures."""
    figure = drawn if isinstance(drawn, Figure) else drawn.figure
    assert isinstance(figure, Figure)
    return figure


def compact_png(figure: Figure) -> bytes:
    """The figure as a PNG with 256 colours: as many pixels as ever, and about a third of the bytes.

    The palette covers the range of the colours rather than the most frequent ones, so that no colour is
    far off.
    """
    full, small = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", dpi=figure.dpi, bbox_inches="tight")
    picture = Image.open(full).convert("RGB")
    palette = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    palette.save(small, format="png", optimize=True)
    return small.getvalue()


def data_uri(figure: Figure) -> str:
    """:func:`compact_png` as an address that holds the picture itself."""
    return "data:image/png;base64," + base64.b64encode(compact_png(figure)).decode()
