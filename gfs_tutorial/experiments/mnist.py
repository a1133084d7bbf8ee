"""The MNIST experiment: what pruning finds after t iterations of pre-training on m images.

After Wolfe et al. (2024), in our own setting; chapter *The MNIST experiment*.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from gfs_tutorial.data import Digits
from gfs_tutorial.experiments import sweep
from gfs_tutorial.experiments.mnist_data import digits
from gfs_tutorial.experiments.pruning import accuracy, select
from gfs_tutorial.experiments.store import Cell
from gfs_tutorial.networks import TwoLayerNet
from gfs_tutorial.training import TrainingHistory, train_sgd

__all__ = ["PRESETS", "STUDY", "MnistSettings", "accuracy", "cost", "preset", "prune_along", "run", "train"]


@dataclass(frozen=True)
class MnistSettings:
    """All that the result depends on.

    Attributes:
        train_sizes: m: how many images to train on.
        checkpoints: t: after how many SGD iterations to prune.
        widths: N: how many neurons the dense network has.
        sizes: k: how many neurons the selection picks. The largest is run, the others are its beginnings.
        seeds: One run each: random weights, batches and choice of the images.
        labels: "binary" tells the digits below five from the others; "one-hot" has an output for each digit.
        loss: To train and to select with: "squared", or "logistic" (a sigmoid output and cross-entropy).
        activation: Of the hidden layer: tanh, sigmoid, softplus or relu.
        batch_size: Images in a mini-batch.
        lr: Mean-field learning rates of the weights into the neurons and out of them.
        max_activations: Leave out runs whose N times m exceeds this: they need four bytes of memory for each.
        source: "embedded" for the 5,000 images that come with the book, "auto" for all of MNIST.
        device: Where to compute; "auto" takes the GPU if there is one.
    """

    train_sizes: tuple[int, ...]
    checkpoints: tuple[int, ...]
    widths: tuple[int, ...]
    sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    labels: Literal["binary", "one-hot"] = "binary"
    loss: Literal["squared", "logistic"] = "squared"
    activation: Literal["tanh", "sigmoid", "softplus", "relu"] = "tanh"
    batch_size: int = 100
    lr: tuple[float, float] = (0.01, 1.0)
    max_activations: int = 1_500_000_000
    source: Literal["auto", "embedded"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"


LAPTOP = MnistSettings(
    train_sizes=(1000, 2000, 4000, 8000, 15_000, 60_000),
    checkpoints=(0, 10, 20, 40, 60, 90, 130, 190, 280, 410, 600, 1000, 2000, 4000, 8000),
    widths=(1000,),
    sizes=(25, 50, 100, 200),
    seeds=(0, 1, 2),
    device="cpu",
)
PAPER = replace(
    LAPTOP,
    train_sizes=(1000, 2000, 4000, 6000, 8000, 10_000, 12_000, 15_000, 30_000, 60_000),
    checkpoints=(*LAPTOP.checkpoints[:-4], *range(1000, 8001, 1000), 16_000, 32_000),
    widths=(1000, 5000, 10_000, 20_000),
    sizes=(25, 50, 100, 200, 400, 800),
    seeds=(0, 1, 2, 3, 4),
    device="cuda",
)
LOGISTIC: dict[str, Any] = {"loss": "logistic", "lr": (0.02, 4.0)}
PRESETS = {
    "quick": MnistSettings(
        train_sizes=(250, 500, 1000, 2000, 4000),
        checkpoints=(0, 10, 20, 30, 40, 60, 80, 120, 160, 240, 320, 480, 640),
        widths=(1000,),
        sizes=(200,),
        seeds=(0, 1, 2),
        source="embedded",
        device="cpu",
    ),
    "laptop": LAPTOP,
    "laptop-wide": replace(
        LAPTOP,
        widths=(5000,),
        train_sizes=(1000, 4000, 15_000),
        checkpoints=LAPTOP.checkpoints[:-2],  # an iteration costs seven times as much: stop at 2,000
        seeds=(0, 1),
    ),
    "laptop-widest": replace(
        LAPTOP, widths=(10_000,), train_sizes=(1000, 4000), checkpoints=LAPTOP.checkpoints[:-4], seeds=(0,)
    ),
    "laptop-digits": replace(LAPTOP, labels="one-hot", train_sizes=(1000, 4000, 15_000)),
    "laptop-logistic": replace(
        LAPTOP, **LOGISTIC, train_sizes=(1000, 4000), checkpoints=LAPTOP.checkpoints[::2], seeds=(0, 1)
    ),
    "paper": PAPER,
    "paper-digits": replace(PAPER, labels="one-hot"),
    "paper-logistic": replace(PAPER, **LOGISTIC, max_activations=75_000_000),
}


def _cells(settings: MnistSettings) -> list[Cell]:
    """One cell a seed, N and m; the first seed is complete before the second begins."""
    return [
        {"N": N, "m": m, "seed": seed}
        for seed in settings.seeds
        for N in settings.widths
        for m in settings.train_sizes
        if N * m <= settings.max_activations
    ]


def cost(settings: MnistSettings, cell: Cell) -> float:
    """What a cell costs beside others: neurons times the rows that pass through them."""
    training = 3 * settings.batch_size * max(settings.checkpoints)
    picks = max(settings.sizes) * (0.02 if settings.loss == "squared" else 1.0)
    return cell["N"] * (training + len(settings.checkpoints) * (10_000 + cell["m"] * (2 + picks)))


def train(settings: Any, cell: Cell, X: torch.Tensor, y: torch.Tensor) -> TrainingHistory:
    """Train the network of a cell, with the states at the checkpoints.

    Args:
        settings: Has ``activation``, ``checkpoints``, ``batch_size``, ``lr`` and ``loss``.
        cell: Has ``N`` and ``seed``.
        X: (m, d).
        y: (m, C).
    """
    generator = torch.Generator().manual_seed(cell["seed"])
    net = TwoLayerNet(X.shape[1], cell["N"], y.shape[1], settings.activation, generator=generator)
    return train_sgd(
        net.to(X.device),
        X,
        y,
        iterations=max(settings.checkpoints),
        batch_size=settings.batch_size,
        lr=settings.lr,
        loss=settings.loss,
        checkpoints=settings.checkpoints,
        generator=generator,
        progress=False,
    )


def _run_cell(settings: MnistSettings, cell: Cell, device: torch.device) -> Iterator[dict[str, Any]]:
    data = digits(settings.labels, cell["m"], cell["seed"], settings.source, device)
    return prune_along(settings, cell, data)


def prune_along(settings: MnistSettings, cell: Cell, data: Digits) -> Iterator[dict[str, Any]]:
    """Train the network of a cell and prune it at every checkpoint: a row for each t and k."""
    train_set, test_set = (data.X_train, data.y_train), (data.X_test, data.y_test)
    history = train(settings, cell, *train_set)
    for t in settings.checkpoints:
        dense = history.at(t)
        path = select(dense, *train_set, max(settings.sizes), settings.loss)
        of_dense = {
            "dense_loss": path.dense_loss,
            "dense_train_accuracy": accuracy(dense, *train_set),
            "dense_test_accuracy": accuracy(dense, *test_set),
            "variance": path.variance,
        }
        for k in settings.sizes:
            subnetwork = path.subnetwork(k)
            yield {
                "t": t,
                "k": k,
                **of_dense,
                "distinct": subnetwork.width,
                "subnetwork_loss": float(path.losses[k - 1]),
                "bound": path.bound(k),
                "subnetwork_train_accuracy": accuracy(subnetwork, *train_set),
                "subnetwork_test_accuracy": accuracy(subnetwork, *test_set),
            }


SUMMARY = "How good a pruned network is after so much pre-training on so many images, for several widths."
STUDY = sweep.Study("mnist", SUMMARY, PRESETS, _cells, _run_cell, cost)


def preset(name: str) -> MnistSettings:
    """The settings of that name; ``ValueError`` lists those that there are."""
    return STUDY.preset(name)


def run(
    settings: MnistSettings, *, preset: str = "custom", folder: str | Path | None = None, **how: Any
) -> dict[str, Any]:
    """:func:`gfs_tutorial.experiments.sweep.run` of this study.

    ``rows`` has one dictionary for each seed, N, m, t and k: losses on the training images and accuracies,
    of the dense network and of the subnetwork, with the subnetwork's certificate.
    """
    return sweep.run(STUDY, settings, preset=preset, folder=folder, **how)
