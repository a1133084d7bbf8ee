"""The CIFAR-10 study: what pruning by channels finds after t iterations of pre-training on m images.

After Wolfe et al. (2024), in our own setting; chapter *The CIFAR-10 experiment*. Every t is a training run of
its own with a whole learning-rate cycle: a checkpoint from the middle of a longer run, at a high learning
rate, would say little about what t iterations are good for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from gfs_tutorial.experiments import cifar10_data, sweep
from gfs_tutorial.experiments.channel_trial import NETWORKS, Trial
from gfs_tutorial.experiments.store import Cell

__all__ = ["PRESETS", "STUDY", "Cifar10Settings", "preset", "run"]

Network = Literal[
    "resnet20", "resnet20-narrow", "resnet20-tiny", "mobilenet-v2-narrow", "mobilenet-v2", "resnet34"
]


@dataclass(frozen=True)
class Cifar10Settings:
    """All that the result depends on.

    Attributes:
        networks: Which architectures; "narrow" has a half (ResNet) or a quarter (MobileNet) of the channels,
            "tiny" stages of 8, 8 and 16.
        train_sizes: m: how many images to train on.
        iterations: t: how many SGD iterations to pre-train, each t a run of its own.
        seeds: One run each: random weights, batches, and choice of the images.
        share: Of its channels that every unit keeps in the papers' recipe. The others get the same MACs.
        rivals: Criteria of torch-pruning to run beside it, each in its standard pipeline.
        candidates: How many random channels a step of the papers' recipe tries; the authors try 50.
        selection_batch: Images in the mini-batch of such a step.
        between: SGD iterations after each unit of the papers' recipe; they count as fine-tuning.
        fine_tuning: SGD iterations after pruning, for every method.
        fine_tuning_lr: The largest learning rate meanwhile.
        calibration: How many training images our default and the rivals look at.
        batch_size: Images in a mini-batch.
        lr: The largest learning rate of the pre-training.
        weight_decay: Of convolutions and matrices.
        augment: Random crops, and flips too where left and right may be exchanged.
        test_size: How many test images to look at; None takes all.
        source: "embedded" for digits in colours, "auto" for CIFAR-10.
        device: Where to compute; "auto" takes the GPU if there is one.
    """

    networks: tuple[Network, ...]
    train_sizes: tuple[int, ...]
    iterations: tuple[int, ...]
    seeds: tuple[int, ...]
    share: float = 0.5
    rivals: tuple[str, ...] = ("l1", "taylor", "random")
    candidates: int = 50
    selection_batch: int = 128
    between: int = 4
    fine_tuning: int = 400
    fine_tuning_lr: float = 0.02
    calibration: int = 500
    batch_size: int = 128
    lr: float = 0.2
    weight_decay: float = 5e-4
    augment: Literal["crop-and-flip", "crop", "none"] = "crop-and-flip"
    test_size: int | None = None
    source: Literal["auto", "embedded"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"


LAPTOP = Cifar10Settings(
    networks=("resnet20", "mobilenet-v2-narrow"),
    train_sizes=(2000, 10_000, 50_000),
    iterations=(390, 1560, 6240, 12_480),
    seeds=(0,),
    device="cpu",
)
PRESETS = {
    "quick": Cifar10Settings(
        networks=("resnet20-tiny",),
        train_sizes=(500, 4000),
        iterations=(15, 60),
        seeds=(0,),
        rivals=("l1",),
        candidates=4,
        selection_batch=64,
        between=1,
        fine_tuning=20,
        fine_tuning_lr=0.05,
        calibration=256,
        batch_size=64,
        augment="crop",
        test_size=500,
        source="embedded",
        device="cpu",
    ),
    "laptop": LAPTOP,
    "laptop-narrow": replace(
        LAPTOP,
        networks=("resnet20-narrow",),
        iterations=(100, 400, 1600),
        candidates=10,
        selection_batch=64,
        between=2,
        fine_tuning=40,
        fine_tuning_lr=0.05,
        calibration=256,
        test_size=1000,
    ),
    "paper": Cifar10Settings(
        networks=("resnet34", "mobilenet-v2"),
        train_sizes=(10_000, 30_000, 50_000),
        iterations=(2500, 5000, 10_000, 20_000, 40_000, 80_000),
        seeds=(0, 1, 2),
        between=39,
        fine_tuning=8000,
        device="cuda",
    ),
}


def _cells(settings: Cifar10Settings) -> list[Cell]:
    """One cell a seed, network, t and m: short trainings first, and the first seed before the second."""
    return [
        {"net": net, "m": m, "t": t, "seed": seed}
        for seed in settings.seeds
        for net in settings.networks
        for t in settings.iterations
        for m in settings.train_sizes
    ]


def _cost(settings: Cifar10Settings, cell: Cell) -> float:
    """Training iterations, in units of the dense network's, times what one costs beside other networks."""
    small = settings.share * (cell["t"] + (3 + len(settings.rivals)) * settings.fine_tuning)
    return NETWORKS[cell["net"]].cost * (cell["t"] + settings.fine_tuning + small)


def _run_cell(settings: Cifar10Settings, cell: Cell, device: torch.device) -> Iterator[dict[str, Any]]:
    """A row for each method."""
    data = cifar10_data.images(cell["m"], settings.test_size, cell["seed"], settings.source, device)
    return Trial(settings, cell, data, device).rows()


SUMMARY = "How good a network pruned by channels is after so much pre-training on so many images."
STUDY = sweep.Study(
    "cifar10",
    SUMMARY,
    PRESETS,
    _cells,
    _run_cell,
    _cost,
    describe=lambda settings: cifar10_data.describe(settings.source, max(settings.train_sizes)),
)
preset = STUDY.preset


def run(
    settings: Cifar10Settings, *, preset: str = "custom", folder: str | Path | None = None, **how: Any
) -> dict[str, Any]:
    """:func:`gfs_tutorial.experiments.sweep.run` of this study.

    ``rows`` has one dictionary for each network, m, t, seed and method: the share of the dense MACs and top-1
    on the test images, before fine-tuning and after it.
    """
    return sweep.run(STUDY, settings, preset=preset, folder=folder, **how)
