"""Training on one process or many, from a data set on disk: it can be killed at any step and goes on.

Under ``torchrun`` every process computes the gradients of its part of each batch and all take the mean
(DistributedDataParallel). What a step sees depends on its number alone (:mod:`~.step_batches`), so a run goes
on in the middle of a pass, on another number of processes too. Chapter *Running at scale*.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from gfs_tutorial import checks
from gfs_tutorial.cnn.checkpoint import fingerprint
from gfs_tutorial.cnn.distributed.preemption import PreemptedError, Preemption
from gfs_tutorial.cnn.distributed.recipe import Recipe
from gfs_tutorial.cnn.distributed.shared_checkpoint import SharedCheckpoint
from gfs_tutorial.cnn.distributed.step_batches import Drawn, StepBatches
from gfs_tutorial.cnn.distributed.updates import Updates
from gfs_tutorial.cnn.training import CHECK_EVERY, FitHistory, check_losses, train_mode
from gfs_tutorial.cnn.training_checks import check_model
from gfs_tutorial.distributed import Collectives
from gfs_tutorial.distributed.alone import communicator_here

__all__ = ["train"]


def train(
    model: nn.Module,
    dataset: Dataset,
    recipe: Recipe,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    teacher: nn.Module | None = None,
    checkpoint: str | Path | None = None,
    every: int = 500,
    communicator: Collectives | None = None,
    progress: bool = True,
) -> FitHistory:
    """Train ``model`` in place on labels, or on what a ``teacher`` answers to the same images.

    ::

        # torchrun --standalone --nproc_per_node 8 --max-restarts 3 tune.py
        with process_group() as device:
            train(small.to(device), photographs, Recipe(10_000), mean=mean, std=std, checkpoint="run.pt")

    Args:
        model: The network, on this process's device, the same on all; trained in place.
        dataset: Map-style, the same on all processes: ``dataset[i]`` is a pair (image (3, H, W) uint8, class
            number). Its transforms may be random.
        recipe: The settings.
        mean, std: Of each channel, in units of full brightness: images are normalised on the fly.
        teacher: A network whose logits are the target; the labels then play no part.
        checkpoint: A file, written by rank 0 every so many steps, at the end, and when a process is asked to
            end (SIGTERM). If it is there the run goes on from it, and on the same machines with the same
            number of processes ends with the same weights, to the bit, as if it had never stopped.
        every: Steps between checkpoints: what a job that is killed without notice loses at most.
        communicator: Of the processes; ``None`` finds the process group, if there is one.
        progress: Whether rank 0 shows a progress bar.

    Returns:
        The loss of each step, its mean over the processes, and the seconds of this run.

    Raises:
        TypeError, ValueError: an argument does not fit, or the checkpoint is of another run.
        PreemptedError: the job was asked to end; the checkpoint is written.
        TrainingDivergedError: as in :func:`~gfs_tutorial.cnn.training.fit`.
    """
    start, device = time.perf_counter(), check_model(model)
    communicator = communicator or communicator_here()
    checks.positive_int("every", every)
    settings = {
        **recipe.binding(),
        "images": checks.length("dataset", dataset),
        "weights": fingerprint(model.state_dict()),
    }
    settings["teacher"] = None if teacher is None else fingerprint(teacher.state_dict())
    stored = SharedCheckpoint(checkpoint, "train 1", settings, communicator)
    updates = Updates(model, recipe, mean, std, teacher, communicator)
    losses, done = torch.zeros(recipe.steps, device=device), 0
    if stored.found:
        done = updates.load(stored.found)
        losses[:done] = stored.found["losses"].to(losses)
    batches = _batches(dataset, recipe, done, communicator, device)
    listening = Preemption(communicator) if checkpoint is not None else contextlib.nullcontext()
    hidden = not progress or communicator.rank > 0
    bar = tqdm(total=recipe.steps, initial=done, desc="train", unit="step", disable=hidden, leave=False)
    averaged = done  # steps whose losses are means over the processes
    with (
        listening as preemption,
        bar,
        train_mode(model, teacher, recipe.norms == "frozen"),
        _own_draws(device),
    ):
        for step in range(done, recipe.steps):
            losses[step] = updates.step(step, batches)
            bar.update()
            asked = preemption is not None and preemption.asked()
            keep = asked or (step + 1) % every == 0 or step + 1 == recipe.steps
            if keep or (step + 1) % CHECK_EVERY == 0:
                losses[averaged : step + 1] = _mean(losses[averaged : step + 1], communicator)
                averaged = step + 1
                bar.set_postfix(loss=f"{check_losses(losses, step + 1):.3f}", refresh=False)
            if keep and checkpoint is not None:
                stored.keep(**updates.state(step + 1), losses=losses[: step + 1].cpu())
            if asked and step + 1 < recipe.steps:
                raise PreemptedError(
                    f"asked to end after step {step + 1} of {recipe.steps}: {checkpoint} has it"
                )
    updates.share_buffers()
    return FitHistory(losses.cpu().double(), time.perf_counter() - start, updates.precision)


def _batches(
    dataset: Dataset, recipe: Recipe, start: int, communicator: Collectives, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    sampler = StepBatches(
        range(checks.length("dataset", dataset)),
        recipe.batch_size,
        recipe.steps,
        start=start,
        seed=recipe.seed,
        rank=communicator.rank,
        world=communicator.world,
        accumulate=recipe.accumulate,
    )
    loader = DataLoader(
        Drawn(dataset, recipe.seed),
        batch_sampler=sampler,
        num_workers=recipe.workers,
        pin_memory=device.type == "cuda",
    )
    return iter(loader)


def _mean(losses: Tensor, communicator: Collectives) -> Tensor:
    return communicator.all_reduce(losses, "losses") / communicator.world


@contextlib.contextmanager
def _own_draws(device: torch.device) -> Iterator[None]:
    """Leave torch's random numbers as they were: each step seeds them."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
