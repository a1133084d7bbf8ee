"""Sweeps that are killed, full disks, other settings, two at once: the results stay those of a quiet run."""

import dataclasses
import functools
import multiprocessing
import os
import random
import signal
import time
from dataclasses import dataclass

import pytest
import torch

from gfs_tutorial import files, results
from gfs_tutorial.data import mnist_sources
from gfs_tutorial.data.mnist_sources import MnistImages
from gfs_tutorial.experiments import mnist, mnist_data, progress, store, sweep
from gfs_tutorial.experiments.progress import Progress, duration
from gfs_tutorial.experiments.store import RunFolder

# Children start with the package imported, and without the threads of this process.
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(
    ["gfs_tutorial.experiments.mnist", "torch._dynamo"]
)  # the optimizer needs both
TINY = dataclasses.replace(
    mnist.PRESETS["quick"],
    train_sizes=(60, 100, 140),
    checkpoints=(0, 5, 30),
    widths=(40,),
    sizes=(3, 10),
    seeds=(0, 1),
    batch_size=20,
)


def few_images():
    """Noise in place of the embedded sample, which takes seconds to read in every child."""
    draw = torch.Generator().manual_seed(0)

    def part(count):
        images = torch.randint(256, (count, 28, 28), generator=draw, dtype=torch.uint8)
        return images, torch.arange(count) % 10

    return MnistImages(part(200), part(50), "noise")


@pytest.fixture(scope="module", autouse=True)
def fewer_images():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mnist_sources, "embedded", few_images)
        yield


@pytest.fixture(scope="module")
def undisturbed():
    return mnist.run(TINY, progress=False)["rows"]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "tiny"


def work(folder, die_at=None):
    """Run the sweep in a child process; with ``die_at``, kill it at that step of writing files."""
    torch.set_num_threads(1)
    mnist_sources.embedded = few_images
    if die_at is not None:
        steps = iter(range(die_at + 1))

        def deadly(function):
            def step(*arguments):
                for when in ("before", "after"):
                    if next(steps) == die_at:
                        os.kill(os.getpid(), signal.SIGKILL)
                    if when == "before":
                        function(*arguments)

            return step

        files.os.fsync, files.os.replace = deadly(os.fsync), deadly(os.replace)
    mnist.run(TINY, folder=folder, progress=False)


def start(*arguments):
    child = CHILDREN.Process(target=work, args=arguments)
    child.start()
    return child


def test_killed_at_random_moments_it_ends_with_the_same_results_to_the_bit(folder, undisturbed):
    moments, killed = random.Random(0), 0
    for finished in range(5):  # a little after that many cells are there
        child = start(folder)
        while child.is_alive() and len(list(folder.glob("cells/N*"))) < finished:
            time.sleep(0.001)
        child.join(moments.uniform(0, 0.05))
        child.kill()
        child.join()
        assert child.exitcode in (0, -signal.SIGKILL)
        killed += child.exitcode != 0
    assert killed
    assert mnist.run(TINY, folder=folder, progress=False)["rows"] == undisturbed


def test_killed_at_each_step_of_writing_it_ends_with_the_same_results_to_the_bit(folder, undisturbed):
    for die_at in range(8):  # before and after each flush and each renaming of the first two files of a run
        child = start(folder, die_at)
        child.join()
        assert child.exitcode == -signal.SIGKILL
    assert mnist.run(TINY, folder=folder, progress=False)["rows"] == undisturbed
    assert not list(folder.rglob(".*.json.*"))


def test_a_full_disk_stops_it_with_an_error_and_costs_one_cell(folder, undisturbed, monkeypatch):
    flush, calls = os.fsync, iter(range(100))

    def full_at_the_fourth_file(handle):
        if next(calls) == 3:
            raise OSError(28, "No space left on device")
        flush(handle)

    with monkeypatch.context() as disk:
        disk.setattr(files.os, "fsync", full_at_the_fourth_file)
        with pytest.raises(OSError, match="No space"):
            mnist.run(TINY, folder=folder, progress=False)
    assert len(list((folder / "cells").iterdir())) == 2
    assert mnist.run(TINY, folder=folder, progress=False)["rows"] == undisturbed


