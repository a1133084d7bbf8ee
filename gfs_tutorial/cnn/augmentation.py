"""Images on their way into a network: random crops and flips, and normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["augment_batch", "normalize"]


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Images (m, 3, H, W) uint8 as float32 of mean 0 and deviation 1 a channel, channels last in memory."""
    if len(mean) != 3 or len(std) != 3 or not min(std) > 0:
        raise ValueError(f"mean and std must be three numbers each, std positive, got {mean} and {std}")
    shift, scale = (
        255 * torch.tensor(values, dtype=torch.float32, device=images.device)[:, None, None]  # (3, 1, 1)
        for values in (mean, std)
    )
    return ((images - shift) / scale).contiguous(memory_format=torch.channels_last)


def augment_batch(images: Tensor, generator: torch.Generator | None = None, *, flip: bool = True) -> Tensor:
    """Shift each image by up to an eighth, mirroring what lies beyond the edge, and flip every other one.

    All of it is one gather: output pixel (r, c) of image j is its input pixel (rows[j, r], columns[j, c]).

    Args:
        images: (m, 3, H, W) of any dtype, on any device.
        generator: Source of shifts and flips, on the CPU.
        flip: Whether to flip left and right.

    Returns:
        (m, 3, H, W), channels last in memory.
    """
    m, _, height, width = images.shape
    rows, columns = (_shifted(m, length, generator) for length in (height, width))  # (m, H), (m, W)
    if flip:
        flipped = torch.rand(m, 1, generator=generator) < 0.5
        columns = torch.where(flipped, width - 1 - columns, columns)
    rows, columns = rows.to(images.device), columns.to(images.device)
    each = torch.arange(m, device=images.device)[:, None, None]
    picked = images.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]]  # (m, H, W, 3)
    return picked.permute(0, 3, 1, 2)


def _shifted(m: int, length: int, generator: torch.Generator | None) -> Tensor:
    """Positions 0 to length - 1, moved by a random amount in each of m rows and mirrored at both ends."""
    most = length // 8
    shift = torch.randint(-most, most + 1, (m, 1), generator=generator)
    return (length - 1) - ((length - 1) - (torch.arange(length) + shift).abs()).abs()  # (m, length)
