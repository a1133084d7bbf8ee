r"""What can be promised about greedy forward selection before it runs.

Notation of the book: neuron i has the feature vector :math:`\Phi_i` (its scaled outputs on all m data),
the dense network is their mean :math:`\bar q`, the loss is :math:`\ell(u) = \frac12\lVert u - y\rVert^2`,
:math:`L = \ell(\bar q)` and :math:`V = \frac1N \sum_i \lVert \Phi_i - \bar q \rVert^2`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gfs_tutorial import checks

__all__ = ["certificate", "certificate_closed_form"]


def certificate(
    dense_loss: float, variance: float, size: int, *, with_replacement: bool = True, width: int | None = None
) -> Tensor:
    r"""Upper bounds on the loss of greedy forward selection after 1, 2, ..., ``size`` steps.

    With :math:`W_k = k\lVert u_k - y\rVert` and :math:`R = \sqrt{2L}`, the best neuron is at most as bad as
    the average one, so (chapter *A certificate*)

    .. math:: W_k^2 \le (W_{k-1} + R)^2 + V, \qquad W_0 = 0, \qquad \ell(u_k) = W_k^2 / 2k^2.

    Without replacement the average runs over the :math:`M = N - k + 1` neurons that are left:

    .. math:: W_k^2 \le \bigl((1 - \tfrac1M) W_{k-1} + \tfrac NM R\bigr)^2 + \tfrac NM V.

    Args:
        dense_loss: L, not negative.
        variance: V, not negative.
        size: Number of steps.
        with_replacement: Which of the two to bound.
        width: N, needed without replacement.

    Returns:
        (size,) float64; entry k - 1 bounds :math:`\ell(u_k)`.

    Raises:
        ValueError: a negative or infinite loss or variance, or ``width`` missing or below ``size`` where
            it is needed.
    """
    size = checks.positive_int("size", size)
    checks.not_negative("dense_loss", dense_loss)
    checks.not_negative("variance", variance)
    if width is not None:
        checks.positive_int("width", width)
    if not with_replacement and (width is None or width < size):
        raise ValueError(f"without replacement, width must be at least size = {size}, got {width}")
    radius, walk, bounds = math.sqrt(2 * dense_loss), 0.0, []
    for k in range(1, size + 1):
        left = width - k + 1 if not with_replacement else math.inf
        share = width / left if not with_replacement else 1.0
        walk = math.sqrt(((1 - 1 / left) * walk + share * radius) ** 2 + share * variance)
        bounds.append(walk**2 / (2 * k**2))
    return torch.tensor(bounds, dtype=torch.float64)


def certificate_closed_form(dense_loss: float, variance: float, k: int | Tensor) -> float | Tensor:
    r"""The certificate in closed form, :math:`\ell(u_k) \le \frac12 (\sqrt{2L} + \sqrt{V/k})^2`.

    A little looser than :func:`certificate` and easier to read: as k grows it falls like 1/k to the dense
    loss. For selection with replacement (chapter *A certificate*).

    Args:
        dense_loss: L.
        variance: V.
        k: One size, or a tensor of sizes; then the bounds are a float64 tensor of its shape.
    """
    checks.not_negative("dense_loss", dense_loss)
    checks.not_negative("variance", variance)
    if bool(torch.as_tensor(k < 1).any()):
        raise ValueError(f"k must be at least 1, got {k}")
    if isinstance(k, Tensor):
        k = k.double()
    return 0.5 * (math.sqrt(2 * dense_loss) + (variance / k) ** 0.5) ** 2
