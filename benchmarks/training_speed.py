"""How many images a second the networks of the CIFAR-10 study train on, and what its presets would take.

    python benchmarks/training_speed.py [--threads 1]

Times count the processor's seconds, so that others on the same machine do not matter; on one thread they are
those of a quiet machine.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from gfs_tutorial import results
from gfs_tutorial.cnn.models import build
from gfs_tutorial.cnn.training import fit, native_precision
from gfs_tutorial.experiments.channel_trial import NETWORKS
from gfs_tutorial.experiments.cifar10 import PRESETS

OUT = Path(__file__).resolve().parents[1] / "results" / "benchmark-training-speed.json"
NAMES = ("resnet20", "resnet20-narrow", "mobilenet-v2-narrow")
SETTINGS = {"batch_size": 128, "steps": 2, "warm_up_steps": 1, "repetitions": 2}


def images_a_second(name: str, precision: str) -> float:
    """The best of some runs on random images; random weights and pixels cost what trained ones do."""
    chosen, draw = NETWORKS[name], torch.Generator().manual_seed(0)
    model = build(chosen.name, seed=0, **chosen.options)
    X = torch.randint(256, (512, 3, 32, 32), dtype=torch.uint8, generator=draw)
    y, how = torch.arange(512) % 10, {"mean": (0.5,) * 3, "std": (0.25,) * 3, "precision": precision}
    how |= {"batch_size": SETTINGS["batch_size"], "generator": draw, "progress": False}
    fit(model, X, y, steps=SETTINGS["warm_up_steps"], **how)
    seconds = []
    for _ in range(SETTINGS["repetitions"]):
        start = time.process_time()
        fit(model, X, y, steps=SETTINGS["steps"], **how)
        seconds.append(time.process_time() - start)
    return SETTINGS["batch_size"] * SETTINGS["steps"] / min(seconds)


def minutes_of_dense_training(name: str, speed: float) -> float:
    """Of the longest pre-training in the preset ``laptop``."""
    return PRESETS["laptop"].batch_size * max(PRESETS["laptop"].iterations) / speed / 60


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    precision, rows = native_precision(torch.device("cpu")), []
    for name in NAMES:
        speed = images_a_second(name, precision)
        row = {"network": name, "precision": precision, "images_per_second": round(speed, 1)}
        rows.append(row | {"longest_laptop_minutes": round(minutes_of_dense_training(name, speed))})
        print(rows[-1], flush=True)
    command = f"python benchmarks/training_speed.py --threads {options.threads}"
    results.write(OUT, {**results.provenance(command, SETTINGS), "rows": rows})


if __name__ == "__main__":
    main()
