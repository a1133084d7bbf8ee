"""The ImageNet study on made-up photographs and a small network, alone and on simulated processes."""

import dataclasses

import pytest
import torch
from test_photographs import lay_out

from gfs_tutorial.cnn.models import Pretrained, build
from gfs_tutorial.distributed import simulate
from gfs_tutorial.experiments import imagenet, imagenet_run, published, sweep
from gfs_tutorial.experiments.mnist_data import MissingError
from gfs_tutorial.experiments.together import SharedFolder, TogetherError, joined

LOOK = {"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}
TINY = dataclasses.replace(
    imagenet.PRESETS["laptop"], macs=(0.8, 0.5), calibration=(4, 8), seeds=(0, 1), steps=2, batch_size=4
)


@pytest.fixture
def small_world(tmp_path, monkeypatch):
    """16 photographs and a narrow ResNet-20 in place of EfficientNet-Lite0."""
    lay_out(tmp_path / "data" / "imagenet" / "val", classes=range(8))
    monkeypatch.setenv("GFS_DATA_ROOT", str(tmp_path / "data"))
    imagenet_run._photographs.cache_clear()

    def load(name):
        model = build("resnet20", 8, widths=(4, 4, 8), seed=0).eval()
        return Pretrained(model, **LOOK, image_size=16, num_classes=8, source="made up")

    monkeypatch.setattr(imagenet_run, "load_pretrained", load)
    yield tmp_path
    imagenet_run._photographs.cache_clear()


def run(folder=None, settings=TINY):
    return sweep.run(imagenet.STUDY, settings, folder=folder, progress=False)


def without_time(rows):
    return [{k: v for k, v in row.items() if k != "prune_seconds"} for row in rows]


def test_rows_of_the_study(small_world):
    result = run(small_world / "run")
    assert "a sample, 16 photographs of 8 classes" in result["data"]
    rows = result["rows"]
    methods = [(row["calibration"], row["seed"], row["macs"], row["method"]) for row in rows]
    tuned = [
        (8, 0, macs, method) for macs in TINY.macs for method in ("pruned", "re-initialised", "fine-tuned")
    ]
    pruned = [(n, s, macs, "pruned") for n, s in ((8, 1), (4, 0), (4, 1)) for macs in TINY.macs]
    assert methods == [(0, 0, 1.0, "dense"), (0, 1, 1.0, "dense"), *tuned, *pruned]
    dense = rows[0]["kept_macs"]
    for row in rows:
        assert row["images"] == 8 and 0 <= row["top1"] <= row["top5"] <= 1
        assert row["kept_macs"] <= row["macs"] * dense
    assert not list((small_world / "run" / "checkpoints").glob("*"))
    assert without_time(run(small_world / "run")["rows"]) == without_time(rows)  # nothing is done again


def test_a_killed_cell_goes_on_from_its_checkpoints(small_world, monkeypatch):
    expected, real = run()["rows"], imagenet_run.train

    def killed(model, dataset, recipe, **options):
        real(model, dataset, recipe, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(imagenet_run, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            run(small_world / "run")
    left = {path.name for path in (small_world / "run" / "checkpoints").glob("*/*")}
    assert left == {"pruning.pt", "pruning-0.8.pt", "anew-0.8.pt"}
    assert without_time(run(small_world / "run")["rows"]) == without_time(expected)


def test_too_few_photographs(small_world):
    with pytest.raises(MissingError, match="calibration goes up to 9 but there are only 8"):
        run(settings=dataclasses.replace(TINY, calibration=(9,)))


def test_training_photographs_are_calibrated_on_where_there_are_any(small_world):
    lay_out(small_world / "data" / "imagenet" / "train", classes=range(8), each=3)
    settings = dataclasses.replace(TINY, calibration=(20,), seeds=(0,), steps=0)
    result = run(settings=settings)
    assert "ImageNet-1k, 24 training and 16 validation" in result["data"]
    assert all(row["images"] == 16 for row in result["rows"])


def test_budgets_stand_at_the_published_figures():
    assert published.fractions("resnet34")[:4] == (0.717, 0.598, 0.562, 0.516)
    assert published.fractions("mobilenet-v2")[0] == round(258 / 314, 3)
    assert published.fractions("resnet50") == (0.8, 0.7, 0.5)
    assert set(imagenet.PRESETS) == {"quick", "laptop", "paper"}


def test_a_folder_that_processes_share(tmp_path):
    cell, record = {"seed": 0}, {"rows": [{"top1": 0.5}]}

    def one(communicator):
        with SharedFolder(tmp_path / "run", {"settings": 1}, communicator) as folder:
            before = folder.load(cell)
            folder.save(cell, record)
            communicator.all_reduce(torch.zeros(1), "wait")
            return before, folder.load(cell)

    assert simulate(3, one)[0] == [(None, record)] * 3


def test_a_folder_of_other_settings_stops_all_processes(tmp_path):
    with SharedFolder(tmp_path / "run", {"settings": 1}, simulate(1, lambda one: one)[0][0]):
        pass

    def one(communicator):
        try:
            SharedFolder(tmp_path / "run", {"settings": 2}, communicator).__enter__()
        except Exception as error:
            return str(error)

    words = simulate(2, one)[0]
    assert "settings: stored 1, now 2" in words[0] and "rank(s) [0]" in words[1]


def test_several_processes_for_a_study_of_one(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TogetherError, match="torchrun started 2"), joined(False):
        pass
    monkeypatch.setenv("WORLD_SIZE", "1")
    with joined(True) as rank:
        assert rank == 0
