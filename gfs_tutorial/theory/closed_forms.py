r"""Certificates that can be read: what the recursion implies, in closed form.

Chapters *A certificate* and *Subnetworks as points of a convex hull*.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gfs_tutorial import checks

__all__ = ["certificate_average", "certificate_closed_form", "certificate_interpolation"]


def certificate_closed_form(dense_loss: float, variance: float, k: int | Tensor) -> float | Tensor:
    r"""The certificate in closed form, :math:`\ell(u_k) \le \frac12 (\sqrt{2L} + \sqrt{V/k})^2`.

    A little looser than :func:`certificate` and easier to read: as k grows it falls to the dense loss. For
    selection with replacement (chapter *A certificate*); with :math:`R_p^2/2` and :math:`V_p` in the place
    of L and V it holds for any point of the hull.

    Args:
        dense_loss: L.
        variance: V.
        k: One size, or a tensor of sizes; then the bounds are a float64 tensor of its shape.
    """
    k = _sizes(dense_loss, variance, k)
    return 0.5 * (math.sqrt(2 * dense_loss) + (variance / k) ** 0.5) ** 2


def certificate_interpolation(variance: float, k: int | Tensor) -> float | Tensor:
    r"""The certificate where the target lies in the hull, :math:`\ell(u_k) \le V_p / 2k`: no logarithm.

    Args:
        variance: :math:`V_p` of convex weights with :math:`\Phi_p = y`.
        k: As in :func:`certificate_closed_form`.
    """
    return certificate_closed_form(0.0, variance, k)


def certificate_average(
    dense_loss: float, variance: float, first_loss: float, k: int | Tensor
) -> float | Tensor:
    r"""The certificate whose leading term is the dense loss itself, at the price of a logarithm.

    .. math:: \ell(u_k) \le L + \frac{\ell(u_1) - L}{k} + \frac{V (H_k - 1)}{2k}, \qquad
        H_k = 1 + \tfrac12 + \dots + \tfrac1k.

    Convexity of the loss in the place of the triangle inequality (chapter *Subnetworks as points of a
    convex hull*). Below :func:`certificate_closed_form` where k is large and L is not small.

    Args:
        dense_loss: L, or the loss of any point of the hull.
        variance: V, of the same point.
        first_loss: :math:`\ell(u_1)`, the loss of the best single neuron.
        k: As in :func:`certificate_closed_form`.
    """
    checks.not_negative("first_loss", first_loss)
    k = _sizes(dense_loss, variance, k)
    harmonic = torch.digamma(torch.as_tensor(k, dtype=torch.float64) + 1) - torch.digamma(
        torch.ones(()).double()
    )
    bound = dense_loss + (first_loss - dense_loss) / k + variance * (harmonic - 1) / (2 * k)
    return bound if isinstance(k, Tensor) else float(bound)


def _sizes(dense_loss: float, variance: float, k: int | Tensor) -> int | Tensor:
    """Check the numbers that all forms share; tensors of sizes become float64."""
    checks.not_negative("dense_loss", dense_loss)
    checks.not_negative("variance", variance)
    if bool(torch.as_tensor(k < 1).any()):
        raise ValueError(f"k must be at least 1, got {k}")
    return k.double() if isinstance(k, Tensor) else k
