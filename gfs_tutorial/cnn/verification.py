"""A last look at the units found: is the network without some of their channels the masked one?

torch-pruning's graph takes what it does not know for an operation on each channel by itself: a softmax over
channels, a flip, a sum with a constant, a gated linear unit. Where the graph is wrong, so is the slice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gfs_tutorial.cnn.replay import evaluation_mode
from gfs_tutorial.cnn.surgery import masked, slice_units
from gfs_tutorial.cnn.units import Unit

__all__ = ["misfits"]

FAILURES = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)


@torch.no_grad()
def misfits(model: nn.Module, units: Sequence[Unit], image: Tensor) -> dict[str, str]:
    """Name of each unit that cannot be removed in part without more ado, to the reason.

    Args:
        model: The model, in any mode; it is not changed.
        units: What the dependency graph says.
        image: (1, channels, height, width), or more.
    """
    found = {unit.name: f"{name} has weights that others use too" for unit, name in _tied(model, units)}
    left = [unit for unit in units if unit.name not in found]
    try:
        if _agree(model, left, image):  # all at once, as it should be
            return found
    except FAILURES:
        pass
    for unit in left:
        try:
            if not _agree(model, [unit], image):
                found[unit.name] = "something on the way mixes or reorders them, or is random"
        except FAILURES as error:
            found[unit.name] = f"the model does not run without some of its channels ({error})"
    return found


def _tied(model: nn.Module, units: Sequence[Unit]) -> list[tuple[Unit, str]]:
    """Units with a layer, which is named, that has a parameter in common with another layer."""
    uses = Counter(id(own) for module in model.modules() for own in module._parameters.values())

    def shared(name: str) -> bool:
        own = model.get_submodule(name)._parameters.values()
        return any(uses[id(parameter)] > 1 for parameter in own if parameter is not None)

    return [(unit, part.name) for unit in units for part in unit.parts if shared(part.name)]


def _agree(model: nn.Module, units: Sequence[Unit], image: Tensor) -> bool:
    """Whether consumers read the same in the masked and in the sliced network, with half of each unit."""
    kept = {unit.name: _half(unit.size) for unit in units}
    masks = {u.name: torch.zeros(u.size).index_fill_(0, kept[u.name], 1.0) for u in units}
    with masked(model, units, masks):
        expected = _read(model, units, image)
    found = _read(slice_units(model, units, kept), units, image)
    return all(
        _close(_columns(a, unit, kept[unit.name]), b)
        for unit in units
        for a, b in zip(expected[unit.consumer], found[unit.consumer])
    )


def _columns(inputs: Tensor, unit: Unit, kept: Tensor) -> Tensor:
    """What a consumer reads, (n, C, H, W) or (..., C), of the candidates kept."""
    columns = (kept[:, None] * unit.span + torch.arange(unit.span)).flatten()  # (kept * span,)
    return inputs.index_select(1 if inputs.ndim == 4 else -1, columns.to(inputs.device))


def _half(size: int) -> Tensor:
    """About half of the candidates, (k,): the first and some others, but not the last, lest a flip go
    unnoticed."""
    others = torch.randperm(size - 1, generator=torch.Generator().manual_seed(0))[: size // 2]
    return torch.cat([torch.zeros(1, dtype=torch.int64), others]).unique()


def _close(expected: Tensor, found: Tensor) -> bool:
    """Up to rounding; numbers that are not finite cannot tell."""
    allowed = torch.finfo(expected.dtype).eps ** 0.5 * expected.abs().max()
    return found.shape == expected.shape and not bool((found - expected).abs().max() > allowed)


def _read(model: nn.Module, units: Sequence[Unit], image: Tensor) -> dict[str, list[Tensor]]:
    """What each consumer reads, each time that it runs."""
    seen: dict[str, list[Tensor]] = {unit.consumer: [] for unit in units}
    hooks = [
        model.get_submodule(name).register_forward_pre_hook(lambda _, x, name=name: seen[name].append(x[0]))
        for name in seen
    ]
    try:
        with evaluation_mode(model):
            model(image)
    finally:
        for hook in hooks:
            hook.remove()
    return seen