def test_finished_cells_are_not_computed_again_and_damaged_ones_are(folder, undisturbed, monkeypatch):
    mnist.run(TINY, folder=folder, progress=False)
    damaged = folder / "cells" / "N=40,m=100,seed=1.json"
    damaged.write_bytes(damaged.read_bytes()[:100])
    ran = []

    def spied(settings, cell, device):
        ran.append(cell)
        return mnist.STUDY.run_cell(settings, cell, device)

    study = dataclasses.replace(mnist.STUDY, run_cell=spied)
    assert sweep.run(study, TINY, folder=folder, progress=False)["rows"] == undisturbed
    assert ran == [{"N": 40, "m": 100, "seed": 1}]


def test_other_settings_are_refused_with_the_difference_named(folder):
    mnist.run(dataclasses.replace(TINY, seeds=(0,)), folder=folder, progress=False)
    with pytest.raises(store.SettingsMismatchError, match=r"settings\.seeds: stored \[0\], now \[0, 1\]"):
        mnist.run(TINY, folder=folder, progress=False)


def test_other_data_are_refused(folder, monkeypatch):
    mnist.run(dataclasses.replace(TINY, seeds=(0,)), folder=folder, progress=False)
    monkeypatch.setattr(sweep.mnist_data, "describe", lambda source, largest: "other images")
    with pytest.raises(store.SettingsMismatchError, match=r"data: stored \"the embedded.*now \"other images"):
        mnist.run(dataclasses.replace(TINY, seeds=(0,)), folder=folder, progress=False)


def test_two_at_once_are_refused_and_the_folder_is_free_afterwards(folder):
    with (
        RunFolder(folder, {"a": 1}),
        pytest.raises(store.FolderInUseError, match="another process"),
        RunFolder(folder, {"a": 1}),
    ):
        pass
    with RunFolder(folder, {"a": 1}):
        pass


def test_when_the_time_is_up_no_further_cell_starts(folder, undisturbed):
    with pytest.raises(sweep.UnfinishedError, match="6 of 6"):
        mnist.run(TINY, folder=folder, minutes=-1, progress=False)
    assert mnist.run(TINY, folder=folder, minutes=60, progress=False)["rows"] == undisturbed


def test_what_is_finished_so_far_is_put_together_while_another_process_works(folder, undisturbed):
    with pytest.raises(sweep.UnfinishedError, match="nothing is finished"):
        mnist.run(TINY, folder=folder, so_far=True, progress=False)
    mnist.run(TINY, folder=folder, progress=False)
    (folder / "cells" / "N=40,m=100,seed=0.json").unlink()
    with RunFolder(folder, results.read(folder / "settings.json")):
        partial = mnist.run(TINY, folder=folder, so_far=True, progress=False)
    assert partial["cells_left"] == 1 and len(partial["cells"]) == 5
    assert partial["rows"] == [row for row in undisturbed if (row["m"], row["seed"]) != (100, 0)]
    with pytest.raises(store.SettingsMismatchError):
        mnist.run(dataclasses.replace(TINY, seeds=(0,)), folder=folder, so_far=True, progress=False)


def test_differences_are_named_by_their_place():
    stored = {"a": 1, "b": {"c": [1], "gone": 2}}
    assert store.differences(stored, {"a": 1, "b": {"c": [1], "gone": 2}}) == []
    assert store.differences(stored, {"a": 2, "b": {"c": [1, 2], "new": 3}}) == [
        "a: stored 1, now 2",
        "b.c: stored [1], now [1, 2]",
        "b.gone: stored 2, now null",
        "b.new: stored null, now 3",
    ]


