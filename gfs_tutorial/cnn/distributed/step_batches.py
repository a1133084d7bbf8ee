"""Which images a step sees, as a function of the step: any process can compute it, and go on anywhere."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sized
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler

from gfs_tutorial import checks

__all__ = ["Drawn", "StepBatches", "seed_of"]


def seed_of(*parts: int | str) -> int:
    """A seed that depends on all of the numbers and on their order."""
    words = " ".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(words, digest_size=8).digest(), "big") >> 1


class StepBatches(Sampler[list[tuple[int, int]]]):
    """Mini-batches of one process for the steps ``start`` to ``steps``; a ``batch_sampler`` of a loader.

    The batch of a step is that of all processes together: ``batch_size`` images of a permutation of the data
    set, which a pass goes through once (images that do not fill a last batch wait for the next pass). Each
    process takes every ``world``-th image of it, in ``accumulate`` parts. So the images of a step depend on
    neither the number of processes nor where a run was interrupted.

    Args:
        dataset: The data set, or anything of its length.
        batch_size: Images a step, of all processes together; a multiple of ``world * accumulate``.
        steps: The step after the last.
        start: The first step.
        seed: Of the permutations.
        rank, world: This process, and how many there are.
        accumulate: Mini-batches of a process in a step.

    Yields:
        Pairs (index of an image, number of the pass), for :class:`Drawn`.

    Raises:
        ValueError: sizes that do not fit (the argument is named in the message).
    """

    def __init__(
        self,
        dataset: Sized,
        batch_size: int,
        steps: int,
        *,
        start: int = 0,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        accumulate: int = 1,
    ):
        self.images, self.batch_size = len(dataset), checks.positive_int("batch_size", batch_size)
        self.steps, self.start = steps, checks.integer_at_least("start", start, 0)
        self.seed, self.rank, self.world = checks.integer_at_least("seed", seed, 0), rank, world
        self.accumulate = checks.positive_int("accumulate", accumulate)
        if batch_size > self.images:
            raise ValueError(f"batch_size is {batch_size} but there are only {self.images} images: lower it")
        if batch_size % (world * accumulate):
            raise ValueError(
                f"batch_size is {batch_size}: it must be a multiple of {world * accumulate}, the number of "
                f"processes ({world}) times accumulate ({accumulate})"
            )

    def __len__(self) -> int:
        return (self.steps - self.start) * self.accumulate

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        a_pass, passed, order = self.images // self.batch_size, None, torch.empty(0)
        for step in range(self.start, self.steps):
            if step // a_pass != passed:
                passed = step // a_pass
                draw = torch.Generator().manual_seed(seed_of("order", self.seed, passed))
                order = torch.randperm(self.images, generator=draw)
            first = step % a_pass * self.batch_size
            mine = order[first : first + self.batch_size][self.rank :: self.world]
            for part in mine.split(len(mine) // self.accumulate):
                yield [(index, passed) for index in part.tolist()]


class Drawn(Dataset):
    """A data set whose random transforms depend on the image and the pass, not on who loads it and when.

    Torch's and Python's global random numbers are seeded for each image, and left as they were.

    Args:
        dataset: Map-style; its transforms may draw from torch's and Python's random numbers.
        seed: Of the transforms.
    """

    def __init__(self, dataset: Dataset, seed: int = 0):
        self.dataset, self.seed = dataset, seed

    def __len__(self) -> int:
        return checks.length("dataset", self.dataset)

    def __getitem__(self, drawn: tuple[int, int]) -> Any:
        index, passed = drawn
        seed, before = seed_of("image", self.seed, passed, index), random.getstate()
        try:
            with torch.random.fork_rng(devices=[]):
                torch.random.default_generator.manual_seed(seed)
                random.seed(seed)
                return self.dataset[index]
        finally:
            random.setstate(before)
