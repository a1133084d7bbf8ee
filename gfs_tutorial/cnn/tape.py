"""The operations of a forward pass that depend on one tensor, recorded to be played again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten
from torch.utils.weak import WeakIdKeyDictionary

__all__ = ["Step", "Tape", "forget_early", "tensors_in"]


@dataclass
class Step:
    """One operation: its arguments, flat, with the places to fill in, and where its results go."""

    operation: torch._ops.OpOverload
    arguments: list[Any]
    structure: Any
    reads: list[tuple[int, int]]  # (place among the arguments, slot)
    writes: list[int]  # slots of the results
    forgets: list[int] = field(default_factory=list)  # slots that no later step reads

    def run(self, values: dict[int, Tensor]) -> None:
        flat = list(self.arguments)
        for place, slot in self.reads:
            flat[place] = values[slot]
        args, kwargs = tree_unflatten(flat, self.structure)
        results = self.operation(*args, **kwargs)
        results = (results,) if isinstance(results, Tensor) else tensors_in(results)
        values.update(zip(self.writes, results))
        for slot in self.forgets:
            del values[slot]


class Tape(TorchDispatchMode):
    """Records, from :meth:`start` on, the operations that depend on a tensor. Slot 0 is that tensor."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.on = False
        self.steps: list[Step] = []
        self.slots = WeakIdKeyDictionary()  # tensors that depend on the start
        self.kept: dict[int, Tensor] = {}  # slots of the others that are read
        self.written: set[int] = set()  # slots that in-place operations write to
        self.memory: set[int] = set()  # where dependent tensors lie
        self.constant = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
        self.size = 0

    def start(self, output: Tensor) -> None:
        self.on = True
        self._add(output)

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not self.on:
            return operation(*args, **kwargs)
        flat, structure = tree_flatten((args, kwargs))
        if not any(_memory(tensor) in self.memory for tensor in flat if isinstance(tensor, Tensor)):
            results = operation(*args, **kwargs)
            self.memory -= {
                _memory(tensor) for tensor in tensors_in(results)
            }  # memory that was freed and reused
            return results
        changed = _changed(operation, args, kwargs)
        reads = [
            (place, self._slot(tensor, any(tensor is other for other in changed)))
            for place, tensor in enumerate(flat)
            if isinstance(tensor, Tensor)
        ]
        results = operation(*args, **kwargs)
        if not all(isinstance(leaf, Tensor) for leaf in tree_leaves(results)):
            raise RuntimeError(
                f"the model goes by the value of a tensor ({operation}), which is not on the tape"
            )
        writes = [self.slots[t] if t in self.slots else self._add(t) for t in tensors_in(results)]
        arguments = [None if isinstance(value, Tensor) else value for value in flat]
        self.steps.append(Step(operation, arguments, structure, reads, writes))
        return results

    def _add(self, tensor: Tensor) -> int:
        self.slots[tensor] = self.size
        self.memory.add(_memory(tensor))
        self.size += 1
        return self.size - 1

    def _slot(self, tensor: Tensor, changed: bool) -> int:
        """The slot of an argument; what does not depend on the start is kept, as it is now."""
        if tensor not in self.slots and _memory(tensor) in self.memory:
            raise RuntimeError(
                "the model reads memory through a view made before an in-place operation on it"
            )
        if tensor in self.slots:
            slot = self.slots[tensor]
        else:
            slot = self.size
            self.kept[slot] = tensor if id(tensor) in self.constant else tensor.clone()
            if changed:  # from now on it depends on the start
                self._add(tensor)
            else:  # not remembered: whoever reads it again may find another value
                self.size += 1
        if changed:
            self.written.add(slot)
        return slot


def tensors_in(results: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(results) if isinstance(leaf, Tensor)]


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _changed(operation: torch._ops.OpOverload, args: tuple, kwargs: dict[str, Any]) -> list[Tensor]:
    """The arguments that ``operation`` writes to."""
    given = dict(zip((argument.name for argument in operation._schema.arguments), args)) | kwargs
    return tensors_in(
        [
            given.get(argument.name)
            for argument in operation._schema.arguments
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
    )


def forget_early(steps: list[Step], last: int) -> None:
    """Note at each step the slots whose values can go, so that a replay holds no more than a forward pass."""
    seen = {last}
    for step in reversed(steps):
        slots = {slot for _, slot in step.reads} | set(step.writes)
        step.forgets = [slot for slot in slots if slot not in seen]
        seen |= slots
