r"""What all rivals start from: the loss as a quadratic function of the neurons' weights.

With the feature vectors :math:`\Phi_i` as columns of :math:`\Phi` and weights w,

.. math:: \ell(\Phi w) = \tfrac12 w^\top G w - c^\top w + \tfrac12\lVert y\rVert^2, \qquad
    G = \Phi^\top\Phi, \quad c = \Phi^\top y,

so a rule of selection needs to see the data once, for G and c.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gfs_tutorial import checks
from gfs_tutorial.networks import TwoLayerNet
from gfs_tutorial.selection import NeuronPath, WeightedPath
from gfs_tutorial.selection.path import first_seen

__all__ = ["Neurons"]


class Neurons:
    r"""The neurons of a network on data. All that follows is on the CPU and in float64.

    The Gram matrix takes N² numbers: meant for some thousand neurons.

    Args:
        net: A :class:`TwoLayerNet`; or, for a network of your own, the activations (m, N) of its neurons.
        X: (m, d) features; or the output weights (N, C).
        y: (m, C) targets, or (m,) where C = 1.

    Attributes:
        labels: (m C,), targets over :math:`\sqrt m`.
        num_neurons: N.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message).
    """

    def __init__(self, net: TwoLayerNet | Tensor, X: Tensor, y: Tensor):
        self.net = net if isinstance(net, TwoLayerNet) else None
        if isinstance(net, TwoLayerNet):
            X, y = checks.features_and_targets(X, y, net.out_features)
            net.check_input(X)
            checks.finite("net", torch.nn.utils.parameters_to_vector(net.parameters()))
            with torch.no_grad():
                tensors: tuple[Tensor, Tensor, Tensor] = (net.hidden(X), net.output_weights, y)
        elif isinstance(net, Tensor):
            tensors = (net, X, y)
        else:
            raise TypeError(f"net must be a TwoLayerNet or a tensor of activations, got {type(net).__name__}")
        hidden, self.output_weights, targets = (t.cpu().double() for t in checks.neurons(*tensors))
        self.num_rows, self.num_neurons = hidden.shape
        self.hidden = hidden.T.contiguous() / self.num_rows**0.5  # (N, m)
        self.labels = targets.flatten() / self.num_rows**0.5  # (m C,)
        checks.finite("the neurons' squared norms", self.norms)

    @cached_property
    def norms(self) -> Tensor:
        r""":math:`\lVert\Phi_i\rVert^2`, (N,)."""
        return self.hidden.square().sum(1) * self.output_weights.square().sum(1)

    @cached_property
    def gram(self) -> Tensor:
        """G, (N, N)."""
        return (self.hidden @ self.hidden.T) * (self.output_weights @ self.output_weights.T)

    @cached_property
    def alignments(self) -> Tensor:
        """c, (N,)."""
        targets = self.labels.view(self.num_rows, -1)  # (m, C)
        return ((self.hidden @ targets) * self.output_weights).sum(1)

    def features(self, chosen: Tensor | Sequence[int]) -> Tensor:
        r""":math:`\Phi_i` of the ``chosen`` n neurons, one a row, (n, m C)."""
        return torch.einsum("nm,nc->nmc", self.hidden[chosen], self.output_weights[chosen]).flatten(1)

    def losses(self, chosen: Tensor, weights: Tensor) -> Tensor:
        """From the definition: of the ``chosen`` (n,) under each row of ``weights`` (size, n), (size,)."""
        predictions = weights.double() @ self.features(chosen)  # (size, m C)
        return (predictions - self.labels).square().sum(1) / 2

    @cached_property
    def dense_loss(self) -> float:
        """L, the loss of the mean of all neurons."""
        mean = self.hidden.T @ self.output_weights / self.num_neurons  # (m, C)
        return float((mean.flatten() - self.labels).square().sum() / 2)

    def size_of_path(self, size: int, *, repeats: bool) -> int:
        """Return ``size`` if so many picks can be made, with repeats or without, else raise an error."""
        size = checks.positive_int("size", size)
        if size > self.num_neurons and not repeats:
            raise ValueError(f"size is {size} but there are only {self.num_neurons} neurons: lower size")
        return size

    def path(self, picks: Tensor | Sequence[int]) -> NeuronPath:
        """The path of these ``picks``, each of the same weight."""
        indices = torch.as_tensor(picks)  # (size,)
        counts = F.one_hot(indices, self.num_neurons).cumsum(0).double()  # (size, N)
        weights = counts / torch.arange(1, len(indices) + 1)[:, None]
        return NeuronPath(**self._fields(indices, weights))

    def weighted_path(self, picks: Tensor | Sequence[int], weights: Tensor) -> WeightedPath:
        """The path of these ``picks`` (size,) with ``weights`` of all neurons after each, (size, N)."""
        indices = torch.as_tensor(picks)
        return WeightedPath(step_weights=weights[:, first_seen(indices)], **self._fields(indices, weights))

    def _fields(self, indices: Tensor, weights: Tensor) -> dict[str, Any]:
        """What both kinds of path have."""
        chosen = first_seen(indices)  # (n,)
        return {
            "indices": indices,
            "losses": self.losses(chosen, weights[:, chosen]),
            "num_neurons": self.num_neurons,
            "dense_loss": self.dense_loss,
            "picked_net": None if self.net is None else self.net.subset(chosen),
        }
