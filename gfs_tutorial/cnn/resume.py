"""Forward passes that begin where nothing has changed since the pass before.

Units are pruned in the order in which they run, so what lies in front of the one at hand stays as it is. Each
pass notes the operations that torch dispatches; where it comes to the unit at hand it keeps the memory that
the network still holds on to. The next pass takes that memory back and skips all operations before. The
network's own code runs as always, and finds tensors of the right shape where skipped operations would have
made them: so this works for whatever can be called twice with the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

from gfs_tutorial.cnn.tape import tensors_in

__all__ = ["ResumedPasses"]

KEPT = 2**30  # bytes of activations kept; where it would be more, passes begin earlier
Place = tuple[int, int]  # of memory: the operation that made it, the place among its results


class ResumedPasses:
    """Passes of a network over the same chunks of images again and again, while its units are pruned.

    Args:
        kept: Bytes that may be kept between passes, over all chunks; with 0 all passes begin at the images.
    """

    def __init__(self, kept: int = KEPT):
        self.kept = kept
        self._prefixes: dict[Any, _Prefix] = {}

    def run(self, chunk: Any, model: nn.Module, layer: str, forward: Callable[[], Any]) -> None:
        """One pass of a chunk.

        Args:
            chunk: Which one: anything hashable.
            model: The network. Since the pass before, only layers from its ``layer`` on have changed.
            layer: Name of a layer, in front of which the next pass of the chunk may begin.
            forward: Runs the model; may end early, behind ``layer``.
        """
        before = self._prefixes.pop(chunk, _Prefix())
        room = self.kept - sum(prefix.bytes for prefix in self._prefixes.values())
        mode = _Resuming(before, room)
        hook = model.get_submodule(layer).register_forward_pre_hook(lambda *_: mode.keep())
        try:
            with mode:
                forward()
        finally:
            hook.remove()
        if mode.next is not None:
            self._prefixes[chunk] = mode.next


@dataclass(frozen=True)
class _Layout:
    """Of a tensor in memory of its own."""

    shape: torch.Size
    stride: tuple[int, ...]
    offset: int
    bytes: int  # of its memory
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, tensor: Tensor) -> _Layout:
        memory, offset = tensor.untyped_storage(), int(tensor.storage_offset())
        return cls(tensor.shape, tensor.stride(), offset, memory.nbytes(), tensor.dtype, tensor.device)

    def empty(self) -> Tensor:
        memory = torch.UntypedStorage(self.bytes, device=self.device)
        nothing = torch.empty(0, dtype=self.dtype, device=self.device)
        return nothing.set_(memory, self.offset, self.shape, self.stride)


@dataclass(frozen=True)
class _Argument:
    """In place of a result that is the argument at this place itself: of operations in place."""

    place: int


@dataclass
class _Prefix:
    """Operations up to some point, and the memory in use there.

    Attributes:
        calls: The results of each, with a :class:`_Layout` or :class:`_Argument` for each tensor; ``None``
            for views, which are made again each time.
        memory: What it holds.
    """

    calls: list[Any] = field(default_factory=list)
    memory: dict[Place, torch.UntypedStorage] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(memory.nbytes() for memory in self.memory.values())


class _Resuming(TorchDispatchMode):
    """Skips the operations of a prefix, and notes those behind it up to where :meth:`keep` is called first.

    Attributes:
        next: The prefix to begin the next pass with; ``None`` if :meth:`keep` was not called behind the
            prefix, so that nothing is known to be the same.
    """

    def __init__(self, prefix: _Prefix, room: int):
        super().__init__()
        self.prefix, self.room = prefix, room
        self.next: _Prefix | None = None
        self.calls, self.done = list(prefix.calls), 0
        self.memory: dict[Place, StorageWeakRef] = {}

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.next is not None:
            return operation(*args, **kwargs)
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        skipped = self.done < len(self.prefix.calls)
        if skipped and self.calls[self.done] is not None:
            results = tree_map(lambda result: _again(result, given), self.calls[self.done])
        else:
            results = operation(*args, **kwargs)
        if not skipped:
            self.calls.append(_noted(operation, results, given))
        for place, memory in _own_memory(results, given):
            kept = self.prefix.memory.get((self.done, place)) if skipped else None
            if kept is not None:
                memory.copy_(kept)
            self.memory[self.done, place] = StorageWeakRef(memory)
        self.done += 1
        return results

    def keep(self) -> None:
        """The next pass may begin here."""
        if self.next is not None or self.done < len(self.prefix.calls):
            return
        held = ((p, torch.UntypedStorage._new_with_weak_ptr(r.cdata)) for p, r in self.memory.items())
        alive = _Prefix(self.calls, {place: memory for place, memory in held if memory is not None})
        if alive.bytes > self.room:
            self.next = self.prefix
            return
        with _disable_current_modes():
            self.next = _Prefix(self.calls, {place: memory.clone() for place, memory in alive.memory.items()})


def _noted(operation: torch._ops.OpOverload, results: Any, given: list[Tensor]) -> Any:
    """What is remembered of an operation, in the structure of its results; ``None`` to do it again."""
    if torch.Tag.inplace_view in operation.tags or _is_view(results, given):
        return None
    return tree_map(lambda result: _description(result, given), results)


def _is_view(results: Any, given: list[Tensor]) -> bool:
    theirs = {tensor.untyped_storage()._cdata for tensor in given}
    return any(
        result.untyped_storage()._cdata in theirs and all(result is not tensor for tensor in given)
        for result in tensors_in(results)
    )


def _description(result: Any, given: list[Tensor]) -> Any:
    if not isinstance(result, Tensor):
        return result
    same = [place for place, tensor in enumerate(given) if tensor is result]
    return _Argument(same[0]) if same else _Layout.of(result)


def _again(result: Any, given: list[Tensor]) -> Any:
    if isinstance(result, _Argument):
        return given[result.place]
    return result.empty() if isinstance(result, _Layout) else result


def _own_memory(results: Any, given: list[Tensor]) -> Iterator[tuple[int, torch.UntypedStorage]]:
    """Memory that an operation made, by its place among the results."""
    theirs = {tensor.untyped_storage()._cdata for tensor in given}
    for place, result in enumerate(tensors_in(results)):
        memory = result.untyped_storage()
        if memory._cdata not in theirs:
            yield place, memory
