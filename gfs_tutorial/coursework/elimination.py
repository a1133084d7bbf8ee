"""The exercise on the opposite direction: backward elimination.

Chapter *Greedy forward selection*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gfs_tutorial.coursework.checking import run_check
from gfs_tutorial.coursework.exercise import Exercise, Instance, normal
from gfs_tutorial.coursework.feedback import Feedback
from gfs_tutorial.coursework.selection import CLEAR, losses_of, walk

__all__ = ["check_backward_elimination"]

Array = np.ndarray


def check_backward_elimination(
    function: Callable[..., Any], *, seed: int = 0, arrays: str = "torch"
) -> Feedback:
    """Check ``function(features, labels, size)``, which takes neurons away one by one.

    Start with all N neurons. At each step remove the one without which the average of those that are left
    has the least loss, until ``size`` are left. The function gets the feature vectors (N, m), the labels
    (m,) and ``size``; it returns the neurons that are left, in any order. No instance has ties.

    Args:
        function: The student's function.
        seed: Which hidden random instances.
        arrays: Whether it gets ``"torch"`` tensors or ``"numpy"`` arrays; it may return either, or a list.
    """
    return run_check(BACKWARD, function, seed=seed, arrays=arrays)


def _eliminate(
    features: Array,
    labels: Array,
    size: int,
    *,
    choose: Callable[[Array], Any] = np.argmin,
    divisor: Callable[[int, int], int] = lambda left, N: left,
) -> list[int]:
    left = list(range(len(features)))
    while len(left) > size:
        rest = features[left].sum(0) - features[left]  # (n, m), each without one
        losses = losses_of(rest / divisor(len(left) - 1, len(features)), labels)  # (n,)
        left.pop(int(choose(losses)))
    return left


def _one_shot(features: Array, labels: Array, size: int) -> list[int]:
    rest = (features.sum(0) - features) / (len(features) - 1)  # (N, m)
    return np.argsort(losses_of(rest, labels), kind="stable")[len(features) - size :].tolist()


def _by_norm(features: Array, labels: Array, size: int) -> list[int]:
    return np.argsort(np.square(features).sum(1), kind="stable")[len(features) - size :].tolist()


def _instances(rng: np.random.Generator) -> Iterator[Instance]:
    for N, m, size in [
        (2, 1, 1),
        (3, 1, 2),
        (3, 2, 1),
        (4, 2, 2),
        (5, 3, 2),
        (6, 3, 4),
        (9, 5, 3),
        (9, 5, 4),
    ]:
        for _ in range(4):
            yield _without_ties(rng, N, m, size)


def _without_ties(rng: np.random.Generator, N: int, m: int, size: int) -> Instance:
    while True:
        instance: Instance = {"features": normal(rng, N, m), "labels": normal(rng, m), "size": size}
        gaps: list[float] = []

        def best(losses: Array, gaps: list[float] = gaps) -> int:
            first, second = np.partition(losses, 1)[:2]
            gaps.append(second - first)
            return int(losses.argmin())

        _eliminate(**instance, choose=best)
        norms = np.sort(np.square(instance["features"]).sum(1))
        if min(gaps) > CLEAR and np.diff(norms).min() > CLEAR:  # of the norms too: one mistake ranks them
            return instance


BACKWARD = Exercise(
    name="backward_elimination",
    instances=_instances,
    oracle=_eliminate,
    indices=True,
    any_order=True,
    mistakes={
        "it removes the neuron that leaves the largest loss behind, argmax in the place of argmin": (
            lambda **v: _eliminate(**v, choose=np.argmax)
        ),
        "it goes on dividing by N: the average is over the neurons that are left": (
            lambda **v: _eliminate(**v, divisor=lambda left, N: N)
        ),
        "it divides by the number of neurons before the removal": (
            lambda **v: _eliminate(**v, divisor=lambda left, N: left + 1)
        ),
        "it does not divide: the loss is that of the average of the neurons that are left": (
            lambda **v: _eliminate(**v, divisor=lambda left, N: 1)
        ),
        "it measures every removal once, on the full network, and removes the rest in that order": _one_shot,
        "it keeps the neurons of the largest norm, without looking at the loss": _by_norm,
        "it is forward selection without replacement, not backward elimination": (
            lambda features, labels, size: walk(features, labels, size, replace=False)
        ),
        "it returns the removed neurons, and not those that are left": (
            lambda features, **v: sorted(set(range(len(features))) - set(_eliminate(features, **v)))
        ),
        "it stops one removal too early": (
            lambda features, labels, size: _eliminate(features, labels, size + 1)
        ),
        "it removes one neuron too many": lambda features, labels, size: _eliminate(
            features, labels, size - 1
        ),
        "it counts neurons from 1, and not from 0": lambda **v: [q + 1 for q in _eliminate(**v)],
    },
)
