"""One cell of the CIFAR-10 study: pre-train a network, prune it in several ways, fine-tune each."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gfs_tutorial import checks
from gfs_tutorial.cnn.cost import MacModel, count_macs
from gfs_tutorial.cnn.models import build
from gfs_tutorial.cnn.prune import prune
from gfs_tutorial.cnn.recalibration import recalibrate_norms
from gfs_tutorial.cnn.rivals import RIVALS, global_candidates, rival_scores
from gfs_tutorial.cnn.surgery import slice_units
from gfs_tutorial.cnn.training import evaluate, fit, native_precision, normalize
from gfs_tutorial.cnn.units import find_units
from gfs_tutorial.data.images import Images
from gfs_tutorial.experiments.layerwise import fresh_batches, prune_layer_by_layer
from gfs_tutorial.experiments.store import Cell

__all__ = ["NETWORKS", "Architecture", "Trial"]

NEW_WEIGHTS = 1000  # added to the seed where a network starts afresh
AUGMENT: dict[str, bool | str] = {"crop-and-flip": True, "crop": "crop", "none": False}
Row = dict[str, Any]


@dataclass(frozen=True)
class Architecture:
    """A network of :mod:`gfs_tutorial.cnn.models`.

    Attributes:
        name: Its name there.
        cost: Of a training iteration beside others; about its MACs in millions.
        options: Of its function.
    """

    name: str
    cost: float
    options: dict[str, Any] = field(default_factory=dict)


# Stages of 4 or 6 channels crash the backward pass of torch 2.14 in channels-last memory on some processors.
NETWORKS = {
    "resnet20": Architecture("resnet20", 41),
    "resnet20-narrow": Architecture("resnet20", 17, {"widths": (8, 16, 32)}),
    "resnet20-tiny": Architecture("resnet20", 11, {"widths": (8, 8, 16)}),
    "mobilenet-v2-narrow": Architecture("mobilenet-v2-cifar", 53, {"width_mult": 0.25}),
    "mobilenet-v2": Architecture("mobilenet-v2-cifar", 200),
    "resnet34": Architecture("resnet34-cifar", 1160),
}


class Trial:
    """One network, its images, and what is done to it.

    Args:
        settings: Of the study (:class:`gfs_tutorial.experiments.cifar10.Cifar10Settings`).
        cell: Has ``net``, ``t`` and ``seed``.
        data: The images, on ``device``.
        device: Where to compute.

    Raises:
        ValueError: ``share`` is out of range, a rival is unknown, or the papers' recipe would train more
            between its layers than there is fine-tuning.
    """

    def __init__(self, settings: Any, cell: Cell, data: Images, device: torch.device):
        self.settings, self.cell, self.data, self.device = settings, cell, data, device
        self.normal = {"mean": data.mean, "std": data.std}
        self.dense = self.new_network(cell["seed"])
        example = self.prepare(data.X_train[:1])
        self.units = find_units(self.dense, example)
        self.costs = MacModel(self.dense, self.units, example)
        _check(settings, len(self.units))

    def rows(self) -> Iterator[Row]:
        """Pre-train, then a row for each method."""
        s, t = self.settings, self.cell["t"]
        self.train(self.dense, t, s.lr)
        yield self.row("dense", self.dense, 0.0, s.fine_tuning)
        small, kept, seconds = self.greedy()
        macs = count_macs(small, self.example()) / self.costs.dense
        yield self.row("gfs", small, seconds, s.fine_tuning - s.between * len(self.units), kept)
        fresh = slice_units(self.new_network(self.cell["seed"] + NEW_WEIGHTS), self.units, kept)
        self.train(fresh, t + s.fine_tuning, s.lr)
        yield {"method": "re-initialised", "macs": macs, "before": None, "after": self.accuracy(fresh)}
        start = time.perf_counter()
        small, report = prune(self.dense, self.calibration(), macs=macs, seed=self.cell["seed"])
        yield self.row("default", small, time.perf_counter() - start, s.fine_tuning, report.kept)
        for rival in s.rivals:
            start = time.perf_counter()
            small, kept = self.standard(rival, macs)
            yield self.row(rival, small, time.perf_counter() - start, s.fine_tuning, kept)

    def row(
        self,
        method: str,
        net: nn.Module,
        seconds: float,
        steps: int,
        kept: dict[str, Tensor] | None = None,
    ) -> Row:
        """Accuracies before and after fine-tuning a copy of ``net``, which is left as it is."""
        before, tuned = self.accuracy(net), copy.deepcopy(net)
        self.train(tuned, steps, self.settings.fine_tuning_lr)
        row = {
            "method": method,
            "macs": count_macs(net, self.example()) / self.costs.dense,
            "before": before,
            "after": self.accuracy(tuned),
            "pruning_seconds": round(seconds, 2),
            "precision": native_precision(self.device),
        }
        return row | ({"channels": {name: len(c) for name, c in kept.items()}} if kept else {})

    def greedy(self) -> tuple[nn.Module, dict[str, Tensor], float]:
        """The papers' recipe: the small network, its channels, and the seconds."""
        s, start = self.settings, time.perf_counter()
        draw = self.generator()
        batches = fresh_batches(self.data.X_train, self.data.y_train, s.selection_batch, self.prepare, draw)
        between: Callable[[nn.Module], object] = partial(
            self.train, steps=s.between, lr=s.fine_tuning_lr / 10
        )
        small, kept = prune_layer_by_layer(
            self.dense,
            self.units,
            batches,
            share=s.share,
            candidates=s.candidates,
            train_between=between,
            generator=self.generator(),
        )
        return small, kept, time.perf_counter() - start

    def standard(self, rival: str, macs: float) -> tuple[nn.Module, dict[str, Tensor]]:
        """torch-pruning's way: the lowest scores of the whole network go, batch norms are measured anew."""
        batches = self.calibration()
        scores = rival_scores(rival, self.dense, self.units, batches, seed=self.cell["seed"])
        kept = global_candidates(scores, self.costs, macs)
        return recalibrate_norms(slice_units(self.dense, self.units, kept), batches), kept

    def train(self, net: nn.Module, steps: int, lr: float) -> None:
        """Train in place, always on the same order of mini-batches; no step is no training."""
        if steps > 0:
            s, data = self.settings, self.data
            fit(
                net,
                data.X_train,
                data.y_train,
                mean=data.mean,
                std=data.std,
                steps=steps,
                batch_size=s.batch_size,
                lr=lr,
                weight_decay=s.weight_decay,
                augment=AUGMENT[s.augment],
                generator=self.generator(),
                progress=False,
            )
        net.eval()

    def accuracy(self, net: nn.Module) -> float:
        data = self.data
        return evaluate(net, data.X_test, data.y_test, mean=data.mean, std=data.std)

    def calibration(self) -> list[tuple[Tensor, Tensor]]:
        """Mini-batches of the first training images, which are of mixed classes."""
        count = self.settings.calibration
        images = self.prepare(self.data.X_train[:count])
        return list(zip(images.split(50), self.data.y_train[:count].split(50)))

    def example(self) -> Tensor:
        return self.prepare(self.data.X_train[:1])  # (1, 3, 32, 32)

    def prepare(self, images: Tensor) -> Tensor:
        return normalize(images, **self.normal)

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.cell["seed"])

    def new_network(self, seed: int) -> nn.Module:
        chosen = NETWORKS[self.cell["net"]]
        net = build(chosen.name, len(self.data.classes), seed=seed, **chosen.options)
        return net.to(self.device).eval()


def _check(settings: Any, units: int) -> None:
    """Raise before the pre-training where a setting would fail after it."""
    if not 0 < settings.share <= 1:
        raise ValueError(f"share must lie in (0, 1], got {settings.share}")
    for rival in settings.rivals:
        checks.one_of("rivals", rival, tuple(RIVALS))
    if settings.between * units > settings.fine_tuning:
        raise ValueError(
            f"between is {settings.between} iterations after each of {units} units, but fine_tuning is only "
            f"{settings.fine_tuning}: lower between"
        )
