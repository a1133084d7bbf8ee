"""Exercises of the chapters *A certificate* and *The MNIST experiment*: the bound, and the first success."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gfs_tutorial.coursework.checking import run_check
from gfs_tutorial.coursework.exercise import Exercise, Instance
from gfs_tutorial.coursework.feedback import Feedback

__all__ = ["check_certificate", "check_first_reached"]

Array = np.ndarray


def check_certificate(function: Callable[..., Any], *, seed: int = 0, arrays: str = "torch") -> Feedback:
    r"""Check ``function(dense_loss, variance, size)``, the certificate with replacement by its recursion.

    .. math:: W_k^2 = (W_{k-1} + \sqrt{2L})^2 + V, \qquad W_0 = 0, \qquad \ell(u_k) \le W_k^2 / 2k^2

    The function gets two numbers and the number of picks; it returns the bounds after 1, 2, ..., size
    picks, (size,).

    Args:
        function: The student's function.
        seed: Which hidden random instances.
        arrays: Has no effect here, for no argument is an array; the function may return either kind.
    """
    return run_check(CERTIFICATE, function, seed=seed, arrays=arrays)


def check_first_reached(function: Callable[..., Any], *, seed: int = 0, arrays: str = "torch") -> Feedback:
    """Check ``function(times, losses, level)``, the earliest t at which the loss is at most ``level``.

    The function gets checkpoints (n,) in any order, the loss at each, (n,), and a number; it returns one of
    the times. Some loss is always at most ``level``.

    Args:
        function: The student's function.
        seed: Which hidden random instances.
        arrays: Whether it gets ``"torch"`` tensors or ``"numpy"`` arrays.
    """
    return run_check(FIRST_REACHED, function, seed=seed, arrays=arrays)


def _certificate(
    dense_loss: float,
    variance: float,
    size: int,
    *,
    radius: float | None = None,
    start: float = 0.0,
    finish: Callable[[float, int], float] = lambda walk, k: walk**2 / (2 * k**2),
) -> Array:
    radius = (2 * dense_loss) ** 0.5 if radius is None else radius
    walk, bounds = start, []
    for k in range(1, size + 1):
        walk = ((walk + radius) ** 2 + variance) ** 0.5
        bounds.append(finish(walk, k))
    return np.array(bounds)


def _closed_form(dense_loss: float, variance: float, size: int) -> Array:
    k = np.arange(1, size + 1)
    return ((2 * dense_loss) ** 0.5 + np.sqrt(variance / k)) ** 2 / 2


def _no_cross_term(dense_loss: float, variance: float, size: int) -> Array:
    k = np.arange(1, size + 1)
    return k * (2 * dense_loss + variance) / (2 * k**2)


def _certificate_instances(rng: np.random.Generator) -> Iterator[Instance]:
    for size in (1, 2, 3, 5, 12):
        for _ in range(4):
            yield {
                "dense_loss": round(rng.uniform(0.1, 1.0), 2),
                "variance": round(rng.uniform(0.5, 3.0), 2),
                "size": size,
            }


CERTIFICATE = Exercise(
    name="certificate",
    instances=_certificate_instances,
    oracle=_certificate,
    mistakes={
        "it is the closed form: the recursion is a little tighter": _closed_form,
        "R is taken as √L and not as √(2L)": lambda dense_loss, **v: _certificate(dense_loss / 2, **v),
        "R is taken as L or 2L, without the root (here L)": (
            lambda dense_loss, **v: _certificate(dense_loss, **v, radius=dense_loss)
        ),
        "R is taken as 2L, without the root": (
            lambda dense_loss, **v: _certificate(dense_loss, **v, radius=2 * dense_loss)
        ),
        "V is left out": lambda dense_loss, variance, size: _certificate(dense_loss, 0.0, size),
        "V is squared": lambda dense_loss, variance, size: _certificate(dense_loss, variance**2, size),
        "it divides by k and not by k²": lambda **v: _certificate(
            **v, finish=lambda walk, k: walk**2 / (2 * k)
        ),
        "it does not divide by k²": lambda **v: _certificate(**v, finish=lambda walk, k: walk**2 / 2),
        "the factor 1/2 is missing in ℓ = W² / 2k²": (
            lambda **v: _certificate(**v, finish=lambda walk, k: walk**2 / k**2)
        ),
        "it returns W / k, the distance, and not the loss": (
            lambda **v: _certificate(**v, finish=lambda walk, k: walk / k)
        ),
        "W is not squared in ℓ = W² / 2k²": (
            lambda **v: _certificate(**v, finish=lambda walk, k: walk / (2 * k**2))
        ),
        "the walk starts at W_0 = R and not at 0": (
            lambda dense_loss, **v: _certificate(dense_loss, **v, start=(2 * dense_loss) ** 0.5)
        ),
        "it divides by (k + 1)² and not by k²": (
            lambda **v: _certificate(**v, finish=lambda walk, k: walk**2 / (2 * (k + 1) ** 2))
        ),
        "(W + R)² is expanded without the middle term 2 W R": _no_cross_term,
    },
)


def _first_reached(times: Array, losses: Array, level: float) -> float:
    return times[losses <= level].min()


def _reached_instances(rng: np.random.Generator) -> Iterator[Instance]:
    for n in (1, 2, 3, 4, 6, 9):
        for _ in range(5):
            losses = rng.permutation(16)[:n] / 8  # eighths are exact in float32, so "at most" is clear cut
            times = 10.0 * rng.permutation(20)[:n] + 10
            yield {"times": times, "losses": losses, "level": float(rng.permutation(losses)[0])}


FIRST_REACHED = Exercise(
    name="first_reached",
    instances=_reached_instances,
    oracle=_first_reached,
    mistakes={
        "it asks for a loss below the level, and not at most the level": (
            lambda times, losses, level: times[losses < level].min() if (losses < level).any() else np.nan
        ),
        "it takes the last such time, and not the first": lambda times, losses, level: times[
            losses <= level
        ].max(),
        "it takes the first in the list, though the times are not in order": (
            lambda times, losses, level: times[losses <= level][0]
        ),
        "it returns the position in the list, and not the time": (
            lambda times, losses, level: np.flatnonzero(losses <= level)[0]
        ),
        "it takes the time of the least loss": lambda times, losses, level: times[losses.argmin()],
        "it takes the last in the list, though the times are not in order": (
            lambda times, losses, level: times[losses <= level][-1]
        ),
        "it asks for a loss at least the level, and not at most": (
            lambda times, losses, level: times[losses >= level].min()
        ),
        "it takes the time of the loss that lies nearest to the level": (
            lambda times, losses, level: times[np.abs(losses - level).argmin()]
        ),
        "it returns the loss, and not the time": (
            lambda times, losses, level: losses[losses <= level][times[losses <= level].argmin()]
        ),
    },
)
