r"""Second moments of what a layer reads and writes: all that a least-squares fit needs to know of the data.

With :math:`A` the inputs of a convolution or linear layer, one output position a row (im2col), and :math:`Z`
its outputs, both without their means,

.. math:: K = A^\top A, \qquad B = A^\top Z.

Chapter *Channels*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from gfs_tutorial import checks
from gfs_tutorial.cnn.images import in_chunks
from gfs_tutorial.cnn.layers import layer_of
from gfs_tutorial.cnn.rows import POSITIONS, Watch, sampled_rows

__all__ = ["Moments", "consumer_moments"]


@dataclass
class Moments:
    r"""Sums over sampled positions; those of two sets of images add up. Tensors are float64.

    Features are ordered as in a convolution's flattened weight: input channel, then row, then column. Sums
    are taken about an origin near the mean, so that products in float32 lose nothing that matters.

    Attributes:
        count: Number of rows.
        origin: (features,) and (outputs,), what was subtracted from the inputs and outputs.
        input_sum: (features,), of the inputs about their origin.
        output_sum: (outputs,), of the target outputs about theirs.
        inputs: (features, features), second moments of the inputs about their origin.
        cross: (features, outputs), of inputs and outputs.
        energy: Of the outputs.
    """

    count: int
    origin: tuple[Tensor, Tensor]
    input_sum: Tensor
    output_sum: Tensor
    inputs: Tensor
    cross: Tensor
    energy: float

    def add(self, A: Tensor, Z: Tensor) -> None:
        """Count in inputs (rows, features) and target outputs (rows, outputs), multiplied in their dtype.

        Those of less than float32 are multiplied in float32.
        """
        A, Z = (part if part.dtype == torch.float64 else part.float() for part in (A, Z))
        A, Z = A - self.origin[0].to(A), Z - self.origin[1].to(Z)
        self.count += len(A)
        self.input_sum += A.sum(0)
        self.output_sum += Z.sum(0)
        self.inputs += A.T @ A
        self.cross += A.T @ Z
        self.energy += float(Z.square().sum())

    def __add__(self, other: Moments) -> Moments:
        """Both together; ``other`` must have the same origin."""
        names = [name for name in self.__dataclass_fields__ if name != "origin"]
        return Moments(**{n: getattr(self, n) + getattr(other, n) for n in names}, origin=self.origin)

    @property
    def input_mean(self) -> Tensor:
        """(features,)."""
        return self.origin[0] + self.input_sum / self.count

    @property
    def output_mean(self) -> Tensor:
        """(outputs,)."""
        return self.origin[1] + self.output_sum / self.count

    @property
    def K(self) -> Tensor:
        """Centred second moments of the inputs, (features, features)."""
        return self.inputs.addr(self.input_sum, self.input_sum, alpha=-1 / self.count)

    @property
    def B(self) -> Tensor:
        """Centred cross moments, (features, outputs)."""
        return self.cross.addr(self.input_sum, self.output_sum, alpha=-1 / self.count)

    @property
    def T(self) -> float:
        """Centred energy of the outputs: the squared error of answering their mean."""
        return max(0.0, self.energy - float(self.output_sum.square().sum()) / self.count)

    @classmethod
    def about(cls, origin: tuple[Tensor, Tensor]) -> Moments:
        """Moments of no rows yet, about an origin."""
        a, z = (part.double() for part in origin)
        zeros = a.new_zeros
        return cls(0, (a, z), zeros(len(a)), zeros(len(z)), zeros(len(a), len(a)), zeros(len(a), len(z)), 0.0)

    @classmethod
    def of_rows(cls, A: Tensor, Z: Tensor) -> Moments:
        """Moments of inputs (rows, features) and target outputs (rows, outputs), about their means."""
        moments = cls.about((A.mean(0), Z.mean(0)))
        moments.add(A, Z)
        return moments


@torch.no_grad()
def consumer_moments(
    model: nn.Module,
    names: Sequence[str],
    images: Tensor,
    *,
    like: Mapping[str, Moments] | None = None,
    positions: int = POSITIONS,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Moments]:
    """Moments of the inputs and outputs of several layers, in one pass over the images.

    Args:
        model: In the mode in which it is to be measured: eval, as a rule.
        names: Of convolutions without groups, or linear layers.
        images: (m, channels, height, width).
        like: Moments of other images of the same layers, to add to later; they give the origins.
        positions: Output positions an image, at random.
        seed: Of the positions.
        progress: Whether to show a progress bar.

    Returns:
        The moments of each layer.

    Raises:
        ValueError: a layer did not run, or read or wrote NaN or infinity.
    """
    generators = {name: torch.Generator().manual_seed(seed) for name in names}
    found = {name: Moments.about(like[name].origin) for name in names} if like else {}

    def seen(name: str, call: tuple, output: Tensor) -> None:
        weight = layer_of(model, name).weight
        A, Z = (r.flatten(0, 1) for r in sampled_rows(call, weight, output, generators[name], positions))
        if name not in found:
            found[name] = Moments.about((A.mean(0), Z.mean(0)))
        found[name].add(A, Z)

    with Watch(model, names, seen):
        for chunk in tqdm(in_chunks(images), "moments", disable=not progress):
            model(chunk)
    for name in names:
        if name not in found or not found[name].count:
            raise ValueError(f"layer {name} did not run on the images")
        checks.finite(f"what {name} reads", found[name].inputs)
        checks.finite(f"what {name} writes", found[name].cross)
    return {name: found[name] for name in names}
