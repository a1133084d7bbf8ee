"""The CIFAR-10 study on a small instance: its rows, and that kills change nothing."""

import dataclasses
import json
import multiprocessing
import random
import signal
import time
from typing import get_args

import pytest
import torch
from test_sweep import few_images

from gfs_tutorial.cnn.loss import select_by_loss
from gfs_tutorial.cnn.models import build
from gfs_tutorial.cnn.training import evaluate, fit
from gfs_tutorial.cnn.units import find_units
from gfs_tutorial.data import mnist_sources
from gfs_tutorial.experiments import cifar10, cifar10_data
from gfs_tutorial.experiments.channel_trial import NETWORKS, Trial
from gfs_tutorial.experiments.layerwise import fresh_batches, prune_layer_by_layer
from gfs_tutorial.experiments.mnist_data import MissingError

TINY = dataclasses.replace(
    cifar10.PRESETS["quick"],
    train_sizes=(60, 100),
    iterations=(1, 2),
    share=0.13,
    rivals=("l1",),
    candidates=2,
    selection_batch=8,
    fine_tuning=10,
    calibration=50,
    batch_size=10,
    test_size=40,
)


@pytest.fixture(scope="module", autouse=True)
def fewer_images():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mnist_sources, "embedded", few_images)
        cifar10_data._everything.cache_clear()
        yield
    cifar10_data._everything.cache_clear()


@pytest.fixture(scope="module")
def study():
    return cifar10.run(TINY, preset="tiny", progress=False)


def untimed(rows):
    """Rows without the one entry that differs from run to run."""
    return [{key: value for key, value in row.items() if key != "pruning_seconds"} for row in rows]


def test_there_is_a_row_for_each_size_length_and_method(study):
    methods = ("dense", "gfs", "re-initialised", "default", "l1")
    keys = [(row["m"], row["t"], row["method"]) for row in study["rows"]]
    assert keys == [(m, t, method) for t in (1, 2) for m in (60, 100) for method in methods]
    json.dumps(study)
    assert "random colours" in study["data"] and "sha256" in study["data"]


def test_all_methods_have_the_macs_of_the_papers_recipe_at_most(study):
    for start in range(0, len(study["rows"]), 5):
        dense, gfs, again, default, l1 = study["rows"][start : start + 5]
        assert dense["macs"] == 1.0 and again["macs"] == gfs["macs"] < 0.5
        assert default["macs"] <= gfs["macs"] and l1["macs"] <= gfs["macs"]
        assert list(gfs["channels"].values()) == [1] * 6 + [2] * 3
        assert again["before"] is None and all(0 <= row["after"] <= 1 for row in (dense, gfs, again))


def test_the_dense_row_is_that_of_a_run_by_hand(study):
    data = cifar10_data.images(100, 40, 0, "embedded", torch.device("cpu"))
    normal = {"mean": data.mean, "std": data.std}
    net = build("resnet20", 10, seed=0, widths=(8, 8, 16))
    how = {"batch_size": 10, "augment": "crop", "progress": False, **normal}
    for steps, lr, name in ((2, 0.2, "before"), (10, 0.05, "after")):
        generator = torch.Generator().manual_seed(0)
        fit(net, data.X_train, data.y_train, steps=steps, lr=lr, generator=generator, **how)
        right = evaluate(net, data.X_test, data.y_test, **normal)
        assert study["rows"][-5][name] == right


def test_the_images_of_a_cell_are_those_of_the_loader():
    ours = cifar10_data.images(60, 40, 3, "embedded", torch.device("cpu"))
    loaded = cifar10_data.load_cifar10(train_size=60, test_size=40, seed=3, source="embedded", verbose=False)
    assert torch.equal(ours.X_train, loaded.X_train) and torch.equal(ours.y_test, loaded.y_test)


def test_too_few_images_are_noticed_before_the_first_cell():
    with pytest.raises(MissingError, match=r"up to 201 but there are only 200.*CIFAR-10"):
        cifar10.run(dataclasses.replace(TINY, train_sizes=(201,)), progress=False)


