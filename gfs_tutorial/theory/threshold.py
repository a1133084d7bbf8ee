r"""How many iterations of pre-training are enough, according to the certificate.

Chapter *How much pre-training is enough?*.
"""

from __future__ import annotations

import math

from gfs_tutorial import checks

__all__ = ["pretraining_threshold", "sufficient_dense_loss"]


def sufficient_dense_loss(variance: float, size: int, level: float | None = None) -> float:
    r"""The dense loss at which the certificate promises a good subnetwork of ``size`` picks.

    Without a level: :math:`L \le V/2k`, which promises :math:`\ell(u_k) \le 2V/k`. With the
    level :math:`\varepsilon`:

    .. math:: \tfrac12 \bigl(\sqrt{2L} + \sqrt{V/k}\bigr)^2 \le \varepsilon \iff
        \sqrt L \le \sqrt\varepsilon - \sqrt{V/2k}.

    Args:
        variance: V at the time of pruning.
        size: k.
        level: :math:`\varepsilon`, the loss that the subnetwork shall have.

    Returns:
        The loss to train the dense network to, or less.

    Raises:
        ValueError: ``level`` is not above :math:`V/2k`: no training of the dense network makes the
            certificate promise that; take more picks.
    """
    size = checks.positive_int("size", size)
    share = checks.not_negative("variance", variance) / (2 * size)
    if level is None:
        return share
    if not share < level < math.inf:
        raise ValueError(
            f"level must be finite and above V/2k = {share:.3g}, got {level}: raise it, or take more picks"
        )
    return (math.sqrt(level) - math.sqrt(share)) ** 2


def pretraining_threshold(
    initial_loss: float, variance: float, size: int, rho: float, level: float | None = None
) -> float:
    r"""Iterations that are enough, :math:`t^* = \log(L_0 / L^*) / -\log(1 - \rho)`.

    :math:`L^*` is :func:`sufficient_dense_loss`; without a level, :math:`V/2k`. It assumes that
    :math:`L_t \le (1-\rho)^t L_0` (chapter *How much pre-training is enough?*).

    Args:
        initial_loss: :math:`L_0`.
        variance: V at the time of pruning, not at the start: it grows with training.
        size: k.
        rho: :math:`\rho`, at least 0 and below 1: :attr:`Contraction.rho`.
        level: As in :func:`sufficient_dense_loss`.

    Returns:
        :math:`t^*`, a whole number of iterations; infinite where :math:`\rho = 0` or :math:`L^* = 0`.

    Raises:
        ValueError: an argument is out of its range.
    """
    checks.not_negative("initial_loss", initial_loss)
    if not 0 <= rho < 1:
        raise ValueError(f"rho must be at least 0 and below 1, got {rho}")
    enough = sufficient_dense_loss(variance, size, level)
    if initial_loss <= enough:
        return 0.0
    if rho == 0 or enough == 0:
        return math.inf
    return float(math.ceil(math.log(initial_loss / enough) / -math.log1p(-rho)))
