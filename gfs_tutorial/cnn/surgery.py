"""Masks, which switch channels off, and slices, which remove them: the same outputs from a smaller model."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch_pruning import ops
from torch_pruning.pruner.function import PrunerBox

from gfs_tutorial.cnn.layers import layer_of
from gfs_tutorial.cnn.training_checks import check_weights
from gfs_tutorial.cnn.units import Unit

__all__ = ["check_unit", "masked", "remove_channels", "slice_units"]


@contextlib.contextmanager
def masked(model: nn.Module, units: Sequence[Unit], weights: Mapping[str, Tensor]) -> Iterator[nn.Module]:
    """Within the context, every channel of the named units is multiplied by its weight where it is read.

    A weight of 0 switches a channel off, exactly as if it were removed. The model is left as it was.

    Args:
        model: The model that the units were found in.
        units: Its units; those not named in ``weights`` are left alone.
        weights: Name of a unit to the weights of its candidates, (size,).

    Raises:
        TypeError, ValueError: ``model`` is none, or not the units'; a name is not that of a unit, or its
            weights do not have the unit's size.
    """
    check_weights(model)
    known = {unit.name: unit for unit in units}
    hooks = []
    try:
        for name, values in weights.items():
            unit = _known_unit(model, known, name)
            if values.shape != (unit.size,):
                raise ValueError(
                    f"weights of {name} must have shape ({unit.size},), got {tuple(values.shape)}"
                )
            channels = values.repeat_interleave(unit.width)  # (channels,)
            for gate in unit.gates:  # a gate must not see removed channels, but reads kept ones unweighted
                hooks.append(_scale_inputs(model, gate, (channels != 0).to(values.dtype)))
            hooks.append(_scale_inputs(model, unit.consumer, values.repeat_interleave(unit.span)))
        yield model
    finally:
        for hook in hooks:
            hook.remove()


def _scale_inputs(model: nn.Module, name: str, factors: Tensor) -> torch.utils.hooks.RemovableHandle:
    """Multiply the inputs of a convolution (n, C, H, W) or linear layer (..., C) by ``factors`` (C,)."""
    layer = model.get_submodule(name)

    def hook(_: object, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        shaped = (
            factors.to(inputs[0])[:, None, None] if isinstance(layer, nn.Conv2d) else factors.to(inputs[0])
        )
        return (inputs[0] * shaped, *inputs[1:])

    return layer.register_forward_pre_hook(hook)


def slice_units(
    model: nn.Module,
    units: Sequence[Unit],
    kept: Mapping[str, Tensor],
    weights: Mapping[str, Tensor] | None = None,
) -> nn.Module:
    """A copy of ``model`` without the channels that are not kept: an ordinary, smaller module.

    Args:
        model: The model that the units were found in; it is not changed.
        units: Its units; those not named in ``kept`` stay whole.
        kept: Name of a unit to the candidates that stay, int64, at least one, without repetition.
        weights: Name of a unit to a factor for each of the candidates kept, in the order of ``kept``; folded
            into the consumer's weights.

    Raises:
        TypeError, ValueError: ``model`` is none, or not the units'; a name is not that of a unit, or its
            candidates are none, repeated or out of range.
    """
    check_weights(model)
    known = {unit.name: unit for unit in units}
    small = copy.deepcopy(model)
    for name, candidates in kept.items():
        unit = _known_unit(model, known, name)
        remove_channels(small, unit, candidates, None if weights is None else weights.get(name))
    return small


def remove_channels(model: nn.Module, unit: Unit, kept: Tensor, weights: Tensor | None = None) -> None:
    """Remove the channels of one unit that are not kept from ``model`` itself; see :func:`slice_units`."""
    stay = _checked(unit, kept)
    if weights is not None:
        _fold(layer_of(model, unit.consumer), unit, kept, weights)
    _slice(model, unit, stay)


def check_unit(model: nn.Module, unit: Unit) -> None:
    """Raise where ``unit`` is no unit, or none of ``model`` as it is: with all of its candidates."""
    if not isinstance(unit, Unit):
        raise TypeError(f"unit must be a Unit from find_units, got {type(unit).__name__}")
    weight = getattr(dict(model.named_modules()).get(unit.consumer), "weight", None)
    if weight is None or weight.ndim < 2 or weight.shape[1] != unit.size * unit.span:
        raise ValueError(f"unit {unit.name} is none of this model: call find_units on it")


def _known_unit(model: nn.Module, known: dict[str, Unit], name: str) -> Unit:
    if name not in known:
        raise ValueError(f"{name!r} is no unit of this model; its units are {', '.join(known)}")
    check_unit(model, known[name])
    return known[name]


def _checked(unit: Unit, candidates: Tensor) -> Tensor:
    """Which candidates stay, as a mask (size,)."""
    candidates = torch.as_tensor(candidates, dtype=torch.long).cpu()
    if candidates.numel() == 0 or candidates.unique().numel() < candidates.numel():
        raise ValueError(f"the candidates kept of {unit.name} must be at least one and all different")
    if int(candidates.min()) < 0 or int(candidates.max()) >= unit.size:
        raise ValueError(f"the candidates kept of {unit.name} must lie between 0 and {unit.size - 1}")
    stay = torch.zeros(unit.size, dtype=torch.bool)
    stay[candidates] = True
    return stay


@torch.no_grad()
def _fold(consumer: nn.Conv2d | nn.Linear, unit: Unit, candidates: Tensor, weights: Tensor) -> None:
    """Multiply the consumer's input columns by the weights of their candidates."""
    factors = torch.ones(unit.size, dtype=weights.dtype)
    factors[torch.as_tensor(candidates).cpu()] = weights.cpu()
    columns = factors.repeat_interleave(unit.span).to(consumer.weight)  # (inputs,)
    consumer.weight.mul_(columns.view(1, -1, *[1] * (consumer.weight.ndim - 2)))


def _slice(model: nn.Module, unit: Unit, stay: Tensor) -> None:
    gone = (~stay).repeat_interleave(unit.width).nonzero()[:, 0].tolist()
    gone_inputs = (~stay).repeat_interleave(unit.span).nonzero()[:, 0].tolist()
    for part in unit.parts:
        layer = model.get_submodule(part.name)
        if part.role == "grouped":
            assert isinstance(layer, nn.Conv2d)
            _keep_groups(layer, stay)
            continue
        pruner = PrunerBox[ops.module2type(layer)]
        if part.role == "gate-in":
            pruner.prune_in_channels(layer, gone)
        elif part.role == "in":
            pruner.prune_in_channels(layer, gone_inputs)
        else:
            pruner.prune_out_channels(layer, gone)


def _keep_groups(conv: nn.Conv2d, stay: Tensor) -> None:
    """Remove whole groups of a grouped convolution, which torch-pruning does not do."""
    rows = stay.repeat_interleave(conv.out_channels // conv.groups)  # (out_channels,)
    conv.weight = nn.Parameter(conv.weight.data[rows], conv.weight.requires_grad)
    if conv.bias is not None:
        conv.bias = nn.Parameter(conv.bias.data[rows], conv.bias.requires_grad)
    conv.in_channels = int(stay.sum()) * (conv.in_channels // conv.groups)
    conv.out_channels, conv.groups = len(conv.weight), int(stay.sum())
