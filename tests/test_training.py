"""SGD against gradients written out by hand, its checkpoints, its passes, and how it fails."""

import math
import re

import pytest
import torch

from gfs_tutorial import TrainingDivergedError, TwoLayerNet, train_sgd
from gfs_tutorial.losses import half_squared_error, logistic_loss


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def problem(m=24, out_features=1, dtype=torch.float64):
    """A small net, and data labelled by another one."""
    X = torch.randn(m, 3, generator=seeded(1)).to(dtype)
    with torch.no_grad():
        y = 3 * TwoLayerNet(3, 4, out_features, generator=seeded(2)).to(dtype)(X)
    return fresh_net(out_features, dtype), X, y


def fresh_net(out_features=1, dtype=torch.float64):
    return TwoLayerNet(3, 10, out_features, generator=seeded(0)).to(dtype)


def train(net, X, y, seed=0, **changes):
    settings = {"iterations": 30, "batch_size": 8, "lr": 0.05, "progress": False, "generator": seeded(seed)}
    return train_sgd(net, X, y, **{**settings, **changes})


def same_weights(net, other):
    return all(torch.equal(p, q) for p, q in zip(net.parameters(), other.parameters()))


def gradient_descent_by_hand(net, X, y, steps, lr_input, lr_output):
    """Mean-field gradient descent for tanh; returns a, c, b and the loss before each step."""
    a, c, b = (p.detach().clone() for p in net.parameters())  # (N, d), (N,), (N, C)
    m, N, losses = len(X), len(a), []
    for _ in range(steps):
        hidden = torch.tanh(X @ a.T + c)  # (m, N)
        residual = hidden @ b / N - y  # (m, C)
        losses.append(float((residual**2).sum() / (2 * m)))
        slope = (residual @ b.T) * (1 - hidden**2)  # (m, N)
        # d loss/d b_i = 1/(N m) sum_j h_ji r_j, and likewise for a_i, c_i; the step is N times that.
        new_b = b - lr_output * hidden.T @ residual / m
        a, c = a - lr_input * slope.T @ X / m, c - lr_input * slope.sum(0) / m
        b = new_b
    return (a, c, b), losses


