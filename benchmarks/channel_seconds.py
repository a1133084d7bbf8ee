"""How long pruning takes: EfficientNet-Lite0 with its ImageNet weights, 256 calibration images.

    GFS_DATA_ROOT=... python benchmarks/channel_seconds.py [--threads 2] [--repeats 1]

The whole of ``prune`` with ``method="ols"`` and a refit to 55% of the MACs, for both ways of feeding the
consumers. Photographs if there are any under the data root, else random images: time does not depend on
them.
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

import torch
from torch import Tensor

from gfs_tutorial import results
from gfs_tutorial.cnn import prune
from gfs_tutorial.cnn.models import load_pretrained
from gfs_tutorial.cnn.training import normalize
from gfs_tutorial.data.imagenet import load_imagenet_sample

OUT = Path(__file__).resolve().parents[1] / "results" / "benchmark-channel-seconds.json"
NETWORK = "efficientnet-lite0"
SETTINGS = {"network": NETWORK, "images": 256, "macs": 0.55, "method": "ols", "refit": True, "seed": 0}


def calibration_images(mean: tuple[float, ...], std: tuple[float, ...], size: int) -> tuple[Tensor, str]:
    """(256, 3, size, size), and what they are."""
    m = SETTINGS["images"]
    with contextlib.suppress(FileNotFoundError):
        sample = load_imagenet_sample(verbose=False)
        if len(sample.y) >= m:
            return normalize(sample.X[:m], mean=mean, std=std), "ImageNet photographs"
    generator = torch.Generator().manual_seed(SETTINGS["seed"])
    return torch.randn(m, 3, size, size, generator=generator), "random images"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    trained, rows = load_pretrained(NETWORK), []
    images, source = calibration_images(trained.mean, trained.std, trained.image_size)
    prune(trained.model, [images[:16]], macs=0.5)  # warm-up
    for _ in range(options.repeats):
        for inputs in ("dense", "pruned"):
            report = prune(trained.model, [images], macs=SETTINGS["macs"], inputs=inputs)[1]
            rows.append({"inputs": inputs, "seconds": report.seconds})
            print("inputs {inputs}: {seconds:.1f} s".format(**rows[-1]), flush=True)
    settings = {**SETTINGS, "threads": options.threads}
    record = results.provenance("GFS_DATA_ROOT=... python benchmarks/channel_seconds.py", settings)
    results.write(OUT, {**record, "data": source, "rows": rows})


if __name__ == "__main__":
    main()
