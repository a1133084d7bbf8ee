"""An endless stream of mini-batches from whatever the caller has, each one checked."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gfs_tutorial import checks

__all__ = ["Batch", "checked_batch", "mini_batches"]

Batch = tuple[Tensor, Tensor | None]  # images (n, C, H, W), labels (n,)


def mini_batches(batches: Iterable[Any], model: nn.Module, *, labels: bool = True) -> Iterator[Batch]:
    """Endless checked mini-batches on the model's device; a single one comes back as the same object.

    Args:
        batches: As in :func:`gfs_tutorial.cnn.loss.select_by_loss`.
        model: Whose device and dtype the images must suit.
        labels: Whether labels are needed; if not they are dropped.

    Raises:
        TypeError, ValueError: at the first mini-batch that does not fit, or when there is none left.
    """
    if isinstance(batches, (Tensor, str, dict)) or not isinstance(batches, Iterable):
        raise TypeError(f"batches must be an iterable of mini-batches, got {type(batches).__name__}")
    return _endless(batches, next(model.parameters()), labels)


def _endless(batches: Iterable[Any], like: Tensor, labels: bool) -> Iterator[Batch]:
    for turn in itertools.count():
        number = 0
        for number, batch in enumerate(batches, 1):  # noqa: B007 (counted, and looked at below)
            checked = checked_batch(batch, like, labels)
            yield checked
        if number == 0:
            gone = "an iterator that came to its end: pass a list or a data loader" if turn else "empty"
            raise ValueError(f"batches is {gone}")
        while number == 1:
            yield checked


def checked_batch(batch: Any, like: Tensor, labels: bool) -> Batch:
    """A mini-batch on the device of ``like``, a parameter of the model; arguments and errors as above."""
    images, given = batch, None
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        images, given = batch
    elif isinstance(batch, (tuple, list)) and len(batch) == 1 and not labels:
        (images,) = batch
    elif labels:
        raise TypeError(
            f"each of batches must be a pair (images, labels), got {type(batch).__name__}: "
            "labels=False does without labels"
        )
    if checks.is_tensor("images of batches", images).dtype != like.dtype:
        raise TypeError(f"images of batches must be {like.dtype} as the model is, got {images.dtype}")
    if images.ndim != 4 or len(images) == 0:
        raise ValueError(f"images of batches must be (n, C, H, W) with n > 0, got {tuple(images.shape)}")
    images = checks.finite("images of batches", images).to(like.device)
    return images, _checked_labels(given, images) if labels else None


def _checked_labels(labels: Any, images: Tensor) -> Tensor:
    if checks.is_tensor("labels of batches", labels).dtype != torch.int64:
        raise TypeError(f"labels of batches must be int64 class numbers, got {labels.dtype}: use .long()")
    if labels.shape != images.shape[:1]:
        raise ValueError(f"labels of batches must be ({len(images)},) as images, got {tuple(labels.shape)}")
    return labels.to(images.device)
