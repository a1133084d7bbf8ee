r"""The certificate in its tightest form: a recursion for the walk, and the best anchor at every step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gfs_tutorial import checks
from gfs_tutorial.theory.anchors import Anchor

__all__ = ["certificate"]


def certificate(
    dense_loss: float,
    variance: float,
    size: int,
    *,
    with_replacement: bool = True,
    width: int | None = None,
    anchors: Sequence[Anchor] = (),
) -> Tensor:
    r"""Upper bounds on the loss of greedy forward selection after 1, 2, ..., ``size`` steps.

    With :math:`W_k = k\lVert u_k - y\rVert` and :math:`R = \sqrt{2L}`, the best neuron is at most as bad as
    the average one, so (chapter *A certificate*)

    .. math:: W_k^2 \le (W_{k-1} + R)^2 + V, \qquad W_0 = 0, \qquad \ell(u_k) = W_k^2 / 2k^2.

    The average may be taken with any convex weights p, and with others at every step; each of ``anchors`` is
    one more to choose from (chapter *Subnetworks as points of a convex hull*):

    .. math:: W_k^2 \le \min_p\, (W_{k-1} + R_p)^2 + V_p.

    Without replacement the average runs over the :math:`M = N - k + 1` neurons that are left:

    .. math:: W_k^2 \le \bigl((1 - \tfrac1M) W_{k-1} + \tfrac NM R\bigr)^2 + \tfrac NM V.

    Args:
        dense_loss: L, not negative, in units of the labels squared.
        variance: V, not negative, in the same units.
        size: Number of steps.
        with_replacement: Which of the two to bound.
        width: N, needed without replacement.
        anchors: Further points of the hull; for selection with replacement.

    Returns:
        (size,) float64; entry k - 1 bounds :math:`\ell(u_k)`.

    Raises:
        ValueError: a negative or infinite loss or variance, ``width`` missing or below ``size`` where
            it is needed, or anchors without replacement.
    """
    size = checks.positive_int("size", size)
    checks.not_negative("dense_loss", dense_loss)
    checks.not_negative("variance", variance)
    if width is not None:
        checks.positive_int("width", width)
    radius = math.sqrt(2 * dense_loss)
    if with_replacement:
        points = [(radius, variance), *((point.radius, point.variance) for point in anchors)]
        walks = _with_replacement(points, size)
    elif anchors:
        raise ValueError(
            "anchors are for selection with replacement: without it, weight on picked neurons is void"
        )
    elif width is None or width < size:
        raise ValueError(f"without replacement, width must be at least size = {size}, got {width}")
    else:
        walks = _without_replacement(radius, variance, size, width)
    k = torch.arange(1, size + 1, dtype=torch.float64)  # (size,)
    return (torch.tensor(walks, dtype=torch.float64) / k).square() / 2


def _with_replacement(points: list[tuple[float, float]], size: int) -> list[float]:
    """Bounds on the walk W_1, ..., W_size, from the (radius, variance) of some points of the hull."""
    walk, walks = 0.0, []
    for _ in range(size):
        walk = math.sqrt(min((walk + radius) ** 2 + variance for radius, variance in points))
        walks.append(walk)
    return walks


def _without_replacement(radius: float, variance: float, size: int, width: int) -> list[float]:
    walk, walks = 0.0, []
    for k in range(1, size + 1):
        left = width - k + 1
        share = width / left
        walk = math.sqrt(((1 - 1 / left) * walk + share * radius) ** 2 + share * variance)
        walks.append(walk)
    return walks
