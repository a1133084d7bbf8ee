"""The exercise of the chapter *Channels*: fit the weights that stay to what all of them answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gfs_tutorial.coursework.checking import run_check
from gfs_tutorial.coursework.exercise import Exercise, Instance, normal
from gfs_tutorial.coursework.feedback import Feedback

__all__ = ["check_refit"]

Array = np.ndarray


def check_refit(function: Callable[..., Any], *, seed: int = 0, arrays: str = "torch") -> Feedback:
    r"""Check ``function(inputs, weights, kept, ridge)``, the least-squares refit of a consumer.

    The dense consumer answers ``inputs @ weights``. Of its inputs only the columns ``kept`` stay,
    :math:`A_S`, and their new weights are to minimise

    .. math:: \lVert A_S V - A W \rVert^2 + \lambda \lVert V - W_S \rVert^2 .

    The function gets the inputs (rows, C), the weights (C, outputs), the list of the k columns kept and the
    number :math:`\lambda > 0`; it returns V, (k, outputs), in the order of ``kept``.

    Args:
        function: The student's function.
        seed: Which hidden random instances.
        arrays: Whether it gets ``"torch"`` tensors or ``"numpy"`` arrays; it may return either.
    """
    return run_check(REFIT, function, seed=seed, arrays=arrays)


def _refit(
    inputs: Array,
    weights: Array,
    kept: list[int],
    ridge: float,
    *,
    left: float = 1.0,
    right: float = 1.0,
    target: Array | None = None,
) -> Array:
    """The fit, with the ridge of the two sides multiplied by ``left`` and ``right``."""
    chosen, target = inputs[:, kept], inputs @ weights if target is None else target
    gram = chosen.T @ chosen + left * ridge * np.eye(len(kept))  # (k, k)
    return np.linalg.solve(gram, chosen.T @ target + right * ridge * weights[kept])


def _removed(inputs: Array, weights: Array, kept: list[int]) -> Array:
    """What the columns that go contributed, (rows, outputs)."""
    gone = [i for i in range(len(weights)) if i not in kept]
    return inputs[:, gone] @ weights[gone]


def _centred(inputs: Array, weights: Array, kept: list[int], ridge: float) -> Array:
    return _refit(inputs - inputs.mean(0), weights, kept, ridge)


def _instances(rng: np.random.Generator) -> Iterator[Instance]:
    sizes = [(3, 2, 1, 1), (4, 3, 1, 1), (5, 3, 2, 1), (6, 4, 2, 2), (9, 6, 3, 2), (12, 8, 5, 3)]
    for rows, channels, k, outputs in sizes:
        for _ in range(4):
            yield {
                "inputs": normal(rng, rows, channels) + 0.5,
                "weights": normal(rng, channels, outputs),
                "kept": [int(i) for i in rng.permutation(channels)[:k]],
                "ridge": round(rng.uniform(0.2, 0.8), 2),
            }


REFIT = Exercise(
    name="refit",
    instances=_instances,
    oracle=_refit,
    mistakes={
        "these are the old weights of what is kept: the target is what all channels answer": (
            lambda weights, kept, **v: weights[kept]
        ),
        "these are the old weights times C/k: nothing is fitted": (
            lambda weights, kept, **v: weights[kept] * len(weights) / len(kept)
        ),
        "it shrinks towards zero and not towards the old weights": lambda **v: _refit(**v, right=0.0),
        "the ridge is left out": lambda ridge, **v: _refit(**v, ridge=0.0),
        "the ridge stands on the right-hand side only, and not on the diagonal": (
            lambda **v: _refit(**v, left=0.0)
        ),
        "the old weights are subtracted on the right-hand side, and not added": (
            lambda **v: _refit(**v, right=-1.0)
        ),
        "the ridge is multiplied by the number of rows": (
            lambda inputs, ridge, **v: _refit(inputs, **v, ridge=ridge * len(inputs))
        ),
        "the ridge is squared": lambda ridge, **v: _refit(**v, ridge=ridge**2),
        "it makes up for the removed channels only: add what the kept ones answered to the target": (
            lambda inputs, weights, kept, ridge: _refit(
                inputs, weights, kept, ridge, target=_removed(inputs, weights, kept)
            )
        ),
        "the columns are centred, which was not asked for": _centred,
        "the rows of the answer are in ascending order, and not in the order of kept": (
            lambda kept, **v: _refit(**v, kept=sorted(kept))
        ),
    },
)
