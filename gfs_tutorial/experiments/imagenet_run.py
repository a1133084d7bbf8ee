"""One cell of the ImageNet study: photographs, the dense network, and what becomes of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gfs_tutorial.cnn.cost import count_macs, count_parameters
from gfs_tutorial.cnn.distributed import Recipe, evaluate_dataset, prune_to_budgets, train
from gfs_tutorial.cnn.models import Pretrained, load_pretrained
from gfs_tutorial.cnn.reinitialise import reinitialised
from gfs_tutorial.data.photographs import Normalised, Photographs, find_imagenet, halves
from gfs_tutorial.distributed.alone import communicator_here
from gfs_tutorial.experiments.mnist_data import MissingError
from gfs_tutorial.experiments.store import Cell

__all__ = ["Trial", "describe"]

EVERY = 500  # steps between checkpoints of fine-tuning


@lru_cache(maxsize=2)
def _photographs(source: str) -> tuple[Photographs | None, Photographs, str]:
    """Listing more than a million files takes a while: once a process."""
    return find_imagenet(source=source)


def _first_on_rank_0(load: Callable[[], Pretrained]) -> Pretrained:
    """So that a download is made once, and the other processes find the file."""
    communicator = communicator_here()
    if communicator.rank == 0 and communicator.world > 1:
        load()
    communicator.all_reduce(torch.zeros(1), "weights")
    return load()


def describe(settings: Any) -> str:
    """What the photographs are, the same on every machine, and the start of a checksum of their names.

    Raises:
        MissingError: there are too few to calibrate on.
    """
    train, val, kind = _photographs(settings.source)
    classes = len(val.labels.unique())
    if train is not None:
        most, words = len(train), f"{kind}, {len(train):,} training and {len(val):,} validation photographs"
        digests = f"{train.digest}, {val.digest}"
    else:
        most, digests = len(val) // 2, val.digest
        words = f"{kind}, {len(val)} photographs of {classes} classes, halved: no validation set"
    if max(settings.calibration) > most:
        raise MissingError(
            f"calibration goes up to {max(settings.calibration)} but there are only {most}: lower it"
        )
    return f"{words}, sha256 {digests}"


class Trial:
    """A network and the photographs of one cell.

    Args:
        settings: Of the study.
        cell: Has ``network``, ``calibration`` and ``seed``.
        device: Where to compute.
        scratch: Folder for checkpoints; ``None`` keeps none.
    """

    def __init__(self, settings: Any, cell: Cell, device: torch.device, scratch: Path | None):
        self.settings, self.cell, self.scratch = settings, cell, scratch
        self.pretrained = _first_on_rank_0(lambda: load_pretrained(cell["network"]))
        self.dense = self.pretrained.model.to(device)
        how = (self.pretrained.image_size, self.pretrained.resample)
        known, val, _ = _photographs(settings.source)
        known, val = halves(val, cell["seed"]) if known is None else (known, val)
        self.evaluation = val.prepared(*how)
        self.training = known.prepared(*how, augment=True)
        draw = torch.Generator().manual_seed(cell["seed"])
        rows = torch.randperm(len(known), generator=draw)[: cell["calibration"]]
        self.calibration = known.take(rows).prepared(*how)

    def pruned(self, budgets: Sequence[float]) -> Iterator[tuple[nn.Module, float]]:
        """The network with fewer channels, one for each share of the MACs, and the seconds that it took."""
        images = Normalised(self.calibration, self.pretrained.mean, self.pretrained.std)
        for small, report in prune_to_budgets(
            self.dense,
            images,
            budgets,
            inputs=self.settings.inputs,
            seed=self.cell["seed"],
            checkpoint=self._file("pruning"),
        ):
            yield small, round(report.seconds, 2)

    def trained(self, small: nn.Module, macs: float, *, anew: bool) -> nn.Module:
        """The small network fine-tuned, or its shape trained from random weights for as many steps."""
        settings, seed = self.settings, self.cell["seed"]
        model = reinitialised(small, seed) if anew else copy.deepcopy(small)
        recipe = Recipe(
            settings.steps,
            settings.batch_size,
            settings.lr,
            label_smoothing=settings.label_smoothing,
            optimizer=settings.optimizer,
            norms="local" if anew else "frozen",
            accumulate=settings.accumulate,
            seed=seed,
            workers=settings.workers,
        )
        train(
            model,
            self.training,
            recipe,
            mean=self.pretrained.mean,
            std=self.pretrained.std,
            teacher=self.dense if settings.targets == "dense" else None,
            checkpoint=self._file(f"{'anew' if anew else 'fine-tuning'}-{macs:g}"),
            every=EVERY,
            progress=False,
        )
        return model

    def row(self, method: str, model: nn.Module) -> dict[str, Any]:
        """Accuracies and costs of a model."""
        size, device = self.pretrained.image_size, next(model.parameters()).device
        example = torch.zeros(1, 3, size, size, device=device)
        found = evaluate_dataset(
            model,
            self.evaluation,
            mean=self.pretrained.mean,
            std=self.pretrained.std,
            workers=self.settings.workers,
        )
        return {
            "method": method,
            "top1": found.top1,
            "top5": found.top5,
            "images": found.images,
            "kept_macs": count_macs(model, example),
            "parameters": count_parameters(model),
        }

    def _file(self, name: str) -> Path | None:
        return None if self.scratch is None else self.scratch / f"{name}.pt"
