"""How long a network should take on a GPU: counted operations and bytes against what the GPU can do.

The *roofline* of Williams, Waterman and Patterson (2009), operation by operation: each takes as long as its
multiplications or its reads and writes, whichever is more. It is an estimate, not a measurement.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

__all__ = ["Gpu", "Work", "count_work"]


@dataclass(frozen=True)
class Gpu:
    """What a GPU can do, and how much of that programs get out of it.

    Attributes:
        name: For the record.
        flops: A second, in bfloat16, dense.
        bandwidth: Bytes a second of its memory.
        flops_reached, bandwidth_reached: Shares of both that are assumed to be reached.
    """

    name: str
    flops: float
    bandwidth: float
    flops_reached: float
    bandwidth_reached: float


@dataclass
class Work:
    """Operations of a network on one image.

    Attributes:
        operations: (flops, bytes) of each operation, forward and backward.
    """

    operations: list[tuple[int, int]] = field(default_factory=list)

    @property
    def flops(self) -> int:
        return sum(flops for flops, _ in self.operations)

    @property
    def bytes(self) -> int:
        return sum(moved for _, moved in self.operations)

    def seconds(self, gpu: Gpu) -> float:
        """An image of a batch that is large enough to keep the GPU busy."""
        speed, width = gpu.flops * gpu.flops_reached, gpu.bandwidth * gpu.bandwidth_reached
        return sum(max(flops / speed, moved / width) for flops, moved in self.operations)


def count_work(model: nn.Module, image_size: int, *, train: bool, batch: int = 16, width: int = 2) -> Work:
    """Count the operations of a forward pass or, with ``train``, of a forward and a backward pass.

    Nothing is computed: shapes alone go through a copy of the network.

    Args:
        model: The network; it is not changed.
        image_size: Height and width of the images.
        train: Whether gradients are taken.
        batch: Images of the pass that is counted; results are for one of them.
        width: Bytes of a number: 2 for bfloat16.
    """
    shapes = copy.deepcopy(model).to("meta").train(train)
    images = torch.empty(batch, 3, image_size, image_size, device="meta")
    counter = _Counter(width)
    with counter, torch.set_grad_enabled(train):
        logits = shapes(images)  # (batch, C)
        if train:
            logits.sum().backward()
    return Work([(flops // batch, moved // batch) for flops, moved in counter.operations])


class _Counter(TorchDispatchMode):
    """Flops by torch's own formulas, and bytes of all tensors that an operation reads or writes."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.operations: list[tuple[int, int]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        flops = _flops(func._overloadpacket, args, kwargs or {}, out)
        moved = 0 if _is_view(func) else self.width * (_numbers((args, kwargs)) + _numbers(out))
        if flops or moved:
            self.operations.append((int(flops), int(moved)))
        return out


def _flops(operation: Any, args: tuple, kwargs: dict, out: Any) -> int:
    """By torch's formula, but for gradients of convolutions, where it takes no notice of groups."""
    if operation is torch.ops.aten.convolution_backward:
        gradient, _, weight, *_, (of_input, of_weight, _) = args
        return 2 * gradient.numel() * weight[0].numel() * (of_input + of_weight)
    formula = flop_registry.get(operation)
    return formula(*args, **kwargs, out_val=out) if formula else 0


def _is_view(func: Any) -> bool:
    """Whether the result shares memory with an argument that is not written to."""
    returns = [value.alias_info for value in func._schema.returns]
    return any(info is not None and not info.is_write for info in returns)


def _numbers(values: Any) -> int:
    return sum(leaf.numel() for leaf in tree_leaves(values) if isinstance(leaf, Tensor))
