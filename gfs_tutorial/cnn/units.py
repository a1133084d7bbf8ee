r"""Units: the channels of a CNN that can be removed without touching anything else.

A unit runs from a *producer* convolution, through norms, activations and depthwise convolutions, to exactly
one *consumer*: a convolution or linear layer that is linear in the unit's channels and mixes them. Channels
that meet other channels in a residual sum are in no unit. Chapter *Channels*.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from gfs_tutorial.cnn.dependencies import Group, dependency_graph, execution_order, group_of, is_depthwise
from gfs_tutorial.cnn.training_checks import check_weights

__all__ = ["Part", "Unit", "find_units"]

# Layers through which a channel stays itself: a pass through any other leaves the unit out.
CHANNELWISE = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.PReLU)


@dataclass(frozen=True)
class Part:
    """One layer of a unit, and what a removed channel takes from it.

    Attributes:
        name: Of the module in the model.
        role: ``"out"`` (filters), ``"norm"``, ``"depthwise"``, ``"grouped"`` (whole groups of a grouped
            convolution), ``"gate-in"`` and ``"gate-out"`` (the two layers of squeeze-and-excitation), or
            ``"in"`` (inputs of the consumer).
    """

    name: str
    role: str


@dataclass(frozen=True)
class Unit:
    """Prunable channels.

    Attributes:
        name: Of the producer, the convolution that makes the channels.
        consumer: Of the layer that reads them.
        size: Number of candidates, which are kept or removed as a whole.
        width: Channels a candidate: 1, or the channels of a group where a grouped convolution follows.
        span: Inputs of the consumer a candidate: ``width``, times height and width where a flattening
            stands before a linear layer.
        block: The residual block around the unit, or the consumer where there is none: where the error of
            pruning shows.
        parts: All layers that change with the unit.
    """

    name: str
    consumer: str
    size: int
    width: int
    span: int
    block: str
    parts: tuple[Part, ...]

    @property
    def gates(self) -> tuple[str, ...]:
        """Layers of squeeze-and-excitation that read the channels beside the consumer."""
        return tuple(part.name for part in self.parts if part.role == "gate-in")


def find_units(model: nn.Module, example_input: Tensor, *, verbose: bool = False) -> list[Unit]:
    """Find every prunable unit of a model, in the order in which their producers run.

    Args:
        model: Any convolutional network; it is not changed.
        example_input: A batch of one or more images that the model accepts, on its device.
        verbose: Whether to print what was left out, and why.

    Returns:
        At least one unit. Each was tried: with half of its candidates removed or masked, its consumer reads
        the same.

    Raises:
        TypeError: ``model`` is no module or ``example_input`` no tensor.
        ValueError: the model does not accept the input, has no weights yet, or has no unit.
    """
    check_weights(model)
    if not isinstance(example_input, Tensor):
        raise TypeError(f"example_input must be a torch.Tensor, got {type(example_input).__name__}")
    from gfs_tutorial.cnn.verification import misfits  # which masks and slices units

    order = execution_order(model, example_input)
    graph = dependency_graph(model, example_input)
    modules = dict(model.named_modules())
    names = {module: name for name, module in modules.items()}
    groups = {
        name: group_of(graph, module, names)
        for name, module in ((name, modules[name]) for name in order)
        if isinstance(module, nn.Conv2d) and not is_depthwise(module)
    }
    units, left_out = [], {}
    for name in groups:
        try:
            units.append(_unit(name, groups, modules))
        except _LeftOut as reason:
            left_out[name] = str(reason)
    unfit = misfits(model, units, example_input[:1])
    units, left_out = [unit for unit in units if unit.name not in unfit], left_out | unfit
    if verbose:
        print("\n".join(f"{name}: left out, {reason}" for name, reason in left_out.items()))
    if not units:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(left_out.items())[:3])
        raise ValueError(f"model has no prunable unit ({reasons or 'it has no convolution'})")
    return units


class _LeftOut(Exception):
    """Why the channels of a convolution are in no unit."""


def _unit(name: str, groups: dict[str, Group], modules: dict[str, nn.Module]) -> Unit:
    """The unit that ``name`` produces; raises ``_LeftOut`` with the reason where there is none."""
    own, conv = groups[name], modules[name]
    assert isinstance(conv, nn.Conv2d)  # all that have a group
    if conv.groups > 1:
        raise _LeftOut("a grouped convolution belongs to the unit before it")
    parts, width = _sort_layers(name, own, groups), 1
    consumer = _only_consumer(own, parts)
    if any(consumer == excite for excite in _excitations(groups)):
        raise _LeftOut("the inner channels of squeeze-and-excitation cost next to nothing")
    while getattr(modules[consumer], "groups", 1) > 1:  # go on behind a grouped convolution
        grouped, behind = modules[consumer], groups[consumer]
        assert isinstance(grouped, nn.Conv2d)
        if grouped.in_channels != grouped.out_channels or width > 1:
            raise _LeftOut(f"{consumer} changes the number of channels a group")
        width = grouped.in_channels // grouped.groups
        parts += [Part(consumer, "grouped"), *_sort_layers(consumer, behind, groups)[1:]]
        consumer, own = _only_consumer(behind, parts), behind
    span = own.ins[consumer][1] * width
    block = _block(name, consumer, modules)
    parts.append(Part(consumer, "in"))
    return Unit(name, consumer, conv.out_channels // width, width, span, block, tuple(parts))


def _sort_layers(name: str, group: Group, groups: dict[str, Group]) -> list[Part]:
    """Parts that lose outputs with ``name``, itself first, and the gates of squeeze-and-excitation."""
    if group.foreign:
        raise _LeftOut(f"its channels pass through {', '.join(sorted(set(group.foreign)))}")
    parts = [Part(name, "out")]
    for other, layer in group.outs.items():
        if other == name:
            continue
        if is_depthwise(layer):
            parts.append(Part(other, "depthwise"))
        elif isinstance(layer, (nn.Conv2d, nn.Linear)):
            parts += _gate(other, group, groups)
        elif isinstance(layer, CHANNELWISE):
            parts.append(Part(other, "norm"))
        else:
            raise _LeftOut(f"{other} ({type(layer).__name__}) mixes its channels")
    return parts


def _gate(excite: str, group: Group, groups: dict[str, Group]) -> list[Part]:
    """The two layers of squeeze-and-excitation: one reads the channels, the other scales them."""
    for squeeze in group.ins:
        feeds = groups[squeeze].ins if squeeze in groups else {}
        if list(feeds) == [excite] and group.multiplies:
            return [Part(squeeze, "gate-in"), Part(excite, "gate-out")]
    raise _LeftOut(f"its channels meet those of {excite} in a sum")


def _excitations(groups: dict[str, Group]) -> set[str]:
    """Layers that scale the channels of others: all second layers of squeeze-and-excitation."""
    return {
        layer
        for group in groups.values()
        if group.multiplies
        for squeeze in group.ins
        for layer in (groups[squeeze].ins if squeeze in groups else {})
        if layer in group.outs
    }


def _only_consumer(group: Group, parts: list[Part]) -> str:
    gates = {part.name for part in parts if part.role == "gate-in"}
    consumers = [name for name in group.ins if name not in gates]
    if len(consumers) != 1:
        listed = ", ".join(consumers) or "none"
        raise _LeftOut(
            f"its channels must be read by one layer, they are read by {len(consumers)} ({listed})"
        )
    return consumers[0]


def _block(producer: str, consumer: str, modules: dict[str, nn.Module]) -> str:
    """The innermost module that holds both and is no mere container; the consumer if that is the model."""
    shared = []
    for a, b in zip(producer.split("."), consumer.split(".")):
        if a != b:
            break
        shared.append(a)
    while shared and isinstance(modules[".".join(shared)], (nn.Sequential, nn.ModuleList)):
        shared.pop()
    return ".".join(shared) or consumer
