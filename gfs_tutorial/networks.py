"""The two-layer network in mean-field scaling: an average of N neurons."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gfs_tutorial import checks

__all__ = ["ACTIVATIONS", "TwoLayerNet"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "relu": torch.relu,
}


class TwoLayerNet(nn.Module):
    r"""A two-layer network whose output is the *average* over its N neurons.

    .. math:: f(x) = \frac1N \sum_{i=1}^N b_i\, \sigma(a_i^\top x + c_i)

    The mean-field network that Ye et al. (2020) and Wolfe et al. (2024) analyse; the bias :math:`c_i` stands
    for one more input that is always 1. Chapter *A two-layer net and SGD* builds it by hand.

    Args:
        in_features: d, the number of inputs.
        width: N, the number of neurons.
        out_features: C, the number of outputs.
        activation: :math:`\sigma`, one of ``"tanh"``, ``"sigmoid"``, ``"softplus"``, ``"relu"``.
        generator: Source of the random weights (on the CPU); ``None`` takes torch's global one. The same
            seed gives the same weights on every device.

    Attributes:
        input_weights: a, (N, d), drawn from a normal distribution of variance 1/d.
        input_biases: c, (N,), drawn from the same.
        output_weights: b, (N, C), drawn from a standard normal distribution.

    Raises:
        TypeError: a size is not a whole number.
        ValueError: a size is below 1, or the activation is unknown.
    """

    def __init__(
        self,
        in_features: int,
        width: int,
        out_features: int = 1,
        activation: str = "tanh",
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.in_features = checks.positive_int("in_features", in_features)
        self.width = checks.positive_int("width", width)
        self.out_features = checks.positive_int("out_features", out_features)
        checks.generator(generator)
        self.activation = checks.one_of("activation", activation, tuple(ACTIVATIONS))

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        scale = 1 / math.sqrt(in_features)
        self.input_weights = nn.Parameter(scale * normal(width, in_features))  # (N, d)
        self.input_biases = nn.Parameter(scale * normal(width))  # (N,)
        self.output_weights = nn.Parameter(normal(width, out_features))  # (N, C)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.width}, {self.out_features}, activation={self.activation!r}"

    def hidden(self, X: Tensor) -> Tensor:
        r"""Activations :math:`\sigma(a_i^\top x_j + c_i)` of every neuron on every row of ``X``.

        Args:
            X: (m, d), of the network's dtype and on its device.

        Returns:
            (m, N). The memory is laid out neuron by neuron, as selection reads it.

        Raises:
            TypeError: ``X`` has another dtype than the network.
            ValueError: ``X`` is not (m, d), or lies on another device.
        """
        self.check_input(X)
        preactivation = torch.addmm(self.input_biases[:, None], self.input_weights, X.T)  # (N, m)
        return ACTIVATIONS[self.activation](preactivation).T  # (m, N)

    def forward(self, X: Tensor) -> Tensor:
        """Outputs (m, C) for inputs (m, d); errors as in :meth:`hidden`."""
        return self.hidden(X) @ self.output_weights / self.width  # (m, N) @ (N, C) -> (m, C)

    def check_input(self, X: Tensor) -> None:
        """Raise what :meth:`hidden` raises on an input that does not fit."""
        checks.is_tensor("X", X)
        weights = self.input_weights
        if X.ndim != 2 or X.shape[1] != self.in_features:
            raise ValueError(f"X must have shape (m, {self.in_features}), got {tuple(X.shape)}")
        if X.dtype != weights.dtype:
            raise TypeError(
                f"X is {X.dtype} but the network is {weights.dtype}: use X.to(...) or net.to(...)"
            )
        if X.device != weights.device:
            raise ValueError(f"X is on {X.device} but the network is on {weights.device}: move one of them")

    @torch.no_grad()
    def subset(self, indices: Tensor, weights: Tensor | None = None) -> TwoLayerNet:
        r"""A new network of some of the neurons, as a weighted average of them.

        Args:
            indices: (n,) int64, which neurons.
            weights: (n,) convex weights :math:`w`; ``None`` means 1/n each.

        Returns:
            A network of width n that computes :math:`\sum_j w_j b_j \sigma(a_j^\top x + c_j)`. It owns
            its weights: training it leaves this network alone.

        Raises:
            TypeError: ``indices`` is not an int64 tensor.
            ValueError: ``indices`` is empty or not (n,), names a neuron that is not there, or ``weights`` is
                not (n,).
        """
        if checks.is_tensor("indices", indices).dtype != torch.int64:
            raise TypeError(
                f"indices must be int64, got {indices.dtype}: use mask.nonzero()[:, 0] for a mask"
            )
        if indices.ndim != 1 or len(indices) == 0:
            raise ValueError(f"indices must have shape (n,) and not be empty, got {tuple(indices.shape)}")
        if int(indices.min()) < 0 or int(indices.max()) >= self.width:
            raise ValueError(
                f"indices must lie between 0 and {self.width - 1}: there are {self.width} neurons"
            )
        if weights is not None and weights.shape != indices.shape:
            raise ValueError(f"weights must have shape ({len(indices)},), got {tuple(weights.shape)}")
        chosen = indices.to(self.input_weights.device)
        own = torch.Generator()  # the weights are overwritten: leave the global random numbers alone
        small = TwoLayerNet(self.in_features, len(indices), self.out_features, self.activation, own)
        small.to(self.input_weights)
        small.input_weights.copy_(self.input_weights[chosen])
        small.input_biases.copy_(self.input_biases[chosen])
        small.output_weights.copy_(self.output_weights[chosen])
        if weights is not None:
            small.output_weights.mul_(weights.to(self.output_weights)[:, None] * len(indices))  # (n, C)
        return small
