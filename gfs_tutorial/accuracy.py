"""The share of rows that a network answers rightly.

Chapter *A two-layer net and SGD*.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gfs_tutorial.networks import TwoLayerNet

__all__ = ["accuracy", "share_right"]


@torch.no_grad()
def accuracy(net: TwoLayerNet, X: Tensor, y: Tensor) -> float:
    """Share of rows whose sign (one output) or largest output (several) is that of the label.

    Args:
        net: The network.
        X: (m, d).
        y: (m, 1) of -1 and +1, or (m, C) one-hot.

    Returns:
        A number between 0 and 1.

    Raises:
        TypeError, ValueError: ``X`` does not fit the network, or ``y`` its outputs.
    """
    return share_right(net(X), y)


def share_right(outputs: Tensor, y: Tensor) -> float:
    """:func:`accuracy`, from outputs that are there already.

    Args:
        outputs: (m, C).
        y: (m, C), as in :func:`accuracy`.

    Raises:
        ValueError: the shapes differ.
    """
    if outputs.shape != y.shape:
        raise ValueError(f"y must be {tuple(outputs.shape)}, got {tuple(y.shape)}")
    right = (outputs > 0) == (y > 0) if y.shape[1] == 1 else outputs.argmax(1) == y.argmax(1)
    return float(right.double().mean())