def test_all_presets_have_cells_and_fit_together():
    for settings in cifar10.PRESETS.values():
        cells = cifar10.STUDY.cells(settings)
        assert cells and all(cifar10.STUDY.cost(settings, cell) > 0 for cell in cells)
        assert max(settings.batch_size, settings.calibration) <= min(settings.train_sizes)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"between": 2}, r"between is 2.*9 units.*fine_tuning is only 10"),
        ({"share": 0.0}, r"share must lie in \(0, 1\]"),
        ({"rivals": ("l3",)}, "unknown rivals 'l3'"),
    ],
)
def test_settings_that_would_fail_after_the_training_are_refused_before(changed, message, monkeypatch):
    monkeypatch.setattr(Trial, "train", None)
    with pytest.raises(ValueError, match=message):
        cifar10.run(dataclasses.replace(TINY, **changed), progress=False)


def test_the_settings_know_every_network():
    assert get_args(cifar10.Network) == tuple(NETWORKS)


# Kills


def work(folder):
    torch.set_num_threads(1)
    cifar10.run(TINY, folder=folder, progress=False)


def test_killed_at_random_moments_it_ends_with_the_same_results_to_the_bit(tmp_path, study):
    moments, killed, children = random.Random(0), 0, multiprocessing.get_context("fork")
    for finished in range(4):  # a little after that many cells are there
        child = children.Process(target=work, args=(tmp_path,))
        child.start()
        while child.is_alive() and len(list(tmp_path.glob("cells/net*"))) < finished:
            time.sleep(0.005)
        child.join(moments.uniform(0, 0.3))
        child.kill()
        child.join()
        killed += child.exitcode == -signal.SIGKILL
    assert killed >= 2 and len(list(tmp_path.glob("cells/net*"))) >= 3
    assert untimed(cifar10.run(TINY, folder=tmp_path, progress=False)["rows"]) == untimed(study["rows"])


# The papers' recipe


@pytest.fixture(scope="module")
def problem():
    """A network, its units, and images with labels."""
    net = build("resnet20", 10, seed=0, widths=(4, 4, 8)).eval()
    draw = torch.Generator().manual_seed(0)
    X, y = torch.randn(40, 3, 32, 32, generator=draw), torch.arange(40) % 10
    return net, find_units(net, X[:1]), X, y


def recipe(problem, **changed):
    net, units, X, y = problem
    how = {"share": 0.5, "candidates": 3, "train_between": lambda net: None} | changed
    draw = torch.Generator().manual_seed(1)
    batches = fresh_batches(X, y, 8, lambda images: images, draw)
    generator = torch.Generator().manual_seed(2)
    return prune_layer_by_layer(net, units, batches, generator=generator, **how)


def test_all_channels_kept_is_the_network_itself(problem):
    small, _ = recipe(problem, share=1.0, candidates=1)
    net, _, X, _ = problem
    with torch.no_grad():
        torch.testing.assert_close(small(X), net(X), rtol=1e-4, atol=1e-4)


def test_the_first_unit_is_selected_as_by_hand_and_training_comes_after_each(problem):
    seen = []
    small, kept = recipe(problem, train_between=lambda net: seen.append(net.layer1[0].conv1.out_channels))
    net, units, X, y = problem
    draw = torch.Generator().manual_seed(1)
    batches = fresh_batches(X, y, 8, lambda images: images, draw)
    generator = torch.Generator().manual_seed(2)
    by_hand = select_by_loss(net, units[0], batches, 2, candidates=3, generator=generator)
    assert torch.equal(kept[units[0].name], by_hand.kept(2)) and seen == [2] * len(units)
    assert [len(kept[unit.name]) for unit in units] == [2] * 6 + [4] * 3
    with torch.no_grad():  # N/n = 2 is folded into the consumer
        scale = small.layer1[0].conv2.weight / net.layer1[0].conv2.weight[:, by_hand.kept(2)]
    torch.testing.assert_close(scale, torch.full_like(scale, 2.0))


def test_mini_batches_are_fresh_and_carry_their_labels(problem):
    _, _, X, y = problem
    batches = fresh_batches(X, y, 8, lambda images: 2 * images, torch.Generator().manual_seed(0))
    (first, labels), (second, _) = next(batches), next(batches)
    rows = [int((image / 2 == X).flatten(1).all(1).nonzero()) for image in first]
    assert len(set(rows)) == 8 and y[rows].tolist() == labels.tolist() and not torch.equal(first, second)
