"""MobileNetV2 for 32x32 images: torchvision's class with two strides fewer."""

from __future__ import annotations

from torchvision.models import MobileNetV2

from gfs_tutorial import checks

__all__ = ["mobilenet_v2_cifar"]

# Expansion, channels, blocks, stride of the first: Sandler et al. (2018), table 2, but for the second row,
# whose stride is 1 instead of 2.
STAGES = [
    [1, 16, 1, 1],
    [6, 24, 2, 1],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
]


def mobilenet_v2_cifar(num_classes: int = 10, width_mult: float = 1.0, dropout: float = 0.0) -> MobileNetV2:
    """MobileNetV2 whose stem and second stage keep the resolution: 32x32 images end at 4x4 positions.

    That is the usual adaptation to CIFAR; 2.2M parameters and 88M MACs at 32x32.

    Args:
        num_classes: C.
        width_mult: Factor on the numbers of channels.
        dropout: Before the linear layer; torchvision's default of 0.2 is for ImageNet.

    Raises:
        TypeError: ``num_classes`` is not a whole number.
        ValueError: an argument is out of range.
    """
    checks.positive_int("num_classes", num_classes)
    if not width_mult > 0:
        raise ValueError(f"width_mult must be positive, got {width_mult}")
    model = MobileNetV2(num_classes, width_mult, STAGES, dropout=dropout)
    model.features[0][0].stride = (1, 1)
    return model
