"""Accuracy on a data set that does not fit into memory, its images shared out over the processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm.auto import tqdm

from gfs_tutorial import checks
from gfs_tutorial.cnn.augmentation import normalize
from gfs_tutorial.cnn.replay import evaluation_mode
from gfs_tutorial.cnn.training import native_precision
from gfs_tutorial.cnn.training_checks import PRECISIONS, check_model
from gfs_tutorial.distributed import Collectives
from gfs_tutorial.distributed.alone import communicator_here

__all__ = ["Accuracies", "evaluate_dataset"]


@dataclass(frozen=True)
class Accuracies:
    """Of a classifier, between 0 and 1.

    Attributes:
        top1, top5: Share of the images whose class is the first answer, or among the first five.
        images: How many there were.
    """

    top1: float
    top5: float
    images: int

    @property
    def standard_error(self) -> float:
        """Of ``top1``, as of a share of independent images."""
        return (self.top1 * (1 - self.top1) / self.images) ** 0.5


@torch.no_grad()
def evaluate_dataset(
    model: nn.Module,
    dataset: Dataset,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    batch_size: int = 128,
    workers: int = 0,
    precision: str = "auto",
    communicator: Collectives | None = None,
    progress: bool = False,
) -> Accuracies:
    """Top-1 and top-5 accuracy, the same on all processes; each image counts once.

    Args:
        model: On this process's device; its modes stay as they are.
        dataset: As in :func:`~gfs_tutorial.cnn.distributed.train`, without random transforms.
        mean, std: Of each channel, in units of full brightness.
        batch_size: Images a forward pass.
        workers: Processes that load images, for each process.
        precision: ``"auto"``, ``"bfloat16"`` or ``"float32"``.
        communicator: Of the processes; ``None`` finds the process group, if there is one.
        progress: Whether rank 0 shows a progress bar.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message).
    """
    device, communicator = check_model(model), communicator or communicator_here()
    images = checks.length("dataset", dataset)
    checks.one_of("precision", precision, PRECISIONS)
    precision = native_precision(device) if precision == "auto" else precision
    mine = Subset(dataset, range(communicator.rank, images, communicator.world))
    loader = DataLoader(mine, checks.positive_int("batch_size", batch_size), num_workers=workers)
    counts = torch.zeros(3, dtype=torch.int64, device=device)  # right at first, among five, all
    hidden = not progress or communicator.rank > 0
    with evaluation_mode(model), torch.autocast(device.type, torch.bfloat16, precision == "bfloat16"):
        for images, labels in tqdm(loader, "evaluate", disable=hidden, leave=False):
            logits = model(normalize(images.to(device), mean, std))  # (n, C)
            best = logits.topk(min(5, logits.shape[1])).indices  # (n, 5)
            right = best == labels.to(device)[:, None]
            counts += torch.stack([right[:, 0].sum(), right.sum(), torch.tensor(len(labels), device=device)])
    top1, top5, images = communicator.all_reduce(counts, "accuracy").tolist()
    if not images:
        raise ValueError("dataset is empty: there is nothing to evaluate on")
    return Accuracies(top1 / images, top5 / images, images)
