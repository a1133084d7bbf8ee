r"""Is the target inside the convex hull? Newton's method answers, with a proof either way.

Chapter *Subnetworks as points of a convex hull*.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from gfs_tutorial import checks
from gfs_tutorial.theory.features import shifted

__all__ = ["HullMembership", "hull_membership"]

RIDGE = 1e-13  # of the mean eigenvalue: keeps the linear system solvable
RANK = 1e-10  # singular values below this share of the largest count as 0


@dataclass(frozen=True)
class HullMembership:
    r"""Whether y lies in the convex hull of the features, and why.

    Attributes:
        inside: ``True`` (to within ``residual``), ``False``, or ``None`` where the target is so near to the
            boundary that neither could be shown (:func:`hull_minimum` then says how near).
        weights: (N,) float64, where inside: convex weights, all positive, with :math:`\Phi_p = y`.
        residual: :math:`\lVert \Phi_p - y \rVert` of the weights reached, in units of the labels; where
            outside, the margin.
        direction: (D,) float64, where outside: a unit vector v with
            :math:`\langle v, \Phi_i - y \rangle < 0` for all i.
        margin: Where outside: the distance from y to the hull is at least this.
    """

    inside: bool | None
    weights: Tensor | None = field(repr=False)
    residual: float
    direction: Tensor | None = field(repr=False)
    margin: float | None


def hull_membership(
    features: Tensor, target: Tensor, *, tolerance: float = 1e-9, steps: int = 500
) -> HullMembership:
    r"""Minimise :math:`F(\theta) = \ln\sum_i e^{\langle\theta,\zeta_i\rangle}`, :math:`\zeta_i = \Phi_i - y`.

    Its gradient is the average of the :math:`\zeta_i` with the softmax weights. If F has a minimum, these
    weights are convex, positive and average to y: inside. If y is outside, F falls without bound, and as
    soon as all :math:`\langle\theta, \zeta_i\rangle` are negative, :math:`\theta` shows it (chapter
    *Subnetworks as points of a convex hull*). "Inside" means inside relative to the smallest flat
    space that holds the hull, so it can be true where N is at most D.

    Args:
        features: (N, D) feature vectors.
        target: (D,) labels.
        tolerance: Radius of the weights that counts as 0, relative to the root mean square of
            :math:`\lVert \zeta_i \rVert`.
        steps: Newton steps, at most.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message).
    """
    checks.positive_int("steps", steps)
    Z = shifted(features, target).numpy()  # (N, D)
    scale = max(float(np.sqrt((Z**2).sum(1).mean())), np.finfo(float).tiny)
    points, basis = span_coordinates(Z / scale)  # (N, r), (r, D)
    theta = np.zeros(points.shape[1])  # (r,)
    for _ in range(steps):
        exponents = points @ theta  # (N,)
        if exponents.max() < 0:
            return _outside(theta @ basis, scale * float(-exponents.max() / np.linalg.norm(theta)))
        p = _softmax(exponents)  # (N,)
        gradient = p @ points  # (r,)
        residual = float(np.linalg.norm(gradient))
        if residual <= tolerance:
            return HullMembership(True, torch.from_numpy(p), scale * residual, None, None)
        step = _newton_step(points, exponents, p, gradient)
        if step is None:
            break
        theta = theta + step
    return HullMembership(None, None, scale * residual, None, None)


def span_coordinates(Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, D) in orthonormal coordinates of their span: (N, r), and the basis (r, D)."""
    _, values, basis = np.linalg.svd(Z, full_matrices=False)  # (min(N, D), D)
    rank = int((values > RANK * values.max(initial=0)).sum())
    return Z @ basis[:rank].T, basis[:rank]


def second_moment(points: np.ndarray, p: np.ndarray) -> np.ndarray:
    r"""M = :math:`\sum_i p_i \zeta_i \zeta_i^\top`, (r, r)."""
    return (points * p[:, None]).T @ points


def _softmax(exponents: np.ndarray) -> np.ndarray:
    weights = np.exp(exponents - exponents.max())
    return weights / weights.sum()


def _newton_step(
    points: np.ndarray, exponents: np.ndarray, p: np.ndarray, gradient: np.ndarray
) -> np.ndarray | None:
    """A damped Newton step (r,), shortened until F falls; ``None`` where rounding stops it."""
    M = second_moment(points, p)  # (r, r)
    M[np.diag_indices_from(M)] += RIDGE * np.trace(M) / len(M)
    direction = -np.linalg.solve(M, gradient)  # (r,)
    slope = float(gradient @ direction)  # negative
    # The Hessian is M - g gᵀ: same direction (Sherman and Morrison), longer by this factor.
    direction = direction / max(1 + slope, 1e-3)
    slope = float(gradient @ direction)
    moves = points @ direction  # (N,)
    length = 1.0
    while length > 1e-12:
        if _change(exponents, p, length * moves) <= 0.1 * length * slope:
            return length * direction
        length /= 2
    return None


def _change(exponents: np.ndarray, p: np.ndarray, moves: np.ndarray) -> float:
    """By how much F changes when the exponents (N,) move by ``moves`` (N,)."""
    if np.abs(moves).max() < 0.1:  # exact also where the change is tiny
        return float(np.log1p(p @ np.expm1(moves)))
    return float(np.logaddexp.reduce(exponents + moves) - np.logaddexp.reduce(exponents))


def _outside(direction: np.ndarray, margin: float) -> HullMembership:
    unit = torch.from_numpy(direction / np.linalg.norm(direction))
    return HullMembership(False, None, margin, unit, margin)
