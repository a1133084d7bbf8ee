"""What the ImageNet study should take on one and on eight H100: an estimate from counted operations.

    python benchmarks/imagenet_estimate.py

Nothing is measured and no GPU is needed. The assumptions are in ASSUMED and in the result file.
"""

from __future__ import annotations

from pathlib import Path

import torch

from gfs_tutorial import results
from gfs_tutorial.cnn.cost import count_macs, count_parameters
from gfs_tutorial.cnn.models import IMAGENET, build_imagenet
from gfs_tutorial.cnn.roofline import Gpu, count_work
from gfs_tutorial.cnn.rows import POSITIONS
from gfs_tutorial.cnn.units import find_units
from gfs_tutorial.experiments.imagenet import PRESETS

OUT = Path(__file__).resolve().parents[1] / "results" / "benchmark-imagenet-estimate.json"
PAPER = PRESETS["paper"]
SIZE, TRAINING_IMAGES, VALIDATION_IMAGES = 224, 1_281_167, 50_000
H100 = Gpu("H100 SXM", flops=989e12, bandwidth=3.35e12, flops_reached=0.4, bandwidth_reached=0.5)
ASSUMED = {
    "gpu": H100.name,
    "bfloat16 flops a second, data sheet": H100.flops,
    "memory bytes a second, data sheet": H100.bandwidth,
    "share of the flops reached": H100.flops_reached,
    "share of the memory bandwidth reached": H100.bandwidth_reached,
    "float32 flops a second reached in second moments": 20e12,
    "bytes a second between the GPUs of a machine": 300e9,
    "images that a processor core decodes a second": 200,
    "processor cores beside each GPU": PAPER.workers,
    "dollars for an hour of a GPU": 3.0,
    "images a step": PAPER.batch_size,
}


def loading() -> float:
    """Seconds an image that the processors beside one GPU take to decode."""
    return 1 / (
        ASSUMED["images that a processor core decodes a second"] * ASSUMED["processor cores beside each GPU"]
    )


def exchange(parameters: int, gpus: int) -> float:
    """Seconds of a step in which gradients are added up, if nothing overlaps: a ring of float32."""
    sent = 2 * (gpus - 1) / gpus * 4 * parameters
    return sent / ASSUMED["bytes a second between the GPUs of a machine"]


def moments(model: torch.nn.Module, images: int) -> float:
    """Seconds for the second moments of all consumers."""
    units = find_units(model, torch.zeros(1, 3, 64, 64))
    flops = 0
    for unit in units:
        outputs, features = model.get_submodule(unit.consumer).weight.flatten(1).shape
        flops += 2 * images * POSITIONS * features * (features + outputs)
    return flops / ASSUMED["float32 flops a second reached in second moments"]


def rows_of(network: str) -> list[dict[str, object]]:
    """Of the dense network; a pruned one takes less, but by less than its share of the MACs."""
    model = build_imagenet(network, seed=0)
    parameters = count_parameters(model)
    training, forward = (count_work(model, SIZE, train=train) for train in (True, False))
    calibration = max(PAPER.calibration)
    select_alone = 3 * calibration * forward.seconds(H100) + moments(model, calibration)
    rows = []
    for gpus in (1, 8):
        compute = training.seconds(H100) / gpus + exchange(parameters, gpus) / PAPER.batch_size
        an_image = max(compute, loading() / gpus)
        tuning = PAPER.steps * PAPER.batch_size * an_image
        checking = VALIDATION_IMAGES * max(forward.seconds(H100), loading()) / gpus
        hours = (tuning + checking + select_alone / gpus) / 3600
        rows.append(
            {
                "network": network,
                "gpus": gpus,
                "macs": count_macs(model, torch.zeros(1, 3, SIZE, SIZE)),
                "training_flops": training.flops,
                "training_bytes": training.bytes,
                "gpu_images_a_second": 1 / compute,
                "images_a_second": 1 / an_image,
                "limited_by": "gpu" if compute >= loading() / gpus else "reading images",
                "pass_minutes": TRAINING_IMAGES * an_image / 60,
                "selection_seconds": select_alone / gpus,
                "evaluation_seconds": checking,
                "fine_tuning_hours": tuning / 3600,
                "dollars": hours * gpus * ASSUMED["dollars for an hour of a GPU"],
            }
        )
    return rows


def main() -> None:
    rows = [row for network in IMAGENET for row in rows_of(network)]
    for row in rows:
        speeds = "{gpu_images_a_second:7.0f} images/s, with reading {images_a_second:7.0f}".format(**row)
        times = "pass {pass_minutes:6.1f} min  fine-tuning {fine_tuning_hours:6.1f} h".format(**row)
        print("{network:20s} {gpus} GPU  ".format(**row), speeds, times, f"{row['dollars']:5.0f} dollars")
    settings = {"assumed": ASSUMED, "fine-tuning steps": PAPER.steps, "image size": SIZE}
    record = results.provenance("python benchmarks/imagenet_estimate.py", settings)
    kind = "an estimate from counted operations, not a measurement"
    results.write(OUT, {**record, "data": "none: shapes alone", "kind": kind, "rows": rows})


if __name__ == "__main__":
    main()
