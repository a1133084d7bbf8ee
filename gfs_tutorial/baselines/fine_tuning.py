r"""Fine-tuning a subnetwork, and the control for it: the same shape from new random weights.

The neurons of a subnetwork weigh differently: a neuron that was picked c times in k stands for c neurons
at the same place. Each of these copies would take the step of a neuron of the average, so they would stay
together; a neuron of the *mass* :math:`\mu_i = n w_i` (1 on average) therefore moves like one of mass 1,
and its output counts :math:`\mu_i` times:

.. math:: f(x) = \frac1n \sum_{i=1}^n \mu_i\, b_i\, \sigma(a_i^\top x + c_i) .

The subnetwork stores :math:`\tilde b_i = \mu_i b_i`. Plain SGD on it would move the heavy neurons' inputs
:math:`\mu_i` times too fast and their outputs :math:`\mu_i^2` times too slowly.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gfs_tutorial import checks
from gfs_tutorial.networks import TwoLayerNet
from gfs_tutorial.selection import NeuronPath
from gfs_tutorial.training import train_sgd

__all__ = ["fine_tune", "reinitialise"]


def fine_tune(
    path: NeuronPath,
    k: int,
    X: Tensor,
    y: Tensor,
    *,
    iterations: int,
    batch_size: int,
    lr: float | tuple[float, float],
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> TwoLayerNet:
    """Train the subnetwork of ``k`` picks further, as the average of weighted neurons that it is.

    Args:
        path: A selection from a network.
        k: Which of its subnetworks.
        X, y: (m, d) features and (m,) or (m, C) targets.
        iterations, batch_size, lr, generator, progress: As in :func:`gfs_tutorial.train_sgd`.

    Returns:
        A new network of the distinct neurons; the path keeps its own.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message), or the path came from
            bare tensors.
        TrainingDivergedError: as in :func:`gfs_tutorial.train_sgd`.
    """
    masses = _masses(path, k)  # (n,)
    budget = {"iterations": iterations, "batch_size": batch_size, "lr": lr, "generator": generator}
    return _train(path.subnetwork(k), masses, X, y, progress=progress, **budget)


def reinitialise(
    path: NeuronPath,
    k: int,
    X: Tensor,
    y: Tensor,
    *,
    iterations: int,
    batch_size: int,
    lr: float | tuple[float, float],
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> TwoLayerNet:
    """Keep the shape of the subnetwork of ``k`` picks, draw its weights anew, and train as :func:`fine_tune`.

    The shape is the number of distinct neurons and how much each weighs. The question is that of Liu et al.
    (2019): is it the weights that are worth keeping, or only the shape? Ye et al. (2020) ask it of greedy
    forward selection.

    Args:
        path, k, X, y, iterations, batch_size, lr, progress: As in :func:`fine_tune`.
        generator: Source of the weights and then of the batches; ``None`` takes torch's global one.

    Returns:
        A new network of as many neurons as the subnetwork.

    Raises:
        TypeError, ValueError, TrainingDivergedError: as in :func:`fine_tune`.
    """
    checks.generator(generator)
    masses, old = _masses(path, k), path.subnetwork(k)
    fresh = TwoLayerNet(old.in_features, old.width, old.out_features, old.activation, generator)
    fresh.to(old.input_weights)
    with torch.no_grad():
        fresh.output_weights.mul_(masses.to(fresh.output_weights)[:, None])
    budget = {"iterations": iterations, "batch_size": batch_size, "lr": lr, "generator": generator}
    return _train(fresh, masses, X, y, progress=progress, **budget)


def _masses(path: NeuronPath, k: int) -> Tensor:
    """What the neurons of the subnetwork weigh, 1 on average; signs belong to the output weights. (n,)"""
    if not isinstance(path, NeuronPath):
        raise TypeError(f"path must be a NeuronPath, got {type(path).__name__}: select neurons first")
    weights = path.weights(k)[path.distinct(k)].abs()  # (n,)
    return weights * (len(weights) / weights.sum())


def _train(net: TwoLayerNet, masses: Tensor, X: Tensor, y: Tensor, **budget: Any) -> TwoLayerNet:
    """SGD in which a neuron of mass mu moves like one of mass 1."""
    mass = masses.to(net.output_weights)  # (n,)
    hooks = [
        net.input_weights.register_hook(lambda gradient: gradient / mass[:, None]),
        net.input_biases.register_hook(lambda gradient: gradient / mass),
        net.output_weights.register_hook(lambda gradient: gradient * mass[:, None]),
    ]
    try:
        return train_sgd(net, X, y, **budget).net
    finally:
        for hook in hooks:
            hook.remove()
