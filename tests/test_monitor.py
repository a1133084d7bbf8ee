"""The pre-training monitor: what it sees, when it looks, what it decides, and that it is in time."""

import itertools
import re
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
import torch
from brute_force import brute_force
from hypothesis import given, settings
from hypothesis import strategies as st

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from gfs_tutorial import (
    PretrainingMonitor,
    TrainingDivergedError,
    TwoLayerNet,
    greedy_forward_selection,
    load_mnist,
    train_sgd,
)
from gfs_tutorial.accuracy import accuracy, share_right
from gfs_tutorial.monitor import Criteria, MonitorRecord
from gfs_tutorial.monitor.cadence import counted_cost, grid
from gfs_tutorial.theory import certificate

M, SIZE = 40, 6


def problem(out_features=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(M, 3, generator=generator, dtype=torch.float64)
    y = torch.tanh(X @ torch.randn(3, out_features, generator=generator, dtype=torch.float64))
    return TwoLayerNet(3, 20, out_features, generator=generator).double(), X, y


def train(monitor, net=None, iterations=60, **changes):
    fresh, X, y = problem()
    arguments = {"batch_size": 8, "lr": (0.1, 0.5), "generator": torch.Generator().manual_seed(1)}
    arguments |= {"progress": False, **changes}
    return train_sgd(net or fresh, X, y, iterations=iterations, monitor=monitor, **arguments)


def watch(checkpoints=range(0, 61, 10), **arguments):
    _, X, y = problem()
    return PretrainingMonitor(X, y, SIZE, checkpoints=checkpoints, **arguments)


def record(iteration, loss=1.0, right=0.5):
    return MonitorRecord(iteration, loss, right, loss, right, loss, loss, 3)


# What it sees


@pytest.mark.parametrize("out_features", [1, 3])
def test_a_check_is_brute_force_on_every_second_row_measured_on_all(out_features):
    net, X, y = problem(out_features)
    monitor = PretrainingMonitor(X, y, SIZE, checkpoints=[0])
    monitor.update(net, 0)
    (seen,) = monitor.history
    with torch.no_grad():
        picks, losses = brute_force(net.hidden(X[::2]), net.output_weights, y[::2], SIZE)
        each = net.hidden(X)[:, :, None] * net.output_weights  # (M, N, C)
        outputs = sum(each[:, q] for q in picks) / SIZE  # (M, C)
        dense = each[::2].mean(1)
    assert seen.iteration == 0 and seen.neurons == len(set(picks))
    assert seen.picked_loss == pytest.approx(losses[-1])
    assert seen.subnetwork_loss == pytest.approx(float((outputs - y).square().sum() / (2 * M)))
    assert seen.subnetwork_accuracy == share_right(outputs, y)
    assert seen.dense_loss == pytest.approx(float((dense - y[::2]).square().sum() / M))
    assert seen.dense_accuracy == share_right(dense, y[::2])
    variance = float((each[::2] - dense[:, None]).square().sum() / (M / 2 * 20))
    assert seen.bound == pytest.approx(float(certificate(seen.dense_loss, variance, SIZE)[-1]))
    assert seen.picked_loss <= seen.bound


def test_watching_leaves_the_training_as_it_was():
    alone, watched = train(None), train(watch())
    assert torch.equal(alone.losses, watched.losses)
    assert all(torch.equal(a, b) for a, b in zip(alone.net.parameters(), watched.net.parameters()))


def test_it_watches_on_every_device(device):
    net, X, y = (thing.to(device) for thing in problem())
    monitor = PretrainingMonitor(X, y, SIZE, checkpoints=[0, 5])
    train_sgd(net, X, y, iterations=5, batch_size=8, lr=0.1, monitor=monitor, progress=False)
    assert [seen.iteration for seen in monitor.history] == [0, 5]


def test_targets_may_be_a_vector():
    net, X, y = problem()
    column, vector = watch([0]), PretrainingMonitor(X, y[:, 0], SIZE, checkpoints=[0])
    column.update(net, 0), vector.update(net, 0)
    assert column.history == vector.history


# When it looks


def test_the_grid_grows_geometrically_and_given_checkpoints_are_taken_in_order():
    assert list(itertools.islice(grid(None), 6)) == [10, 14, 20, 28, 40, 56]
    assert list(grid([5, 0, 5, 3])) == [0, 3, 5, float("inf")]


def test_it_looks_at_exactly_the_given_checkpoints():
    monitor = watch([0, 7, 60])
    train(monitor)
    assert [seen.iteration for seen in monitor.history] == [0, 7, 60]


@settings(max_examples=30, deadline=None)
@given(
    share=st.floats(0.005, 1), cost=st.floats(0.05, 50), length=st.integers(1, 3000), every=st.integers(1, 7)
)
def test_counted_checks_stay_within_the_share_at_every_moment(share, cost, length, every):
    _, X, y = problem()
    monitor = PretrainingMonitor(X, y, SIZE, share=share)
    monitor._begin, monitor._cost, looked = 0.0, cost, []
    for t in range(0, length, every):
        if monitor.due(t):
            assert monitor.due(t)  # asking twice changes nothing
            looked.append(t)
            monitor.history.append(record(t))
            monitor._move_on(t)
        assert len(looked) * cost <= share * t
    if every == 1:
        assert set(looked) <= set(itertools.takewhile(lambda t: t < length, grid(None)))


def test_the_counted_cadence_is_the_same_in_every_run_and_looser_with_a_larger_share():
    looked = []
    for share in (0.02, 0.02, 1.0):
        _, X, y = problem()
        monitor = PretrainingMonitor(X, y, SIZE, share=share)
        train(monitor, iterations=200)
        looked.append([seen.iteration for seen in monitor.history])
    assert looked[0] == looked[1] and 0 < len(looked[0]) < len(looked[2])


def test_the_clock_lets_the_cost_catch_up(monkeypatch):
    now = itertools.count()  # every look at the clock takes a second
    monkeypatch.setattr("gfs_tutorial.monitor.monitor.time.perf_counter", lambda: next(now))
    _, X, y = problem()
    monitor = PretrainingMonitor(X, y, SIZE, budget="clock", share=0.05)
    net = problem()[0]
    for t in range(700):
        monitor.update(net, t)
    assert len(monitor.history) > 5
    assert monitor.overhead == monitor.check_seconds / monitor.training_seconds <= 0.05


@given(st.tuples(*[st.integers(1, 5000)] * 6))
@settings(max_examples=50)
def test_the_counted_cost_grows_with_the_check_and_falls_with_the_batch(shapes):
    rows, d, C, width, size, batch = shapes
    cost = counted_cost(*shapes)
    assert 0 < cost <= counted_cost(rows + 2, d, C, width, size, batch)
    assert cost < counted_cost(rows, d, C, width, size + 1, batch)
    assert cost > counted_cost(rows, d, C, width, size, batch + 1)


# What it decides


def test_the_first_criterion_that_is_met_is_enough():
    criteria = Criteria(loss=0.1, accuracy=0.9)
    records = [record(0), record(10, loss=0.5, right=0.95), record(20, loss=0.1, right=0.2)]
    assert criteria.met(records[:1]) is None
    assert "accuracy, 95.0%, is at least 90.0%" in criteria.met(records[:2])
    assert "loss, 0.1, is at most 0.1" in criteria.met(records)
    assert criteria.first_met(records) == 10
    assert Criteria(loss=0.01).first_met(records) is None
    assert Criteria().first_met(records) is None


def test_patience_compares_the_best_loss_with_the_best_before_the_window():
    losses = {0: 1.0, 10: 0.5, 20: 0.45, 30: 0.3, 40: 0.29, 50: 0.31}
    records = [record(t, loss) for t, loss in losses.items()]
    assert Criteria(patience=(10, 0.2)).first_met(records) == 20  # 0.45 > 0.8 * 0.5
    assert Criteria(patience=(20, 0.2)).first_met(records) == 50  # 0.29 > 0.8 * 0.3
    assert Criteria(patience=(10, 0.05)).first_met(records) == 40  # 0.29 > 0.95 * 0.3
    assert Criteria(patience=(100, 0.5)).first_met(records) is None


def test_enough_is_kept_and_without_stop_the_training_goes_on():
    monitor = watch(loss=10.0)
    history = train(monitor)
    assert monitor.enough_at == 0 and "at most 10" in monitor.reason
    assert len(history.losses) == 60 and len(monitor.history) == 7


def test_stop_ends_the_training_with_a_proper_history():
    losses = [seen.subnetwork_loss for seen in _watched_to_the_end().history]
    target = losses[3]
    assert min(losses[:3]) > target  # or the test would not test
    monitor = watch(loss=target, stop=True)
    stopped = train(monitor, checkpoints=(0, 20, 50))
    assert monitor.enough_at == 30
    assert list(stopped.states) == [0, 20]
    short = train(None, iterations=30)
    assert torch.equal(stopped.losses, short.losses)
    assert all(torch.equal(a, b) for a, b in zip(stopped.net.parameters(), short.net.parameters()))


def _watched_to_the_end():
    monitor = watch()
    train(monitor)
    return monitor


def test_a_loop_of_ones_own():
    net, X, y = problem()
    monitor = PretrainingMonitor(X, y, SIZE, accuracy=0.5, stop=True, share=1.0)
    monitor.start(net, batch_size=M)
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    for t in range(1000):
        if monitor.update(net, t):
            break
        optimizer.zero_grad()
        (net(X) - y).square().mean().backward()
        optimizer.step()
    assert monitor.enough_at == t == monitor.history[-1].iteration
    assert monitor.overhead > 0


def test_calls_that_skip_iterations_are_served_at_the_next_one():
    monitor = watch([0, 10, 20, 30])
    net = problem()[0]
    for t in (3, 12, 29, 35):
        monitor.update(net, t)
    assert [seen.iteration for seen in monitor.history] == [3, 12, 29, 35]


def test_divergence_is_still_reported_as_such():
    with pytest.raises(TrainingDivergedError, match="lr"):
        train(watch(range(61)), lr=1e3)


# In time: looking back with the full selection finds the same moment

CHECKPOINTS = (0, 8, 12, 17, 24, 34, 48, 67, 94, 132, 185, 260)


def looking_back(history, monitor, X, y):
    """The monitor's records, with what the selection on all training data finds in their place."""
    for seen in monitor.history:
        path = greedy_forward_selection(history.at(seen.iteration), X, y, monitor.size)
        right = accuracy(path.subnetwork(monitor.size), X, y)
        yield replace(seen, subnetwork_loss=float(path.losses[-1]), subnetwork_accuracy=right)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("m", [500, 1000, 2000])
def test_the_stopping_time_is_within_one_checkpoint_of_the_one_found_by_looking_back(seed, m):
    data = load_mnist(source="embedded", train_size=m, seed=seed, verbose=False)
    X, y = data.X_train, data.y_train
    generator = torch.Generator().manual_seed(seed)
    net = TwoLayerNet(784, 150, generator=generator)
    monitor = PretrainingMonitor(X[:600], y[:600], 50, loss=0.1, checkpoints=CHECKPOINTS)
    rates = {"iterations": CHECKPOINTS[-1], "batch_size": 50, "lr": (0.01, 1.0), "progress": False}
    history = train_sgd(net, X, y, checkpoints=CHECKPOINTS, generator=generator, monitor=monitor, **rates)
    records = list(looking_back(history, monitor, X, y))
    for criteria in (Criteria(loss=0.1), Criteria(accuracy=0.95), Criteria(patience=(40, 0.3))):
        found, looked_back = criteria.first_met(monitor.history), criteria.first_met(records)
        assert found is not None and looked_back is not None
        assert abs(CHECKPOINTS.index(found) - CHECKPOINTS.index(looked_back)) <= 1
    assert monitor.enough_at == Criteria(loss=0.1).first_met(monitor.history)


# How it shows itself


def test_it_draws_what_it_saw():
    monitor = watch(loss=0.05)
    train(monitor)
    bound, dense, subnetwork, level, *_ = monitor.plot().lines
    assert np.allclose(subnetwork.get_xdata(), range(0, 61, 10))
    assert np.allclose(subnetwork.get_ydata(), [seen.subnetwork_loss for seen in monitor.history])
    assert np.allclose(dense.get_ydata(), [seen.dense_loss for seen in monitor.history])
    assert np.allclose(bound.get_ydata(), [seen.bound for seen in monitor.history])
    assert level.get_ydata()[0] == 0.05
    assert len(monitor.plot(what="accuracy").lines) == 2 + (monitor.enough_at is not None)
    plt.close("all")


def test_it_says_how_things_stand():
    assert "not enough yet" in repr(watch(loss=1e-9))
    assert "only watching" in repr(watch())
    monitor = watch(loss=10.0)
    train(monitor)
    assert re.search(r"6 picks, 7 checks, .*% of the training time; enough at iteration 0", repr(monitor))


# What it refuses


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"loss": -1.0}, ValueError, "loss must be finite, at least 0"),
        ({"loss": "low"}, TypeError, "loss must be a number, got 'low'"),
        ({"accuracy": 95}, ValueError, "accuracy must be .* at most 1, got 95"),
        ({"patience": 3}, TypeError, r"patience must be a pair \(window, gain\), got 3"),
        ({"patience": (0, 0.1)}, ValueError, "window of patience must be at least 1"),
        ({"patience": (5, 2)}, ValueError, "gain of patience must be .* at most 1, got 2"),
        ({"share": 0}, ValueError, "share must be above 0 and at most 1, got 0"),
        ({"budget": "money"}, ValueError, "unknown budget 'money': choose one of 'work', 'clock'"),
        ({"checkpoints": 5}, TypeError, "checkpoints must be a sequence of iterations, got 5"),
        ({"checkpoints": [-1]}, ValueError, "checkpoints must be at least 0"),
        ({"size": 0}, ValueError, "size must be at least 1"),
        ({"X": torch.zeros(1, 3)}, ValueError, "the same length|needs two at least"),
        ({"X": torch.full((M, 3), float("nan")).double()}, ValueError, "X holds"),
    ],
)
def test_a_wrong_argument_is_named(arguments, error, message):
    _, X, y = problem()
    with pytest.raises(error, match=message):
        PretrainingMonitor(**{"X": X, "y": y, "size": SIZE, **arguments})


def test_a_batch_that_does_not_fit_the_net_is_refused_before_training():
    net = TwoLayerNet(4, 5).double()
    with pytest.raises(ValueError, match=r"X must have shape \(m, 4\)"):
        watch().start(net, batch_size=5)
    with pytest.raises(ValueError, match=r"y has 1 column.* 2 output"):
        watch().start(TwoLayerNet(3, 5, 2).double(), batch_size=5)


def test_what_is_no_monitor_is_refused():
    with pytest.raises(TypeError, match="monitor must be a PretrainingMonitor or None, got int"):
        train(5)


def test_a_monitor_is_for_one_training():
    monitor = watch()
    train(monitor)
    with pytest.raises(RuntimeError, match="make a new one"):
        train(monitor)
    with pytest.raises(ValueError, match="iteration must grow: it was 60 and is now 60"):
        monitor.update(problem()[0], 60)


def test_counting_the_cost_needs_a_start():
    _, X, y = problem()
    with pytest.raises(RuntimeError, match=r"call monitor\.start"):
        PretrainingMonitor(X, y, SIZE).update(problem()[0], 0)


def test_an_empty_monitor_says_that_there_is_nothing_to_draw():
    with pytest.raises(ValueError, match="not looked yet"):
        watch().plot()
