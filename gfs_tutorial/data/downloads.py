"""Downloads that end whole or not at all: mirrors, time limits, checksums."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from tqdm.auto import tqdm

from gfs_tutorial.files import atomic_write

__all__ = ["SlowError", "cache_folder", "fetch", "reachable", "socket_timeout"]

AGENT = {"User-Agent": "gfs-tutorial"}
PROBE_SECONDS = 1.5  # a host that has not answered by then counts as out of reach
STALL_SECONDS = 20  # a download that sends nothing for so long is given up
PATIENCE_SECONDS = 8  # a download is watched for so long before it counts as slow
SLOW_BYTES = 250_000  # a second: CIFAR-10 would take eleven minutes
CHUNK = 1 << 16


class SlowError(OSError):
    """A server sends, but so slowly that another one should be tried."""


def cache_folder() -> Path:
    """Where downloads go without a data root."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gfs_tutorial"


def reachable(urls: Sequence[str]) -> list[str]:
    """Those of ``urls`` whose host answers anything at all within ``PROBE_SECONDS``, asked at once."""
    answers: set[str] = set()

    def ask(url: str) -> None:
        request = urllib.request.Request(url, method="HEAD", headers=AGENT)
        try:
            urllib.request.urlopen(request, timeout=PROBE_SECONDS).close()
            answers.add(url)
        except urllib.error.HTTPError:  # an answer, if an unfriendly one
            answers.add(url)
        except (OSError, HTTPException):
            pass

    # Daemons: looking up a name can outlast any timeout.
    threads = [threading.Thread(target=ask, args=(url,), daemon=True) for url in urls]
    deadline = time.monotonic() + PROBE_SECONDS
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [url for url in urls if url in answers]


def fetch(urls: Sequence[str], path: Path, md5: str) -> None:
    """Download one file from the first of ``urls`` that sends it whole and fast enough.

    Args:
        urls: Mirrors of the same file.
        path: Where it goes; nothing is left there after a failure.
        md5: Its checksum.

    Raises:
        OSError: no mirror did; the message has the reason for each.
    """
    problems = []
    for url in urls:
        try:
            return _fetch_one(url, path, md5)
        except (OSError, HTTPException) as error:
            problems.append(f"{url}: {' '.join(str(error).split()) or type(error).__name__}")
    raise OSError(", ".join(problems))


def _fetch_one(url: str, path: Path, md5: str) -> None:
    request, digest = urllib.request.Request(url, headers=AGENT), hashlib.md5(usedforsecurity=False)
    with urllib.request.urlopen(request, timeout=STALL_SECONDS) as answer, atomic_write(path) as file:
        for piece in _pieces(answer, path.name):
            file.write(piece)
            digest.update(piece)
        if digest.hexdigest() != md5:
            raise OSError("the file is cut off or is another one: its checksum is wrong")


def _pieces(answer: HTTPResponse, name: str) -> Iterator[bytes]:
    """What the server sends, as it comes; raises where it comes too slowly."""
    length, start, received = answer.headers.get("Content-Length"), time.monotonic(), 0
    total = int(length) if length else None
    with tqdm(desc=name, total=total, unit="B", unit_scale=True, leave=False) as bar:
        while piece := answer.read1(CHUNK):
            received, seconds = received + len(piece), time.monotonic() - start
            if seconds > PATIENCE_SECONDS and received < SLOW_BYTES * seconds and received != total:
                raise SlowError(f"slow ({received / seconds / 1000:.0f} kB/s)")
            bar.update(len(piece))
            yield piece


@contextlib.contextmanager
def socket_timeout(seconds: float) -> Iterator[None]:
    """A time limit for downloads that set none of their own, such as torchvision's."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
