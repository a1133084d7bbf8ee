"""Calibration images: gathered from whatever the caller has, and shared out over forward passes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from gfs_tutorial import checks

__all__ = ["gather_images", "in_chunks"]

CHUNK = 32  # images a forward pass at most
PIXELS = (
    2**18
)  # of a forward pass at most: larger activations cost more to get from the system than to compute


def in_chunks(images: Tensor, most: int | None = None) -> tuple[Tensor, ...]:
    """Images (m, channels, height, width) in parts of one forward pass each, of at most ``most`` (32)."""
    fit = PIXELS // (images.shape[-2] * images.shape[-1])
    return images.split(max(1, min(most or CHUNK, fit)))


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
    images: list[Tensor] = []
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
