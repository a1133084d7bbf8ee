"""The MNIST experiment on a small instance, and the accuracy that the book promises."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gfs_tutorial import TwoLayerNet, greedy_forward_selection, load_mnist, results, train_sgd
from gfs_tutorial.experiments import methods, mnist, variations
from gfs_tutorial.selection import select_neurons_logistic

TINY = replace(
    mnist.PRESETS["quick"],
    train_sizes=(60, 100),
    checkpoints=(0, 5),
    widths=(40,),
    sizes=(4, 10),
    seeds=(0, 1),
    batch_size=20,
)
RESULTS = Path(__file__).parents[1] / "results"
CERTIFIED = sorted([*RESULTS.glob("mnist-*.json"), *RESULTS.glob("variations-*.json")])


@pytest.fixture(scope="module")
def study():
    return mnist.run(TINY, preset="tiny", progress=False)


def trained(data, seed=0, width=40, iterations=5, batch_size=20, lr=(0.01, 1.0), loss="squared"):
    """A network trained on ``data`` as a reader would do it."""
    generator = torch.Generator().manual_seed(seed)
    net = TwoLayerNet(784, width, data.y_train.shape[1], generator=generator)
    budget = {"iterations": iterations, "batch_size": batch_size, "lr": lr, "loss": loss}
    return train_sgd(net, data.X_train, data.y_train, **budget, generator=generator, progress=False).net


def test_there_is_a_row_for_each_seed_size_checkpoint_and_k(study):
    keys = [(row["seed"], row["m"], row["t"], row["k"]) for row in study["rows"]]
    assert keys == [(s, m, t, k) for s in (0, 1) for m in (60, 100) for t in (0, 5) for k in (4, 10)]


def test_the_rows_are_those_of_a_run_by_hand(study):
    data = load_mnist(train_size=100, seed=1, source="embedded", verbose=False)
    net = trained(data, seed=1)
    path = greedy_forward_selection(net, data.X_train, data.y_train, 10)
    for row, k in zip(study["rows"][-2:], (4, 10)):
        assert row["subnetwork_loss"] == pytest.approx(float(path.losses[k - 1]))
        assert row["dense_loss"] == pytest.approx(path.dense_loss)
        assert row["bound"] >= row["subnetwork_loss"]
        right = (path.subnetwork(k)(data.X_test).sign() == data.y_test).double().mean()
        assert row["subnetwork_test_accuracy"] == pytest.approx(float(right))
    right = (net(data.X_test).sign() == data.y_test).double().mean()
    assert row["dense_test_accuracy"] == pytest.approx(float(right))


def test_the_logistic_rows_are_those_of_a_run_by_hand():
    settings = replace(TINY, loss="logistic", train_sizes=(60,), seeds=(0,), lr=(0.02, 4.0))
    row = mnist.run(settings, progress=False)["rows"][-1]
    data = load_mnist(train_size=60, source="embedded", verbose=False)
    net = trained(data, lr=(0.02, 4.0), loss="logistic")
    with torch.no_grad():
        path = select_neurons_logistic(net.hidden(data.X_train), net.output_weights, data.y_train, 10)
    assert row["subnetwork_loss"] == pytest.approx(float(path.losses[-1]))
    assert row["dense_loss"] == pytest.approx(path.dense_loss)
    assert row["distinct"] == len(path.distinct(10))


def test_ten_digits_have_ten_outputs():
    settings = replace(TINY, labels="one-hot", train_sizes=(60,), checkpoints=(5,), seeds=(0,))
    row = mnist.run(settings, progress=False)["rows"][-1]
    data = load_mnist("one-hot", train_size=60, source="embedded", verbose=False)
    right = (trained(data)(data.X_test).argmax(1) == data.digits_test).double().mean()
    assert row["dense_test_accuracy"] == pytest.approx(float(right))


def test_runs_that_need_too_much_memory_are_left_out():
    cells = mnist.STUDY.cells(replace(TINY, widths=(10, 40), max_activations=2400, seeds=(7,)))
    assert [(cell["N"], cell["m"]) for cell in cells] == [(10, 60), (10, 100), (40, 60)]


def test_a_larger_cell_costs_more():
    small = {"N": 1000, "m": 1000, "seed": 0}
    assert mnist.cost(TINY, small) < mnist.cost(TINY, {**small, "m": 2000})
    assert mnist.cost(TINY, small) < mnist.cost(TINY, {**small, "N": 2000})
    assert mnist.cost(TINY, small) < mnist.cost(replace(TINY, loss="logistic"), small)


def test_the_record_says_what_was_run(study):
    assert study["settings"]["widths"] == (40,) and study["preset"] == "tiny"
    assert "embedded" in study["data"] and study["seconds"] > 0
    json.dumps(study)


@pytest.mark.parametrize(
    "study", [mnist.STUDY, methods.STUDY, variations.STUDY], ids=lambda study: study.name
)
def test_all_presets_have_cells_and_can_train_on_the_fewest_images(study):
    for settings in study.presets.values():
        assert study.cells(settings)
        assert settings.batch_size <= min(settings.train_sizes)
        assert list(settings.checkpoints) == sorted(set(settings.checkpoints))


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="quick"):
        mnist.preset("huge")


def test_a_variation_changes_what_it_says():
    settings = replace(
        variations.PRESETS["quick"],
        variations=("standard", "shuffled-labels", "slow"),
        train_sizes=(100,),
        checkpoints=(0, 40),
        width=100,
        size=20,
        seeds=(0,),
    )
    study = variations.STUDY.cells(settings)
    rows = {
        cell["variation"]: list(variations.STUDY.run_cell(settings, cell, torch.device("cpu")))[-1]
        for cell in study
    }
    assert rows["slow"]["lr"] == [0.0025, 0.25] and rows["shuffled-labels"]["shuffled"]
    assert rows["slow"]["dense_loss"] > rows["standard"]["dense_loss"]
    assert abs(rows["shuffled-labels"]["dense_test_accuracy"] - 0.5) < 0.1
    assert rows["standard"]["dense_test_accuracy"] > 0.7


def test_accuracy_counts_signs_and_largest_outputs():
    X = torch.eye(3)
    one, three = TwoLayerNet(3, 1), TwoLayerNet(3, 1, 3)
    with torch.no_grad():
        for net in (one, three):
            net.input_weights.copy_(torch.tensor([[1.0, -1.0, 1.0]])), net.input_biases.zero_()
        one.output_weights.fill_(1.0)
        three.output_weights.copy_(torch.tensor([[1.0, 0.5, -2.0]]))
    assert mnist.accuracy(one, X, torch.tensor([[1.0], [1.0], [1.0]])) == pytest.approx(2 / 3)
    assert mnist.accuracy(three, X, torch.eye(3)[[0, 2, 1]]) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="y must be"):
        mnist.accuracy(one, X, torch.ones(3))


def test_a_dense_net_reads_95_percent_and_200_picks_stay_within_two_points():
    data = load_mnist("binary", source="embedded", verbose=False)
    net = trained(data, width=1000, iterations=1000, batch_size=100)
    path = greedy_forward_selection(net, data.X_train, data.y_train, 200)
    dense = mnist.accuracy(net, data.X_test, data.y_test)
    small = mnist.accuracy(path.subnetwork(200), data.X_test, data.y_test)
    assert dense >= 0.95
    assert small >= dense - 0.02


@pytest.mark.parametrize("path", CERTIFIED, ids=lambda path: path.stem)
def test_the_committed_results_hold_their_own_certificates(path):
    rows = results.read(path)["rows"]
    assert rows and all(row["subnetwork_loss"] <= row["bound"] for row in rows)
