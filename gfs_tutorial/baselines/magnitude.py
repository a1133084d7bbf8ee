r"""Magnitude pruning: keep the neurons that say most, whatever they say."""

from __future__ import annotations

import torch
from torch import Tensor

from gfs_tutorial import checks
from gfs_tutorial.baselines.neurons import Neurons
from gfs_tutorial.networks import TwoLayerNet
from gfs_tutorial.selection import WeightedPath

__all__ = ["magnitude_selection"]


def magnitude_selection(
    net: TwoLayerNet | Tensor, X: Tensor, y: Tensor, size: int, *, rescale: str = "best"
) -> WeightedPath:
    r"""The neurons of greatest magnitude :math:`\lVert\Phi_i\rVert`, the root mean square of their output.

    The magnitude is that of what a neuron contributes on the data: that of its weights alone would miss
    that activations saturate. Large neurons average to an answer that is too large, so their average is
    multiplied by one number, by default the best there is,

    .. math:: \alpha_k = \langle u_k, y\rangle / \lVert u_k\rVert^2, \qquad
        u_k = \tfrac1k \sum_{i \le k} \Phi_{q_i} .

    No other rule that keeps the weights equal has this freedom: the comparison errs in its favour.

    Args:
        net, X, y: The network and the data, or bare tensors: as in
            :class:`~gfs_tutorial.baselines.Neurons`.
        size: Number of picks, at most N.
        rescale: ``"best"``, as above; ``"average"`` for the plain average, of weights 1/k.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message).
    """
    checks.one_of("rescale", rescale, ("best", "average"))
    neurons = Neurons(net, X, y)
    size = neurons.size_of_path(size, repeats=False)
    picks = neurons.norms.argsort(descending=True, stable=True)[:size]  # (size,)
    weights = torch.zeros(size, neurons.num_neurons, dtype=torch.float64)
    weights[:, picks] = torch.ones(size, size).tril().double() / torch.arange(1, size + 1)[:, None]
    if rescale == "best":
        averages = weights[:, picks] @ neurons.features(picks)  # (size, m C)
        energy = averages.square().sum(1)  # (size,)
        best = (averages @ neurons.labels) / energy.where(energy > 0, 1)  # (size,)
        weights *= best[:, None]
    return neurons.weighted_path(picks, weights)