@dataclass(frozen=True)
class Count:
    cells: int
    train_sizes: tuple[int, ...] = (10,)
    source: str = "embedded"
    device: str = "cpu"


COUNTING = sweep.Study(
    name="counting",
    summary="Counts.",
    presets={"quick": Count(3)},
    cells=lambda settings: [{"number": 1000 * i} for i in range(settings.cells)],
    run_cell=lambda settings, cell, device: [{"double": 2 * cell["number"]}],
    cost=lambda settings, cell: 1.0,
)


def test_each_result_records_how_it_was_made(folder):
    result = sweep.run(COUNTING, Count(2), preset="quick", folder=folder, progress=False)
    assert result["rows"] == [{"number": 0, "double": 0}, {"number": 1000, "double": 2000}]
    assert result["command"] == "python -m gfs_tutorial counting --preset quick"
    assert result["settings"] == {"cells": 2, "train_sizes": (10,), "source": "embedded", "device": "cpu"}
    assert "embedded sample" in result["data"] and "sha256" in result["data"] and result["device"] == "cpu"
    assert {"commit", "versions", "hardware", "date"} <= result.keys()
    assert [cell["number"] for cell in result["cells"]] == [0, 1000]
    for cell in result["cells"]:
        assert {"seconds", "date"} <= cell.keys()
    record = results.read(folder / "cells" / "number=0.json")
    assert {
        "command",
        "settings",
        "commit",
        "versions",
        "hardware",
        "device",
        "data",
        "seconds",
    } <= record.keys()


def test_a_result_of_two_commits_says_which_cell_is_of_which(folder, monkeypatch):
    monkeypatch.setattr(results, "_commit", lambda: "old")
    sweep.run(COUNTING, Count(2), folder=folder, progress=False)
    (folder / "cells" / "number=1000.json").unlink()
    monkeypatch.setattr(results, "_commit", lambda: "new")
    result = sweep.run(COUNTING, Count(2), folder=folder, progress=False)
    assert result["commit"] == "new"
    assert [cell.get("commit") for cell in result["cells"]] == ["old", None]


def test_a_terminal_gets_a_line_a_cell_with_the_time_left(capsys):
    report = Progress("counting", 4, done=1, left=30.0, bar=False)
    report.finished({"m": 2000, "variation": "slow"}, 10.0, 60.0)
    report.finished({"m": 4000, "variation": "slow"}, 10.0, 120.0)
    assert capsys.readouterr().out.splitlines() == [
        "1 of 4 cells are finished already",
        "[2/4]  m 2,000  slow: 60 s, about 2 min left",
        "[3/4]  m 4,000  slow: 2 min, about 90 s left",
    ]


def test_a_notebook_gets_a_bar(capsys, monkeypatch):
    shown = functools.partial(progress.tqdm, disable=False)  # whatever TQDM_DISABLE says where this runs
    monkeypatch.setattr(progress, "tqdm", shown)
    report = Progress("counting", 2, done=0, left=20.0, bar=True)
    report.finished({"m": 2000}, 10.0, 60.0)
    report.close()
    captured = capsys.readouterr()
    assert captured.out == "" and "60 s left" in captured.err


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (99, "99 s"), (700, "12 min"), (12_000, "3 h 20 min")]
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


def test_a_gpu_that_is_not_there_is_refused():
    if not torch.cuda.is_available():
        with pytest.raises(mnist_data.MissingError, match="no GPU"):
            sweep.run(COUNTING, Count(1, device="cuda"), progress=False)
    with pytest.raises(ValueError, match="unknown device"):
        sweep.run(COUNTING, Count(1, device="abacus"), progress=False)


def test_too_few_images_are_noticed_before_the_first_cell():
    with pytest.raises(mnist_data.MissingError, match=r"up to 201 but there are only 200.*GFS_DATA_ROOT"):
        sweep.run(COUNTING, Count(1, train_sizes=(10, 201)), progress=False)
