r"""Second moments of what a layer reads and writes: all that a least-squares fit needs to know of the data.

With :math:`A` the inputs of a convolution or linear layer, one output position a row (im2col), and :math:`Z`
its outputs, both without their means,

.. math:: K = A^\top A, \qquad B = A^\top Z.

Chapter *Channels*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from tqdm.auto import tqdm

from gfs_tutorial import checks

__all__ = ["Moments", "consumer_moments", "gather_images", "sampled_rows"]

POSITIONS = 64  # output positions of an image that count
CHUNK = 32  # images a forward pass


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
        """Count in inputs (rows, features) and target outputs (rows, outputs), multiplied in their dtype."""
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


def gather_images(batches: Iterable) -> Tensor:
    """All images of an iterable of batches, (m, channels, height, width), on the device that they are on.

    Args:
        batches: A data loader, or any iterable of batches: images, or tuples that begin with images.

    Raises:
        TypeError: a batch holds no floating-point tensor, or ``batches`` cannot be iterated over.
        ValueError: no batch, images of several shapes, or NaN or infinite pixels.
    """
    if isinstance(batches, Tensor) or not isinstance(batches, Iterable):
        kind = type(batches).__name__
        raise TypeError(f"batches must be a data loader or a list of batches, got {kind}: wrap it in a list")
    images = []
    for batch in batches:
        x = batch[0] if isinstance(batch, (tuple, list)) and len(batch) else batch
        if not isinstance(x, Tensor) or not x.is_floating_point():
            kind = f"a tensor of {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"batches must hold floating-point tensors of images, got {kind}")
        if x.ndim != 4 or (images and x.shape[1:] != images[0].shape[1:]):
            raise ValueError(f"batches must hold images (n, C, H, W) of one shape, got {tuple(x.shape)}")
        images.append(checks.finite("batches", x))
    if not sum(len(x) for x in images):
        raise ValueError("batches is empty: pruning needs some images to calibrate on")
    return torch.cat(images)


class Watch(TorchFunctionMode):
    """Calls ``seen(name, patches, output)`` whenever a named convolution or linear layer multiplies.

    It looks at the function call inside the layer, so that padding done by a subclass counts.

    Args:
        model: The model.
        names: Of the layers.
        seen: Receives the layer's name, its ``(input, stride, padding, dilation)`` and its output.
    """

    def __init__(self, model: nn.Module, names: Iterable[str], seen: Callable):
        super().__init__()
        self.layers = {id(model.get_submodule(name).weight): name for name in names}
        self.seen = seen

    def __torch_function__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if func in (F.conv2d, F.linear) and len(args) > 1 and id(args[1]) in self.layers:
            self.seen(self.layers[id(args[1])], call_of(args), output)
        return output


def call_of(args: tuple) -> tuple:
    """``(input, stride, padding, dilation)`` of a call of ``conv2d``, or of ``linear``, with ``args``."""
    return args[0], *args[3:6], *(1, 0, 1)[len(args[3:6]) :]


def sampled_rows(
    call: tuple, weight: Tensor, output: Tensor, generator: torch.Generator, positions: int = POSITIONS
) -> tuple[Tensor, Tensor]:
    """Inputs and outputs of a layer at random positions of each image, without repetition.

    Args:
        call: ``(input, stride, padding, dilation)`` as in :class:`Watch`.
        weight: Of the layer, (outputs, inputs[, height, width]).
        output: (n, outputs, height, width), or (n, ..., outputs) of a linear layer.
        generator: Source of the positions, on the CPU.
        positions: At most so many an image; all where there are fewer.

    Returns:
        (n, p, features) and (n, p, outputs).
    """
    at = draw_positions(weight, output, generator, positions)
    return input_rows(call, weight, output, at), output_rows(weight, output, at)


def draw_positions(
    weight: Tensor, output: Tensor, generator: torch.Generator, positions: int = POSITIONS
) -> Tensor:
    """Random output positions of a layer, counted row by row, (n, p) int64; arguments as above."""
    length = output[0, 0].numel() if weight.ndim == 4 else output[0].numel() // output.shape[-1]
    return _positions(len(output), length, positions, generator).to(output.device)


def output_rows(weight: Tensor, output: Tensor, at: Tensor) -> Tensor:
    """What a layer answers at positions (n, p): (n, p, outputs)."""
    image = torch.arange(len(output), device=output.device)[:, None]
    if weight.ndim == 2:  # linear: the last axis holds the features
        return output.reshape(len(output), -1, output.shape[-1])[image, at]
    return output[image, :, at // output.shape[-1], at % output.shape[-1]]


def input_rows(call: tuple, weight: Tensor, output: Tensor, at: Tensor) -> Tensor:
    """What a layer reads for its answers at positions (n, p): (n, p, features)."""
    x = call[0]
    if weight.ndim == 2:
        image = torch.arange(len(x), device=x.device)[:, None]
        return x.reshape(len(x), -1, x.shape[-1])[image, at]
    y, x_ = at // output.shape[-1], at % output.shape[-1]  # (n, p)
    return _patches(x, y, x_, weight.shape[2:], *call[1:])


def _positions(n: int, length: int, most: int, generator: torch.Generator) -> Tensor:
    """For each of n images, at most ``most`` different positions below ``length``, (n, p) int64."""
    if length <= most:
        return torch.arange(length).expand(n, -1)
    return torch.stack([torch.randperm(length, generator=generator)[:most] for _ in range(n)])


def _patches(
    x: Tensor, row: Tensor, column: Tensor, kernel: Sequence[int], stride, padding, dilation
) -> Tensor:
    """What a convolution reads for outputs at ``row`` and ``column``, both (n, p): (n, p, C * kh * kw)."""
    (sy, sx), (dy, dx), (kh, kw) = _pair(stride), _pair(dilation), kernel
    x = _padded(x, padding, ((kh - 1) * dy, (kw - 1) * dx))  # (n, C, H, W)
    rows = (row * sy)[:, :, None, None] + dy * torch.arange(kh, device=x.device)[:, None]  # (n, p, kh, 1)
    columns = (column * sx)[:, :, None, None] + dx * torch.arange(kw, device=x.device)  # (n, p, 1, kw)
    image = torch.arange(len(x), device=x.device)[:, None, None, None]
    return x[image, :, rows, columns].permute(0, 1, 4, 2, 3).flatten(2)  # from (n, p, kh, kw, C)


def _padded(x: Tensor, padding: str | int | Sequence[int], reach: tuple[int, int]) -> Tensor:
    if padding == "valid":
        return x
    if padding == "same":
        (y0, y1), (x0, x1) = ((r // 2, r - r // 2) for r in reach)
        return F.pad(x, (x0, x1, y0, y1))
    py, px = _pair(padding)
    return F.pad(x, (px, px, py, py)) if py or px else x


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    return (value[0], value[-1])


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
        weight = model.get_submodule(name).weight
        A, Z = (r.flatten(0, 1) for r in sampled_rows(call, weight, output, generators[name], positions))
        if name not in found:
            found[name] = Moments.about((A.mean(0), Z.mean(0)))
        found[name].add(A, Z)

    with Watch(model, names, seen):
        for chunk in tqdm(images.split(CHUNK), "moments", disable=not progress):
            model(chunk)
    for name in names:
        if name not in found or not found[name].count:
            raise ValueError(f"layer {name} did not run on the images")
        checks.finite(f"what {name} reads", found[name].inputs)
        checks.finite(f"what {name} writes", found[name].cross)
    return {name: found[name] for name in names}
