"""The ImageNet study: prune published networks, fine-tune them, and see what is left.

On all of ImageNet with GPUs, or on whatever photographs are at hand; alone or under torchrun. Chapter
*Running at scale*.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from gfs_tutorial.experiments import published, sweep
from gfs_tutorial.experiments.imagenet_run import Trial, describe
from gfs_tutorial.experiments.store import Cell

__all__ = ["PRESETS", "STUDY", "ImageNetSettings"]

Name = Literal[
    "resnet34", "resnet50", "mobilenet-v2", "mobilenet-v3-large", "proxylessnas-mobile", "efficientnet-lite0"
]


@dataclass(frozen=True)
class ImageNetSettings:
    """All that the result depends on.

    Attributes:
        networks: Which networks to prune.
        macs: Shares of the MACs to keep; none: those at which others have published figures, and around.
        calibration: Numbers of photographs to prune on. Their labels are not looked at.
        seeds: Of the calibration photographs; of a sample, also which half is evaluated on.
        inputs: What each layer is fitted on: "dense" or "pruned" (see cnn.prune).
        steps: Of fine-tuning, where calibration is largest; 0: none.
        tuned_seeds: Seeds that are fine-tuned, and trained in the same shape from new random weights.
        targets: To fine-tune on: "labels", or the answers of the "dense" network.
        optimizer: "sgd" or "adam".
        batch_size: Photographs a step of fine-tuning.
        accumulate: Parts of a step, so that it fits into memory.
        lr: The largest learning rate.
        label_smoothing: Share of the target that is spread over all classes.
        workers: Processes that read photographs, for each that computes.
        source: "auto" for ImageNet or a sample of it in the data root, "embedded" for the 20 of foolbox.
        device: Where to compute; "auto" takes the GPU if there is one.
    """

    networks: tuple[Name, ...]
    macs: tuple[float, ...]
    calibration: tuple[int, ...]
    seeds: tuple[int, ...]
    inputs: Literal["dense", "pruned"] = "dense"
    steps: int = 0
    tuned_seeds: tuple[int, ...] = ()
    targets: Literal["labels", "dense"] = "labels"
    optimizer: Literal["sgd", "adam"] = "sgd"
    batch_size: int = 256
    accumulate: int = 1
    lr: float = 0.01
    label_smoothing: float = 0.1
    workers: int = 0
    source: Literal["auto", "embedded"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"


LAPTOP = ImageNetSettings(
    networks=("efficientnet-lite0",),
    macs=(0.78, 0.55),
    calibration=(300, 100, 30),
    seeds=(0,),
    steps=20,
    tuned_seeds=(0,),
    targets="dense",
    optimizer="adam",
    batch_size=30,
    lr=1e-4,
    device="cpu",
)
PAPER = ImageNetSettings(
    networks=("resnet34", "resnet50", "mobilenet-v2", "mobilenet-v3-large", "proxylessnas-mobile"),
    macs=(),
    calibration=(4096, 1024, 256, 64),
    seeds=(0, 1, 2),
    inputs="pruned",
    steps=300_000,
    tuned_seeds=(0,),
    batch_size=256,
    lr=0.05,
    workers=14,
    device="cuda",
)
PRESETS = {
    "quick": replace(LAPTOP, macs=(0.78,), calibration=(10,), seeds=(0,), steps=0, source="embedded"),
    "laptop": LAPTOP,
    "paper": PAPER,
}


def _cells(settings: ImageNetSettings) -> list[Cell]:
    """The dense network (no calibration) and its prunings; the largest calibration comes first."""
    return [
        {"network": network, "calibration": number, "seed": seed}
        for network in settings.networks
        for number in (0, *sorted(settings.calibration, reverse=True))
        for seed in settings.seeds
    ]


def _tuned(settings: ImageNetSettings, cell: Cell) -> bool:
    largest = cell["calibration"] == max(settings.calibration)
    return settings.steps > 0 and largest and cell["seed"] in settings.tuned_seeds


def _cost(settings: ImageNetSettings, cell: Cell) -> float:
    """Photographs that pass through the network, more or less."""
    tuning = 12 * settings.steps * settings.batch_size if _tuned(settings, cell) else 0
    return 600 + 3 * cell["calibration"] + 5 * min(100, cell["calibration"]) + tuning


def _run_cell(
    settings: ImageNetSettings, cell: Cell, device: torch.device, *, scratch: Path | None = None
) -> Iterator[dict[str, Any]]:
    """A row for each budget and, where there is training, two: the shape trained anew, and fine-tuned."""
    trial = Trial(settings, cell, device, scratch)
    if not cell["calibration"]:
        yield {"macs": 1.0, **trial.row("dense", trial.dense)}
        return
    budgets = settings.macs or published.fractions(cell["network"])
    for macs, (small, seconds) in zip(budgets, trial.pruned(budgets)):
        yield {"macs": macs, **trial.row("pruned", small), "prune_seconds": seconds}
        if _tuned(settings, cell):
            yield {"macs": macs, **trial.row("re-initialised", trial.trained(small, macs, anew=True))}
            yield {"macs": macs, **trial.row("fine-tuned", trial.trained(small, macs, anew=False))}


SUMMARY = "How accurate published networks are on ImageNet once pruned, before and after fine-tuning."
STUDY = sweep.Study("imagenet", SUMMARY, PRESETS, _cells, _run_cell, _cost, describe=describe, at_scale=True)
