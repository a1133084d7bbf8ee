r"""The tangent kernel of a network: how fast full-batch descent contracts the loss at a given moment.

Chapter *How much pre-training is enough?*.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import grad, vmap

from gfs_tutorial.networks import ACTIVATIONS, TwoLayerNet

__all__ = ["kernel_contraction", "tangent_kernel"]


@torch.no_grad()
def tangent_kernel(net: TwoLayerNet, X: Tensor, lr: tuple[float, float]) -> Tensor:
    r"""The matrix K by which one step of full-batch descent shrinks the error, to first order.

    With the errors :math:`e_j = f(x_j) - y_j`, a step of :func:`gfs_tutorial.train_sgd` on all rows changes
    them by :math:`-K e` plus terms of second order in the learning rates, where

    .. math:: K_{jl} = \frac{1}{m N} \sum_i \Bigl( \eta_b\, h_{ij} h_{il}
        + \eta_a\, b_i^2\, \sigma'_{ij} \sigma'_{il}\, (x_j^\top x_l + 1) \Bigr)

    (chapter *How much pre-training is enough?*; Jacot et al., 2018, for the kernel).

    Args:
        net: A network with one output.
        X: (m, d).
        lr: :math:`(\eta_a, \eta_b)`, as in :func:`gfs_tutorial.train_sgd`.

    Returns:
        (m, m) float64, symmetric, without units.

    Raises:
        ValueError: the network has several outputs.
    """
    if net.out_features != 1:
        raise ValueError(f"net must have one output, got {net.out_features}")
    net.check_input(X)
    X, m, N = X.double(), len(X), net.width
    preactivation = net.input_weights.double() @ X.T + net.input_biases.double()[:, None]  # (N, m)
    activation = ACTIVATIONS[net.activation]
    h = activation(preactivation)  # (N, m)
    slopes = vmap(grad(activation))(preactivation.flatten()).view_as(h)  # (N, m)
    weighted = slopes * net.output_weights.double()  # (N, m)
    lr_a, lr_b = lr
    kernel = lr_b * h.T @ h + lr_a * (weighted.T @ weighted) * (X @ X.T + 1)  # (m, m)
    return (kernel / (m * N)).cpu()


def kernel_contraction(net: TwoLayerNet, X: Tensor, lr: tuple[float, float]) -> float:
    r"""The rate :math:`\rho = 1 - (1 - \lambda_{\min}(K))^2` that the tangent kernel guarantees the loss.

    To first order a step takes e to :math:`(I - K) e`, so the loss falls by that factor at least, as
    long as the kernel stays what it is and :math:`\lambda_{\max}(K) \le 1`.

    Args:
        net, X, lr: As in :func:`tangent_kernel`.

    Returns:
        :math:`\rho`, between 0 and 1.
    """
    least = float(torch.linalg.eigvalsh(tangent_kernel(net, X, lr))[0])
    return 1 - (1 - min(1.0, max(0.0, least))) ** 2
