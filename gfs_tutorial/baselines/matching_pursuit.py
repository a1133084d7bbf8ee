r"""Orthogonal matching pursuit: the neuron most correlated with what is missing, then a least-squares fit."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from gfs_tutorial.baselines.neurons import Neurons
from gfs_tutorial.networks import TwoLayerNet
from gfs_tutorial.selection import WeightedPath

__all__ = ["orthogonal_matching_pursuit"]


def orthogonal_matching_pursuit(net: TwoLayerNet | Tensor, X: Tensor, y: Tensor, size: int) -> WeightedPath:
    r"""Selection without the hull: weights of any sign and sum, fitted again at every step.

    .. math:: q_k = \arg\max_i \frac{|\langle\Phi_i, y - u_{k-1}\rangle|}{\lVert\Phi_i\rVert}, \qquad
        u_k = \arg\min\ \ell \text{ over the span of } \Phi_{q_1}, \dots, \Phi_{q_k} .

    Pati et al. (1993); :func:`sklearn.linear_model.orthogonal_mp_gram` on the normalised Gram matrix.

    Args:
        net, X, y: The network and the data, or bare tensors: as in
            :class:`~gfs_tutorial.baselines.Neurons`.
        size: Number of picks, at most N.

    Returns:
        A path that is shorter than ``size`` if no neuron is left that lowers the loss by more than rounding.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message); or no neuron is
            correlated with the targets at all.
    """
    from sklearn.linear_model import orthogonal_mp_gram  # here, so that importing the package stays quick

    neurons = Neurons(net, X, y)
    size = neurons.size_of_path(size, repeats=False)
    lengths = neurons.norms.sqrt()
    lengths = lengths.where(lengths > 0, 1)  # (N,); a neuron that is silent is never picked
    target = float(neurons.labels.norm()) or 1.0
    gram = neurons.gram / torch.outer(lengths, lengths)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Orthogonal matching pursuit ended prematurely", RuntimeWarning)
        correlations = (neurons.alignments / lengths / target).numpy()  # (N,)
        fitted = orthogonal_mp_gram(
            gram.numpy(), correlations, n_nonzero_coefs=size, return_path=True
        )  # (N, steps), or squeezed
    weights = torch.from_numpy(fitted).reshape(neurons.num_neurons, -1).T * target / lengths  # (steps, N)
    if not weights.numel():
        raise ValueError("no neuron is correlated with the targets: there is nothing to pursue")
    entered = (weights != 0).float().argmax(0)  # (N,), step at which a neuron came in
    picked = (weights != 0).any(0).nonzero()[:, 0]  # (steps,)
    return neurons.weighted_path(picked[entered[picked].argsort()], weights)
