"""Run an experiment of the book: ``python -m gfs_tutorial EXPERIMENT --preset quick``."""

from __future__ import annotations

import argparse
from pathlib import Path

from gfs_tutorial import results
from gfs_tutorial.experiments import mnist


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, run the experiment, write its result file."""
    parser = argparse.ArgumentParser(prog="python -m gfs_tutorial", description=__doc__)
    experiments = parser.add_subparsers(dest="experiment", required=True, metavar="EXPERIMENT")
    study = experiments.add_parser("mnist", help="pruning against pre-training and data, on MNIST")
    study.add_argument("--preset", choices=tuple(mnist.PRESETS), default="quick", help="how large a run")
    study.add_argument("--out", type=Path, help="result file (default: results/mnist-PRESET.json)")
    chosen = parser.parse_args(arguments)

    result = mnist.run(mnist.preset(chosen.preset), preset=chosen.preset)
    path = results.write(chosen.out or Path("results") / f"mnist-{chosen.preset}.json", result)
    print(f"{len(result['rows'])} rows in {result['seconds']:.0f} s, written to {path}")


if __name__ == "__main__":
    main()
