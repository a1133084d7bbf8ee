"""Exercises of the chapter *A two-layer net and SGD*: the output, the loss, a step of SGD."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gfs_tutorial.coursework.checking import run_check
from gfs_tutorial.coursework.exercise import Exercise, Instance, normal
from gfs_tutorial.coursework.feedback import Feedback

__all__ = ["check_loss", "check_mean_field_output", "check_sgd_step"]

Array = np.ndarray


def check_mean_field_output(
    function: Callable[..., Any], *, seed: int = 0, arrays: str = "torch"
) -> Feedback:
    r"""Check ``function(X, a, c, b)``, the output of the two-layer network.

    .. math:: f(x_j) = \frac1N \sum_{i=1}^N b_i \tanh(a_i^\top x_j + c_i)

    The function gets X (m, d), a (N, d), c (N,) and b (N, C) and returns (m, C).

    Args:
        function: The student's function.
        seed: Which hidden random instances.
        arrays: Whether it gets ``"torch"`` tensors or ``"numpy"`` arrays; it may return either.
    """
    return run_check(OUTPUT, function, seed=seed, arrays=arrays)


def check_loss(function: Callable[..., Any], *, seed: int = 0, arrays: str = "torch") -> Feedback:
    r"""Check ``function(prediction, target)``, the loss :math:`\frac{1}{2m}\sum_j\lVert f(x_j)-y_j\rVert^2`.

    The function gets two arrays (m, C) and returns one number.

    Args:
        function, seed, arrays: As in :func:`check_mean_field_output`.
    """
    return run_check(LOSS, function, seed=seed, arrays=arrays)


def check_sgd_step(function: Callable[..., Any], *, seed: int = 0, arrays: str = "torch") -> Feedback:
    r"""Check ``function(X, y, a, c, b, lr_a, lr_b)``, one mean-field step of gradient descent.

    .. math:: a_i \leftarrow a_i - N \eta_a \frac{\partial\ell}{\partial a_i}, \qquad
        c_i \leftarrow c_i - N \eta_a \frac{\partial\ell}{\partial c_i}, \qquad
        b_i \leftarrow b_i - N \eta_b \frac{\partial\ell}{\partial b_i}

    All gradients are taken before any weight moves. The function gets X (m, d), y (m, 1), a (N, d), c (N,),
    b (N, 1) and two numbers; it returns the new a, c and b and leaves the old ones as they are.

    Args:
        function, seed, arrays: As in :func:`check_mean_field_output`.
    """
    return run_check(SGD_STEP, function, seed=seed, arrays=arrays)


def _output_instances(rng: np.random.Generator) -> Iterator[Instance]:
    shapes = [(1, 1, 1, 1), (1, 1, 2, 1), (2, 1, 2, 1), (3, 2, 2, 1), (3, 2, 4, 2), (2, 5, 8, 3)]
    for m, d, N, C in shapes:
        for _ in range(4):
            weights = {"a": normal(rng, N, d), "c": normal(rng, N), "b": normal(rng, N, C)}
            yield {"X": normal(rng, m, d), **weights}


def _output(X: Array, a: Array, c: Array, b: Array) -> Array:
    return np.tanh(X @ a.T + c) @ b / len(b)


OUTPUT = Exercise(
    name="mean_field_output",
    instances=_output_instances,
    oracle=_output,
    mistakes={
        "the sum over the neurons is not divided by N": lambda X, a, c, b: np.tanh(X @ a.T + c) @ b,
        "the sum is divided by m, the number of rows, and not by N, the number of neurons": (
            lambda X, a, c, b: np.tanh(X @ a.T + c) @ b / len(X)
        ),
        "the sum is divided by √N and not by N": lambda X, a, c, b: np.tanh(X @ a.T + c) @ b / len(b) ** 0.5,
        "the sum is divided by N twice": lambda X, a, c, b: _output(X, a, c, b) / len(b),
        "the biases c are left out": lambda X, a, c, b: _output(X, a, np.zeros_like(c), b),
        "the biases c are subtracted": lambda X, a, c, b: _output(X, a, -c, b),
        "the activation tanh is left out": lambda X, a, c, b: (X @ a.T + c) @ b / len(b),
        "the activation is a sigmoid, not tanh": lambda X, a, c, b: (
            1 / (1 + np.exp(-X @ a.T - c)) @ b / len(b)
        ),
        "tanh is applied to the average, and not to each neuron": (
            lambda X, a, c, b: np.tanh((X @ a.T + c) @ b / len(b))
        ),
        "the output weights b are left out": lambda X, a, c, b: _output(X, a, c, np.ones_like(b)),
    },
)


def _loss_instances(rng: np.random.Generator) -> Iterator[Instance]:
    for m, C in [(1, 1), (2, 1), (1, 2), (3, 1), (3, 2), (6, 3)]:
        for _ in range(4):
            yield {"prediction": normal(rng, m, C), "target": normal(rng, m, C)}


def _loss(prediction: Array, target: Array) -> float:
    return np.square(prediction - target).sum() / (2 * len(target))


def _scaled_loss(factor: Callable[[int, int], float]) -> Callable[[Array, Array], float]:
    """The sum of squares times ``factor`` of m and C."""
    return lambda prediction, target: np.square(prediction - target).sum() * factor(*target.shape)


def _loss_broadcast(prediction: Array, target: Array) -> float:
    return np.square(prediction - target[:, 0]).sum() / (2 * len(target))


def _mean_loss_broadcast(prediction: Array, target: Array) -> float:
    return np.square(prediction - target[:, 0]).mean() / 2


def _absolute_loss(prediction: Array, target: Array) -> float:
    return np.abs(prediction - target).sum() / (2 * len(target))


def _cancelling_loss(prediction: Array, target: Array) -> float:
    return (prediction - target).sum() / (2 * len(target))


LOSS = Exercise(
    name="loss",
    instances=_loss_instances,
    oracle=_loss,
    mistakes={
        "the factor 1/2 is missing": _scaled_loss(lambda m, C: 1 / m),
        "it is the mean over all entries: divide by m, not by m·C, and then by 2": (
            _scaled_loss(lambda m, C: 1 / (m * C))
        ),
        "the mean runs over the C outputs too: divide by m, not by m·C": (
            _scaled_loss(lambda m, C: 1 / (2 * m * C))
        ),
        "the sum is not divided by m": _scaled_loss(lambda m, C: 1 / 2),
        "it is the plain sum of squares, divided neither by m nor by 2": _scaled_loss(lambda m, C: 1.0),
        "it divides by 2 (m - 1) and not by 2 m": _scaled_loss(lambda m, C: np.float64(0.5) / (m - 1)),
        "the sign is wrong": _scaled_loss(lambda m, C: -1 / (2 * m)),
        "the errors are taken in absolute value and not squared": _absolute_loss,
        "the errors are not squared, so that they cancel": _cancelling_loss,
        "a square root is taken": lambda prediction, target: _loss(prediction, target) ** 0.5,
        "shapes (m, 1) and (m,) broadcast to (m, m): every prediction meets every label": _loss_broadcast,
        "shapes (m, 1) and (m,) broadcast to (m, m), and the mean is over all pairs": _mean_loss_broadcast,
    },
)


def _step_instances(rng: np.random.Generator) -> Iterator[Instance]:
    for m, d, N in [(1, 1, 1), (1, 1, 2), (2, 1, 1), (2, 1, 2), (3, 2, 3), (5, 3, 6)]:
        for _ in range(4):
            yield {
                "X": normal(rng, m, d),
                "y": normal(rng, m, 1),
                "a": normal(rng, N, d),
                "c": normal(rng, N),
                "b": normal(rng, N, 1),
                "lr_a": round(rng.uniform(0.5, 1.0), 2),
                "lr_b": round(rng.uniform(1.5, 2.0), 2),
            }


def _step(
    X: Array,
    y: Array,
    a: Array,
    c: Array,
    b: Array,
    lr_a: float,
    lr_b: float,
    *,
    factor: float = 1.0,  # of all steps
    lr_c: float | None = None,
    slope: Callable[[Array], Array] = lambda h: 1 - h**2,
    weighed: bool = True,  # by b, in the gradients of a and c
    late: bool = False,  # the gradients of a and c see the new b
) -> tuple[Array, Array, Array]:
    h = np.tanh(X @ a.T + c)  # (m, N)
    error = (h @ b / len(b) - y) / len(X)  # (m, 1)
    new_b = b - factor * lr_b * h.T @ error  # the N of the step and the 1/N of the gradient cancel
    delta = error * ((new_b if late else b).T if weighed else 1) * slope(h)  # (m, N)
    lr_c = lr_a if lr_c is None else lr_c
    return a - factor * lr_a * delta.T @ X, c - factor * lr_c * delta.sum(0), new_b


def _swapped(X: Array, y: Array, a: Array, c: Array, b: Array, lr_a: float, lr_b: float) -> Any:
    return _step(X, y, a, c, b, lr_b, lr_a)


def _error_by_sum(X: Array, y: Array, a: Array, c: Array, b: Array, lr_a: float, lr_b: float) -> Any:
    """The error of the plain sum of the neurons, without 1/N."""
    return _step(X, y / len(b), a, c, b, lr_a * len(b), lr_b * len(b))


SGD_STEP = Exercise(
    name="sgd_step",
    instances=_step_instances,
    oracle=_step,
    parts=("a", "c", "b"),
    mistakes={
        "the step goes up the gradient, not down (a sign)": lambda *v, **k: _step(*v, **k, factor=-1),
        "the step is not multiplied by N": lambda X, y, a, c, b, **k: _step(
            X, y, a, c, b, **k, factor=1 / len(b)
        ),
        "the gradient lacks its 1/N, so that the step is N times too long": (
            lambda X, y, a, c, b, **k: _step(X, y, a, c, b, **k, factor=len(b))
        ),
        "the sum over the rows is not divided by m": (
            lambda X, y, a, c, b, **k: _step(X, y, a, c, b, **k, factor=len(X))
        ),
        "the gradient is twice too long: the loss has the factor 1/2": lambda *v, **k: _step(
            *v, **k, factor=2
        ),
        "the derivative of tanh, 1 - h², is left out": lambda *v, **k: _step(*v, **k, slope=np.ones_like),
        "the derivative of tanh is taken as 1 - h and not as 1 - h²": (
            lambda *v, **k: _step(*v, **k, slope=lambda h: 1 - h)
        ),
        "the output weight b is left out of the gradients of a and c": (
            lambda *v, **k: _step(*v, **k, weighed=False)
        ),
        "b is changed first, and the gradients of a and c see the new b": (
            lambda *v, **k: _step(*v, **k, late=True)
        ),
        "the biases c are not updated": lambda *v, **k: _step(*v, **k, lr_c=0.0),
        "the biases c move at the rate lr_b": lambda *v, **k: _step(*v, **k, lr_c=k["lr_b"]),
        "the learning rates lr_a and lr_b are exchanged": _swapped,
        "the prediction is the sum over the neurons, not divided by N": _error_by_sum,
    },
)
