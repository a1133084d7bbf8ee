"""Exercises of the chapter *Greedy forward selection*: the picks, and the score form of a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gfs_tutorial.coursework.checking import run_check
from gfs_tutorial.coursework.exercise import Exercise, Instance, normal
from gfs_tutorial.coursework.feedback import Feedback

__all__ = ["check_greedy_selection", "check_neuron_scores"]

Array = np.ndarray
CLEAR = 1e-3  # instances have no two candidates that lie closer: how ties are broken must not matter


def check_greedy_selection(function: Callable[..., Any], *, seed: int = 0, arrays: str = "torch") -> Feedback:
    r"""Check ``function(hidden, output_weights, y, size)``, greedy forward selection with replacement.

    .. math:: q_k = \arg\min_i \ell\bigl((z_{k-1} + \Phi_i)/k\bigr), \qquad z_k = z_{k-1} + \Phi_{q_k}

    The function gets the activations (m, N), the output weights (N,), the labels (m,) and the number of
    picks; it returns the picked neurons in order, (size,) whole numbers. No instance has ties.

    Args:
        function: The student's function.
        seed: Which hidden random instances.
        arrays: Whether it gets ``"torch"`` tensors or ``"numpy"`` arrays; it may return either, or a list.
    """
    return run_check(GREEDY, function, seed=seed, arrays=arrays)


def check_neuron_scores(function: Callable[..., Any], *, seed: int = 0, arrays: str = "torch") -> Feedback:
    r"""Check ``function(features, labels, total, k)``, the scores of step k.

    .. math:: \tfrac12 n_i + s_i - k c_i, \qquad n_i = \lVert\Phi_i\rVert^2, \quad
        s_i = \langle\Phi_i, z_{k-1}\rangle, \quad c_i = \langle\Phi_i, y\rangle

    The function gets the feature vectors (N, m), the labels (m,), the total z (m,) and k, and returns (N,).

    Args:
        function, seed, arrays: As in :func:`check_greedy_selection`.
    """
    return run_check(SCORES, function, seed=seed, arrays=arrays)


def losses_of(averages: Array, labels: Array) -> Array:
    return np.square(averages - labels).sum(-1) / 2


def walk(
    features: Array,
    labels: Array,
    size: int,
    *,
    divisor: Callable[[int], float] = lambda k: k,
    choose: Callable[[Array], Any] = np.argmin,
    replace: bool = True,
    add: bool = True,
) -> list[int]:
    """The ten lines of the chapter, with a place for each mistake."""
    total = np.zeros_like(labels)
    picks: list[int] = []
    for k in range(1, size + 1):
        losses = losses_of((total + features) / np.float64(divisor(k)), labels)  # (N,)
        if not replace:
            losses[picks] = np.inf
        picks.append(int(choose(losses)))
        if add:
            total = total + features[picks[-1]]
    return picks


def _scaled(hidden: Array, output_weights: Array, y: Array) -> tuple[Array, Array]:
    """Feature vectors (N, m) and labels (m,), both divided by √m."""
    return (hidden * output_weights).T / len(y) ** 0.5, y / len(y) ** 0.5


def _greedy(hidden: Array, output_weights: Array, y: Array, size: int, **mistake: Any) -> list[int]:
    return walk(*_scaled(hidden, output_weights, y), size, **mistake)


def _unscaled(which: str) -> Callable[..., list[int]]:
    def mistaken(hidden: Array, output_weights: Array, y: Array, size: int) -> list[int]:
        features, labels = _scaled(hidden, output_weights, y)
        root = len(y) ** 0.5
        return (
            walk(features, labels * root, size) if which == "labels" else walk(features * root, labels, size)
        )

    return mistaken


def _ranked_once(hidden: Array, output_weights: Array, y: Array, size: int) -> list[int]:
    features, labels = _scaled(hidden, output_weights, y)
    return np.argsort(losses_of(features, labels), kind="stable")[:size].tolist()


def _shrinking(hidden: Array, output_weights: Array, y: Array, size: int) -> list[int]:
    """Adds to the last average in the place of the total."""
    features, labels = _scaled(hidden, output_weights, y)
    average, picks = np.zeros_like(labels), []
    for k in range(1, size + 1):
        candidates = (average + features) / k
        picks.append(int(losses_of(candidates, labels).argmin()))
        average = candidates[picks[-1]]
    return picks


def _by_direction(hidden: Array, output_weights: Array, y: Array, size: int) -> list[int]:
    """Takes the neuron that points most along what is missing."""
    features, labels = _scaled(hidden, output_weights, y)
    total, picks = np.zeros_like(labels), []
    for k in range(1, size + 1):
        picks.append(int((features @ (labels - total / max(1, k - 1))).argmax()))
        total = total + features[picks[-1]]
    return picks


def _greedy_instances(rng: np.random.Generator) -> Iterator[Instance]:
    shapes = [(2, 1, 1), (2, 2, 1), (2, 2, 2), (3, 2, 2), (3, 2, 3), (4, 3, 4), (6, 4, 6), (9, 5, 12)]
    for N, m, size in shapes:
        for _ in range(4):
            yield _without_ties(rng, N, m, size)


def _without_ties(rng: np.random.Generator, N: int, m: int, size: int) -> Instance:
    while True:
        instance = {"hidden": normal(rng, m, N), "output_weights": normal(rng, N), "y": normal(rng, m)}
        gaps: list[float] = []

        def best(losses: Array, gaps: list[float] = gaps) -> int:
            first, second = np.partition(losses, 1)[:2]
            gaps.append(second - first)
            return int(losses.argmin())

        _greedy(**instance, size=size, choose=best)
        if min(gaps) > CLEAR:
            return {**instance, "size": size}


GREEDY = Exercise(
    name="greedy_selection",
    instances=_greedy_instances,
    oracle=_greedy,
    indices=True,
    mistakes={
        "it takes the neuron with the largest loss, argmax in the place of argmin": (
            lambda *v, **k: _greedy(*v, **k, choose=np.argmax)
        ),
        "it divides by k - 1 where it should divide by k (the first pick is k = 1)": (
            lambda *v, **k: _greedy(*v, **k, divisor=lambda k: k - 1)
        ),
        "it divides by k + 1 where it should divide by k (the first pick is k = 1)": (
            lambda *v, **k: _greedy(*v, **k, divisor=lambda k: k + 1)
        ),
        "it does not divide by k": lambda *v, **k: _greedy(*v, **k, divisor=lambda k: 1),
        "it divides by size, the last k, at every step": (
            lambda *v, **k: _greedy(*v, **k, divisor=lambda _: k["size"])
        ),
        "it picks without replacement: a neuron may be picked again": (
            lambda *v, **k: _greedy(*v, **k, replace=False)
        ),
        "the labels are not divided by √m, though the feature vectors are": _unscaled("labels"),
        "the feature vectors are not divided by √m, though the labels are": _unscaled("features"),
        "the picked neuron is never added to the total": lambda *v, **k: _greedy(*v, **k, add=False),
        "it ranks the neurons once, each alone, and takes the best": _ranked_once,
        "it adds to the last average, and not to the total z": _shrinking,
        "it compares inner products with what is missing, and not losses": _by_direction,
        "the output weights are left out": (
            lambda hidden, output_weights, **k: _greedy(hidden, np.ones_like(output_weights), **k)
        ),
        "it returns every neuron once: a neuron that is picked twice stands there twice": (
            lambda *v, **k: list(dict.fromkeys(_greedy(*v, **k)))
        ),
        "it returns the picks sorted, and not in their order": lambda *v, **k: sorted(_greedy(*v, **k)),
        "it counts neurons from 1, and not from 0": lambda *v, **k: [q + 1 for q in _greedy(*v, **k)],
    },
)


def _score_instances(rng: np.random.Generator) -> Iterator[Instance]:
    for N, m, k in [(1, 1, 1), (1, 1, 2), (2, 1, 2), (2, 2, 3), (4, 3, 2), (6, 4, 7)]:
        for _ in range(4):
            total = normal(rng, m) if k > 1 else np.zeros(m)
            yield {"features": normal(rng, N, m), "labels": normal(rng, m), "total": total, "k": k}


def _scores(features: Array, labels: Array, total: Array, k: float) -> Array:
    return np.square(features).sum(1) / 2 + features @ total - k * features @ labels


def _norms(features: Array) -> Array:
    return np.square(features).sum(1)


SCORES = Exercise(
    name="neuron_scores",
    instances=_score_instances,
    oracle=_scores,
    mistakes={
        "n is not halved": lambda features, **v: _scores(features, **v) + _norms(features) / 2,
        "n is the length of Φ, and not its square": (
            lambda features, **v: _scores(features, **v) + (_norms(features) ** 0.5 - _norms(features)) / 2
        ),
        "n is left out": lambda features, **v: _scores(features, **v) - _norms(features) / 2,
        "c is not multiplied by k": lambda features, labels, total, k: _scores(features, labels, total, 1),
        "c is multiplied by k - 1 and not by k": (
            lambda features, labels, total, k: _scores(features, labels, total, k - 1)
        ),
        "c is multiplied by k + 1 and not by k": (
            lambda features, labels, total, k: _scores(features, labels, total, k + 1)
        ),
        "c is added, and not subtracted": lambda features, labels, total, k: _scores(
            features, -labels, total, k
        ),
        "s is subtracted, and not added": lambda features, labels, total, k: _scores(
            features, labels, -total, k
        ),
        "s is left out": lambda features, labels, total, k: _scores(features, labels, 0 * total, k),
        "the score has the wrong sign": lambda **v: -_scores(**v),
        "s is counted twice": lambda features, labels, total, k: _scores(features, labels, 2 * total, k),
        "it is the loss of each candidate; the score leaves out what all share, and the factor 1/k²": (
            lambda features, labels, total, k: losses_of((total + features) / k, labels)
        ),
        "the part ½‖z - k y‖² that all neurons share is still in it": (
            lambda features, labels, total, k: losses_of(total + features, k * labels)
        ),
    },
)
