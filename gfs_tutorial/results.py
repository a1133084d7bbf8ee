"""Result files: written whole or not at all, each with the record of how it was made.

Chapter *Reproduce every figure*.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import asdict, is_dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from gfs_tutorial.files import atomic_write

__all__ = ["hardware", "now", "provenance", "read", "stored", "write"]


def hardware() -> str:
    """The processor (and the GPU, if there is one) in a few words."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.split(":", 1)[1] for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0].strip() if models else name
    words = f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return f"{words}, {torch.cuda.get_device_name()}" if torch.cuda.is_available() else words


def now() -> str:
    """The time, in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _plain(settings: Any) -> dict[str, Any]:
    if is_dataclass(settings) and not isinstance(settings, type):
        return asdict(settings)
    return dict(settings)


def provenance(command: str, settings: Any, **more: Any) -> dict[str, Any]:
    """What a reader needs to make a result again.

    Args:
        command: The command line that makes it.
        settings: A dataclass or a dictionary of all settings, seeds among them.
        more: Further entries, e.g. ``preset``, ``data``, ``seconds``.
    """
    return {
        "command": command,
        "settings": _plain(settings),
        "commit": _commit(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "hardware": hardware(),
        "date": now(),
        **more,
    }


def _commit() -> str | None:
    """The commit of the source tree, ``None`` outside one; ``-dirty`` where it has been changed since."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=here,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None


def write(path: str | Path, result: dict[str, Any]) -> Path:
    """Write ``result`` as JSON to ``path``, atomically: readers see the old file or the new one."""
    text = _text(result)
    with atomic_write(path) as file:
        file.write(text.encode())
    return Path(path)


def _text(result: dict[str, Any]) -> str:
    """JSON with a line for each entry and, in tables (lists of dictionaries), for each row."""
    entries = []
    for key, value in result.items():
        table = isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)
        rows = [f"  {json.dumps(row, allow_nan=False)}" for row in value] if table else []
        body = "[\n" + ",\n".join(rows) + "\n ]" if table else json.dumps(value, allow_nan=False)
        entries.append(f" {json.dumps(key)}: {body}")
    return "{\n" + ",\n".join(entries) + "\n}\n"


def read(path: str | Path) -> dict[str, Any]:
    """Read a result file.

    Raises:
        FileNotFoundError: there is none at ``path``.
        ValueError: it is not valid JSON.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no result file at {path}: run the experiment that writes it")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not a result file: {error}") from error


def stored(name: str) -> dict[str, Any]:
    """Read one of the result files that came with the package.

    Args:
        name: e.g. ``"mnist-quick.json"``; a checkout has them in ``results/``.

    Raises:
        FileNotFoundError: there is none of that name.
    """
    checkout = Path(__file__).resolve().parents[1] / "results" / name
    return read(checkout if checkout.is_file() else Path(__file__).parent / "stored_results" / name)
