"""Recalibration of batch norms: their running statistics, measured anew on some images.

Essential after pruning without a refit, harmful after one: a refit already aims at the old statistics.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from tqdm.auto import tqdm

from gfs_tutorial.cnn.images import gather_images

__all__ = ["recalibrate_norms"]

CHUNK = 64  # images a forward pass: a norm in training mode sees so many at once


@torch.no_grad()
def recalibrate_norms(model: nn.Module, batches: Iterable, *, progress: bool = False) -> nn.Module:
    """Replace running means and variances of all batch norms by averages over the images.

    Args:
        model: Changed in place; modes and momenta are restored.
        batches: Any iterable of batches: images, or tuples that begin with images.
        progress: Whether to show a progress bar.

    Returns:
        ``model``.

    Raises:
        TypeError, ValueError: as in :func:`~gfs_tutorial.cnn.images.gather_images`.
    """
    images = gather_images(batches)
    norms = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    ]
    modes = {module: module.training for module in model.modules()}
    momenta = [norm.momentum for norm in norms]
    try:
        model.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain average over the passes
            norm.train()
        chunks = max(1, len(images) // CHUNK)
        for chunk in tqdm(images.tensor_split(chunks), "batch norms", disable=not progress):
            model(chunk)
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
        for module, mode in modes.items():
            module.training = mode
    return model
