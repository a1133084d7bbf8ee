"""Modules of a model by name, of the types that units promise: torch itself promises a module, no more."""

from __future__ import annotations

from typing import cast

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["layer_of", "norm_of"]


def layer_of(model: nn.Module, name: str) -> nn.Conv2d | nn.Linear:
    """A layer that makes, reads or gates the channels of a unit."""
    return cast("nn.Conv2d | nn.Linear", model.get_submodule(name))


def norm_of(model: nn.Module, name: str) -> _BatchNorm:
    """A layer that :func:`~gfs_tutorial.cnn.refit.following_norms` found."""
    return cast(_BatchNorm, model.get_submodule(name))
