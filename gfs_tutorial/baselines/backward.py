r"""Backward elimination: start with all neurons, remove the one that is missed least, repeat."""

from __future__ import annotations

import torch
from torch import Tensor
from tqdm.auto import tqdm

from gfs_tutorial.baselines.neurons import Neurons
from gfs_tutorial.networks import TwoLayerNet
from gfs_tutorial.selection import NeuronPath

__all__ = ["backward_elimination"]

TIE = 1e-13  # scores that differ by less than this, relative to their terms, count as equal


def backward_elimination(
    net: TwoLayerNet | Tensor, X: Tensor, y: Tensor, size: int, *, progress: bool = False
) -> NeuronPath:
    r"""Remove neurons one by one, each the one without which the average of the others has the least loss.

    With z the sum of the K neurons that are left, those without i number K - 1, and

    .. math:: (K-1)^2\,\ell\Bigl(\frac{z - \Phi_i}{K-1}\Bigr) = \tfrac12\lVert\Phi_i\rVert^2
        - \langle\Phi_i, z\rangle + (K-1)\langle\Phi_i, y\rangle + \text{const},

    so that a step updates the scores by one column of the Gram matrix instead of evaluating K networks.
    Ye et al. (2020) compare it with forward selection. Ties, to rounding error, remove the neuron with the
    highest index.

    Args:
        net, X, y: The network and the data, or bare tensors: as in
            :class:`~gfs_tutorial.baselines.Neurons`.
        size: Length of the path, at most N. All neurons but one are removed whatever the size.
        progress: Whether to show a progress bar.

    Returns:
        A path whose first k picks are the k survivors: the last one to remain comes first. Each weighs 1/k.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message).
    """
    neurons = Neurons(net, X, y)
    size = neurons.size_of_path(size, repeats=False)
    N, c = neurons.num_neurons, neurons.alignments
    scores = neurons.norms / 2 - neurons.gram.sum(1)  # n/2 - s, (N,)
    tie = TIE * float(neurons.norms.mean() + c.abs().max())
    removed = []
    for left in tqdm(range(N - 1, 0, -1), desc="backward", unit="neuron", disable=not progress, leave=False):
        missed = scores + left * c  # (N,)
        worst = int((missed <= missed.min() + N * tie).nonzero()[-1, 0])
        scores += neurons.gram[worst]  # z loses the neuron
        scores[worst] = torch.inf
        removed.append(worst)
    last = int(torch.isfinite(scores).nonzero()[0, 0])
    return neurons.path([last, *reversed(removed)][:size])
