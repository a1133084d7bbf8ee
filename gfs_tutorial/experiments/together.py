"""A run folder for the processes of torchrun: rank 0 keeps the files, all learn what is finished."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gfs_tutorial.distributed import Collectives, process_group
from gfs_tutorial.distributed.agreement import agree
from gfs_tutorial.distributed.alone import communicator_here
from gfs_tutorial.distributed.content import broadcast_content
from gfs_tutorial.experiments.store import Cell, RunFolder

__all__ = ["SharedFolder", "TogetherError", "joined"]

PATIENCE = 3600.0  # seconds that processes wait for each other: rank 0 may be reading weights


class TogetherError(RuntimeError):
    """torchrun started several processes for an experiment that runs on one."""


@contextlib.contextmanager
def joined(at_scale: bool) -> Iterator[int]:
    """Join the processes that torchrun started, if it did, and hand out this one's rank.

    Raises:
        TogetherError: several processes for a study that runs on one.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and not at_scale:
        raise TogetherError(
            f"this experiment runs on one process, torchrun started {world}: start it with python"
        )
    if world == 1:
        yield 0
        return
    with process_group(timeout=PATIENCE):
        yield communicator_here().rank


class SharedFolder(RunFolder):
    """:class:`RunFolder` on many processes; entering it and :meth:`load` are collectives.

    Args:
        folder, header: As there; only rank 0's counts.
        communicator: Of the processes.
    """

    def __init__(self, folder: str | Path, header: dict[str, Any], communicator: Collectives):
        self.communicator, self.folder = communicator, Path(folder)
        if communicator.rank == 0:
            super().__init__(folder, header)

    def __enter__(self) -> SharedFolder:
        def enter() -> dict[str, int]:
            if self.communicator.rank == 0:
                super(SharedFolder, self).__enter__()
            return {}

        agree(self.communicator, "a run folder", enter)
        return self

    def __exit__(self, *exception: object) -> None:
        if self.communicator.rank == 0:
            super().__exit__(*exception)

    def load(self, cell: Cell) -> dict[str, Any] | None:
        found = super().load(cell) if self.communicator.rank == 0 else None
        return broadcast_content(self.communicator, found, "finished cells")

    def save(self, cell: Cell, record: dict[str, Any]) -> None:
        if self.communicator.rank == 0:
            super().save(cell, record)
