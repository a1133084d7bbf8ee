"""One update of the weights at a time: gradients of a batch, added up over its parts and the processes."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from gfs_tutorial.cnn.augmentation import normalize
from gfs_tutorial.cnn.distributed.recipe import Recipe
from gfs_tutorial.cnn.distributed.step_batches import seed_of
from gfs_tutorial.cnn.layout import training_layout
from gfs_tutorial.cnn.training import distance_between, native_precision, one_cycle, optimizer_for
from gfs_tutorial.distributed import Collectives

__all__ = ["Updates"]


class Updates:
    """A network, its optimizer and its learning rate.

    Args:
        model, recipe, mean, std, teacher: As in :func:`~gfs_tutorial.cnn.distributed.train`.
        communicator: Of the processes.

    Attributes:
        precision: ``"bfloat16"`` or ``"float32"``, as the model computes.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        mean: Sequence[float],
        std: Sequence[float],
        teacher: nn.Module | None,
        communicator: Collectives,
    ):
        self.recipe, self.look, self.teacher = recipe, (mean, std), teacher
        self.communicator, self.device = communicator, next(model.parameters()).device
        self.layout = training_layout(self.device)
        self.model = model.to(memory_format=self.layout)
        wanted = recipe.precision
        self.precision = native_precision(self.device) if wanted == "auto" else wanted
        self.optimizer = optimizer_for(model, recipe.optimizer, recipe.lr, recipe.weight_decay)
        self.forward: nn.Module = model
        self.parallel: DistributedDataParallel | None = None
        if communicator.world > 1:
            self.forward = self.parallel = DistributedDataParallel(
                model, **_of_buffers(recipe.norms == "local")
            )

    def step(self, step: int, batches: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
        """Update the weights on the next batches; returns the loss of this process's part, a scalar."""
        recipe = self.recipe
        torch.manual_seed(seed_of("dropout", recipe.seed, step, self.communicator.rank))
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.lr * one_cycle(step, recipe.steps)
        self.optimizer.zero_grad()
        total = torch.zeros((), device=self.device)
        for part in range(recipe.accumulate):
            images, labels = (tensor.to(self.device, non_blocking=True) for tensor in next(batches))
            last = part + 1 == recipe.accumulate
            wait = contextlib.nullcontext() if last or self.parallel is None else self.parallel.no_sync()
            with wait:
                loss = self._loss(images, labels) / recipe.accumulate
                loss.backward()
            total += loss.detach()
        self.optimizer.step()
        return total

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            x = normalize(images, *self.look).contiguous(memory_format=self.layout)  # (n, 3, H, W)
            logits = self.forward(x).float()  # (n, C)
            if self.teacher is None:
                return F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
            with torch.no_grad():
                answers = self.teacher(x).float()  # (n, C)
            return distance_between(logits, answers, self.recipe.distance)

    def state(self, done: int) -> dict[str, Any]:
        """All that a run needs to go on after ``done`` steps."""
        return {
            "step": done,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load(self, found: Mapping[str, Any]) -> int:
        """Take over a state; returns the number of steps that are done."""
        self.model.load_state_dict(found["model"])
        self.optimizer.load_state_dict(found["optimizer"])
        return found["step"]

    @torch.no_grad()
    def share_buffers(self) -> None:
        """Rank 0's statistics of batch norms on all processes."""
        for buffer in self.model.buffers():
            buffer.copy_(self.communicator.broadcast(buffer, "buffers", source=0))


def _of_buffers(follow: bool) -> dict[str, Any]:
    """Option that lets all processes take rank 0's buffers before each pass; torch 2.14 renamed it."""
    names = inspect.signature(DistributedDataParallel).parameters
    return {"forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers": follow}
