"""One collective before the work: every process has sound arguments, and all mean the same selection."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection

import torch
from torch import Tensor

from gfs_tutorial.distributed.collectives import Collectives

__all__ = ["agree", "checksum", "dtype_code"]

TERMS = 8  # how many numbers may be compared; the same everywhere, so that any two calls can meet
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def agree(
    communicator: Collectives,
    task: str,
    check: Callable[[], dict[str, int]],
    *,
    free: Collection[str] = (),
) -> dict[str, list[int]]:
    """Run ``check`` on every process and compare what it returns. Without this, an error on one process
    would leave the others waiting for it.

    Args:
        communicator: Of the processes.
        task: What is to be done, in words; must be the same.
        check: Checks this process's arguments; returns up to eight numbers that describe the task.
        free: The names of those numbers that may differ.

    Returns:
        Each number's values, by rank.

    Raises:
        Exception: on a process whose ``check`` failed, its error.
        RuntimeError: on the others.
        ValueError: on all, if a number differs that may not.
    """
    error, terms = None, {}
    try:
        terms = check()
    except Exception as failure:
        error = failure
    mine = torch.zeros(2 + TERMS, dtype=torch.int64)
    mine[0], mine[1] = error is not None, zlib.crc32(task.encode())
    mine[2 : 2 + len(terms)] = torch.tensor(list(terms.values()), dtype=torch.int64)
    table = communicator.all_gather(mine, "agreement")  # (R, 2 + TERMS)
    if error is not None:
        raise error
    failed = table[:, 0].nonzero()[:, 0].tolist()
    if failed:
        raise RuntimeError(f"rank(s) {failed} cannot take part: see the error that each of them raised")
    if len(set(table[:, 1].tolist())) > 1:
        raise ValueError(f"the processes do not call the same function; this one is here for {task}")
    values = {name: table[:, 2 + i].tolist() for i, name in enumerate(terms)}
    for name, by_rank in values.items():
        if name not in free and len(set(by_rank)) > 1:
            raise ValueError(
                f"{name} must be the same on all processes, got {by_rank} on ranks 0 to "
                f"{communicator.world - 1}: pass the same to each, or broadcast from one first"
            )
    return values


def checksum(*tensors: Tensor) -> int:
    """A number that depends on every bit of the tensors and on its place."""
    total = 0
    for tensor in tensors:
        bits = tensor.detach().contiguous().flatten().view(torch.uint8)
        total = zlib.crc32(bits.cpu().numpy().data, total)
    return total


def dtype_code(dtype: torch.dtype) -> int:
    """A number for a floating-point dtype."""
    return DTYPES.index(dtype)
