"""Recalibration of batch norms: their running statistics, measured anew on some images.

Essential after pruning without a refit, harmful after one: a refit already aims at the old statistics.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import nn
from tqdm.auto import tqdm

from gfs_tutorial.cnn.forward_checks import check_accepts
from gfs_tutorial.cnn.images import gather_images
from gfs_tutorial.cnn.replay import evaluation_mode
from gfs_tutorial.cnn.training_checks import check_model

__all__ = ["recalibrate_norms"]

CHUNK = 64  # images a forward pass: a norm in training mode sees so many at once


@torch.no_grad()
def recalibrate_norms(model: nn.Module, batches: Iterable, *, progress: bool = False) -> nn.Module:
    """Replace running means and variances of all batch norms by averages over the images.

    Args:
        model: Changed in place; modes and momenta are restored, and after an error the statistics, too.
        batches: Any iterable of batches: images, or tuples that begin with images.
        progress: Whether to show a progress bar.

    Returns:
        ``model``.

    Raises:
        TypeError, ValueError: as in :func:`~gfs_tutorial.cnn.images.gather_images`, or the model does not
            accept the images.
    """
    device = check_model(model)
    images = gather_images(batches)
    check_accepts("batches", model, images[:1].to(device))
    norms = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    ]
    before = [(norm, norm.momentum, copy.deepcopy(norm.state_dict())) for norm in norms]
    try:
        with evaluation_mode(model):
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # a plain average over the passes
                norm.train()
            chunks = max(1, len(images) // CHUNK)
            for chunk in tqdm(images.tensor_split(chunks), "batch norms", disable=not progress):
                model(chunk.to(device))
    except BaseException:  # an interrupt, too
        for norm, _, state in before:
            norm.load_state_dict(state)
        raise
    finally:
        for norm, momentum, _ in before:
            norm.momentum = momentum
    return model
