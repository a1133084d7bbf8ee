"""What a model costs: multiply-accumulate operations (MACs) and parameters, dense or with units pruned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from gfs_tutorial.cnn.forward_checks import check_accepts
from gfs_tutorial.cnn.units import Unit

__all__ = ["MacModel", "count_macs", "count_parameters"]


def count_macs(model: nn.Module, example_input: Tensor) -> int:
    """Multiply-accumulates an image of a forward pass, by torch's own counter (which counts two flops each).

    Convolutions, grouped and depthwise ones too, and linear layers count; norms and activations do not.

    Args:
        model: The model; its mode and weights are left alone.
        example_input: (n, channels, height, width).

    Raises:
        ValueError: the model does not accept the input.
    """
    return sum(_macs_by_layer(model, example_input).values())


def count_parameters(model: nn.Module) -> int:
    """Number of trainable and frozen parameters; buffers such as running means do not count."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def _macs_by_layer(model: nn.Module, example_input: Tensor) -> dict[str, int]:
    """MACs an image of every layer that multiplies."""
    macs: dict[str, int] = {}
    layers = [(name, m) for name, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    counter = FlopCounterMode(display=False)

    def before(name: str) -> None:
        macs[name] = macs.get(name, 0) - counter.get_total_flops()

    def after(name: str) -> None:
        macs[name] += counter.get_total_flops()

    hooks = []
    for name, layer in layers:
        hooks.append(layer.register_forward_pre_hook(lambda *_, name=name: before(name)))
        hooks.append(layer.register_forward_hook(lambda *_, name=name: after(name)))
    try:
        with counter:
            check_accepts("example_input", model, example_input)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: flops // (2 * len(example_input)) for name, flops in macs.items()}


class MacModel:
    """MACs of a model as a function of how many candidates each unit keeps, without building it.

    A layer's MACs are proportional to its inputs and to its outputs, each of which may belong to a unit.

    Args:
        model: The dense model.
        units: Its units.
        example_input: (n, channels, height, width).
    """

    def __init__(self, model: nn.Module, units: Sequence[Unit], example_input: Tensor):
        self.units = {unit.name: unit for unit in units}
        self.layers = _macs_by_layer(model, example_input)
        self.factors: dict[str, list[str]] = {
            name: [] for name in self.layers
        }  # layer -> units it scales with
        for unit in units:
            for part in unit.parts:
                if part.role != "norm":  # a depthwise or grouped layer loses groups: once, not squared
                    self.factors[part.name].append(unit.name)

    @property
    def dense(self) -> int:
        """MACs of the whole model."""
        return sum(self.layers.values())

    def total(self, kept: Mapping[str, int]) -> float:
        """MACs where each named unit keeps that many candidates; units that are not named stay whole."""
        share = {name: kept.get(name, unit.size) / unit.size for name, unit in self.units.items()}
        total = 0.0
        for layer, whole in self.layers.items():
            macs: float = whole
            for name in self.factors[layer]:
                macs *= share[name]
            total += macs
        return total
