"""Latency of dense and pruned networks, side by side: halved MACs are not halved milliseconds.

    python benchmarks/channel_latency.py [--threads 1]

EfficientNet-Lite0 and ResNet-20 with half of their MACs, with channels in any number and in multiples of 8.
Accuracy plays no part, so random images serve for calibration. Networks take turns, so that a busy machine
slows all of them alike.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from gfs_tutorial import results
from gfs_tutorial.cnn import count_macs, prune
from gfs_tutorial.cnn.models import load_pretrained

OUT = Path(__file__).resolve().parents[1] / "results" / "benchmark-channel-latency.json"
SETTINGS = {"macs": 0.5, "repeats": {1: 30, 64: 7}, "warm_up": 2, "seed": 0}  # repeats for each batch size
NETWORKS = ("resnet20-cifar10", "efficientnet-lite0")


@torch.no_grad()
def milliseconds(models: dict[str, nn.Module], x: Tensor) -> dict[str, list[float]]:
    """Times of a forward pass of each model, (repeats,), measured in turn after a warm-up."""
    times: dict[str, list[float]] = {name: [] for name in models}
    for round_ in range(SETTINGS["warm_up"] + SETTINGS["repeats"][len(x)]):
        for name, model in models.items():
            start = time.perf_counter()
            model(x)
            if round_ >= SETTINGS["warm_up"]:
                times[name].append(1e3 * (time.perf_counter() - start))
    return times


def rows_of(network: str) -> list[dict[str, object]]:
    trained = load_pretrained(network)
    generator = torch.Generator().manual_seed(SETTINGS["seed"])
    size = trained.image_size
    images = torch.randn(64, 3, size, size, generator=generator)
    models = {"dense": trained.model}
    for multiple in (1, 8):
        name = f"pruned, multiples of {multiple}"
        models[name] = prune(
            trained.model, [images], macs=SETTINGS["macs"], multiple=multiple, inputs="dense"
        )[0]
    dense, rows = count_macs(trained.model, images[:1]), []
    for batch in SETTINGS["repeats"]:
        for name, times in milliseconds(models, images[:batch]).items():
            mean, deviation = statistics.mean(times), statistics.stdev(times)
            share = count_macs(models[name], images[:1]) / dense
            rows.append(
                {
                    "network": network,
                    "batch": batch,
                    "model": name,
                    "macs": share,
                    "ms": mean,
                    "sd": deviation,
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(parser.parse_args().threads)
    rows = [row for network in NETWORKS for row in rows_of(network)]
    for row in rows:
        print(
            "{network:20s} batch {batch:2d}  {model:24s} {macs:5.2f} MACs {ms:9.2f} ± {sd:.2f} ms".format(
                **row
            )
        )
    settings = {**SETTINGS, "threads": torch.get_num_threads()}
    record = results.provenance("python benchmarks/channel_latency.py", settings)
    results.write(OUT, {**record, "rows": rows})


if __name__ == "__main__":
    main()
