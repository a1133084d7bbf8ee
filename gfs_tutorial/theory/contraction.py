r"""Does the loss fall by a fixed factor an iteration? The rate, and how well one rate describes the fall.

Chapter *How much pre-training is enough?*.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from gfs_tutorial import checks
from gfs_tutorial.networks import TwoLayerNet
from gfs_tutorial.training import TrainingHistory, half_squared_error

__all__ = ["Contraction", "contraction", "dense_losses"]


@dataclass(frozen=True)
class Contraction:
    r"""How the dense loss :math:`L_t` fell.

    Attributes:
        rho: The largest :math:`\rho` with :math:`L_t \le (1 - \rho)^t L_0` at every iteration seen; 0 where
            the loss did not stay below its start. An iteration, no unit.
        fitted: The rate of the straight line through :math:`\log L_t` (least squares).
        r_squared: Share of the variance of :math:`\log L_t` that this line explains.
        local: (n - 1,) float64, the rate between each iteration seen and the next. All equal
            if the decay is one exponential.
    """

    rho: float
    fitted: float
    r_squared: float
    local: Tensor = field(repr=False)


def dense_losses(history: TrainingHistory, X: Tensor, y: Tensor) -> dict[int, float]:
    """The loss on all of the data at every checkpoint: iteration t to :math:`L_t`.

    Args:
        history: What :func:`gfs_tutorial.train_sgd` returned, with checkpoints.
        X: (m, d) features.
        y: (m,) or (m, C) targets.

    Raises:
        ValueError: the history has no checkpoints.
    """
    if not history.states:
        raise ValueError("history has no checkpoints: pass checkpoints=... to train_sgd")

    def loss(net: TwoLayerNet) -> float:
        rows, targets = checks.features_and_targets(X, y, net.out_features)
        with torch.no_grad():
            return float(half_squared_error(net(rows).double(), targets.double()))

    return {t: loss(history.at(t)) for t in sorted(history.states)}


def contraction(iterations: Sequence[int], losses: Sequence[float]) -> Contraction:
    r"""Measure the rate of a linear ("geometric") decay (chapter *How much pre-training is enough?*).

    Args:
        iterations: Increasing; the first is the start of the clock.
        losses: The dense loss at each, positive, on all of the data (mini-batches scatter too much).

    Raises:
        ValueError: fewer than two iterations, not increasing, or losses that are not positive and finite.
    """
    t, L = np.asarray(iterations, dtype=float), np.asarray(losses, dtype=float)  # (n,), (n,)
    if t.ndim != 1 or t.shape != L.shape or len(t) < 2:
        raise ValueError(f"iterations and losses must match, at least two each, got {t.shape} and {L.shape}")
    if not (np.diff(t) > 0).all():
        raise ValueError("iterations must increase")
    if not ((L > 0) & np.isfinite(L)).all():
        raise ValueError("losses must be positive and finite")
    t, logs = t - t[0], np.log(L)
    slope, intercept = np.polyfit(t, logs, 1)
    unexplained = float(np.square(logs - slope * t - intercept).sum())
    total = float(np.square(logs - logs.mean()).sum())
    worst = float(((logs[1:] - logs[0]) / t[1:]).max())  # log(1 - rho)
    return Contraction(
        rho=-math.expm1(worst) if worst < 0 else 0.0,
        fitted=-math.expm1(slope),
        r_squared=1 - unexplained / total if total > 0 else 1.0,
        local=torch.from_numpy(-np.expm1(np.diff(logs) / np.diff(t))),
    )
