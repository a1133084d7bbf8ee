"""Networks for ImageNet of torchvision and pytorchcv, with their published weights."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gfs_tutorial import checks
from gfs_tutorial.cnn.models.weight_files import load_weights

__all__ = ["IMAGENET", "IMAGENET_MEAN", "IMAGENET_STD", "build_imagenet", "published_accuracy"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PYTORCHCV = "pip install pytorchcv"
LITE0 = "pip install efficientnet-lite-pytorch"


@dataclass(frozen=True)
class Network:
    """One architecture.

    Attributes:
        build: Makes it with random weights, for 1,000 classes.
        weights: Loads the published ones into it, and returns where they came from; ``None``: see
            :mod:`~gfs_tutorial.cnn.models.pretrained`.
        catalogue: torchvision's entry of those weights, if they are torchvision's.
    """

    build: Callable[[], nn.Module]
    weights: Callable[[nn.Module], str] | None = None
    catalogue: str | None = None


def build_imagenet(name: str, *, seed: int | None = None) -> nn.Module:
    """A network for ImageNet with random weights, in eval mode.

    Args:
        name: One of ``IMAGENET``.
        seed: Of the weights; torch's global random numbers stay untouched. ``None`` draws from those.

    Raises:
        ImportError: the network's package is missing; the message has the pip command.
        ValueError: there is no such name.
    """
    make = IMAGENET[checks.one_of("name", name, tuple(IMAGENET))].build
    if seed is None:
        return make().eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(checks.integer_at_least("seed", seed, 0))
        return make().eval()


def published_accuracy(name: str) -> tuple[float, float] | None:
    """Top-1 and top-5 accuracy that torchvision publishes with its weights, in per cent, if it does."""
    entry = IMAGENET[checks.one_of("name", name, tuple(IMAGENET))].catalogue
    if entry is None:
        return None
    metrics = _catalogue(entry).meta["_metrics"]["ImageNet-1K"]
    return metrics["acc@1"], metrics["acc@5"]


def _catalogue(entry: str) -> Any:
    import torchvision

    return torchvision.models.get_weight(entry)


def _torchvision(function: str, entry: str) -> Network:
    def build() -> nn.Module:
        import torchvision

        return getattr(torchvision.models, function)()

    def weights(model: nn.Module) -> str:
        url = _catalogue(entry).url  # torchvision writes the checksum into the name
        name = url.rpartition("/")[2]
        found = re.search(r"-([0-9a-f]{8,})\.", name)
        assert found is not None, name
        digest = found[1]
        state, source = load_weights(
            name, digest, lambda path: torch.hub.download_url_to_file(url, str(path), digest)
        )
        model.load_state_dict(state)
        return f"torchvision, {source}"

    return Network(build, weights, entry)


def _proxylessnas_mobile() -> nn.Module:
    try:
        from pytorchcv.models.proxylessnas import proxylessnas_mobile
    except ImportError as error:
        raise ImportError(f"ProxylessNAS needs a package more: {PYTORCHCV}") from error
    model = proxylessnas_mobile()
    model.features.final_pool = nn.AdaptiveAvgPool2d(1)  # the same at 224 pixels, and right at others
    return model


def _proxylessnas_weights(model: nn.Module) -> str:
    from pytorchcv.models.common.model_store import get_model_file, get_model_name_suffix_data

    error, digest, _ = get_model_name_suffix_data("proxylessnas_mobile")
    name = f"proxylessnas_mobile-{error}-{digest[:8]}.pth"

    def download(path: Path) -> None:
        get_model_file("proxylessnas_mobile", str(path.parent))

    state, source = load_weights(name, digest, download, algorithm="sha1")
    model.load_state_dict(state)
    return f"pytorchcv, {source}"


def _efficientnet_lite0() -> nn.Module:
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ImportError(f"EfficientNet-Lite0 needs a package more: {LITE0}") from error
    return EfficientNet.from_name("efficientnet-lite0")


IMAGENET = {
    "resnet34": _torchvision("resnet34", "ResNet34_Weights.IMAGENET1K_V1"),
    "resnet50": _torchvision("resnet50", "ResNet50_Weights.IMAGENET1K_V1"),
    "mobilenet-v2": _torchvision("mobilenet_v2", "MobileNet_V2_Weights.IMAGENET1K_V1"),
    "mobilenet-v3-large": _torchvision("mobilenet_v3_large", "MobileNet_V3_Large_Weights.IMAGENET1K_V1"),
    "proxylessnas-mobile": Network(_proxylessnas_mobile, _proxylessnas_weights),
    "efficientnet-lite0": Network(_efficientnet_lite0),
}
