"""Residual networks for 32x32 images, from torchvision's own blocks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models import ResNet, resnet34
from torchvision.models.resnet import BasicBlock

from gfs_tutorial import checks

__all__ = ["ResNetCifar", "resnet20", "resnet34_cifar"]


class ResNetCifar(nn.Module):
    """The CIFAR form of He et al. (2016), section 4.2: 6n + 2 layers in three stages of n basic blocks.

    A 3x3 convolution, then stages at full, half and quarter resolution, then the average over positions and
    a linear layer. Where the size changes, the shortcut is a 1x1 convolution of stride 2 with batch norm
    ("option B", as in torchvision), not the paper's parameter-free padding ("option A"): it costs 1% more
    parameters, and tools that trace a network understand it.

    Args:
        blocks: n, the number of basic blocks a stage; 3 gives ResNet-20.
        widths: Channels of the three stages.
        num_classes: C.

    Raises:
        TypeError: a size is not a whole number.
        ValueError: a size is below 1, or there are not three widths.
    """

    def __init__(self, blocks: int = 3, widths: Sequence[int] = (16, 32, 64), num_classes: int = 10):
        super().__init__()
        blocks = checks.positive_int("blocks", blocks)
        widths = [checks.positive_int("widths", width) for width in widths]
        if len(widths) != 3:
            raise ValueError(f"widths must be three numbers of channels, got {len(widths)}")
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(widths[0], widths[0], blocks, stride=1)
        self.layer2 = _stage(widths[0], widths[1], blocks, stride=2)
        self.layer3 = _stage(widths[1], widths[2], blocks, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[2], checks.positive_int("num_classes", num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits (m, C) of images (m, 3, H, W)."""
        x = self.relu(self.bn1(self.conv1(x)))  # (m, 16, H, W)
        x = self.layer3(self.layer2(self.layer1(x)))  # (m, 64, H/4, W/4)
        return self.fc(torch.flatten(self.avgpool(x), 1))


def _stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or in_channels != channels:
        shortcut = nn.Sequential(
            nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
        )
    first = BasicBlock(in_channels, channels, stride, shortcut)
    return nn.Sequential(first, *[BasicBlock(channels, channels) for _ in range(blocks - 1)])


def resnet20(num_classes: int = 10, widths: Sequence[int] = (16, 32, 64)) -> ResNetCifar:
    """ResNet-20: 0.27M parameters, 41M MACs at 32x32. Arguments as of :class:`ResNetCifar`."""
    return ResNetCifar(3, widths, num_classes)


def resnet34_cifar(num_classes: int = 10) -> ResNet:
    """torchvision's ResNet-34 with a 3x3 stem of stride 1 and no max-pooling: the usual form for 32x32.

    21.3M parameters, 1.16G MACs at 32x32. The original stem would leave 8x8 positions to the first block.

    Raises:
        TypeError: ``num_classes`` is not a whole number.
        ValueError: it is below 1.
    """
    model = resnet34(num_classes=checks.positive_int("num_classes", num_classes))
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    return model
