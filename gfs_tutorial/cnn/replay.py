"""Running only the rest of a network: what came before a layer, and what does not depend on it, is kept.

One forward pass is recorded below the level of modules, as the tensor operations that torch dispatches.
Those that depend on the layer's output, directly or through memory that they share, form the tape; every
other tensor that they read is kept as it was. Playing the tape with another output of the layer gives what
the network would have answered. So shared modules, functional operations, in-place activations and networks
that torch.fx cannot trace are no special cases.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten
from torch.utils.weak import WeakIdKeyDictionary

__all__ = ["Replay", "evaluation_mode"]


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[nn.Module]:
    """Within the context ``model`` is in evaluation mode; each module's own mode comes back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield model.eval()
    finally:
        for module, mode in modes:
            module.training = mode


class Replay:
    """The rest of a network behind one layer, for one batch of images.

    ``replay(output)`` takes an output of the layer, of the shape that it had in the recorded pass, and
    returns what the network makes of it. The network is not run again and not changed; its weights must stay
    as they were when it was recorded, and gradients are not followed.

    Args:
        model: The network; it is recorded in evaluation mode and left as it was.
        layer: Name of a layer that runs once in a forward pass.
        images: What the network accepts, on its device.
        until: Name of a layer behind ``layer``: stop at its input and return that. ``None`` goes on to the
            network's output.

    Attributes:
        inputs: What the layer read, (n, C, H, W) or (n, C).
        result: What the recorded pass gave: the network's output, or the input of ``until``.

    Raises:
        ValueError: ``layer`` or ``until`` does not exist or does not run, or the result does not depend on
            it.
        RuntimeError: the layer runs more than once, or the network does what no tape can repeat, such as
            deciding by the value of a tensor.
    """

    @torch.no_grad()
    def __init__(self, model: nn.Module, layer: str, images: Tensor, *, until: str | None = None):
        tape = _Tape(model)
        start = _submodule(model, layer).register_forward_hook(
            lambda _, inputs, output: self._start(tape, layer, inputs[0], output)
        )
        try:
            with evaluation_mode(model), tape, _stopping_at(model, until):
                self.result = model(images)
                if until is not None:
                    raise ValueError(f"layer {until} does not run in a forward pass of the model")
        except _Stopped as stopped:
            self.result = stopped.tensor
        finally:
            start.remove()
        if not tape.on:
            raise ValueError(f"layer {layer} does not run in a forward pass of the model, or too late")
        if not isinstance(self.result, Tensor) or self.result not in tape.slots:
            raise ValueError(f"what the model returns is no tensor that depends on layer {layer}")
        self._last, self._steps = tape.slots[self.result], tape.steps
        self._kept, self._written = tape.kept, tape.written
        _forget_early(self._steps, self._last)

    def _start(self, tape: _Tape, layer: str, inputs: Tensor, output: Tensor) -> None:
        if tape.on:
            raise RuntimeError(f"layer {layer} runs more than once in a forward pass")
        self.inputs = inputs.clone()
        self._like = (output.shape, output.stride(), output.dtype)
        tape.start(output)

    @torch.no_grad()
    def __call__(self, output: Tensor) -> Tensor:
        """The network's output, or the input of ``until``, where the layer gives ``output``."""
        shape, stride, dtype = self._like
        if output.shape != shape or output.dtype != dtype:
            raise ValueError(
                f"output must be {tuple(shape)} {dtype}, got {tuple(output.shape)} {output.dtype}"
            )
        if (
            output.stride() != stride
        ):  # the tape has views, which need the memory layout that they were made on
            output = torch.empty_strided(shape, stride, dtype=dtype, device=output.device).copy_(output)
        values = {0: output, **self._kept}
        for slot in self._written & values.keys():  # in-place operations must not reach what is kept
            values[slot] = values[slot].clone()
        for step in self._steps:
            step.run(values)
        return values[self._last]


def _submodule(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        raise ValueError(f"the model has no layer {name!r}") from error


class _Stopped(Exception):
    """Ends a forward pass early."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor


@contextlib.contextmanager
def _stopping_at(model: nn.Module, layer: str | None) -> Iterator[None]:
    """Within the context a forward pass ends with :class:`_Stopped` where it comes to ``layer``."""

    def stop(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        raise _Stopped(inputs[0])

    hook = None if layer is None else _submodule(model, layer).register_forward_pre_hook(stop)
    try:
        yield
    finally:
        if hook is not None:
            hook.remove()


@dataclass
class _Step:
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
        results = (results,) if isinstance(results, Tensor) else _tensors(results)
        values.update(zip(self.writes, results))
        for slot in self.forgets:
            del values[slot]


class _Tape(TorchDispatchMode):
    """Records, from :meth:`start` on, the operations that depend on a tensor. Slot 0 is that tensor."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.on, self.steps = False, []
        self.slots = WeakIdKeyDictionary()  # tensors that depend on the start
        self.kept: dict[int, Tensor] = {}  # slots of the others that are read
        self.written: set[int] = set()  # slots that in-place operations write to
        self.memory: set[int] = set()  # where dependent tensors lie
        self.constant = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
        self.size = 0

    def start(self, output: Tensor) -> None:
        self.on = True
        self._add(output)

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if not self.on:
            return operation(*args, **kwargs)
        flat, structure = tree_flatten((args, kwargs))
        if not any(_memory(tensor) in self.memory for tensor in flat if isinstance(tensor, Tensor)):
            results = operation(*args, **kwargs)
            self.memory -= {
                _memory(tensor) for tensor in _tensors(results)
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
        writes = [self.slots[t] if t in self.slots else self._add(t) for t in _tensors(results)]
        arguments = [None if isinstance(value, Tensor) else value for value in flat]
        self.steps.append(_Step(operation, arguments, structure, reads, writes))
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


def _tensors(results: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(results) if isinstance(leaf, Tensor)]


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _changed(operation: torch._ops.OpOverload, args: tuple, kwargs: dict[str, Any]) -> list[Tensor]:
    """The arguments that ``operation`` writes to."""
    given = dict(zip((argument.name for argument in operation._schema.arguments), args)) | kwargs
    return _tensors(
        [
            given.get(argument.name)
            for argument in operation._schema.arguments
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
    )


def _forget_early(steps: list[_Step], last: int) -> None:
    """Note at each step the slots whose values can go, so that a replay holds no more than a forward pass."""
    seen = {last}
    for step in reversed(steps):
        slots = {slot for _, slot in step.reads} | set(step.writes)
        step.forgets = [slot for slot in slots if slot not in seen]
        seen |= slots
