"""The process group that torchrun started: joined on entry, left on exit, never waited for without end."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from gfs_tutorial import checks

__all__ = ["process_group"]

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@contextmanager
def process_group(backend: str | None = None, *, timeout: float = 60.0) -> Iterator[torch.device]:
    """Join the processes that ``torchrun`` started, and hand out this one's device.

    ::

        # torchrun --standalone --nproc_per_node 2 script.py
        with process_group() as device:
            path = greedy_forward_selection_distributed(net.to(device), X.to(device), y.to(device), 200)

    A process that dies ends the job: the others fail in their next collective, or after ``timeout``, and
    torchrun stops them all and returns an error. Join once in a program: with gloo, joining again after
    leaving fails.

    Args:
        backend: ``"nccl"`` (each process on its own GPU) or ``"gloo"`` (on the CPU); ``None`` takes nccl
            where there is a GPU for each process of this machine.
        timeout: Seconds that a collective may wait for the other processes.

    Yields:
        The device of this process.

    Raises:
        RuntimeError: not started by torchrun, torch without ``torch.distributed``, or a process group is
            there already.
        ValueError: unknown backend, a timeout that is not positive, or nccl without a GPU for each process.
    """
    if not (timeout > 0 and math.isfinite(timeout)):
        raise ValueError(f"timeout must be a positive number of seconds, got {timeout}")
    if not dist.is_available():
        raise RuntimeError("this torch was built without torch.distributed: install another build")
    missing = [name for name in VARIABLES if name not in os.environ]
    if missing:
        raise RuntimeError(
            f"{', '.join(missing)} not set: start the script with "
            "`torchrun --standalone --nproc_per_node 2 SCRIPT`"
        )
    if dist.is_initialized():
        raise RuntimeError("there is a process group already: leave it before you join another")
    backend, device = _backend_and_device(backend)
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout), **_rendezvous(timeout))
    try:
        yield device
    finally:
        dist.destroy_process_group()


def _rendezvous(timeout: float) -> dict[str, Any]:
    """After a restart on one machine: a store without the addresses of the processes that were there before.

    torchrun of torch 2.14 keeps its store over restarts. On several machines, whose restarts may be numbered
    differently, ``TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1`` makes it open a new one each time.
    """
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if restarts == "0" or os.environ.get("LOCAL_WORLD_SIZE") != os.environ["WORLD_SIZE"]:
        return {}
    store, rank, world = next(dist.rendezvous("env://", timeout=timedelta(seconds=timeout)))
    return {"store": dist.PrefixStore(f"restart {restarts}", store), "rank": rank, "world_size": world}


def _backend_and_device(backend: str | None) -> tuple[str, torch.device]:
    local_rank = int(os.environ["LOCAL_RANK"])
    here = int(os.environ.get("LOCAL_WORLD_SIZE", local_rank + 1))  # processes on this machine
    gpus = torch.cuda.device_count() if dist.is_nccl_available() else 0
    if backend is None:
        backend = "nccl" if gpus >= here else "gloo"
    if checks.one_of("backend", backend, ("nccl", "gloo")) == "gloo":
        return backend, torch.device("cpu")
    if gpus < here:
        raise ValueError(f"nccl needs a GPU for each of the {here} processes here, found {gpus}: use gloo")
    torch.cuda.set_device(local_rank)
    return backend, torch.device("cuda", local_rank)
