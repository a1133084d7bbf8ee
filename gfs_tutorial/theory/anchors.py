r"""Points of the hull that a certificate can lean on: their radius and variance.

Chapter *Subnetworks as points of a convex hull*.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gfs_tutorial import checks
from gfs_tutorial.theory.features import shifted

__all__ = ["Anchor", "anchor", "hull_radius", "hull_variance"]

SUM = 1e-6  # how far from 1 the weights may sum


@dataclass(frozen=True)
class Anchor:
    r"""A point :math:`\Phi_p` of the hull, in the two numbers that a certificate needs.

    Attributes:
        name: What to call it, e.g. ``"dense network"``.
        radius: :math:`R_p = \lVert \Phi_p - y \rVert`, not negative.
        variance: :math:`V_p = \sum_i p_i \lVert \Phi_i - \Phi_p \rVert^2`, not negative.
    """

    name: str
    radius: float
    variance: float

    def __post_init__(self) -> None:
        checks.not_negative("radius", self.radius)
        checks.not_negative("variance", self.variance)

    @property
    def loss(self) -> float:
        r"""The loss of the point, :math:`R_p^2 / 2`."""
        return self.radius**2 / 2


def anchor(features: Tensor, target: Tensor, weights: Tensor | None = None, *, name: str = "") -> Anchor:
    r"""Radius and variance of the point :math:`\Phi_p` (chapter *Subnetworks as points of a convex hull*).

    Args:
        features: (N, D) feature vectors.
        target: (D,) labels.
        weights: (N,) convex weights p; ``None`` means 1/N each, the dense network.
        name: What to call it.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message).
    """
    Z = shifted(features, target)  # (N, D)
    p = convex_weights(weights, len(Z))  # (N,)
    point = p @ Z  # (D,)
    variance = float(p @ (Z - point).square().sum(1))
    return Anchor(name or ("dense network" if weights is None else "weights"), float(point.norm()), variance)


def hull_radius(features: Tensor, target: Tensor, weights: Tensor | None = None) -> float:
    r""":math:`R_p = \lVert \Phi_p - y \rVert`, in units of the labels; the rest is as in :func:`anchor`."""
    return anchor(features, target, weights).radius


def hull_variance(features: Tensor, weights: Tensor | None = None) -> float:
    r""":math:`V_p = \sum_i p_i \lVert \Phi_i - \Phi_p \rVert^2`; the rest is as in :func:`anchor`."""
    checks.float_matrix("features", features, "(N, D)")
    return anchor(features, torch.zeros_like(features[0]), weights).variance


def convex_weights(weights: Tensor | None, count: int) -> Tensor:
    """``weights`` as (count,) float64 that sum to 1 exactly up to rounding; 1/count each for ``None``.

    Raises:
        TypeError: not a tensor.
        ValueError: not (count,), negative, or with a sum that is not 1.
    """
    if weights is None:
        return torch.full((count,), 1 / count, dtype=torch.float64)
    checks.is_tensor("weights", weights)
    if weights.shape != (count,):
        raise ValueError(f"weights must be ({count},), one a neuron, got {tuple(weights.shape)}")
    p = checks.finite("weights", weights.cpu().double())
    if float(p.min()) < 0 or abs(float(p.sum()) - 1) > SUM:
        raise ValueError(
            f"weights must be at least 0 and sum to 1, got a least of {float(p.min()):.3g} and a sum of "
            f"{float(p.sum()):.6g}"
        )
    return p / p.sum()
