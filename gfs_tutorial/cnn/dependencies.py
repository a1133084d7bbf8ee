"""What depends on a convolution's channels, read off torch-pruning's dependency graph."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
import torch_pruning as tp
from torch import Tensor, nn

from gfs_tutorial.cnn.forward_checks import check_accepts
from gfs_tutorial.cnn.replay import evaluation_mode

__all__ = ["Group", "dependency_graph", "execution_order", "group_of", "is_depthwise"]

# Operations through which a channel stays itself.
KEEPS_CHANNELS = ("_ElementWiseOp", "_ReshapeOp", "_DummyOp")


@torch.no_grad()
def execution_order(model: nn.Module, example_input: Tensor) -> list[str]:
    """Names of the modules in the order in which they first run; the model is in eval mode meanwhile.

    Raises:
        ValueError: the model does not accept the input.
    """
    order: dict[str, None] = {}
    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: order.setdefault(name) and None)
        for name, module in model.named_modules()
    ]
    try:
        check_accepts("example_input", model, example_input)
    finally:
        for hook in hooks:
            hook.remove()
    return list(order)


@dataclass(frozen=True)
class Group:
    """What torch-pruning says of one producer: layers that lose outputs, layers that lose inputs."""

    outs: dict[str, nn.Module]
    ins: dict[str, tuple[nn.Module, int]]  # with the number of inputs a channel
    multiplies: bool
    foreign: tuple[str, ...]  # operations that mix or reorder channels


def dependency_graph(model: nn.Module, example_input: Tensor) -> tp.DependencyGraph:
    """torch-pruning's graph of a model, which is left as it was.

    Raises:
        ValueError: the model has an operation that torch-pruning cannot follow.
    """
    required = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        with evaluation_mode(model), warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            model.requires_grad_(True)  # the graph is read off the gradients' tape
            return tp.DependencyGraph().build_dependency(model, example_input, verbose=False)
    except (ArithmeticError, LookupError) as error:
        raise ValueError(f"model has an operation that torch-pruning cannot follow: {error!r}") from error
    finally:
        for parameter, value in required.items():
            parameter.requires_grad_(value)


def mixes(layer: nn.Module) -> bool:
    """Whether an output of ``layer`` depends on several channels of its input."""
    return isinstance(layer, (nn.Conv2d, nn.Linear)) and not is_depthwise(layer)


def is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels == layer.out_channels > 1


def group_of(graph: tp.DependencyGraph, conv: nn.Conv2d, names: dict[nn.Module, str]) -> Group:
    """Sort what depends on the first output channel (of each group) of ``conv``."""
    outs, ins, foreign, multiplies = {}, {}, [], False
    if conv not in graph.module2node:
        return Group({}, {}, False, ("it was not run",))
    try:
        group = graph.get_pruning_group(conv, tp.prune_conv_out_channels, idxs=[0])
    except (ArithmeticError, LookupError, ValueError) as error:  # torch-pruning lost track of the channels
        return Group({}, {}, False, (f"something that torch-pruning cannot follow ({error})",))
    for dependency, indices in group:
        layer = dependency.target.module
        kind = type(layer).__name__
        if layer not in names:
            multiplies |= "Mul" in dependency.target.name
            if kind not in KEEPS_CHANNELS:
                foreign.append(kind)
        elif mixes(layer) and graph.is_in_channel_pruning_fn(dependency.handler):
            ins[names[layer]] = (layer, len(indices))
        else:
            outs[names[layer]] = layer
    return Group(outs, ins, multiplies, tuple(foreign))