@pytest.mark.parametrize("out_features", [1, 3])
@pytest.mark.parametrize("lr", [0.2, (0.05, 0.5)])
def test_full_batches_are_gradient_descent_as_written_by_hand(out_features, lr):
    net, X, y = problem(out_features=out_features)
    rates = lr if isinstance(lr, tuple) else (lr, lr)
    weights, losses = gradient_descent_by_hand(net, X, y, 7, *rates)
    history = train(net, X, y, iterations=7, batch_size=len(X), lr=lr)
    for parameter, by_hand in zip(net.parameters(), weights):
        torch.testing.assert_close(parameter.detach(), by_hand, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(history.losses.tolist(), losses, rtol=1e-10, atol=0)


def test_the_speed_of_a_neuron_does_not_depend_on_the_width():
    net, X, y = problem()
    wide = net.subset(torch.arange(10).repeat(5))  # the same function, every neuron five times
    train(net, X, y)
    train(wide, X, y)
    torch.testing.assert_close(wide.input_weights[:10], net.input_weights, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(wide.output_weights[:10], net.output_weights, rtol=1e-9, atol=1e-12)


def test_the_same_generator_seed_gives_the_same_mini_batches_and_another_seed_others():
    _, X, y = problem()
    first, again, other = (train(fresh_net(), X, y, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.losses, again.losses) and same_weights(first.net, again.net)
    assert not torch.equal(first.losses, other.losses)


def test_without_a_generator_the_global_seed_decides():
    _, X, y = problem()
    runs = [torch.manual_seed(4) and train(fresh_net(), X, y, generator=None) for _ in range(2)]
    assert torch.equal(runs[0].losses, runs[1].losses)


def test_a_generator_leaves_the_global_random_numbers_alone():
    before = torch.get_rng_state()
    train(*problem())
    assert torch.equal(torch.get_rng_state(), before)


def test_targets_may_be_a_column_or_a_vector():
    net, X, y = problem()
    column = train(net, X, y).losses
    assert torch.equal(train(fresh_net(), X, y[:, 0]).losses, column)


def test_the_net_is_trained_in_place_and_the_data_stay_as_they_were():
    net, X, y = problem()
    copies = X.clone(), y.clone()
    history = train(net, X, y)
    assert history.net is net
    assert not same_weights(net, fresh_net())
    assert torch.equal(X, copies[0]) and torch.equal(y, copies[1])


def test_the_checkpoint_at_zero_is_the_initial_net():
    history = train(*problem(), checkpoints=[0, 30])
    assert same_weights(history.at(0), fresh_net())
    assert same_weights(history.at(30), history.net)


@pytest.mark.parametrize("t", [1, 2, 13, 29])
def test_a_checkpoint_is_the_end_of_a_run_of_that_many_iterations(t):
    net, X, y = problem()
    long = train(net, X, y, checkpoints=range(31))
    short = train(fresh_net(), X, y, iterations=t)
    assert same_weights(long.at(t), short.net)
    assert torch.equal(long.losses[:t], short.losses)


def test_keeping_checkpoints_does_not_change_the_training():
    _, X, y = problem()
    with_states = train(fresh_net(), X, y, checkpoints=(3, 0, 17, 3))
    assert sorted(with_states.states) == [0, 3, 17]
    assert same_weights(with_states.net, train(fresh_net(), X, y).net)


def test_training_a_checkpoint_further_changes_neither_the_history_nor_the_net():
    net, X, y = problem()
    history = train(net, X, y, checkpoints=[10])
    end = [p.detach().clone() for p in net.parameters()]
    train(history.at(10), X, y)
    assert same_weights(history.at(10), train(fresh_net(), X, y, iterations=10).net)
    assert all(torch.equal(p, old) for p, old in zip(net.parameters(), end))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_training_learns_a_small_teacher(dtype, device):
    net, X, y = (thing.to(device) for thing in problem(m=64, dtype=dtype))
    losses = train(net, X, y, iterations=1000, batch_size=16, lr=(0.1, 0.5)).losses
    assert losses.device.type == "cpu" and losses.dtype == torch.float64
    assert float(losses[-50:].mean()) < 0.02 * float(losses[:5].mean())


def test_losses_are_those_of_the_mini_batches_before_each_update():
    net, X, y = problem()
    batches = record_batches(net)
    history = train(net, X, y, iterations=5, checkpoints=range(5))
    order = {tuple(x): i for i, x in enumerate(X.tolist())}
    for t, batch in enumerate(batches):
        rows = [order[x] for x in batch]
        prediction = history.at(t)(X[rows]).detach()
        by_hand = float(((prediction - y[rows]) ** 2).sum() / (2 * 8))
        assert float(history.losses[t]) == pytest.approx(by_hand, rel=1e-12)


def record_batches(net):
    """A list that collects the rows of every batch that goes through ``net``."""
    batches = []

    def collect(module, arguments):
        if module is net:
            batches.append([tuple(x) for x in arguments[0].tolist()])

    net.register_forward_pre_hook(collect)
    return batches


@pytest.mark.parametrize("batch_size", [1, 6, 8, 24])
def test_each_pass_visits_every_row_once_in_a_fresh_order(batch_size):
    net, X, y = problem()
    batches = record_batches(net)
    train(net, X, y, iterations=3 * 24 // batch_size, batch_size=batch_size)
    visited = [row for batch in batches for row in batch]
    passes = [visited[i : i + 24] for i in range(0, 72, 24)]
    assert all(sorted(rows) == sorted(tuple(x) for x in X.tolist()) for rows in passes)
    assert passes[0] != passes[1] != passes[2]


def test_rows_that_do_not_fill_a_batch_wait_for_the_next_pass():
    net, X, y = problem()
    batches = record_batches(net)
    train(net, X, y, iterations=8, batch_size=10)
    assert all(len(set(batches[i] + batches[i + 1])) == 20 for i in range(0, 8, 2))
    assert len({row for batch in batches for row in batch}) == 24


def test_a_huge_lr_raises_an_error_that_names_the_iteration_and_lr():
    net, X, y = problem()
    with pytest.raises(TrainingDivergedError, match=r"lr") as raised:
        train(net, X, y, batch_size=24, lr=1e3)
    t = int(re.search(r"iteration (\d+)", str(raised.value))[1])
    train(fresh_net(), X, y, iterations=t, batch_size=24, lr=1e3)  # the losses before are fine
    with pytest.raises(TrainingDivergedError, match=f"iteration {t}"):
        train(fresh_net(), X, y, iterations=t + 1, batch_size=24, lr=1e3)


def test_an_lr_that_overflows_raises_too():
    net, X, y = problem()
    with pytest.raises(TrainingDivergedError, match=r"nan|inf"):
        train(net, X, y, lr=1e200)


def test_a_loss_that_is_nan_from_the_start_raises_too():
    net, X, y = problem()
    with torch.no_grad():
        net.output_weights[0] = float("nan")
    with pytest.raises(TrainingDivergedError, match="nan on the batch of iteration 0"):
        train(net, X, y)


@pytest.mark.parametrize("crossing", [1, 9, 24, 25, 26])
@pytest.mark.parametrize("extra", [1, 2, 40])
def test_divergence_is_dated_to_the_first_loss_a_thousand_times_the_start(crossing, extra):
    """One neuron with constant activation h and target 0: each loss is (1 - lr h^2)^2 times the last."""
    X, y = torch.zeros(4, 1).double(), torch.zeros(4).double()
    net = TwoLayerNet(1, 1, generator=seeded(0)).double()
    growth = 1000 ** (1 / (crossing - 0.5))
    lr = (1 + growth**0.5) / float(net.hidden(X)[0, 0].detach()) ** 2
    with pytest.raises(TrainingDivergedError, match=f"iteration {crossing}\\b"):
        train(net, X, y, iterations=crossing + extra, batch_size=4, lr=(0.0, lr))


@pytest.mark.parametrize("batch_size", [1, 24])
def test_zeros_as_targets_are_no_divergence(batch_size):
    net, X, y = problem()
    losses = train(net, X, torch.zeros_like(y), iterations=120, batch_size=batch_size).losses
    assert float(losses[-24:].mean()) < float(losses[:24].mean())


def test_zeros_as_targets_and_as_outputs_are_no_divergence():
    net, X, y = problem()
    with torch.no_grad():
        net.output_weights.zero_()
    assert train(net, X, torch.zeros_like(y)).losses.tolist() == [0.0] * 30


def test_the_error_for_divergence_is_a_runtime_error():
    assert issubclass(TrainingDivergedError, RuntimeError)


def test_progress_writes_a_bar_to_stderr(capfd):
    train(*problem(), progress=True)
    captured = capfd.readouterr()
    assert "SGD" in captured.err and captured.out == ""


def test_without_progress_nothing_is_written(capfd):
    train(*problem(), progress=False)
    captured = capfd.readouterr()
    assert captured.err == captured.out == ""


def test_half_squared_error_follows_its_definition():
    prediction, target = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0.0, 2.0], [1.0, 5.0]])
    assert float(half_squared_error(prediction, target)) == (1 + 0 + 4 + 1) / 4


def test_half_squared_error_refuses_shapes_that_would_broadcast():
    with pytest.raises(ValueError, match=r"\(5, 1\).*\(5,\)"):
        half_squared_error(torch.zeros(5, 1), torch.zeros(5))


def test_the_logistic_loss_follows_its_definition():
    prediction, signs = (
        torch.tensor([[0.0, 2.0], [-1.0, 3.0]]).double(),
        torch.tensor([[1.0, -1.0], [1.0, 1.0]]),
    )
    terms = [math.log1p(math.exp(-y * u)) for y, u in zip(signs.flatten(), prediction.flatten())]
    assert float(logistic_loss(prediction, signs)) == pytest.approx(sum(terms) / 2)
    with pytest.raises(ValueError, match="target is"):
        logistic_loss(torch.zeros(5, 1), torch.zeros(5))


def test_logistic_training_descends_the_logistic_loss():
    net, X, y = problem()
    net.double()
    signs = torch.where(y > 0, 1.0, -1.0).double()
    before = logistic_loss(net(X), signs)
    (slope,) = torch.autograd.grad(before, net.output_weights)
    expected = net.output_weights.detach() - 10 * 0.5 * slope  # N lr
    history = train(net, X, signs, iterations=1, batch_size=len(X), lr=(0.0, 0.5), loss="logistic")
    assert torch.allclose(net.output_weights, expected)
    assert float(history.losses[0]) == pytest.approx(float(before.detach()))


def test_logistic_training_refuses_labels_that_are_not_signs():
    net, X, y = problem()
    with pytest.raises(ValueError, match="y must hold only -1 and"):
        train(net, X, (y > 0).double(), loss="logistic")
    with pytest.raises(ValueError, match="unknown loss 'hinge'"):
        train(net, X, y, loss="hinge")
