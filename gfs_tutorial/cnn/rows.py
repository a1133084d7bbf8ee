"""What a layer reads and answers at sampled positions of each image: the rows of a least-squares fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from gfs_tutorial.cnn.layers import layer_of

__all__ = ["POSITIONS", "Watch", "call_of", "draw_positions", "input_rows", "output_rows", "sampled_rows"]

POSITIONS = 64  # output positions of an image that count


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
        self.layers = {id(layer_of(model, name).weight): name for name in names}
        self.seen = seen

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
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
    x: Tensor,
    row: Tensor,
    column: Tensor,
    kernel: Sequence[int],
    stride: int | Sequence[int],
    padding: str | int | Sequence[int],
    dilation: int | Sequence[int],
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
    if isinstance(padding, str):  # "same"
        (y0, y1), (x0, x1) = ((r // 2, r - r // 2) for r in reach)
        return F.pad(x, (x0, x1, y0, y1))
    py, px = _pair(padding)
    return F.pad(x, (px, px, py, py)) if py or px else x


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    return (value[0], value[-1])
