"""A network of the same shape with new random weights: what fine-tuning is compared with."""

from __future__ import annotations

import copy

import torch
from torch import nn

from gfs_tutorial import checks

__all__ = ["reinitialised"]


def reinitialised(model: nn.Module, seed: int = 0) -> nn.Module:
    """A copy of ``model`` in which every layer has drawn its weights anew, by torch's own defaults.

    Convolutions without a gain of their own are drawn as He et al. (2015) advise for ReLU, as torchvision's
    networks are. Norms forget their statistics. Torch's global random numbers stay as they were.

    Raises:
        ValueError: a module has parameters but no ``reset_parameters``: it would keep trained weights.
    """
    fresh = copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(checks.integer_at_least("seed", seed, 0))
        for name, module in fresh.named_modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
            elif any(True for _ in module.parameters(recurse=False)):
                raise ValueError(
                    f"{name or type(module).__name__} cannot draw new weights (reset_parameters)"
                )
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return fresh
