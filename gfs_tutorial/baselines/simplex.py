r"""Least squares over the simplex, by a solver of SciPy that knows only that weights are not negative."""

from __future__ import annotations

import numpy as np

__all__ = ["simplex_least_squares"]


def simplex_least_squares(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    r"""Convex weights w that minimise :math:`\lVert A w - y\rVert`.

    Since the weights sum to one, :math:`Aw - y = Zw` with :math:`Z = A - y\mathbf 1^\top`. Non-negative
    least squares with one more row finds the answer,

    .. math:: \min_{v \ge 0}\ \lVert Z v\rVert^2 + M (\mathbf 1^\top v - 1)^2,

    exactly for *every* M > 0: write :math:`v = t w` with w in the simplex; the best t leaves
    :math:`M\lVert Zw\rVert^2 / (M + \lVert Zw\rVert^2)`, which grows with :math:`\lVert Zw\rVert`. So
    w = v / sum(v). Lawson and Hanson (1974) for the solver, :func:`scipy.optimize.nnls`.

    Args:
        features: A, (rows, n) float64.
        labels: y, (rows,).

    Returns:
        (n,) float64, at least 0, of sum 1; most are exactly 0 where the hull does not hold y.
    """
    from scipy.optimize import nnls  # here, so that importing the package stays quick

    Z = features - labels[:, None]  # (rows, n)
    scale = np.sqrt(np.square(Z).sum(0).mean()) or 1.0
    system = np.vstack([Z / scale, np.ones((1, Z.shape[1]))])  # (rows + 1, n), M = 1 after scaling
    v, _ = nnls(system, np.append(np.zeros(len(Z)), 1.0), maxiter=100 * Z.shape[1])
    return v / v.sum()
