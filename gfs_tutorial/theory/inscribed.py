r"""How deep the target lies in the hull: the largest ball around it, from below and from above."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from gfs_tutorial import checks
from gfs_tutorial.theory.features import shifted
from gfs_tutorial.theory.membership import hull_membership, second_moment, span_coordinates

__all__ = ["InscribedBall", "ball_certificate", "inscribed_ball"]


@dataclass(frozen=True)
class InscribedBall:
    r"""Bounds on :math:`\gamma`, the radius of the largest ball around y in the hull, in units of the labels.

    Attributes:
        lower: A ball of this radius fits (relative to the smallest flat space that holds the hull).
        upper: No ball of a larger radius fits.
        direction: (D,) float64 unit vector along which the hull ends at ``upper``.
        diameter: :math:`D = \max_i \lVert \Phi_i - y \rVert`.
    """

    lower: float
    upper: float
    direction: Tensor = field(repr=False)
    diameter: float


def ball_certificate(gamma: float, diameter: float, size: int) -> Tensor:
    r"""Bounds on the loss where a ball of radius :math:`\gamma` around y lies in the hull: :math:`O(1/k^2)`.

    .. math:: W_k \le \max\bigl(D, D^2 / 2\gamma\bigr) \quad\text{for all } k, \qquad
        \ell(u_k) \le \frac{\max(D, D^2/2\gamma)^2}{2k^2}

    Chapter *Subnetworks as points of a convex hull*; for selection with replacement.

    Args:
        gamma: :math:`\gamma > 0`, at most D, in units of the labels.
        diameter: D, in the same units.
        size: Number of steps.

    Returns:
        (size,) float64; entry k - 1 bounds :math:`\ell(u_k)`.

    Raises:
        ValueError: ``gamma`` is not positive, or above ``diameter``.
    """
    size = checks.positive_int("size", size)
    checks.not_negative("diameter", diameter)
    if not 0 < gamma <= diameter:
        raise ValueError(f"gamma must be above 0 and at most the diameter {diameter:.3g}, got {gamma}")
    walk = max(diameter, diameter**2 / (2 * gamma))
    return (walk / torch.arange(1, size + 1, dtype=torch.float64)).square() / 2


def inscribed_ball(features: Tensor, target: Tensor, *, starts: int = 2, seed: int = 0) -> InscribedBall:
    r"""Bound the radius of the largest ball around y that fits into the hull.

    From below: with the weights p of :func:`hull_membership`, :math:`z_i = \Phi_i - y` and
    :math:`M = \sum_i p_i z_i z_i^\top`, the weights :math:`p_i (1 + \langle a, z_i \rangle)` average to
    :math:`y + M a`, and they stay convex while all :math:`|\langle a, z_i\rangle| \le 1`; so
    :math:`\gamma \ge 1 / \max_i \lVert M^{-1} z_i \rVert`. From above: a linear programme finds where the ray
    in a direction v leaves the hull, and the face there; its normal is the next v.

    Args:
        features: (N, D) feature vectors.
        target: (D,) labels, inside the hull.
        starts: Random directions to start the search from above, besides the one that the lower bound
            suggests. Each costs some linear programmes.
        seed: Of the random directions.

    Raises:
        TypeError, ValueError: an argument does not fit, or y is not (shown to be) inside the hull.
    """
    checks.integer_at_least("starts", starts, 0)
    membership = hull_membership(features, target)
    if not membership.inside:
        where = "outside" if membership.inside is False else "on or very near the boundary of"
        raise ValueError(f"target lies {where} the hull, so no ball around it fits: see hull_membership")
    Z = shifted(features, target).numpy()  # (N, D)
    points, basis = span_coordinates(Z)  # (N, r), (r, D)
    solved = np.linalg.solve(second_moment(points, membership.weights.numpy()), points.T)  # M^-1 z, (r, N)
    lengths = np.linalg.norm(solved, axis=0)  # (N,)
    random = np.random.default_rng(seed).standard_normal((starts, points.shape[1]))
    ends = [_descend(points, v / np.linalg.norm(v)) for v in (-solved[:, lengths.argmax()], *random)]
    upper, direction = min(ends, key=lambda end: end[0])
    return InscribedBall(
        lower=max(0.0, float(1 / lengths.max()) - membership.residual),  # the weights miss y by the residual
        upper=upper,
        direction=torch.from_numpy(direction @ basis),
        diameter=float(np.linalg.norm(points, axis=1).max()),
    )


def _descend(points: np.ndarray, v: np.ndarray, rounds: int = 50) -> tuple[float, np.ndarray]:
    """From the direction v (r,), follow the normals of the faces to a local minimum of the depth."""
    depth = float((points @ v).max())
    for _ in range(rounds):
        normal = _exit_normal(points, v)
        trial = float((points @ normal).max())
        if trial >= depth * (1 - 1e-9):
            break
        depth, v = trial, normal
    return depth, v


def _exit_normal(points: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The unit normal (r,) of the face where the ray {s v} leaves the hull: max s with s v in the hull."""
    from scipy.optimize import linprog  # here, since `import gfs_tutorial` shall be quick

    n, r = points.shape
    equations = np.zeros((r + 1, n + 1))
    equations[:r, :n], equations[:r, n], equations[r, :n] = points.T, -v, 1
    solution = linprog(
        c=np.append(np.zeros(n), -1), A_eq=equations, b_eq=np.append(np.zeros(r), 1), method="highs"
    )
    if not solution.success:
        raise RuntimeError(f"the linear programme for the exit of a ray failed: {solution.message}")
    normal = -solution.eqlin.marginals[:r]
    if normal @ v < 0:
        normal = -normal
    return normal / np.linalg.norm(normal)
