"""ImageNet on disk, image by image: for training and evaluation at any size, on any number of processes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from gfs_tutorial import checks
from gfs_tutorial.data.imagenet import centre_crop, in_folders, of_foolbox
from gfs_tutorial.data.images import data_root, decode

__all__ = ["Normalised", "Photographs", "find_imagenet", "halves"]


@dataclass(frozen=True, eq=False)
class Photographs(Dataset):
    """Files with labels; item i is a pair (image (3, size, size) uint8, class number).

    Attributes:
        paths: The files, (n,) bytes: a million take little room so, and the workers of a loader share it.
        labels: (n,) int64.
        size: Height and width.
        resample: How to scale: ``"bicubic"`` or ``"bilinear"``.
        augment: A random part of the image, flipped or not, in place of the middle. It is drawn from torch's
            random numbers.
    """

    paths: np.ndarray | Sequence[Path]
    labels: Tensor
    size: int = 224
    resample: str = "bicubic"
    augment: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.paths, np.ndarray):
            object.__setattr__(self, "paths", np.array([os.fsencode(path) for path in self.paths]))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        crop = random_crop if self.augment else centre_crop
        prepare = partial(crop, size=self.size, resample=self.resample)
        return decode([Path(os.fsdecode(self.paths[index]))], prepare, self.size)[0], int(self.labels[index])

    def take(self, rows: Tensor) -> Photographs:
        """Some of them, (n,) int64."""
        return Photographs(
            np.asarray(self.paths)[rows.numpy()], self.labels[rows], self.size, self.resample, self.augment
        )

    def prepared(self, size: int, resample: str, *, augment: bool = False) -> Photographs:
        """The same files, cut in another way."""
        return Photographs(self.paths, self.labels, size, resample, augment)

    @property
    def digest(self) -> str:
        """Of the folders' and files' names and the labels, sixteen hexadecimal digits."""
        digest = hashlib.sha256()
        for path, label in zip(self.paths, self.labels.tolist()):
            folder, name = os.fsdecode(path).split(os.sep)[-2:]
            digest.update(f"{folder}/{name} {label}\n".encode())
        return digest.hexdigest()[:16]


class Normalised(Dataset):
    """Images alone, (3, H, W) float32 of mean 0 and deviation 1 a channel: what pruning calibrates on.

    Args:
        photographs: Their source.
        mean, std: Of each channel, in units of full brightness.
    """

    def __init__(self, photographs: Dataset, mean: Sequence[float], std: Sequence[float]):
        self.photographs = photographs
        self.shift, self.scale = (255 * torch.tensor(values)[:, None, None] for values in (mean, std))

    def __len__(self) -> int:
        return checks.length("photographs", self.photographs)

    def __getitem__(self, index: int) -> Tensor:
        return (self.photographs[index][0] - self.shift) / self.scale


def random_crop(image: Image.Image, size: int, resample: str) -> Image.Image:
    """A random rectangle of at least 8% of the area, scaled to (size, size), and every other one mirrored."""
    from torchvision.transforms import RandomResizedCrop

    top, left, height, width = RandomResizedCrop.get_params(image, (0.08, 1.0), (3 / 4, 4 / 3))
    box = (left, top, left + width, top + height)
    image = image.resize((size, size), Image.Resampling[resample.upper()], box=box)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if torch.rand(()) < 0.5 else image


def find_imagenet(
    root: str | Path | None = None, source: str = "auto"
) -> tuple[Photographs | None, Photographs, str]:
    """The training photographs, if they are at hand, the others, and where they are, in words.

    They are looked for in the data root (``root``, else ``GFS_DATA_ROOT``), as torchvision's ``ImageNet``
    leaves them or in image folders: ``imagenet/{train,val}/<wnid>/*``, or the same without ``imagenet``. With
    ``val`` alone they are a sample. Without either, they are the 20 that the package foolbox ships.

    Args:
        root: Data root; must exist if given.
        source: ``"auto"`` as above, or ``"embedded"`` for the 20.

    Raises:
        FileNotFoundError: the data root does not exist, or there are no photographs anywhere.
        ValueError: a folder is no class of ImageNet.
    """
    checks.one_of("source", source, ("auto", "embedded"))
    root = data_root(root) if source == "auto" else None
    places = [root / "imagenet", root] if root is not None else []
    folder = next((place for place in places if (place / "val").is_dir()), None)
    if folder is None:
        return None, Photographs(*of_foolbox(root)), "the 20 photographs of foolbox"
    val = Photographs(*in_folders(folder / "val"))
    if not (folder / "train").is_dir():
        return None, val, "a sample"
    return Photographs(*in_folders(folder / "train")), val, "ImageNet-1k"


def halves(photographs: Photographs, seed: int) -> tuple[Photographs, Photographs]:
    """A sample cut in two at random: one half to calibrate on, one to evaluate on."""
    order = torch.randperm(len(photographs), generator=torch.Generator().manual_seed(seed))
    half = len(order) // 2
    return photographs.take(order[:half]), photographs.take(order[half:])
