"""Checkpoints of long runs: one file with what was found so far, and the settings for which it holds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from gfs_tutorial import checks
from gfs_tutorial.cnn.storage import load_tensors, save_tensors

__all__ = ["Checkpoint", "fingerprint"]

Found = TypeVar("Found")


class Checkpoint:
    """What a run has found so far, on disk if it is given a place there.

    The file is replaced whole after each finding, so that a run killed at any instant loses no more than what
    it was about to find. A file that is there already is read at once.

    Args:
        path: The file; ``None`` keeps nothing.
        maker: Name of the function whose run this is; with a number, so that files of older layouts are told
            apart.
        settings: All that the findings depend on, plain values.

    Attributes:
        found: Name of each finding to tensors and plain values, on the CPU.

    Raises:
        ValueError: the file is broken, of another function, or of other settings, which are named.
    """

    def __init__(self, path: str | Path | None, maker: str, settings: Mapping[str, Any]):
        self.path = None if path is None else checks.path("checkpoint", path)
        self.format, self.settings = f"gfs-tutorial checkpoint: {maker}", dict(settings)
        self.found: dict[str, Any] = {}
        if self.path is not None and self.path.exists():
            self.found = self._read(self.path)

    def once(self, name: str, find: Callable[[], Found]) -> Found:
        """What ``find`` returned when it was first called under this name, in this run or an earlier one."""
        if name not in self.found:
            self.keep(**{name: find()})
        return self.found[name]

    def keep(self, **findings: Any) -> None:
        """Add findings, or replace those of the same names."""
        self.found |= findings
        if self.path is not None:
            save_tensors(self.path, {"format": self.format, "settings": self.settings, "found": self.found})

    def _read(self, path: Path) -> dict[str, Any]:
        content = load_tensors(path, self.format)
        remedy = "remove it, or give another path"
        if content is None:
            maker = self.format.rpartition(": ")[2]
            raise ValueError(f"checkpoint {path} is no file of {maker}, or is damaged: {remedy}")
        stored = content["settings"]
        differing = [key for key, value in self.settings.items() if stored.get(key) != value]
        if differing:
            raise ValueError(f"checkpoint {path} is of a run with other {', '.join(differing)}: {remedy}")
        return content["found"]


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """The same for the same names, dtypes, shapes and values, on every machine and device."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
