"""Greedy forward selection beside its rivals, on the same trained networks.

Chapter *What else could one do?*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from gfs_tutorial import baselines, greedy_forward_selection
from gfs_tutorial.data import Digits
from gfs_tutorial.experiments import mnist, sweep
from gfs_tutorial.experiments.mnist_data import digits
from gfs_tutorial.experiments.pruning import accuracy
from gfs_tutorial.experiments.store import Cell
from gfs_tutorial.losses import half_squared_error
from gfs_tutorial.networks import TwoLayerNet
from gfs_tutorial.selection import NeuronPath

__all__ = ["PRESETS", "RULES", "STUDY", "Comparison", "MethodSettings", "compare"]

RULES: dict[str, Callable[..., NeuronPath]] = {
    "forward": greedy_forward_selection,
    "forward-distinct": lambda *problem: greedy_forward_selection(*problem, with_replacement=False),
    "forward-refitted": lambda *problem: baselines.refit(greedy_forward_selection(*problem), *problem[:3]),
    "backward": baselines.backward_elimination,
    "matching-pursuit": baselines.orthogonal_matching_pursuit,
    "magnitude": baselines.magnitude_selection,
    "random": lambda *problem: baselines.random_selection(
        *problem, generator=torch.Generator().manual_seed(0)
    ),
}


@dataclass(frozen=True)
class MethodSettings:
    """All that the result depends on.

    Attributes:
        train_sizes: m: how many images to train on.
        checkpoints: t: after how many SGD iterations to prune.
        width: N: how many neurons the dense network has.
        sizes: k: how many neurons to keep.
        seeds: One run each: random weights, batches and choice of the images.
        fine_tuning: Iterations that "fine-tuned" adds to the t; "re-initialised" has both from the start.
        activation: Of the hidden layer: tanh, sigmoid, softplus or relu.
        batch_size: Images in a mini-batch.
        lr: Mean-field learning rates of the weights into the neurons and out of them.
        loss: The squared loss; the rivals know no other.
        source: "embedded" for the 5,000 images that come with the book, "auto" for all of MNIST.
        device: Where to train; "auto" takes the GPU if there is one.
    """

    train_sizes: tuple[int, ...]
    checkpoints: tuple[int, ...]
    width: int
    sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    fine_tuning: int = 500
    activation: Literal["tanh", "sigmoid", "softplus", "relu"] = "tanh"
    batch_size: int = 100
    lr: tuple[float, float] = (0.01, 1.0)
    loss: Literal["squared"] = "squared"
    source: Literal["auto", "embedded"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"


LAPTOP = MethodSettings(
    train_sizes=(1000, 4000),
    checkpoints=(0, 60, 280, 1000, 4000),
    width=1000,
    sizes=(10, 25, 50, 100, 200),
    seeds=(0, 1, 2),
    device="cpu",
)
PRESETS = {
    "quick": replace(
        LAPTOP,
        train_sizes=(1000,),
        checkpoints=(0, 60, 280),
        width=400,
        sizes=(10, 50, 100),
        seeds=(0, 1),
        fine_tuning=100,
        source="embedded",
    ),
    "laptop": LAPTOP,
    "paper": replace(
        LAPTOP,
        train_sizes=(1000, 4000, 15_000),
        checkpoints=(0, 60, 280, 1000, 4000, 8000),
        width=5000,
        seeds=(0, 1, 2, 3, 4),
        device="cuda",
    ),
}


def _cells(settings: MethodSettings) -> list[Cell]:
    return [{"m": m, "seed": seed} for seed in settings.seeds for m in settings.train_sizes]


def _cost(settings: MethodSettings, cell: Cell) -> float:
    """Neurons times rows that pass through them; a Gram matrix is N rows a neuron and image."""
    training = 3 * settings.batch_size * max(settings.checkpoints)
    return settings.width * (training + len(settings.checkpoints) * cell["m"] * settings.width / 100)


def _run_cell(settings: MethodSettings, cell: Cell, device: torch.device) -> Iterator[dict[str, Any]]:
    """A row for each t, k and method."""
    data = digits("binary", cell["m"], cell["seed"], settings.source, device)
    history = mnist.train(settings, {**cell, "N": settings.width}, data.X_train, data.y_train)
    for t in settings.checkpoints:
        dense = history.at(t)
        whole = {f"dense_{key}": value for key, value in _quality(dense, data).items()}
        for method, k, net in _networks(settings, cell, dense, t, data):
            yield {"t": t, "k": k, "method": method, "distinct": net.width, **_quality(net, data), **whole}


def _networks(
    settings: MethodSettings, cell: Cell, dense: TwoLayerNet, t: int, data: Digits
) -> Iterator[tuple[str, int, TwoLayerNet]]:
    """Every method's network of every size, from the dense network after t iterations."""
    train_set = (data.X_train, data.y_train)
    paths = {name: rule(dense, *train_set, max(settings.sizes)) for name, rule in RULES.items()}
    for name, path in paths.items():
        for k in settings.sizes:
            yield name, k, path.subnetwork(min(k, len(path)))

    def budget(iterations: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(cell["seed"])
        how = {"batch_size": settings.batch_size, "lr": settings.lr, "progress": False}
        return {"iterations": iterations, "generator": generator, **how}

    path, more = paths["forward"], settings.fine_tuning
    for k in settings.sizes:
        if t > 0:
            yield "from-scratch", k, baselines.train_from_scratch(dense, *train_set, k, **budget(t))
        yield "fine-tuned", k, baselines.fine_tune(path, k, *train_set, **budget(more))
        yield "re-initialised", k, baselines.reinitialise(path, k, *train_set, **budget(t + more))


@torch.no_grad()
def _quality(net: TwoLayerNet, data: Digits) -> dict[str, float]:
    """Loss on the training images, and both accuracies."""
    return {
        "loss": float(half_squared_error(net(data.X_train), data.y_train)),
        "train_accuracy": accuracy(net, data.X_train, data.y_train),
        "test_accuracy": accuracy(net, data.X_test, data.y_test),
    }


class Comparison(NamedTuple):
    """Two methods on the same networks: how often the first has the lower loss, and their mean ratio."""

    wins: int
    of: int
    ratio: float


def compare(rows: Iterable[dict[str, Any]], one: str, other: str) -> Comparison:
    """Compare the losses of two methods wherever both have been run.

    Args:
        rows: Rows of the study.
        one, other: Names of methods.

    Returns:
        ``ratio`` is the geometric mean of the first loss over the second.

    Raises:
        ValueError: there is no place where both have been run.
    """
    losses = {tuple(row[key] for key in ("m", "seed", "t", "k", "method")): row["loss"] for row in rows}
    pairs = [
        (loss, losses.get((*where, other))) for (*where, method), loss in losses.items() if method == one
    ]
    ratios = [loss / beside for loss, beside in pairs if beside is not None]
    if not ratios:
        raise ValueError(f"rows hold no place with both {one!r} and {other!r}")
    wins = sum(ratio < 1 for ratio in ratios)
    return Comparison(wins, len(ratios), float(np.exp(np.mean(np.log(ratios)))))


SUMMARY = "Forward selection beside backward elimination, matching pursuit, magnitude, chance and no pruning."
STUDY = sweep.Study("methods", SUMMARY, PRESETS, _cells, _run_cell, _cost)
