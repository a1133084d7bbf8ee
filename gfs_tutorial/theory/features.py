r"""Feature vectors: the points whose convex hull all subnetworks live in.

Chapter *Greedy forward selection*.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gfs_tutorial import checks
from gfs_tutorial.networks import TwoLayerNet

__all__ = ["feature_vectors", "network_features", "shifted"]


def feature_vectors(hidden: Tensor, output_weights: Tensor) -> Tensor:
    r"""Feature vectors of neurons, :math:`\Phi_i = h_i b_i^\top / \sqrt m`, flattened.

    Args:
        hidden: (m, N), activation of each neuron on each row of the data.
        output_weights: (N, C).

    Returns:
        (N, m C) float64 on the CPU. Row i lists what neuron i outputs on the first row of the data, then on
        the second, and so on. Targets (m, C) match as ``targets.flatten() / m**0.5``.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message).
    """
    checks.float_matrix("hidden", hidden, "(m, N)")
    checks.float_matrix("output_weights", output_weights, "(N, C)")
    if hidden.shape[1] != len(output_weights):
        raise ValueError(
            f"hidden has {hidden.shape[1]} neurons (columns) but output_weights {len(output_weights)} (rows)"
        )
    H, B = hidden.detach().cpu().double(), output_weights.detach().cpu().double()  # (m, N), (N, C)
    return torch.einsum("mn,nc->nmc", H, B).flatten(1) / len(H) ** 0.5  # (N, m C)


def network_features(net: TwoLayerNet, X: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    r"""Feature vectors of a network's neurons on a data set, and the target among them.

    Args:
        net: The network.
        X: (m, d) features.
        y: (m,) or (m, C) targets.

    Returns:
        ``features`` (N, m C) and ``target`` (m C,), float64 on the CPU, both divided by :math:`\sqrt m`, so
        that :math:`\frac12 \lVert\cdot\rVert^2` of their difference is a loss.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message).
    """
    if not isinstance(net, TwoLayerNet):
        raise TypeError(f"net must be a TwoLayerNet, got {type(net).__name__}: use feature_vectors")
    X, y = checks.features_and_targets(X, y, net.out_features)
    with torch.no_grad():
        features = feature_vectors(net.hidden(X), net.output_weights)
    return features, y.detach().cpu().double().flatten() / len(y) ** 0.5


def shifted(features: Tensor, target: Tensor) -> Tensor:
    r"""The points :math:`\zeta_i = \Phi_i - y`, (N, D) float64: the target becomes the origin.

    Args:
        features: (N, D).
        target: (D,).

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message).
    """
    checks.float_matrix("features", features, "(N, D)")
    checks.is_tensor("target", target)
    if target.shape != features.shape[1:]:
        raise ValueError(
            f"target must be ({features.shape[1]},) like the features, got {tuple(target.shape)}"
        )
    checks.finite("target", target)
    return features.detach().cpu().double() - target.detach().cpu().double()
