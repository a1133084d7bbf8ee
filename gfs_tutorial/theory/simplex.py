r"""Least squares over the simplex, by a solver of SciPy that knows only that weights are not negative."""

from __future__ import annotations

import numpy as np

__all__ = ["simplex_least_squares"]


def simplex_least_squares(Z: np.ndarray) -> np.ndarray:
    r"""Convex weights w of the point nearest to the origin in the hull of the rows of Z.

    Non-negative least squares with one more row finds them,

    .. math:: \min_{v \ge 0}\ \lVert Z^\top v\rVert^2 + M (\mathbf 1^\top v - 1)^2,

    exactly for *every* M > 0: write :math:`v = t w` with w in the simplex; the best t leaves
    :math:`M\lVert Z^\top w\rVert^2 / (M + \lVert Z^\top w\rVert^2)`, which grows with
    :math:`\lVert Z^\top w\rVert`. So w = v / sum(v). Lawson and Hanson (1974) for the solver,
    :func:`scipy.optimize.nnls`.

    Args:
        Z: (n, r) float64; for the hull of features :math:`\Phi_i` and labels y, the rows
            :math:`\Phi_i - y`.

    Returns:
        (n,) float64, at least 0, of sum 1; most are exactly 0 where the hull does not hold the origin.
    """
    from scipy.optimize import nnls  # here, so that importing the package stays quick

    scale = np.sqrt(np.square(Z).sum(1).mean()) or 1.0
    system = np.vstack([Z.T / scale, np.ones((1, len(Z)))])  # (r + 1, n), M = 1 after scaling
    right = np.append(np.zeros(Z.shape[1]), 1.0)  # (r + 1,)
    if len(right) > 2 * len(Z):  # the same distances in few coordinates
        Q, system = np.linalg.qr(system)
        right = Q.T @ right
    v = nnls(system, right, maxiter=100 * len(Z))[0]
    return v / v.sum()
