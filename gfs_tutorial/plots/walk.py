"""The hull walk as a picture that the reader moves: plain HTML, no server and no network."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files

from torch import Tensor

from gfs_tutorial import checks

__all__ = ["InteractiveFigure", "interactive_hull_walk"]


@dataclass(frozen=True)
class InteractiveFigure:
    """HTML that a notebook shows; its text form says what would be seen."""

    html: str
    words: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.words


def interactive_hull_walk(points: Tensor, target: Tensor, *, steps: int = 40) -> InteractiveFigure:
    """A hull walk with sliders for k and N, a target to drag, and a Play button.

    Args:
        points: (N, 2) finite feature vectors of at least three neurons.
        target: (2,), the labels to begin with.
        steps: The most picks that the slider offers.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message).
    """
    checks.float_matrix("points", points, "(N, 2)")
    if points.shape[1] != 2 or len(points) < 3:
        raise ValueError(f"points must be (N, 2) with N at least 3, got {tuple(points.shape)}")
    if target.shape != (2,):
        raise ValueError(f"target must be (2,), got {tuple(target.shape)}")
    data = json.dumps(
        {
            "points": [[round(v, 4) for v in point] for point in points.tolist()],
            "target": target.tolist(),
            "steps": checks.positive_int("steps", steps),
        }
    )
    name = "gfs-walk-" + hashlib.sha256(data.encode()).hexdigest()[:8]  # the same data, the same output
    template = files("gfs_tutorial.plots").joinpath("walk.html").read_text(encoding="utf-8")
    html = template.replace("DATA", data).replace("ID", name)
    return InteractiveFigure(html, f"Interactive walk of {len(points)} neurons towards {target.tolist()}")
