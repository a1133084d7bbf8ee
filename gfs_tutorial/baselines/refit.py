r"""Least-squares refit: keep the neurons that a rule has chosen, and choose their weights again."""

from __future__ import annotations

import torch
from torch import Tensor

from gfs_tutorial.baselines.neurons import Neurons
from gfs_tutorial.networks import TwoLayerNet
from gfs_tutorial.selection import NeuronPath, WeightedPath
from gfs_tutorial.theory.simplex import simplex_least_squares

__all__ = ["refit"]

CONDITION = 1e-10  # directions shorter than this, relative to the longest, are not fitted


def refit(
    path: NeuronPath, net: TwoLayerNet | Tensor, X: Tensor, y: Tensor, *, convex: bool = False
) -> WeightedPath:
    r"""The weights that make the loss of each step's neurons least.

    .. math:: w = \arg\min_w \tfrac12 \Bigl\lVert \sum_{i \in S_k} w_i \Phi_i - y \Bigr\rVert^2

    over all weights, or over the simplex. :func:`scipy.linalg.lstsq` on the triangle of one QR
    factorisation of all neurons of the path; of several answers the shortest.

    Args:
        path: Any selection from the neurons of ``net``.
        net, X, y: The network and the data, or bare tensors: as in
            :class:`~gfs_tutorial.baselines.Neurons`. The data may be others than those of the selection.
        convex: Whether weights are at least 0 and sum to 1.

    Returns:
        A path of the same picks with other weights.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message).
    """
    import scipy.linalg  # here, so that importing the package stays quick

    if not isinstance(path, NeuronPath):
        raise TypeError(f"path must be a NeuronPath, got {type(path).__name__}: select neurons first")
    neurons = Neurons(net, X, y)
    if path.num_neurons != neurons.num_neurons:
        raise ValueError(
            f"path was selected from {path.num_neurons} neurons but net has {neurons.num_neurons}: "
            "pass the network of the selection"
        )
    table = torch.cat([neurons.labels[None], neurons.features(path.picked())])  # (1 + n, m C)
    R = scipy.linalg.qr(table.T.numpy(), mode="r")[0][: len(table)]  # the same distances in few coordinates
    place = {neuron: column for column, neuron in enumerate(path.picked().tolist(), start=1)}
    weights = torch.zeros(len(path), path.num_neurons, dtype=torch.float64)
    for k in range(1, len(path) + 1):
        chosen = path.distinct(k)  # (n,)
        A = R[:, [place[neuron] for neuron in chosen.tolist()]]
        if convex:
            fitted = simplex_least_squares((A - R[:, :1]).T)
        else:
            fitted = scipy.linalg.lstsq(A, R[:, 0], cond=CONDITION, lapack_driver="gelsy")[0]
        weights[k - 1, chosen] = torch.from_numpy(fitted)
    return neurons.weighted_path(path.indices, weights)
