r"""Random selection: what any rule must beat."""

from __future__ import annotations

import torch
from torch import Tensor

from gfs_tutorial import checks
from gfs_tutorial.baselines.neurons import Neurons
from gfs_tutorial.networks import TwoLayerNet
from gfs_tutorial.selection import NeuronPath

__all__ = ["random_selection"]


def random_selection(
    net: TwoLayerNet | Tensor,
    X: Tensor,
    y: Tensor,
    size: int,
    *,
    with_replacement: bool = False,
    generator: torch.Generator | None = None,
) -> NeuronPath:
    r"""Neurons drawn at random, each of the weight 1/k.

    With replacement its mean loss is :math:`L + V/2k`, what the certificate of greedy forward selection
    compares with; without, :math:`L + \frac{N - k}{N - 1} \frac{V}{2k}`.

    Args:
        net, X, y: The network and the data, or bare tensors: as in
            :class:`~gfs_tutorial.baselines.Neurons`.
        size: Number of picks.
        with_replacement: Whether a neuron may be drawn again.
        generator: Source of the draws (on the CPU); ``None`` takes torch's global one.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message); ``size`` is above N
            without replacement.
    """
    checks.generator(generator)
    neurons = Neurons(net, X, y)
    N, size = neurons.num_neurons, neurons.size_of_path(size, repeats=with_replacement)
    if with_replacement:
        return neurons.path(torch.randint(N, (size,), generator=generator))
    return neurons.path(torch.randperm(N, generator=generator)[:size])
