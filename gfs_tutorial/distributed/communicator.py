"""The four collectives that selection needs, over ``torch.distributed``, with their bytes counted."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from gfs_tutorial.distributed.traffic import Ledger

__all__ = ["Communicator"]


class Communicator:
    """One process's end of the default process group.

    Every method is a collective: all processes must call it, in the same order. Each says what for, and
    :attr:`ledger` keeps count. A result has the dtype and the device of the tensor that was passed in.

    Attributes:
        rank: This process, from 0.
        world: R, how many there are.
        ledger: Calls made and bytes sent so far.

    Raises:
        RuntimeError: there is no process group.
    """

    def __init__(self) -> None:
        if not (dist.is_available() and dist.is_initialized()):
            raise RuntimeError(
                "there is no process group: start the script with torchrun and call this inside "
                "`with process_group():`"
            )
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        on_gpu = dist.get_backend() == "nccl"
        self.device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
        self.ledger = Ledger(self.world)

    def _start(self, collective: str, tensor: Tensor, purpose: str) -> Tensor:
        """Count the call, and copy ``tensor`` to where the backend can send it."""
        self.ledger.add(collective, purpose, tensor.nbytes)
        return tensor.detach().to(self.device, copy=True).contiguous()

    def all_reduce(self, tensor: Tensor, purpose: str, *, op: str = "sum") -> Tensor:
        """The sum (or ``op="min"``, ``"max"``) of all processes' tensors of one shape, on every process."""
        out = self._start("all_reduce", tensor, purpose)
        ops = {"sum": dist.ReduceOp.SUM, "min": dist.ReduceOp.MIN, "max": dist.ReduceOp.MAX}
        dist.all_reduce(out, ops[op])
        return out.to(tensor.device)

    def all_gather(self, tensor: Tensor, purpose: str) -> Tensor:
        """All processes' tensors of one shape, stacked by rank, on every process: (R, ...)."""
        own = self._start("all_gather", tensor, purpose)
        parts = [torch.empty_like(own) for _ in range(self.world)]
        dist.all_gather(parts, own)
        return torch.stack(parts).to(tensor.device)

    def broadcast(self, tensor: Tensor, purpose: str, *, source: int) -> Tensor:
        """The tensor of ``source`` on every process; the others pass one of its shape and dtype."""
        out = self._start("broadcast", tensor, purpose)
        dist.broadcast(out, source)
        return out.to(tensor.device)

    def gather(self, tensor: Tensor, purpose: str) -> Tensor | None:
        """All processes' tensors of one shape, stacked by rank, on rank 0: (R, ...); ``None`` elsewhere."""
        own = self._start("gather", tensor, purpose)
        parts = [torch.empty_like(own) for _ in range(self.world)] if self.rank == 0 else None
        dist.gather(own, parts, dst=0)
        return torch.stack(parts).to(tensor.device) if parts is not None else None
