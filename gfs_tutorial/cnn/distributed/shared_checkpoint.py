"""A checkpoint of many processes: rank 0 keeps the file, and all hold the same findings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from gfs_tutorial.cnn.checkpoint import Checkpoint
from gfs_tutorial.distributed import Collectives
from gfs_tutorial.distributed.agreement import agree
from gfs_tutorial.distributed.content import broadcast_content

__all__ = ["SharedCheckpoint"]

Found = TypeVar("Found")


class SharedCheckpoint(Checkpoint):
    """:class:`~gfs_tutorial.cnn.checkpoint.Checkpoint` on many processes. Every method is a collective.

    Only rank 0 reads and writes the file, so that the machines need no folder in common.

    Args:
        path, maker, settings: As there; looked at on rank 0 alone.
        communicator: Of the processes.

    Raises:
        ValueError: on rank 0, if the file is broken or of another run.
        RuntimeError: on the others, then.
    """

    def __init__(
        self, path: str | Path | None, maker: str, settings: Mapping[str, Any], communicator: Collectives
    ):
        self.communicator = communicator

        def read() -> dict[str, int]:
            super(SharedCheckpoint, self).__init__(path if communicator.rank == 0 else None, maker, settings)
            return {}

        agree(communicator, f"a checkpoint of {maker}", read)
        self.found = broadcast_content(communicator, self.found, "checkpoint")

    def once(self, name: str, find: Callable[[], Found]) -> Found:
        """As there; ``find`` runs on all processes, and rank 0's finding counts."""
        if name not in self.found:
            self.keep(**{name: broadcast_content(self.communicator, find(), "findings")})
        return self.found[name]
