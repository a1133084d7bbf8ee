"""Tensors and plain values from one process to all, without running foreign code on arrival."""

from __future__ import annotations

import io
from typing import Any

import torch

from gfs_tutorial.distributed.collectives import Collectives

__all__ = ["broadcast_content"]


def broadcast_content(communicator: Collectives, content: Any, purpose: str) -> Any:
    """What rank 0 passes, on every process; tensors arrive on the CPU.

    Args:
        communicator: Of the processes.
        content: On rank 0, anything that ``torch.load(weights_only=True)`` reads; not looked at elsewhere.
        purpose: For the ledger.
    """
    if communicator.world == 1:
        return content
    packed = io.BytesIO()
    if communicator.rank == 0:
        torch.save(content, packed)
    size = communicator.broadcast(torch.tensor([len(packed.getbuffer())]), purpose, source=0)
    data = torch.zeros(int(size), dtype=torch.uint8)
    if communicator.rank == 0:
        data = torch.frombuffer(packed.getbuffer(), dtype=torch.uint8)
    data = communicator.broadcast(data, purpose, source=0)
    return torch.load(io.BytesIO(data.cpu().numpy().tobytes()), map_location="cpu", weights_only=True)
