"""The MNIST experiment: what pruning finds after t iterations of pre-training on m images.

After Wolfe et al. (2024), in our own setting; chapter *The MNIST experiment*.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from gfs_tutorial import checks, results
from gfs_tutorial.data import Digits, load_mnist
from gfs_tutorial.networks import TwoLayerNet
from gfs_tutorial.selection import greedy_forward_selection
from gfs_tutorial.training import train_sgd

__all__ = ["PRESETS", "MnistSettings", "accuracy", "first_reached", "run"]


@dataclass(frozen=True)
class MnistSettings:
    """All that the result depends on.

    Attributes:
        train_sizes: m, images trained on.
        checkpoints: t, iterations after which the network is pruned.
        width: N, neurons of the dense network.
        size: k, picks of the selection.
        seeds: One run each: weights, batches and subset of the images.
        activation: Of the hidden layer.
        batch_size: Images a batch.
        lr: Mean-field learning rates of the two layers.
        source: As in :func:`gfs_tutorial.load_mnist`.
    """

    train_sizes: tuple[int, ...]
    checkpoints: tuple[int, ...]
    width: int
    size: int
    seeds: tuple[int, ...]
    activation: str = "tanh"
    batch_size: int = 100
    lr: tuple[float, float] = (0.01, 1.0)
    source: str = "auto"


PRESETS = {
    "quick": MnistSettings(
        train_sizes=(250, 500, 1000, 2000, 4000),
        checkpoints=(0, 10, 20, 30, 40, 60, 80, 120, 160, 240, 320, 480, 640),
        width=1000,
        size=200,
        seeds=(0, 1, 2),
        source="embedded",
    )
}


def run(settings: MnistSettings, *, preset: str = "custom", progress: bool = True) -> dict[str, Any]:
    """Train, prune at every checkpoint and evaluate, for every seed and number of images.

    Args:
        settings: What to run; :data:`PRESETS` has some.
        preset: Their name, for the record.
        progress: Whether to show a progress bar.

    Returns:
        The provenance (command, settings, versions, hardware, data, seconds) and ``rows``, one dictionary
        for each seed, m and t: losses on the training images and accuracies, of the dense network and of
        the subnetwork, with the subnetwork's certificate.
    """
    start = time.perf_counter()
    runs = [(seed, m) for seed in settings.seeds for m in settings.train_sizes]
    rows: list[dict[str, float]] = []
    for seed, m in tqdm(runs, desc="MNIST", unit="run", disable=not progress):
        data = load_mnist(train_size=m, seed=seed, source=settings.source, verbose=False)
        rows.extend(_prune_along(settings, data, seed))
    record = results.provenance(
        f"python -m gfs_tutorial mnist --preset {preset}",
        settings,
        preset=preset,
        data=data.source,
        seconds=round(time.perf_counter() - start, 3),
    )
    return {**record, "rows": rows}


def _prune_along(settings: MnistSettings, data: Digits, seed: int) -> Iterator[dict[str, float]]:
    """Train one network and prune it at every checkpoint."""
    generator = torch.Generator().manual_seed(seed)
    net = TwoLayerNet(784, settings.width, 1, settings.activation, generator=generator)
    history = train_sgd(
        net,
        data.X_train,
        data.y_train,
        iterations=max(settings.checkpoints),
        batch_size=settings.batch_size,
        lr=settings.lr,
        checkpoints=settings.checkpoints,
        generator=generator,
        progress=False,
    )
    for t in settings.checkpoints:
        dense = history.at(t)
        path = greedy_forward_selection(dense, data.X_train, data.y_train, settings.size)
        subnetwork = path.subnetwork(settings.size)
        yield {
            "seed": seed,
            "m": len(data.X_train),
            "t": t,
            "distinct": subnetwork.width,
            "dense_loss": path.dense_loss,
            "subnetwork_loss": float(path.losses[-1]),
            "bound": path.bound(settings.size),
            "dense_train_accuracy": accuracy(dense, data.X_train, data.y_train),
            "subnetwork_train_accuracy": accuracy(subnetwork, data.X_train, data.y_train),
            "dense_test_accuracy": accuracy(dense, data.X_test, data.y_test),
            "subnetwork_test_accuracy": accuracy(subnetwork, data.X_test, data.y_test),
        }


@torch.no_grad()
def accuracy(net: TwoLayerNet, X: Tensor, y: Tensor) -> float:
    """Share of rows whose sign (one output) or largest output (several) is that of the label.

    Args:
        net: The network.
        X: (m, d).
        y: (m, 1) of -1 and +1, or (m, C) one-hot.
    """
    outputs = net(X)  # (m, C)
    if outputs.shape != y.shape:
        raise ValueError(f"y must be {tuple(outputs.shape)}, got {tuple(y.shape)}")
    right = (outputs > 0) == (y > 0) if y.shape[1] == 1 else outputs.argmax(1) == y.argmax(1)
    return float(right.double().mean())


def first_reached(rows: Iterable[dict[str, float]], key: str, level: float) -> int | None:
    """The first iteration t at which ``key`` is at most ``level`` (at least, for accuracies).

    Args:
        rows: Rows of one m and one seed.
        key: Which entry to watch.
        level: The value to reach.

    Returns:
        t, or ``None`` if it is never reached.
    """
    rows = sorted(rows, key=lambda row: row["t"])
    if not rows or key not in rows[0]:
        raise ValueError(f"key must be an entry of the rows, got {key!r}; rows: {len(rows)}")
    sign = -1 if key.endswith("accuracy") else 1
    reached = (int(row["t"]) for row in rows if sign * row[key] <= sign * level)
    return next(reached, None)


def preset(name: str) -> MnistSettings:
    """The settings of that name; ``ValueError`` lists those that there are."""
    return PRESETS[checks.one_of("preset", name, tuple(PRESETS))]
