"""Rules that choose channels, side by side on one unit: the error of the consumer's output."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gfs_tutorial.cnn.forward_checks import check_accepts
from gfs_tutorial.cnn.layers import layer_of
from gfs_tutorial.cnn.local import select_local
from gfs_tutorial.cnn.moments import consumer_moments
from gfs_tutorial.cnn.pursuit import pursue
from gfs_tutorial.cnn.replay import evaluation_mode
from gfs_tutorial.cnn.surgery import check_unit
from gfs_tutorial.cnn.training_checks import check_model
from gfs_tutorial.cnn.units import Unit

__all__ = ["compare_rules"]


@torch.no_grad()
def compare_rules(model: nn.Module, unit: Unit, images: Tensor, *, seed: int = 0) -> dict[str, Tensor]:
    """Error of a consumer's output against the number of channels kept, by several rules.

    Args:
        model: The dense model; it is evaluated, and left as it was.
        unit: One of its units.
        images: (m, channels, height, width), calibration images.
        seed: Of the random order.

    Returns:
        Name of the rule to (size,) squared errors, relative to those of a constant answer. Two rules leave
        the consumer's weights alone (*as they are*), two fit them by least squares (*fitted*).

    Raises:
        TypeError, ValueError: the unit is none of the model's, or the model does not accept the images.
    """
    check_model(model)
    check_unit(model, unit)
    check_accepts("images", model, images[:1])
    with evaluation_mode(model):
        moments = consumer_moments(model, [unit.consumer], images)[unit.consumer]
    weight = layer_of(model, unit.consumer).weight
    greedy = select_local(unit, moments, weight, scaling="unit", centred=True)
    order = torch.randperm(unit.size, generator=torch.Generator().manual_seed(seed))
    return {
        "greedy, weights as they are": greedy.errors,
        "random order, weights fitted": pursue(unit, moments, order=order).errors,
        "matching pursuit, weights fitted": pursue(unit, moments).errors,
    }
