"""No pruning at all: a small network trained from its own random start."""

from __future__ import annotations

import torch
from torch import Tensor

from gfs_tutorial import checks
from gfs_tutorial.networks import TwoLayerNet
from gfs_tutorial.training import train_sgd

__all__ = ["train_from_scratch"]


def train_from_scratch(
    net: TwoLayerNet,
    X: Tensor,
    y: Tensor,
    size: int,
    *,
    iterations: int,
    batch_size: int,
    lr: float | tuple[float, float],
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> TwoLayerNet:
    """Train a network like ``net`` but of ``size`` neurons, from random weights.

    With the budget of the large network in ``iterations`` and ``batch_size`` it sees the same amount of
    data, in a small part of the time.

    Args:
        net: Whose activation, inputs, outputs, dtype and device to take; it is not changed.
        X, y: (m, d) features and (m,) or (m, C) targets.
        size: Number of neurons.
        iterations, batch_size, lr, progress: As in :func:`gfs_tutorial.train_sgd`.
        generator: Source of the weights and then of the batches; ``None`` takes torch's global one.

    Returns:
        The trained network.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message).
        TrainingDivergedError: as in :func:`gfs_tutorial.train_sgd`.
    """
    if not isinstance(net, TwoLayerNet):
        raise TypeError(f"net must be a TwoLayerNet, got {type(net).__name__}")
    size = checks.positive_int("size", size)
    small = TwoLayerNet(net.in_features, size, net.out_features, net.activation, generator)
    small.to(net.input_weights)
    return train_sgd(
        small,
        X,
        y,
        iterations=iterations,
        batch_size=batch_size,
        lr=lr,
        generator=generator,
        progress=progress,
    ).net
