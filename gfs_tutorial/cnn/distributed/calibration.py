"""Calibration images shared out over processes: each holds and measures its own, and sums are added up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from gfs_tutorial import checks
from gfs_tutorial.cnn.calibration import Calibration, split_rows
from gfs_tutorial.cnn.curves import HELD_OUT
from gfs_tutorial.cnn.distributed.step_batches import seed_of
from gfs_tutorial.cnn.distributed.sums import add_up
from gfs_tutorial.cnn.images import gather_images
from gfs_tutorial.cnn.moments import Moments, consumer_moments
from gfs_tutorial.cnn.prefix import DenseAnswers
from gfs_tutorial.cnn.training_checks import check_model
from gfs_tutorial.cnn.units import Unit
from gfs_tutorial.distributed import Collectives

__all__ = ["SharedAnswers", "SharedCalibration"]

GROUP = 32  # images that are measured together, on whatever process


class SharedCalibration(Calibration):
    """:class:`~gfs_tutorial.cnn.calibration.Calibration` on several processes.

    The images fall into groups of 32, whatever the number of processes, and each process takes every
    ``world``-th group; positions are drawn for each group by itself. So any number of processes finds the
    same moments, up to rounding. All of them hold the few images on which block errors are measured.

    Args:
        model: The network, the same on all processes.
        dataset: ``dataset[i]`` is an image (channels, height, width), normalised, or a pair that begins with
            one. A process reads its own and no others.
        communicator: Of the processes.
        seed, progress: As there.
    """

    def __init__(
        self,
        model: nn.Module,
        dataset: Dataset | Sequence,
        communicator: Collectives,
        *,
        seed: int = 0,
        progress: bool = False,
    ):
        self.device = check_model(model)
        super().__init__(model, self._read(dataset, [0]), seed=seed, progress=progress)
        self.communicator, self.size = communicator, checks.length("dataset", dataset)
        self.fit_rows, self.held_rows = split_rows(self.size, seed)
        groups = [*self.fit_rows.split(GROUP)]
        groups += self.held_rows.split(GROUP) if self.size > 1 else []
        self.groups = [*enumerate(groups)][communicator.rank :: communicator.world]
        mine = [row for _, rows in self.groups for row in rows.tolist()]
        rows = list(dict.fromkeys([*mine, *self.held_rows[:HELD_OUT].tolist()]))
        self.images = self._read(dataset, rows)
        self.place = torch.full((self.size,), -1).index_put((torch.tensor(rows),), torch.arange(len(rows)))

    def _read(self, dataset: Dataset | Sequence, rows: Iterable[int]) -> Tensor:
        found = (dataset[row] for row in rows)
        images = [item[0] if isinstance(item, (tuple, list)) else item for item in found]
        return gather_images([image[None] for image in images]).to(self.device)

    def part(self, rows: Tensor) -> Tensor:
        """Some of the images that this process holds, in the layout of the model."""
        return super().part(self.place[rows])

    def dense_answers(self, units: Sequence[Unit]) -> SharedAnswers:
        """Of some of the units, on the images of all processes."""
        parts = [
            DenseAnswers(
                self.model,
                units,
                self.norms,
                self.part(rows),
                seed=self._seed(number),
                progress=self.progress,
            )
            for number, rows in self.groups or [(-1, self.held_rows[:1])]
        ]
        return SharedAnswers(parts, self.communicator, counted=bool(self.groups))

    def _seed(self, number: int) -> int:
        return seed_of("positions", self.seed, number)

    def _moments(self, rows: Tensor, like: dict[str, Moments] | None = None) -> dict[str, Moments]:
        names = [name for unit in self.units for name in (unit.consumer, *unit.gates)]
        wanted = set(rows.tolist())
        parts = [
            consumer_moments(
                self.model, names, self.part(rows), seed=self._seed(number), progress=self.progress
            )
            for number, rows in self.groups
            if int(rows[0]) in wanted
        ]
        like = like or (parts or [consumer_moments(self.model, names, self.part(self.held_rows[:1]))])[0]
        return {name: add_up([p[name] for p in parts], like[name], self.communicator) for name in names}


class SharedAnswers:
    """Dense answers of the images of all processes; :meth:`moments` is a collective.

    Args:
        parts: Of this process's groups of images; at least one.
        communicator: Of the processes.
        counted: Whether the parts count; if not they only tell the sizes.
    """

    def __init__(self, parts: Sequence[DenseAnswers], communicator: Collectives, *, counted: bool):
        self.parts, self.communicator, self.counted = parts, communicator, counted

    def moments(self, pruned: nn.Module, unit: Unit) -> dict[str, Moments]:
        """As :meth:`~gfs_tutorial.cnn.prefix.DenseAnswers.moments`."""
        own = [part.moments(pruned, unit) for part in self.parts]
        return {
            name: add_up([p[name] for p in own] if self.counted else [], own[0][name], self.communicator)
            for name in own[0]
        }
