"""The command line that the experiments of the theory share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gfs_tutorial import results

__all__ = ["run_as_script"]


def run_as_script(
    name: str,
    run: Callable[..., dict[str, Any]],
    presets: dict[str, Any],
    arguments: list[str] | None = None,
) -> None:
    """Parse ``--preset`` and ``--out``, run the experiment, write its result file.

    Args:
        name: Of the experiment; the file is called ``results/NAME-PRESET.json``.
        run: Takes the settings and ``preset=``, returns the result.
        presets: Name to settings.
        arguments: Of the command line; ``None`` takes the process's own.
    """
    parser = argparse.ArgumentParser(prog=f"python -m gfs_tutorial.experiments.{name}")
    parser.add_argument("--preset", choices=tuple(presets), default="quick", help="how large a run")
    parser.add_argument("--out", type=Path, help=f"result file (default: results/{name}-PRESET.json)")
    chosen = parser.parse_args(arguments)
    result = run(presets[chosen.preset], preset=chosen.preset)
    path = results.write(chosen.out or Path("results") / f"{name}-{chosen.preset}.json", result)
    print(f"{len(result['rows'])} rows in {result['seconds']:.0f} s, written to {path}")
