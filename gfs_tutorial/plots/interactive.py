"""Figures that the reader moves: plain HTML without server or network, and a still picture beside it."""

from __future__ import annotations

import hashlib
import html
import json
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from gfs_tutorial.plots.image import data_uri

__all__ = ["InteractiveFigure", "interactive_figure"]


@dataclass(frozen=True)
class InteractiveFigure:
    """HTML that a notebook shows; its text form says what would be seen.

    Attributes:
        html: Sliders, script, data and a still picture. The picture is seen where scripts do not run, and
            in print.
        words: What the still picture shows, for viewers without HTML.
    """

    html: str
    words: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.words


def interactive_figure(
    name: str, data: dict[str, Any], still: Figure, *, label: str, words: str
) -> InteractiveFigure:
    """Fill the fragment ``name``.html of this folder: the same data give the same HTML.

    A fragment is markup, a line ``<!-- script -->``, and the body of a script that finds ``root``, ``data``
    and the helpers of ``frame.html`` and defines ``draw()``. Every slider has a ``data-name``.

    Args:
        name: Which fragment.
        data: What its script gets.
        still: What is seen without scripts and in print; it is closed.
        label: What the figure shows, for readers who cannot see it.
        words: A sentence below the still picture: what there is to learn.
    """
    folder = files("gfs_tutorial.plots")
    frame, fragment = (
        folder.joinpath(f"{part}.html").read_text(encoding="utf-8") for part in ("frame", name)
    )
    markup, script = fragment.split("<!-- script -->\n")
    payload = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    parts = {
        "figure": markup.strip(),
        "script": script.rstrip(),
        "id": f"gfs-{name}-" + hashlib.sha256(payload.encode()).hexdigest()[:8],
        "label": html.escape(label),
        "words": html.escape(words),
        "still": data_uri(still),
        "data": payload,
    }
    plt.close(still)
    return InteractiveFigure(re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], frame), words)
