r"""Points of the hull that trade radius for variance: what the tightest certificate leans on.

Chapter *Subnetworks as points of a convex hull*.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gfs_tutorial import checks
from gfs_tutorial.theory.anchors import Anchor, anchor
from gfs_tutorial.theory.features import shifted

__all__ = ["frontier"]

STEPS = 2000  # Frank-Wolfe steps for each point, at most
GAP = 1e-3  # or until the duality gap is this share of the value


def frontier(features: Tensor, target: Tensor, count: int = 9) -> list[Anchor]:
    r"""Anchors for :func:`certificate`, from the nearest single neuron towards the hull's minimum.

    The step of the recursion, :math:`(W_{k-1} + R_p)^2 + V_p = W_{k-1}^2 + 2 W_{k-1} R_p + \sum_i p_i
    \lVert\Phi_i - y\rVert^2`, asks for weights p that are best for the present :math:`W_{k-1}`: near y
    on the average early, near y in the mean later. Along c from 1 down to 1e-4 this minimises

    .. math:: \tfrac12 R_p^2 + c \sum_i p_i \lVert \Phi_i - y \rVert^2

    by the pairwise Frank-Wolfe method (Lacoste-Julien and Jaggi, 2015). Weights that are not quite optimal
    give valid anchors all the same.

    Args:
        features: (N, D) feature vectors.
        target: (D,) labels.
        count: How many values of c.

    Returns:
        ``count`` + 1 anchors; the first is the nearest single neuron.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message).
    """
    checks.positive_int("count", count)
    Z = shifted(features, target).numpy()  # (N, D)
    squares = np.einsum("nd,nd->n", Z, Z)  # (N,)
    p = np.zeros(len(Z))  # (N,)
    p[squares.argmin()] = 1.0
    anchors = [_anchor(features, target, p, "nearest neuron")]
    columns: dict[int, np.ndarray] = {}
    for c in np.geomspace(1, 1e-4, count):
        p = _pairwise(Z, squares, p, c, columns)
        anchors.append(_anchor(features, target, p, f"frontier, c = {c:.2g}"))
    return anchors


def _anchor(features: Tensor, target: Tensor, p: np.ndarray, name: str) -> Anchor:
    return anchor(features, target, torch.from_numpy(p / p.sum()), name=name)


def _pairwise(
    Z: np.ndarray, squares: np.ndarray, p: np.ndarray, c: float, columns: dict[int, np.ndarray]
) -> np.ndarray:
    """Pairwise Frank-Wolfe from p (N,): move weight from the worst neuron in use to the best one."""

    def column(i: int) -> np.ndarray:
        if i not in columns:
            columns[i] = Z @ Z[i]  # (N,)
        return columns[i]

    p, inner = p.copy(), Z @ (p @ Z)  # inner[i] = <z_i, point>, (N,)
    for _ in range(STEPS):
        gradient = inner + c * squares  # (N,)
        used = p.nonzero()[0]
        best, worst = int(gradient.argmin()), int(used[gradient[used].argmax()])
        gain = gradient[worst] - gradient[best]
        if gain <= GAP * abs(p @ gradient):
            break
        curvature = squares[best] + squares[worst] - 2 * column(best)[worst]
        step = min(p[worst], gain / curvature) if curvature > 0 else p[worst]
        p[worst] = 0.0 if step == p[worst] else p[worst] - step
        p[best] += step
        inner += step * (column(best) - column(worst))
    return p
