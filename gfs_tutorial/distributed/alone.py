"""One process by itself, with the methods of a communicator: code for many processes runs on one as well."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor

from gfs_tutorial.distributed.communicator import Communicator
from gfs_tutorial.distributed.traffic import Ledger

__all__ = ["Alone", "communicator_here"]


class Alone:
    """The only process; the methods are those of :class:`~gfs_tutorial.distributed.Communicator`."""

    def __init__(self) -> None:
        self.rank, self.world, self.ledger = 0, 1, Ledger(1)

    def all_reduce(self, tensor: Tensor, purpose: str, *, op: str = "sum") -> Tensor:
        return tensor.detach().clone()

    def all_gather(self, tensor: Tensor, purpose: str) -> Tensor:
        return tensor.detach().clone()[None]

    def broadcast(self, tensor: Tensor, purpose: str, *, source: int) -> Tensor:
        return tensor.detach().clone()

    def gather(self, tensor: Tensor, purpose: str) -> Tensor:
        return tensor.detach().clone()[None]


def communicator_here() -> Communicator | Alone:
    """This process's end of the process group; :class:`Alone` where there is none."""
    return Communicator() if dist.is_available() and dist.is_initialized() else Alone()
