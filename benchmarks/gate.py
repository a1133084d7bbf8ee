"""How long the README's two commands take, the environment at hand: ``make book``, then ``make test``.

    python benchmarks/gate.py [--save results/benchmark-gate.json] [VENV=PATH ...]

On an idle machine. What is not an option goes to make. Where a command fails nothing is written.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from pathlib import Path

from gfs_tutorial import results

ROOT = Path(__file__).resolve().parents[1]


def minutes(target: str, variables: list[str]) -> float:
    """Wall-clock minutes of ``make target``."""
    start = time.perf_counter()
    subprocess.run(["make", target, *variables], cwd=ROOT, check=True)
    return (time.perf_counter() - start) / 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--save", help="write the result to this file")
    options, variables = parser.parse_known_args()
    begin = time.perf_counter()
    rows = [
        {"command": f"make {target}", "minutes": minutes(target, variables)} for target in ("book", "test")
    ]
    for row in rows:
        print(f"{row['command']}: {row['minutes']:.1f} minutes")
    if options.save:
        record = results.provenance("python benchmarks/gate.py --save results/benchmark-gate.json", {})
        results.write(options.save, {**record, "seconds": time.perf_counter() - begin, "rows": rows})


if __name__ == "__main__":
    main()
