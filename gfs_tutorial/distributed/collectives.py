"""What code for many processes needs of a communicator: over torch, simulated, or of one process alone."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from gfs_tutorial.distributed.traffic import Ledger

__all__ = ["Collectives"]


class Collectives(Protocol):
    """The methods of :class:`Communicator`, which says what they do, and of :class:`SimulatedCommunicator`.

    Attributes:
        rank: This process, from 0.
        world: R, how many there are.
        ledger: Calls made and bytes sent so far.
    """

    rank: int
    world: int
    ledger: Ledger

    def all_reduce(self, tensor: Tensor, purpose: str, *, op: str = "sum") -> Tensor:
        """The sum, least or greatest of all processes' tensors, on every process."""
        ...

    def all_gather(self, tensor: Tensor, purpose: str) -> Tensor:
        """All processes' tensors, stacked by rank, on every process."""
        ...

    def broadcast(self, tensor: Tensor, purpose: str, *, source: int) -> Tensor:
        """The tensor of ``source``, on every process."""
        ...

    def gather(self, tensor: Tensor, purpose: str) -> Tensor | None:
        """All processes' tensors, stacked by rank, on rank 0; ``None`` elsewhere."""
        ...
