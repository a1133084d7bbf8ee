"""Pruning with the calibration images shared out over processes; the answer is that of one process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import Dataset

from gfs_tutorial import checks
from gfs_tutorial.cnn.checkpoint import fingerprint
from gfs_tutorial.cnn.cost import count_macs, count_parameters
from gfs_tutorial.cnn.curves import measure_curves
from gfs_tutorial.cnn.distributed.calibration import SharedCalibration
from gfs_tutorial.cnn.distributed.shared_checkpoint import SharedCheckpoint
from gfs_tutorial.cnn.options import Options, floor_for
from gfs_tutorial.cnn.ranking import Ranking
from gfs_tutorial.cnn.rebuild import rebuild
from gfs_tutorial.cnn.report import PruneReport
from gfs_tutorial.distributed import Collectives
from gfs_tutorial.distributed.alone import communicator_here

__all__ = ["prune_shared", "prune_to_budgets"]


def prune_shared(
    model: nn.Module,
    dataset: Dataset | Sequence,
    *,
    macs: float = 0.5,
    method: str = "ols",
    inputs: str = "pruned",
    multiple: int = 1,
    floor: float | None = None,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    communicator: Collectives | None = None,
    progress: bool = False,
) -> tuple[nn.Module, PruneReport]:
    """:func:`~gfs_tutorial.cnn.prune` with an allocation by error and a refit, on the processes of torchrun.

    Forward passes and second moments, which take nearly all of the time, are shared out; what is chosen from
    the sums takes little, and every process does it. Where a layer has at most 64 output positions the result
    is that of ``prune``; where positions are sampled, they are others, the same for any number of processes.

    Args:
        model: The network, the same on all processes, on this process's device. Not changed.
        dataset: Calibration images: ``dataset[i]`` is an image (channels, height, width), normalised, or a
            pair that begins with one. Each process reads its part.
        macs, inputs, multiple, floor, seed: As in ``prune``.
        method: ``"ols"`` or ``"local"``. (For ``"loss"`` see ``communicator`` of
            :func:`~gfs_tutorial.cnn.select_by_loss`.)
        checkpoint: A file of rank 0, as in ``prune``; with the share of MACs before its suffix, and one
            without it for what does not depend on that.
        communicator: Of the processes; ``None`` finds the process group, if there is one.
        progress: Whether rank 0 shows progress bars.

    Returns:
        The small model, the same on all processes, and a :class:`PruneReport`.

    Raises:
        TypeError, ValueError: as in ``prune``.
        RuntimeError: rank 0 cannot read its checkpoint.
    """
    results = prune_to_budgets(
        model,
        dataset,
        [macs],
        method=method,
        inputs=inputs,
        multiple=multiple,
        floor=floor,
        seed=seed,
        checkpoint=checkpoint,
        communicator=communicator,
        progress=progress,
    )
    return next(results)


def prune_to_budgets(
    model: nn.Module,
    dataset: Dataset | Sequence,
    budgets: Sequence[float],
    *,
    method: str = "ols",
    inputs: str = "pruned",
    multiple: int = 1,
    floor: float | None = None,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    communicator: Collectives | None = None,
    progress: bool = False,
) -> Iterator[tuple[nn.Module, PruneReport]]:
    """What :func:`prune_shared` returns for several ``macs``, one after another, measured once for all.

    Arguments and errors as there.
    """
    start, communicator = time.perf_counter(), communicator or communicator_here()
    progress = progress and communicator.rank == 0
    if method == "loss":
        raise ValueError("method 'loss' shares out candidates, not images: see select_by_loss(communicator=)")
    plain: dict[str, Any] = {"method": method, "inputs": inputs, "multiple": multiple, "seed": seed}
    plain["floor"] = floor_for(model, floor)
    every = [(macs, Options(macs=checks.number("macs", macs), **plain)) for macs in budgets]  # checked first
    dense = SharedCalibration(model, dataset, communicator, seed=seed, progress=progress)
    settings = {**plain, "images": dense.size, "weights": fingerprint(model.state_dict())}
    measured = SharedCheckpoint(checkpoint, "prune_shared 1", settings, communicator)
    ranking = Ranking(model, [], method, None, "mean", False, True, progress)
    for macs, options in every:
        sizes, errors = options.sizes(
            dense.costs, lambda: measure_curves(dense, ranking, measured, progress=progress)
        )
        place = None if checkpoint is None else _beside(Path(checkpoint), macs)
        stored = SharedCheckpoint(place, "prune_shared 1", settings | asdict(options), communicator)
        small, kept = rebuild(
            dense, ranking, sizes, stored, refit=True, inputs=inputs, split=bool(errors), progress=progress
        )
        yield (
            small,
            PruneReport(
                (dense.costs.dense, count_macs(small, dense.images[:1])),
                (count_parameters(model), count_parameters(small)),
                {unit.name: (len(kept[unit.name]), unit.size) for unit in dense.units},
                {name: float(curve[len(kept[name]) - 1]) for name, curve in errors.items()},
                kept,
                time.perf_counter() - start,
            ),
        )


def _beside(checkpoint: Path, macs: float) -> Path:
    return checkpoint.with_name(f"{checkpoint.stem}-{macs:g}{checkpoint.suffix}")
