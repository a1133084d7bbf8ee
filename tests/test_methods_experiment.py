"""The study of selection beside its rivals, on a small instance: its rows are those of runs by hand."""

from dataclasses import replace

import pytest
import torch

from gfs_tutorial import TwoLayerNet, baselines, greedy_forward_selection, load_mnist, train_sgd
from gfs_tutorial.accuracy import accuracy
from gfs_tutorial.experiments import methods, sweep
from gfs_tutorial.losses import half_squared_error

TINY = replace(
    methods.PRESETS["quick"],
    train_sizes=(60,),
    checkpoints=(0, 8),
    width=30,
    sizes=(3, 8),
    seeds=(1,),
    fine_tuning=4,
    batch_size=20,
)
BUDGET = {"batch_size": 20, "lr": (0.01, 1.0), "progress": False}


def seeded():
    return torch.Generator().manual_seed(1)


@pytest.fixture(scope="module")
def rows():
    return sweep.run(methods.STUDY, TINY, preset="tiny", progress=False)["rows"]


@pytest.fixture(scope="module")
def by_hand():
    """The data, the dense network after eight iterations, and its selection."""
    data = load_mnist(train_size=60, seed=1, source="embedded", verbose=False)
    train_set, draw = (data.X_train, data.y_train), seeded()
    net = TwoLayerNet(784, 30, generator=draw)
    train_sgd(net, *train_set, iterations=8, generator=draw, **BUDGET)
    return data, train_set, net, greedy_forward_selection(net, *train_set, 8)


def row_of(rows, method, t=8, k=8):
    (row,) = (row for row in rows if (row["t"], row["k"], row["method"]) == (t, k, method))
    return row


def test_every_method_has_a_row_at_every_t_and_k(rows):
    trained = {"from-scratch", "fine-tuned", "re-initialised"}
    for t, names in ((0, {*methods.RULES, *trained} - {"from-scratch"}), (8, {*methods.RULES, *trained})):
        for k in (3, 8):
            found = [row["method"] for row in rows if (row["t"], row["k"]) == (t, k)]
            assert sorted(found) == sorted(names)


@pytest.mark.parametrize("k", [3, 8])
def test_rules_are_run_on_the_trained_network(rows, by_hand, k):
    data, train_set, net, path = by_hand
    assert row_of(rows, "forward", k=k)["loss"] == pytest.approx(float(path.losses[k - 1]), rel=1e-5)
    assert row_of(rows, "forward", k=k)["dense_loss"] == pytest.approx(path.dense_loss, rel=1e-5)
    backward = baselines.backward_elimination(net, *train_set, 8)
    assert row_of(rows, "backward", k=k)["loss"] == pytest.approx(float(backward.losses[k - 1]), rel=1e-5)
    right = accuracy(backward.subnetwork(k), data.X_test, data.y_test)
    assert row_of(rows, "backward", k=k)["test_accuracy"] == right


def test_trained_rivals_have_the_stated_budgets(rows, by_hand):
    _, train_set, net, path = by_hand
    budgets = {
        "from-scratch": baselines.train_from_scratch(
            net, *train_set, 8, iterations=8, generator=seeded(), **BUDGET
        ),
        "fine-tuned": baselines.fine_tune(path, 8, *train_set, iterations=4, generator=seeded(), **BUDGET),
        "re-initialised": baselines.reinitialise(
            path, 8, *train_set, iterations=12, generator=seeded(), **BUDGET
        ),
    }
    for method, trained in budgets.items():
        loss = float(half_squared_error(trained(train_set[0]), train_set[1]))
        assert row_of(rows, method)["loss"] == pytest.approx(loss, rel=1e-4), method


def test_more_images_and_wider_networks_cost_more():
    small = {"m": 1000, "seed": 0}
    assert methods.STUDY.cost(TINY, small) < methods.STUDY.cost(TINY, {**small, "m": 4000})
    assert methods.STUDY.cost(TINY, small) < methods.STUDY.cost(replace(TINY, width=60), small)


def test_comparisons_are_made_where_both_have_been_run(rows):
    place = {"m": 60, "seed": 1, "k": 3}
    table = [
        {**place, "t": t, "method": name, "loss": loss}
        for t, losses in ((0, {"a": 1.0}), (5, {"a": 1.0, "b": 2.0}), (9, {"a": 4.0, "b": 2.0}))
        for name, loss in losses.items()
    ]
    assert methods.compare(table, "a", "b") == (1, 2, 1.0)
    assert methods.compare(rows, "forward-refitted", "forward").wins == 4
    with pytest.raises(ValueError, match="'a' and 'c'"):
        methods.compare(table, "a", "c")
