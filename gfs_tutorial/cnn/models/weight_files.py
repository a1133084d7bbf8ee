"""Published weights: from your data root, torch's cache or a download; the checksum is always compared."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor

from gfs_tutorial.data.images import data_root

__all__ = ["load_weights"]


def load_weights(
    name: str, digest: str, download: Callable[[Path], None], *, algorithm: str = "sha256"
) -> tuple[dict[str, Tensor], str]:
    """The tensors of a file of weights, and where it was.

    It is looked for in ``weights/`` of the data root (``GFS_DATA_ROOT``), then in torch's cache
    (``torch.hub.get_dir()``), and is downloaded to the latter.

    Args:
        name: Of the file.
        digest: Its checksum in hexadecimal digits, or the beginning of it.
        download: Writes the file to a path.
        algorithm: Of the checksum: ``"sha256"`` or ``"sha1"``.

    Raises:
        FileNotFoundError: it is nowhere, and cannot be downloaded.
        ValueError: its checksum is another; the file is left where it is.
    """
    root, cache = data_root(None), Path(torch.hub.get_dir()) / "checkpoints" / name
    places = [root / "weights" / name] if root is not None else []
    path = next((place for place in [*places, cache] if place.is_file()), None)
    if path is None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(dir=cache.parent) as scratch:
                download(Path(scratch) / name)
                _compare(Path(scratch) / name, digest, algorithm)
                (Path(scratch) / name).replace(cache)
        except (URLError, OSError) as error:
            raise FileNotFoundError(
                f"the weights {name} are not here and cannot be downloaded ({error}): put the file into the "
                f"folder weights/ of the data root GFS_DATA_ROOT, or into {cache.parent}"
            ) from error
        path = cache
    _compare(path, digest, algorithm)
    return torch.load(path, map_location="cpu", weights_only=True), name


def _compare(path: Path, digest: str, algorithm: str) -> None:
    running = hashlib.new(algorithm)
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            running.update(chunk)
    found = running.hexdigest()
    if not found.startswith(digest):
        raise ValueError(
            f"{path} is not the file of its name: its {algorithm} is {found[:16]}…, not {digest}…: remove it"
        )
