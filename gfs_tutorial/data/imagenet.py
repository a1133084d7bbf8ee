"""A sample of ImageNet as tensors: from image folders of your data root, or the 20 photographs of foolbox.

Chapter *Channels*.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from gfs_tutorial import checks
from gfs_tutorial.data.images import data_root, decode, list_images
from gfs_tutorial.data.subsets import balanced_subset

__all__ = [
    "ImageNetSample",
    "centre_crop",
    "imagenet_wnids",
    "in_folders",
    "load_imagenet_sample",
    "of_foolbox",
]

MARGIN = 256 / 224  # the short side before the crop, in units of the crop


@dataclass(frozen=True)
class ImageNetSample:
    """Labelled photographs.

    Attributes:
        X: (n, 3, image_size, image_size) uint8.
        y: (n,) int64, positions among the 1,000 classes of ImageNet-1k.
        classes: The names of the 1,000 classes, as torchvision spells them.
        source: Where the photographs came from, for the record.
    """

    X: Tensor
    y: Tensor
    classes: tuple[str, ...]
    source: str


@lru_cache(maxsize=1)
def imagenet_wnids() -> tuple[str, ...]:
    """The WordNet identifiers of the 1,000 classes, sorted: class number i is the i-th."""
    return tuple(Path(__file__).with_name("imagenet_wnids.txt").read_text(encoding="ascii").split())


def load_imagenet_sample(
    root: str | Path | None = None,
    image_size: int = 224,
    *,
    size: int | None = None,
    seed: int = 0,
    verbose: bool = True,
) -> ImageNetSample:
    """Load photographs with ImageNet labels, cropped as for evaluation.

    They come from the folders ``imagenet/val/<wnid>/*`` of the data root (``root``, else the environment
    variable ``GFS_DATA_ROOT``); else, if the package foolbox is installed, they are the 20 that it ships. One
    printed line says which. Each is scaled (bicubic) so that its short side has 256 pixels for a crop of
    224, and in proportion for others, and the centre is cut out.

    Args:
        root: Data root; must exist if given.
        image_size: Height and width of the crops.
        size: Number of photographs, class-balanced; ``None`` takes all, in the order of the classes.
        seed: Which subset; subsets of one seed are nested.
        verbose: Whether to print the line.

    Raises:
        FileNotFoundError: the data root does not exist, a class has an empty folder, or there are no
            photographs anywhere.
        ValueError: an argument does not fit, a folder is no class of ImageNet, or a file is damaged.
    """
    image_size = checks.positive_int("image_size", image_size)
    if size is not None:
        checks.positive_int("size", size)
    seed = checks.integer_at_least("seed", seed, 0)
    folder = data_root(root)
    if folder is not None and (folder / "imagenet" / "val").is_dir():
        paths, labels = in_folders(folder / "imagenet" / "val")
        source = f"{folder} (image folders)"
    else:
        paths, labels = of_foolbox(folder)
        source = "foolbox"
    if size is not None:
        if size > len(paths):
            raise ValueError(f"size is {size} but there are only {len(paths)} photographs: lower it")
        rows = balanced_subset(labels, size, seed)
        paths, labels = [paths[row] for row in rows], labels[rows]
    X = decode(paths, partial(centre_crop, size=image_size), image_size)
    if verbose:
        print(f"ImageNet photographs from {source}: {len(X)} of {len(labels.unique())} classes")
    return ImageNetSample(X, labels, _class_names(), source)


def centre_crop(image: Image.Image, size: int, resample: str = "bicubic") -> Image.Image:
    """Scale the short side to 8/7 of ``size`` and cut (size, size) pixels out of the middle."""
    scale = round(MARGIN * size) / min(image.size)
    width, height = (max(size, round(scale * side)) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling[resample.upper()])
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))


def in_folders(folder: Path) -> tuple[list[Path], Tensor]:
    """Files and class numbers (n,) of the folders that there are, in the order of the classes."""
    number = {wnid: i for i, wnid in enumerate(imagenet_wnids())}
    paths, labels = [], []
    for of_class in sorted(path for path in folder.iterdir() if path.is_dir()):
        if of_class.name not in number:
            raise ValueError(f"{of_class} is not named after a class of ImageNet, such as n01440764")
        files = list_images(of_class)
        paths += files
        labels += [number[of_class.name]] * len(files)
    if not paths:
        raise FileNotFoundError(f"{folder} holds no folder of photographs, such as n01440764: add them")
    return paths, torch.tensor(labels)


def of_foolbox(folder: Path | None) -> tuple[list[Path], Tensor]:
    """Files and class numbers (20,) of the photographs that foolbox ships as ``imagenet_00_243.jpg``."""
    found = importlib.util.find_spec("foolbox")  # its import would load much that is not needed
    where = Path(found.origin).parent / "data" if found and found.origin else None
    paths = sorted(where.glob("imagenet_*_*.jpg")) if where else []
    if not paths:
        missing = "no data root is set" if folder is None else f"{folder} has no folder imagenet/val"
        raise FileNotFoundError(
            f"no ImageNet photographs: {missing}. Lay some out as imagenet/val/<wnid>/*.JPEG below a folder "
            "and pass it as root or GFS_DATA_ROOT, or pip install foolbox for the 20 that it ships"
        )
    return paths, torch.tensor([int(path.stem.split("_")[-1]) for path in paths])


def _class_names() -> tuple[str, ...]:
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.DEFAULT.meta["categories"])
