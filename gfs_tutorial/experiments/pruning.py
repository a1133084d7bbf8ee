"""What the studies share: selection under either loss, and accuracies computed in pieces."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gfs_tutorial.accuracy import share_right
from gfs_tutorial.networks import TwoLayerNet
from gfs_tutorial.selection import SelectionPath, greedy_forward_selection, select_neurons_logistic

__all__ = ["accuracy", "select"]

CHUNK = 2**24  # activations computed at once


def select(net: TwoLayerNet, X: Tensor, y: Tensor, size: int, loss: str = "squared") -> SelectionPath:
    """Greedy forward selection on the loss that the network was trained with.

    Args:
        net: The network.
        X: (m, d).
        y: (m, C).
        size: Number of picks.
        loss: ``"squared"`` or ``"logistic"``.
    """
    if loss == "squared":
        return greedy_forward_selection(net, X, y, size)
    with torch.no_grad():
        hidden, weights = net.hidden(X), net.output_weights.detach()  # (m, N), (N, C)
    path = select_neurons_logistic(hidden, weights, y, size)
    return replace(path, picked_net=net.subset(path.distinct(size)))


@torch.no_grad()
def accuracy(net: TwoLayerNet, X: Tensor, y: Tensor) -> float:
    """:func:`gfs_tutorial.accuracy.accuracy`, in pieces: all activations at once may not fit the memory."""
    outputs = torch.cat([net(part) for part in X.split(max(1, CHUNK // net.width))])  # (m, C)
    return share_right(outputs, y)
