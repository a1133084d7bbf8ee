r"""The least loss that any subnetwork of any size can have: the point of the convex hull nearest to y.

Chapter *Subnetworks as points of a convex hull*.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from gfs_tutorial import checks
from gfs_tutorial.theory.features import shifted
from gfs_tutorial.theory.simplex import simplex_least_squares

__all__ = ["HullMinimum", "hull_minimum"]

BATCH = 50  # neurons that join the active set in one round


@dataclass(frozen=True)
class HullMinimum:
    r"""The minimum of the loss over the convex hull, with a proof of how good it is.

    Attributes:
        weights: (N,) float64 convex weights p of the point found.
        loss: :math:`\ell(\Phi_p)`.
        duality_gap: :math:`\langle \Phi_p - y, \Phi_p \rangle - \min_i \langle \Phi_p - y, \Phi_i \rangle`;
            the true minimum is at most this much below ``loss``.
        lower_bound: No average of the neurons, of any size and with any weights, has a loss below this.
    """

    weights: Tensor = field(repr=False)
    loss: float
    duality_gap: float
    lower_bound: float

    @property
    def support(self) -> Tensor:
        """The neurons that the minimum uses, (n,) int64."""
        return self.weights.nonzero()[:, 0]


def hull_minimum(
    features: Tensor, target: Tensor, *, tolerance: float = 1e-9, rounds: int = 1000, progress: bool = False
) -> HullMinimum:
    r"""Minimise :math:`\frac12 \lVert \Phi_p - y \rVert^2` over all convex weights p.

    Fully corrective Frank-Wolfe: neurons that the gradient favours join an active set, on which
    least squares over the simplex (:func:`gfs_tutorial.theory.simplex.simplex_least_squares`) solves the
    problem exactly.

    Args:
        features: (N, D) feature vectors.
        target: (D,) labels.
        tolerance: Duality gap to stop at, relative to the loss of the best single neuron.
        rounds: The most rounds; the result of fewer is honest too, with a larger gap.
        progress: Whether to show a progress bar.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message).
    """
    if not 0 < tolerance < math.inf:
        raise ValueError(f"tolerance must be positive and finite, got {tolerance}")
    checks.positive_int("rounds", rounds)
    Z = coordinates(shifted(features, target).numpy())  # (N, r)
    active, p = nearest(Z, tolerance, rounds, progress)
    return _result(Z, active, p)


def nearest(
    Z: np.ndarray,
    tolerance: float = 1e-9,
    rounds: int = 1000,
    progress: bool = False,
    start: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The point nearest to the origin in the hull of the rows of Z (N, r): rows (n,) and weights (n,).

    ``start`` (n,) are rows to try first, e.g. those of a problem nearby.
    """
    squares = np.einsum("nr,nr->n", Z, Z)  # (N,)
    active = np.array([squares.argmin()]) if start is None else start  # (n,)
    p = np.ones(1) if len(active) == 1 else simplex_least_squares(Z[active])  # (n,)
    for _ in tqdm(range(rounds), desc="hull minimum", disable=not progress, leave=False):
        point = p @ Z[active]  # (r,)
        scores = Z @ point  # (N,)
        square = float(point @ point)
        if square - scores.min() <= tolerance * squares.min() / 2:
            break
        joining = np.setdiff1d(np.argsort(scores)[:BATCH], active)
        joining = joining[scores[joining] < square]
        trial = np.concatenate([active, joining])
        weights = simplex_least_squares(Z[trial])
        trial, weights = trial[weights > 0], weights[weights > 0]
        if np.square(weights @ Z[trial]).sum() >= square:  # exact up to rounding
            break
        active, p = trial, weights
    return active, p


def coordinates(Z: np.ndarray) -> np.ndarray:
    """The same points, up to a rotation, in at most N dimensions: (N, D) to (N, min(N, D))."""
    return Z if Z.shape[1] <= len(Z) else np.asarray(np.linalg.qr(Z.T, mode="r")).T


def _result(Z: np.ndarray, active: np.ndarray, p: np.ndarray) -> HullMinimum:
    point = p @ Z[active]  # (r,)
    scores = Z @ point  # (N,)
    square = float(point @ point)
    gap = max(0.0, square - float(scores.min()))
    # All points lie beyond the plane <point, z> = min score, whose distance from y is this.
    distance = max(0.0, float(scores.min())) / math.sqrt(square) if square > 0 else 0.0
    weights = torch.zeros(len(Z), dtype=torch.float64)
    weights[torch.from_numpy(active)] = torch.from_numpy(p)
    return HullMinimum(weights, square / 2, gap, distance**2 / 2)
