"""The folder of a run: a file for each finished cell, written at once and whole, all of the same settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gfs_tutorial import results

__all__ = ["Cell", "FolderInUseError", "RunFolder", "SettingsMismatchError", "cell_name", "differences"]

Cell = dict[str, Any]  # what tells a cell of a sweep from the others, e.g. {"N": 1000, "m": 250, "seed": 0}


class SettingsMismatchError(ValueError):
    """A folder holds results of other settings; the message names the differences."""


class FolderInUseError(RuntimeError):
    """Another process is at work in a folder."""


def cell_name(cell: Cell) -> str:
    """The cell in one word, e.g. ``N=1000,m=250,seed=0``."""
    return ",".join(f"{key}={value}" for key, value in cell.items())


def differences(stored: Any, now: Any, name: str = "") -> list[str]:
    """Where two JSON values differ, one line a place, e.g. ``settings.seeds: stored [0], now [0, 1]``."""
    if isinstance(stored, dict) and isinstance(now, dict):
        keys = [*stored, *(key for key in now if key not in stored)]
        prefix = f"{name}." if name else ""
        return [line for k in keys for line in differences(stored.get(k), now.get(k), f"{prefix}{k}")]
    return [] if stored == now else [f"{name}: stored {json.dumps(stored)}, now {json.dumps(now)}"]


class RunFolder:
    """Finished cells on disk. Use as a context manager: one process at a time works in a folder.

    A cell is either wholly there or not at all, whenever the process is killed: files are written beside
    their place, flushed to the disk and renamed. What a killed process left beside them is removed at the
    next start, and a file that a failing disk has damaged counts as not finished.

    Args:
        folder: Made if it is missing.
        header: All that the results depend on, as JSON values: settings, data, device.

    Raises:
        SettingsMismatchError: the folder holds results of another header.
        FolderInUseError: another process is at work in the folder.
    """

    def __init__(self, folder: str | Path, header: dict[str, Any]):
        self.folder, self.cells = Path(folder), Path(folder) / "cells"
        self.header = json.loads(json.dumps(header))  # tuples become lists, as they will be read back
        self.cells.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(self.folder / ".lock", timeout=0)

    def __enter__(self) -> RunFolder:
        try:
            self.lock.acquire()
        except Timeout:
            raise FolderInUseError(
                f"another process is at work in {self.folder}: wait for it to end"
            ) from None
        try:
            for scratch in [*self.folder.glob(".*.json.*"), *self.cells.glob(".*.json.*")]:
                scratch.unlink()
            self.check_header()
        except BaseException:
            self.lock.release()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.lock.release()

    def check_header(self) -> None:
        """Raise :class:`SettingsMismatchError` if the folder is of another header; write ours if new."""
        path = self.folder / "settings.json"
        if not path.exists():
            results.write(path, self.header)
            return
        differ = differences(results.read(path), self.header)
        if differ:
            raise SettingsMismatchError(
                f"{self.folder} holds results of other settings:\n  "
                + "\n  ".join(differ)
                + "\nrun with the stored settings, choose another --name, or remove the folder"
            )

    def load(self, cell: Cell) -> dict[str, Any] | None:
        """What was saved for ``cell``; ``None`` if it is not finished."""
        try:
            return results.read(self.cells / f"{cell_name(cell)}.json")
        except (FileNotFoundError, ValueError):  # ValueError: damaged, so to be done again
            return None

    def save(self, cell: Cell, record: dict[str, Any]) -> None:
        """Keep ``record`` as the result of ``cell``."""
        results.write(self.cells / f"{cell_name(cell)}.json", record)
