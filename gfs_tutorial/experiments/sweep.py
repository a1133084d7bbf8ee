"""The runner of the studies: goes through the cells of a sweep and can be killed and started again.

A *cell* is one training run with all its prunings. It depends on the settings and on nothing that other
cells have done, so an interrupted sweep ends with the same numbers, to the bit, as an uninterrupted one.

Chapter *The MNIST experiment*.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch

from gfs_tutorial import checks, results
from gfs_tutorial.distributed import Communicator
from gfs_tutorial.distributed.alone import communicator_here
from gfs_tutorial.experiments import mnist_data
from gfs_tutorial.experiments.progress import Progress
from gfs_tutorial.experiments.store import Cell, RunFolder, cell_name
from gfs_tutorial.experiments.together import SharedFolder

__all__ = ["Study", "UnfinishedError", "run"]


class Settings(Protocol):
    """What the settings of every study are: a dataclass with ``device``."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def device(self) -> str: ...


S = TypeVar("S", bound=Settings)
Row = dict[str, Any]


class UnfinishedError(RuntimeError):
    """The time was up before all cells were finished; those that were are kept."""


def _describe_mnist(settings: Any) -> str:
    return mnist_data.describe(settings.source, max(settings.train_sizes))


@dataclass(frozen=True)
class Study(Generic[S]):
    """One experiment of the book.

    Attributes:
        name: On the command line and in file names.
        summary: What it asks, in one sentence.
        presets: Settings by name. Every class of settings has ``device``.
        cells: The cells of a sweep, in the order in which they are run.
        run_cell: Computes the rows of one cell on a device.
        cost: What a cell costs beside the others, for the estimate of the time left.
        describe: What the data are, the same on every machine. The default is for settings of MNIST, with
            ``train_sizes`` and ``source``.
        at_scale: Whether ``run_cell`` works on all processes of torchrun together, and takes a folder
            ``scratch`` for checkpoints within a cell.
    """

    name: str
    summary: str
    presets: dict[str, S]
    cells: Callable[[S], list[Cell]]
    run_cell: Callable[..., Iterable[Row]]
    cost: Callable[[S, Cell], float]
    describe: Callable[[S], str] = _describe_mnist
    at_scale: bool = False

    def preset(self, name: str) -> S:
        """The settings of that name; ``ValueError`` lists those that there are."""
        return self.presets[checks.one_of("preset", name, tuple(self.presets))]


