"""The convolutional networks of the book, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from gfs_tutorial import checks
from gfs_tutorial.cnn.models.imagenet import IMAGENET, build_imagenet, published_accuracy
from gfs_tutorial.cnn.models.mobilenet_v2_cifar import mobilenet_v2_cifar
from gfs_tutorial.cnn.models.pretrained import PRETRAINED, Pretrained, load_pretrained
from gfs_tutorial.cnn.models.resnet_cifar import ResNetCifar, resnet20, resnet34_cifar

__all__ = [
    "IMAGENET",
    "MODELS",
    "PRETRAINED",
    "Pretrained",
    "ResNetCifar",
    "build",
    "build_imagenet",
    "load_pretrained",
    "mobilenet_v2_cifar",
    "published_accuracy",
    "resnet20",
    "resnet34_cifar",
]

# In the order of their MACs at 32x32: 41M, 88M, 1.16G.
MODELS: dict[str, Callable[..., nn.Module]] = {
    "resnet20": resnet20,
    "mobilenet-v2-cifar": mobilenet_v2_cifar,
    "resnet34-cifar": resnet34_cifar,
}


def build(name: str, num_classes: int = 10, *, seed: int | None = None, **options: Any) -> nn.Module:
    """A network with random weights.

    Args:
        name: One of ``MODELS``.
        num_classes: C.
        seed: Of the weights; torch's global random numbers stay untouched. ``None`` draws from those.
        options: What else the network's own function takes, e.g. ``widths`` of ``resnet20``.

    Raises:
        TypeError: the network knows no such option, or ``num_classes`` is not a whole number.
        ValueError: there is no such name, or an argument is out of range.
    """
    make = MODELS[checks.one_of("name", name, tuple(MODELS))]
    if seed is None:
        return make(num_classes, **options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(checks.integer_at_least("seed", seed, 0))
        return make(num_classes, **options)
