r"""Slopes on log axes: the exponent of a rate, with a confidence interval over seeds.

Chapter *Slopes*.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Slope", "log_log_slope", "slope_over_seeds"]


@dataclass(frozen=True)
class Slope:
    r"""The mean slope of several seeds, and where the true one is likely to be.

    Attributes:
        mean: Mean of the slopes of the seeds.
        low: Lower end of the confidence interval.
        high: Upper end.
        per_seed: The slope of each seed.
    """

    mean: float
    low: float
    high: float
    per_seed: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def log_log_slope(sizes: Sequence[float], losses: Sequence[float]) -> float:
    r"""Least-squares slope of :math:`\ln \ell` against :math:`\ln k`: -1 for a loss like 1/k, -2 for 1/k².

    Args:
        sizes: k, at least two that differ, positive.
        losses: :math:`\ell`, one for each, positive.

    Raises:
        ValueError: they do not match, or are not positive and finite.
    """
    k, ell = np.asarray(sizes, dtype=float), np.asarray(losses, dtype=float)  # (n,), (n,)
    if k.ndim != 1 or k.shape != ell.shape or len(np.unique(k)) < 2:
        raise ValueError(
            f"sizes and losses must match, with two sizes that differ, got {k.shape} and {ell.shape}"
        )
    for name, values in (("sizes", k), ("losses", ell)):
        if not ((values > 0) & np.isfinite(values)).all():
            raise ValueError(f"{name} must be positive and finite for a slope on log axes")
    return float(np.polyfit(np.log(k), np.log(ell), 1)[0])


def slope_over_seeds(
    sizes: Sequence[float], losses: Sequence[Sequence[float]], confidence: float = 0.95
) -> Slope:
    """The slopes of several seeds, their mean and its interval from Student's t distribution.

    The points of one seed depend on each other, so the scatter of a single fit says little; seeds
    are independent.

    Args:
        sizes: k, the same for all seeds.
        losses: One sequence of losses a seed, at least two.
        confidence: Of the interval.

    Raises:
        ValueError: fewer than two seeds, or what :func:`log_log_slope` refuses.
    """
    from scipy.stats import t as student  # here, since `import gfs_tutorial` shall be quick

    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
    if len(losses) < 2:
        raise ValueError(f"losses must hold at least two seeds for an interval, got {len(losses)}")
    slopes = [log_log_slope(sizes, of_seed) for of_seed in losses]
    error = float(np.std(slopes, ddof=1)) / math.sqrt(len(slopes))
    half = float(student.ppf((1 + confidence) / 2, len(slopes) - 1)) * error
    mean = float(np.mean(slopes))
    return Slope(mean, mean - half, mean + half, tuple(slopes))
