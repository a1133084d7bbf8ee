"""A small regression task whose labels come from a random network, the teacher.

It gives the rate figure of the chapter *Slopes*. The sizes are ours, chosen so that the figure looks like
the authors' own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gfs_tutorial.networks import TwoLayerNet

__all__ = ["random_net", "teacher_data"]


def random_net(
    in_features: int, width: int, output_std: float, *, generator: torch.Generator, activation: str = "tanh"
) -> TwoLayerNet:
    """A network whose weights and biases into the neurons are standard normal.

    Args:
        in_features: d.
        width: N.
        output_std: Standard deviation of the output weights.
        generator: Source of the weights.
        activation: Of the neurons.
    """
    net = TwoLayerNet(in_features, width, 1, activation, generator=generator)
    with torch.no_grad():  # TwoLayerNet draws the first layer with variance 1/d, the second with 1
        net.input_weights.mul_(in_features**0.5)
        net.input_biases.mul_(in_features**0.5)
        net.output_weights.mul_(output_std)
    return net


@torch.no_grad()
def teacher_data(
    rows: int,
    *,
    in_features: int = 20,
    teacher_width: int = 20,
    label_std: float = 0.1,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Standard normal inputs, and the outputs of a random tanh network rescaled to ``label_std``.

    Returns:
        ``X`` (rows, in_features) and ``y`` (rows, 1), float32.
    """
    X = torch.randn(rows, in_features, generator=generator)
    y = random_net(in_features, teacher_width, 1.0, generator=generator)(X)  # (rows, 1)
    return X, y * (label_std / y.std())
