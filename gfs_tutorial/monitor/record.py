"""One look at a network in training: what a subnetwork of k picks would achieve now."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gfs_tutorial.accuracy import share_right
from gfs_tutorial.networks import TwoLayerNet
from gfs_tutorial.selection import select_neurons
from gfs_tutorial.training import half_squared_error

__all__ = ["MonitorRecord", "look"]


@dataclass(frozen=True)
class MonitorRecord:
    r"""What one check found.

    The picks are made on every second row of the batch. On those rows the subnetwork looks better than it
    is, for it was chosen there; on the others a little worse than one that is chosen on all data. Its loss
    and accuracy are those on the *whole* batch, where the two nearly cancel (chapter *When to stop
    pre-training*).

    Attributes:
        iteration: t, updates done.
        subnetwork_loss, subnetwork_accuracy: Of the subnetwork, on the whole batch. The accuracy is that
            of :func:`gfs_tutorial.accuracy.accuracy`, and means nothing for targets that are no labels.
        dense_loss, dense_accuracy: Of the dense network, on the rows of the picks.
        picked_loss: Of the subnetwork, on the rows of the picks.
        bound: Certificate for ``picked_loss``, from the dense network alone.
        neurons: Distinct neurons among the picks.
    """

    iteration: int
    subnetwork_loss: float
    subnetwork_accuracy: float
    dense_loss: float
    dense_accuracy: float
    picked_loss: float
    bound: float
    neurons: int


@torch.no_grad()
def look(net: TwoLayerNet, X: Tensor, y: Tensor, size: int, iteration: int) -> MonitorRecord:
    """Select ``size`` times on every second row of ``X`` (M, d) and ``y`` (M, C), and measure on all."""
    labels = y[::2]  # (M/2, C)
    hidden = net.hidden(X[::2])  # (M/2, N)
    path = select_neurons(hidden, net.output_weights, labels, size)
    chosen = path.distinct(size)  # (n,)
    outputs = net.subset(chosen, path.weights(size)[chosen])(X)  # (M, C)
    return MonitorRecord(
        iteration=iteration,
        subnetwork_loss=float(half_squared_error(outputs, y)),
        subnetwork_accuracy=share_right(outputs, y),
        dense_loss=path.dense_loss,
        dense_accuracy=share_right(hidden @ net.output_weights / net.width, labels),
        picked_loss=float(path.losses[-1]),
        bound=path.bound(size),
        neurons=len(chosen),
    )
