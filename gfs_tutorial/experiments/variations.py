"""How much of the MNIST experiment survives other labels, activations and learning rates.

Chapter *The MNIST experiment*.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch

from gfs_tutorial.experiments import mnist, sweep
from gfs_tutorial.experiments.mnist_data import digits
from gfs_tutorial.experiments.store import Cell

__all__ = ["PRESETS", "STUDY", "VARIATIONS", "Variation", "VariationSettings"]


@dataclass(frozen=True)
class Variation:
    """One change to the MNIST experiment: an activation, learning rates, or labels in random order."""

    activation: Literal["tanh", "sigmoid", "softplus", "relu"] = "tanh"
    lr: tuple[float, float] = (0.01, 1.0)
    shuffled: bool = False


Name = Literal[
    "standard", "shuffled-labels", "sigmoid", "softplus", "relu", "slow", "fast", "output-layer-only"
]
VARIATIONS: dict[Name, Variation] = {
    "standard": Variation(),
    "shuffled-labels": Variation(shuffled=True),
    "sigmoid": Variation("sigmoid", (0.1, 1.0)),
    "softplus": Variation("softplus", (0.01, 0.25)),
    "relu": Variation("relu", (0.01, 0.5)),
    "slow": Variation(lr=(0.0025, 0.25)),
    "fast": Variation(lr=(0.02, 2.0)),
    "output-layer-only": Variation(lr=(0.0, 1.0)),
}


@dataclass(frozen=True)
class VariationSettings:
    """All that the result depends on.

    Attributes:
        variations: What to change, one thing at a time; "slow" and "fast" are learning rates.
        train_sizes: m: how many images to train on.
        checkpoints: t: after how many SGD iterations to prune.
        width: N: how many neurons the dense network has.
        size: k: how many neurons the selection picks.
        seeds: One run each: random weights, batches and choice of the images.
        batch_size: Images in a mini-batch.
        source: "embedded" for the 5,000 images that come with the book, "auto" for all of MNIST.
        device: Where to compute; "auto" takes the GPU if there is one.
    """

    variations: tuple[Name, ...]
    train_sizes: tuple[int, ...]
    checkpoints: tuple[int, ...]
    width: int
    size: int
    seeds: tuple[int, ...]
    batch_size: int = 100
    source: Literal["auto", "embedded"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"


LAPTOP = VariationSettings(
    variations=tuple(VARIATIONS),
    train_sizes=(1000, 4000),
    checkpoints=(0, 10, 20, 40, 60, 90, 130, 190, 280, 410, 600, 1000),
    width=1000,
    size=200,
    seeds=(0, 1, 2),
    device="cpu",
)
PRESETS = {
    "quick": replace(
        LAPTOP,
        variations=("standard", "shuffled-labels", "sigmoid"),
        train_sizes=(500, 2000),
        checkpoints=(0, 20, 60, 190),
        width=500,
        size=100,
        seeds=(0, 1),
        source="embedded",
    ),
    "laptop": LAPTOP,
    "paper": replace(
        LAPTOP,
        train_sizes=(1000, 2000, 4000, 8000, 15_000, 30_000, 60_000),
        checkpoints=(*LAPTOP.checkpoints, 2000, 4000, 8000),
        width=10_000,
        seeds=(0, 1, 2, 3, 4),
        device="cuda",
    ),
}


def _cells(settings: VariationSettings) -> list[Cell]:
    return [
        {"variation": variation, "m": m, "seed": seed}
        for seed in settings.seeds
        for variation in settings.variations
        for m in settings.train_sizes
    ]


def _as_mnist(settings: VariationSettings, cell: Cell) -> mnist.MnistSettings:
    """The settings of the MNIST experiment that this cell is, apart from its labels."""
    shared = asdict(settings)
    for own in ("variations", "width", "size"):
        del shared[own]
    variation = VARIATIONS[cell["variation"]]
    return mnist.MnistSettings(
        **shared,
        widths=(settings.width,),
        sizes=(settings.size,),
        activation=variation.activation,
        lr=variation.lr,
    )


def _cost(settings: VariationSettings, cell: Cell) -> float:
    return mnist.cost(_as_mnist(settings, cell), {**cell, "N": settings.width})


def _run_cell(settings: VariationSettings, cell: Cell, device: torch.device) -> Iterator[dict[str, Any]]:
    """Rows of the MNIST experiment at every checkpoint, with the variation spelt out."""
    variation = VARIATIONS[cell["variation"]]
    data = digits("binary", cell["m"], cell["seed"], settings.source, device)
    if variation.shuffled:
        order = torch.randperm(cell["m"], generator=torch.Generator().manual_seed(cell["seed"]))
        data = replace(data, y_train=data.y_train[order.to(device)])
    rows = mnist.prune_along(_as_mnist(settings, cell), {**cell, "N": settings.width}, data)
    spelt_out = {**asdict(variation), "lr": list(variation.lr)}  # as it will be read back
    return ({**spelt_out, **row} for row in rows)


SUMMARY = "What is left of the MNIST experiment with shuffled labels, other activations and learning rates."
STUDY = sweep.Study("variations", SUMMARY, PRESETS, _cells, _run_cell, _cost)
