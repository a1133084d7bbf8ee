"""Notice before a job is taken off the machine: SIGTERM, seen by all processes at the same step."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import cast

import torch
import torch.distributed as dist

from gfs_tutorial.distributed import Collectives, Communicator

__all__ = ["PreemptedError", "Preemption"]


class PreemptedError(RuntimeError):
    """The job was asked to end (SIGTERM). What was done is in the checkpoint; the same command goes on."""


class Preemption:
    """Listens for SIGTERM within its context. Schedulers send it some seconds before they kill a job.

    Args:
        communicator: Of the processes, which must all be here: with nccl a second group is made, on the CPU,
            so that looking at each step never waits for the GPU.
    """

    def __init__(self, communicator: Collectives):
        self.communicator, self.noticed = communicator, False
        over_nccl = isinstance(communicator, Communicator) and communicator.device.type == "cuda"
        self.group: dist.ProcessGroup | None = None
        if over_nccl:  # a number stands for a group without this process, and all are in this one
            self.group = cast("dist.ProcessGroup", dist.new_group(backend="gloo"))

    def __enter__(self) -> Preemption:
        self.listens = threading.current_thread() is threading.main_thread()
        if self.listens:  # elsewhere Python delivers no signals
            self.before = signal.signal(signal.SIGTERM, self._notice)
        return self

    def _notice(self, number: int, frame: FrameType | None) -> None:
        self.noticed = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.listens:
            signal.signal(signal.SIGTERM, self.before)
        if self.group is not None:
            dist.destroy_process_group(self.group)

    def asked(self) -> bool:
        """Whether any process was asked to end; a collective, so the same answer on all of them."""
        flag = torch.tensor([int(self.noticed)])
        if self.group is not None:
            dist.all_reduce(flag, dist.ReduceOp.MAX, group=self.group)
            return bool(flag)
        return bool(self.communicator.all_reduce(flag, "preemption", op="max"))
