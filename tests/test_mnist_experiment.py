"""The MNIST experiment on a small instance, its command, and the accuracy that the book promises."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import gfs_tutorial.__main__ as command_line
from gfs_tutorial import TwoLayerNet, greedy_forward_selection, load_mnist, results, train_sgd
from gfs_tutorial.experiments import mnist

TINY = replace(
    mnist.PRESETS["quick"],
    train_sizes=(60, 100),
    checkpoints=(0, 5),
    width=40,
    size=10,
    seeds=(0, 1),
    batch_size=20,
)
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def study():
    return mnist.run(TINY, preset="tiny", progress=False)


def test_there_is_a_row_for_each_seed_size_and_checkpoint(study):
    keys = [(row["seed"], row["m"], row["t"]) for row in study["rows"]]
    assert keys == [(seed, m, t) for seed in (0, 1) for m in (60, 100) for t in (0, 5)]


def test_the_rows_are_those_of_a_run_by_hand(study):
    data = load_mnist(train_size=100, seed=1, source="embedded", verbose=False)
    generator = torch.Generator().manual_seed(1)
    net = TwoLayerNet(784, 40, generator=generator)
    train_sgd(
        net,
        data.X_train,
        data.y_train,
        iterations=5,
        batch_size=20,
        lr=(0.01, 1.0),
        generator=generator,
        progress=False,
    )
    path = greedy_forward_selection(net, data.X_train, data.y_train, 10)
    row = study["rows"][-1]
    assert row["subnetwork_loss"] == pytest.approx(float(path.losses[-1]))
    assert row["dense_loss"] == pytest.approx(path.dense_loss)
    assert row["bound"] >= row["subnetwork_loss"]
    right = (net(data.X_test).sign() == data.y_test).double().mean()
    assert row["dense_test_accuracy"] == pytest.approx(float(right))


def test_the_record_says_what_was_run(study):
    assert study["settings"]["width"] == 40 and study["preset"] == "tiny"
    assert "embedded" in study["data"] and study["seconds"] > 0
    json.dumps(study)


def test_the_command_writes_the_result(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(mnist.PRESETS, "quick", TINY)
    command_line.main(["mnist", "--preset", "quick", "--out", str(tmp_path / "out.json")])
    assert "8 rows" in capsys.readouterr().out
    assert len(results.read(tmp_path / "out.json")["rows"]) == 8


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="quick"):
        mnist.preset("huge")


def test_the_first_iteration_to_reach_a_level():
    rows = [{"t": t, "loss": loss, "accuracy": 1 - loss} for t, loss in ((20, 0.2), (0, 0.5), (10, 0.3))]
    assert mnist.first_reached(rows, "loss", 0.3) == 10
    assert mnist.first_reached(rows, "accuracy", 0.8) == 20
    assert mnist.first_reached(rows, "loss", 0.1) is None
    with pytest.raises(ValueError, match="key"):
        mnist.first_reached(rows, "bound", 0.1)


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
    generator = torch.Generator().manual_seed(0)
    net = TwoLayerNet(784, 1000, generator=generator)
    train_sgd(
        net,
        data.X_train,
        data.y_train,
        iterations=1000,
        batch_size=100,
        lr=(0.01, 1.0),
        generator=generator,
        progress=False,
    )
    path = greedy_forward_selection(net, data.X_train, data.y_train, 200)
    dense = mnist.accuracy(net, data.X_test, data.y_test)
    small = mnist.accuracy(path.subnetwork(200), data.X_test, data.y_test)
    assert dense >= 0.95
    assert small >= dense - 0.02


def test_the_committed_result_holds_its_own_certificates():
    rows = results.read(ROOT / "results" / "mnist-quick.json")["rows"]
    assert all(row["subnetwork_loss"] <= row["bound"] for row in rows)