def run(
    study: Study[S],
    settings: S,
    *,
    preset: str = "custom",
    command: str | None = None,
    folder: str | Path | None = None,
    minutes: float | None = None,
    so_far: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Run every cell that is not yet finished, and put the rows of all together.

    Args:
        study: Which experiment.
        settings: What to run; ``study.presets`` has some.
        preset: Their name, for the record.
        command: The command line, for the record.
        folder: Where finished cells are kept; ``None`` keeps nothing.
        minutes: Start no further cell after so long; ``None`` runs to the end.
        so_far: Run nothing: put together what is finished in ``folder``; another process may be at work.
        progress: Whether to report each cell and the time left.

    Returns:
        The provenance (command, settings, versions, hardware, data, seconds), ``cells`` with that of each
        cell, and ``rows``; with ``so_far`` also how many cells are left, ``cells_left``.

    Raises:
        ValueError: a setting does not fit.
        MissingError: there is no such GPU, or there are too few images.
        SettingsMismatchError: ``folder`` holds results of other settings.
        FolderInUseError: another process is at work in ``folder``.
        UnfinishedError: ``minutes`` were up first, or nothing is finished so far.
    """
    communicator = communicator_here()
    device = _device(settings)
    header = {
        "study": study.name,
        "settings": asdict(settings),
        "data": study.describe(settings),
        "device": device.type,
    }
    facts: dict[str, Any] = {"preset": preset, "data": header["data"], "device": header["device"]}
    if communicator.world > 1:
        facts["processes"] = communicator.world
    record = results.provenance(command or _command(study, preset), settings, **facts)
    if so_far:
        done = _finished(study.cells(settings), folder, header)
        left = {"cells_left": len(study.cells(settings)) - len(done)}
    else:
        place = SharedFolder(folder, header, communicator) if folder is not None else contextlib.nullcontext()
        with place as store:
            done, left = _run_cells(study, settings, device, record, store, minutes, progress), {}
    seconds = round(sum(cell["seconds"] for cell in done), 3)
    return {
        **record,
        **left,
        "seconds": seconds,
        "cells": [_own_record(cell, record) for cell in done],
        "rows": [row for cell in done for row in cell["rows"]],
    }


def _device(settings: Settings) -> torch.device:
    """That of the settings; of many processes, each has its own."""
    communicator = communicator_here()
    if isinstance(communicator, Communicator) and communicator.world > 1:
        return communicator.device
    return mnist_data.device(settings.device)


def _finished(cells: list[Cell], folder: str | Path | None, header: dict[str, Any]) -> list[dict[str, Any]]:
    """The records of the cells that are finished. Files are whole whenever one looks: no lock is needed."""
    if folder is None or not Path(folder).is_dir():
        raise UnfinishedError(f"nothing is finished in {folder}: run it first")
    store = RunFolder(folder, header)
    store.check_header()
    done = [record for record in map(store.load, cells) if record is not None]
    if not done:
        raise UnfinishedError(f"none of {len(cells)} cells in {folder} is finished yet")
    return done


def _own_record(cell: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """What tells the record of a cell from that of the whole."""
    own = {key: cell[key] for key in record if key not in ("settings", "date") and cell[key] != record[key]}
    return {**cell["cell"], "seconds": cell["seconds"], "date": cell["date"], **own}


def _command(study: Study[S], preset: str) -> str:
    return f"python -m gfs_tutorial {study.name} --preset {preset}"


def _run_cells(
    study: Study[S],
    settings: S,
    device: torch.device,
    record: dict[str, Any],
    store: SharedFolder | None,
    minutes: float | None,
    progress: bool,
) -> list[dict[str, Any]]:
    """The records of all cells, in their order."""
    cells = study.cells(settings)
    kept = [store.load(cell) if store is not None else None for cell in cells]
    todo = [i for i, result in enumerate(kept) if result is None]
    costs = {i: study.cost(settings, cells[i]) for i in todo}
    communicator = communicator_here()
    report = Progress(
        study.name,
        len(cells),
        done=len(cells) - len(todo),
        left=sum(costs.values()),
        show=progress and communicator.rank == 0,
    )
    start = time.perf_counter()
    with contextlib.closing(report):
        for position, i in enumerate(todo):
            spent = torch.tensor([time.perf_counter() - start])  # the longest of all processes
            if minutes is not None and float(communicator.all_reduce(spent, "time", op="max")) > 60 * minutes:
                raise UnfinishedError(f"{len(todo) - position} of {len(cells)} cells are left")
            kept[i] = done = _run_cell(study, settings, cells[i], device, record, store)
            report.finished(cells[i], costs[i], done["seconds"])
    return [done for done in kept if done is not None]


def _run_cell(
    study: Study[S],
    settings: S,
    cell: Cell,
    device: torch.device,
    record: dict[str, Any],
    store: SharedFolder | None,
) -> dict[str, Any]:
    """The record of one cell, which the store keeps."""
    scratch = None if store is None else store.folder / "checkpoints" / cell_name(cell)
    begin, date = time.perf_counter(), results.now()
    more = {"scratch": scratch} if study.at_scale else {}
    rows = [{**cell, **row} for row in study.run_cell(settings, cell, device, **more)]
    seconds = round(time.perf_counter() - begin, 3)
    done = {**record, "date": date, "cell": cell, "seconds": seconds, "rows": rows}
    if store is not None and scratch is not None:
        store.save(cell, done)
        shutil.rmtree(scratch, ignore_errors=True)
    return done
