r"""How deep the target lies in the hull: the largest ball around it, from below and from above.

Chapter *Subnetworks as points of a convex hull*.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from gfs_tutorial import checks
from gfs_tutorial.theory.features import shifted
from gfs_tutorial.theory.membership import hull_membership, second_moment, span_coordinates
from gfs_tutorial.theory.minimum import nearest

__all__ = ["InscribedBall", "ball_certificate", "inscribed_ball"]


@dataclass(frozen=True)
class InscribedBall:
    r"""Bounds on :math:`\gamma`, the radius of the largest ball around y in the hull, in units of the labels.

    Attributes:
        lower: A ball of this radius fits (relative to the smallest flat space that holds the hull).
        upper: No ball of a larger radius fits.
        direction: (D,) float64 unit vector along which the hull ends at ``upper``.
        reach: The D of :func:`ball_certificate` that goes with ``lower``: the lesser of
            :math:`\max_i \lVert \Phi_i - y \rVert` and :math:`\sqrt{2 V_p}`, where p are the weights that
            show the ball (they at most double on the way to its surface).
    """

    lower: float
    upper: float
    direction: Tensor = field(repr=False)
    reach: float


def ball_certificate(gamma: float, reach: float, size: int) -> Tensor:
    r"""Bounds on the loss where a ball of radius :math:`\gamma` around y lies in the hull: :math:`O(1/k^2)`.

    .. math:: W_k \le \max\bigl(D, D^2 / 2\gamma\bigr) \quad\text{for all } k, \qquad
        \ell(u_k) \le \frac{\max(D, D^2/2\gamma)^2}{2k^2}

    Chapter *Subnetworks as points of a convex hull*; for selection with replacement.

    Args:
        gamma: :math:`\gamma > 0`, at most D, in units of the labels.
        reach: D, in the same units: every point of the ball shall be an average of neurons whose mean square
            distance from y is at most :math:`D^2`. The greatest distance of all neurons will do.
        size: Number of steps.

    Returns:
        (size,) float64; entry k - 1 bounds :math:`\ell(u_k)`.

    Raises:
        ValueError: ``gamma`` is not positive, or above ``reach``.
    """
    size = checks.positive_int("size", size)
    checks.not_negative("reach", reach)
    if not 0 < gamma <= reach:
        raise ValueError(f"gamma must be above 0 and at most reach = {reach:.3g}, got {gamma}")
    walk = max(reach, reach**2 / (2 * gamma))
    return (walk / torch.arange(1, size + 1, dtype=torch.float64)).square() / 2


def inscribed_ball(features: Tensor, target: Tensor, *, starts: int = 0, seed: int = 0) -> InscribedBall:
    r"""Bound the radius of the largest ball around y that fits into the hull.

    From below: with the weights p of :func:`hull_membership`, :math:`\zeta_i = \Phi_i - y` and
    :math:`M = \sum_i p_i \zeta_i \zeta_i^\top`, the weights :math:`p_i (1 + \langle a, \zeta_i \rangle)`
    average to :math:`y + M a`, and they stay convex while all :math:`|\langle a, \zeta_i\rangle| \le 1`; so
    :math:`\gamma \ge 1 / \max_i \lVert M^{-1} \zeta_i \rVert`. From above: along a unit vector v the hull
    ends at :math:`h(v) = \max_i \langle v, \zeta_i \rangle \ge \gamma`. If the point :math:`y + h(v) v` is
    not in the hull, the direction from the nearest point of the hull to it is a better v: its h is less by
    that distance at least.

    Args:
        features: (N, D) feature vectors.
        target: (D,) labels, inside the hull.
        starts: Random directions to start the search from above, besides the one that the lower bound
            suggests. It ends at a local minimum of h, so more starts may lower the upper bound.
        seed: Of the random directions.

    Raises:
        TypeError, ValueError: an argument does not fit, or y is not (shown to be) inside the hull.
    """
    checks.integer_at_least("starts", starts, 0)
    membership = hull_membership(features, target)
    if not membership.inside or membership.weights is None:
        where = "outside" if membership.inside is False else "on or very near the boundary of"
        raise ValueError(f"target lies {where} the hull, so no ball around it fits: see hull_membership")
    Z = shifted(features, target).numpy()  # (N, D)
    points, basis = span_coordinates(Z)  # (N, r), (r, D)
    p, squares = membership.weights.numpy(), np.square(points).sum(1)  # (N,), (N,)
    solved = np.linalg.solve(second_moment(points, p), points.T)  # M^-1 z, (r, N)
    lengths = np.linalg.norm(solved, axis=0)  # (N,)
    random = np.random.default_rng(seed).standard_normal((starts, points.shape[1]))
    ends = [_descend(points, v / np.linalg.norm(v)) for v in (-solved[:, lengths.argmax()], *random)]
    upper, direction = min(ends, key=lambda end: end[0])
    return InscribedBall(
        lower=max(0.0, float(1 / lengths.max()) - membership.residual),  # the weights miss y by the residual
        upper=upper,
        direction=torch.from_numpy(direction @ basis),
        reach=float(np.sqrt(min(squares.max(), 2 * p @ squares))),
    )


def _descend(points: np.ndarray, v: np.ndarray, rounds: int = 100) -> tuple[float, np.ndarray]:
    """From the unit vector v (r,) to a local minimum of the depth, h(v) = max over i of <v, z_i>."""
    depth, active = float((points @ v).max()), None
    for _ in range(rounds):
        outside = points - depth * v  # the hull, seen from where the ball of radius h(v) would end
        active, p = nearest(outside, start=active)
        normal = -(p @ outside[active])  # (r,)
        distance = float(np.linalg.norm(normal))
        if distance <= 1e-6 * depth:  # the end lies in the hull: the ball touches it here
            break
        v = normal / distance
        depth = float((points @ v).max())
    return depth, v
