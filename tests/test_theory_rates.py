"""Every inequality of the theory, on random and on trained networks; contraction, threshold, slopes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gfs_tutorial import TwoLayerNet, greedy_forward_selection, select_neurons, train_sgd
from gfs_tutorial.theory import (
    Anchor,
    anchor,
    ball_certificate,
    certificate,
    certificate_average,
    certificate_closed_form,
    certificate_interpolation,
    contraction,
    dense_losses,
    feature_vectors,
    frontier,
    hull_membership,
    hull_minimum,
    inscribed_ball,
    log_log_slope,
    network_features,
    pretraining_threshold,
    slope_over_seeds,
    sufficient_dense_loss,
)

ROUNDING = 1 + 1e-9


def check_all(path, features, target):
    """No loss above any bound; every bound below those that it is said to refine."""
    size, k = len(path), torch.arange(1, len(path) + 1)
    losses = path.losses
    best = hull_minimum(features, target)
    assert bool((losses >= best.lower_bound / ROUNDING - 1e-12).all())
    anchors = [anchor(features, target, best.weights, name="hull minimum"), *frontier(features, target, 4)]
    uniform = certificate(path.dense_loss, path.variance, size)
    tightest = certificate(path.dense_loss, path.variance, size, anchors=anchors)
    for point in (Anchor("dense network", math.sqrt(2 * path.dense_loss), path.variance), *anchors):
        recursion = certificate(point.loss, point.variance, size)
        average = certificate_average(point.loss, point.variance, float(losses[0]), k)
        closed = certificate_closed_form(point.loss, point.variance, k)
        assert bool((losses <= recursion * ROUNDING + 1e-12).all())
        assert bool((losses <= average * ROUNDING + 1e-12).all())
        assert bool((recursion <= closed * ROUNDING + 1e-12).all())
        assert bool((tightest <= recursion * ROUNDING + 1e-12).all())
    assert bool((losses <= tightest * ROUNDING + 1e-12).all())
    assert path.bound(size, anchors) == pytest.approx(float(tightest[-1]))
    assert path.bound(size) == pytest.approx(float(uniform[-1]))
    assert float(tightest[0]) == pytest.approx(float(losses[0]))  # the nearest neuron is among the anchors
    return k


def check_inside(path, features, target, k):
    membership = hull_membership(features, target)
    if not membership.inside:
        return False
    variance = anchor(features, target, membership.weights).variance
    assert bool((path.losses <= certificate_interpolation(variance, k) * ROUNDING + 1e-12).all())
    ball = inscribed_ball(features, target, starts=0)
    if ball.lower > 0:
        assert bool((path.losses <= ball_certificate(ball.lower, ball.reach, len(path)) * ROUNDING).all())
    return True


def test_every_bound_holds_on_hundreds_of_random_networks():
    inside = 0
    for seed in range(250):
        generator = torch.Generator().manual_seed(seed)
        m, N, C = 1 + seed % 7, 1 + seed % 23, 1 + seed % 2
        hidden = torch.randn(m, N, generator=generator).double()
        output_weights = (1 + seed % 4) * torch.randn(N, C, generator=generator).double()
        targets = torch.randn(m, C, generator=generator).double()
        path = select_neurons(hidden, output_weights, targets, 25)
        features, target = feature_vectors(hidden, output_weights), targets.flatten() / m**0.5
        k = check_all(path, features, target)
        inside += check_inside(path, features, target, k)
    assert 50 < inside < 200  # both cases were met


@settings(max_examples=70, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    m=st.integers(2, 30),
    N=st.integers(2, 60),
    iterations=st.integers(3, 60),
    activation=st.sampled_from(["tanh", "relu", "sigmoid"]),
)
def test_every_bound_holds_on_hundreds_of_trained_networks(seed, m, N, iterations, activation):
    """Seventy trainings, three moments of each."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(m, 4, generator=generator)
    y = torch.randn(m, 1, generator=generator).sign()
    net, moments = TwoLayerNet(4, N, 1, activation, generator=generator), (1, iterations // 2, iterations)
    budget = {"iterations": iterations, "batch_size": m, "lr": (0.01, 0.1), "progress": False}
    history = train_sgd(net, X, y, checkpoints=moments, **budget)
    X, y = X.double(), y.double()
    for t in moments:
        trained = history.at(t).double()
        path = greedy_forward_selection(trained, X, y, 40)
        k = check_all(path, *network_features(trained, X, y))
        check_inside(path, *network_features(trained, X, y), k)


def test_random_convex_weights_give_a_bound_too():
    generator = torch.Generator().manual_seed(0)
    hidden, targets = torch.randn(5, 30, generator=generator).double(), torch.ones(5, 1).double()
    path = select_neurons(hidden, torch.ones(30, 1).double(), targets, 30)
    features, target = feature_vectors(hidden, torch.ones(30, 1).double()), targets.flatten() / 5**0.5
    for _ in range(100):
        weights = torch.rand(30, generator=generator).double() ** 8
        point = anchor(features, target, weights / weights.sum())
        assert bool((path.losses <= certificate(point.loss, point.variance, 30) * ROUNDING).all())


def test_the_components_put_the_closed_form_together():
    generator = torch.Generator().manual_seed(0)
    hidden, targets = torch.randn(6, 40, generator=generator).double(), 3 * torch.ones(6, 1).double()
    path = select_neurons(hidden, torch.ones(40, 1).double(), targets, 30)
    features, target = feature_vectors(hidden, torch.ones(40, 1).double()), targets.flatten() / 6**0.5
    anchors = [anchor(features, target, hull_minimum(features, target).weights, name="hull minimum")]
    parts = path.bound_components(30, anchors)
    assert parts.anchor == "hull minimum" and parts.loss == float(path.losses[-1])
    assert parts.loss <= parts.bound <= 0.5 * (parts.radius + parts.fluctuation) ** 2
    assert parts.looseness == pytest.approx(parts.bound / parts.loss)
    assert path.bound_components(30).anchor == "dense network"
    assert path.bound_components(30).bound == path.bound(30) > parts.bound


def test_anchors_need_replacement():
    path = select_neurons(torch.eye(3), torch.ones(3, 1), torch.ones(3, 1), 2, with_replacement=False)
    with pytest.raises(ValueError, match="with replacement"):
        path.bound(2, [Anchor("", 0.1, 0.1)])


def test_a_decay_by_one_factor_is_recognised():
    t = [0, 3, 10, 40]
    measured = contraction(t, [2 * 0.9**i for i in t])
    assert measured.rho == pytest.approx(0.1) == measured.fitted
    assert measured.r_squared == pytest.approx(1)
    assert measured.local.tolist() == pytest.approx([0.1] * 3)


@settings(max_examples=50, deadline=None)
@given(losses=st.lists(st.floats(1e-6, 1e3), min_size=2, max_size=8))
def test_rho_is_the_largest_that_the_losses_allow(losses):
    t = [3 * i for i in range(len(losses))]
    rho = contraction(t, losses).rho
    assert 0 <= rho < 1
    if max(losses[1:]) <= losses[0]:
        assert all(loss <= (1 - rho) ** i * losses[0] * (1 + 1e-9) for i, loss in zip(t, losses))
        faster = rho + 1e-6 * (1 - rho)
        assert any(loss > (1 - faster) ** i * losses[0] for i, loss in zip(t[1:], losses[1:]))
    else:
        assert rho == 0


def test_the_dense_losses_are_those_of_the_checkpoints():
    generator = torch.Generator().manual_seed(0)
    X, y = torch.randn(20, 3, generator=generator), torch.ones(20)
    net = TwoLayerNet(3, 10, generator=generator)
    history = train_sgd(
        net,
        X,
        y,
        iterations=4,
        batch_size=20,
        lr=0.1,
        checkpoints=(0, 2, 4),
        generator=generator,
        progress=False,
    )
    losses = dense_losses(history, X, y)
    assert list(losses) == [0, 2, 4]
    assert losses[0] == pytest.approx(float(history.losses[0]), rel=1e-5)  # full batches: the same
    assert losses[2] == pytest.approx(float(history.losses[2]), rel=1e-5)
    history.states.clear()
    with pytest.raises(ValueError, match="checkpoints"):
        dense_losses(history, X, y)


@settings(max_examples=100, deadline=None)
@given(
    variance=st.floats(1e-3, 1e3),
    size=st.integers(1, 1000),
    factor=st.floats(1.01, 100),
    rho=st.floats(1e-4, 0.5),
)
def test_at_the_threshold_the_certificate_is_at_the_level_and_not_before(variance, size, factor, rho):
    level = factor * variance / (2 * size)
    enough = sufficient_dense_loss(variance, size, level)
    assert certificate_closed_form(enough, variance, size) == pytest.approx(level)
    t = pretraining_threshold(10 * enough, variance, size, rho, level)
    assert (1 - rho) ** t * 10 <= 1 + 1e-9 and (1 - rho) ** (t - 1) * 10 >= 1 - 1e-9
    assert certificate_closed_form(sufficient_dense_loss(variance, size), variance, size) == pytest.approx(
        2 * variance / size
    )


def test_thresholds_at_the_ends_of_their_range():
    assert pretraining_threshold(0.001, 1.0, 10, 0.1) == 0
    assert pretraining_threshold(1.0, 1.0, 10, 0.0) == math.inf
    with pytest.raises(ValueError, match="rho"):
        pretraining_threshold(1.0, 1.0, 10, 1.0)
    with pytest.raises(ValueError, match="level"):
        sufficient_dense_loss(1.0, 10, 0.05)


def test_a_power_law_has_its_exponent_as_slope():
    k = np.array([10, 30, 100, 300])
    assert log_log_slope(k, 5.0 / k**2) == pytest.approx(-2)
    slope = slope_over_seeds(k, [1 / k, 3 / k])
    assert (slope.mean, slope.low, slope.high) == pytest.approx((-1, -1, -1))


def test_the_interval_covers_the_true_slope_as_often_as_it_says():
    random = np.random.default_rng(0)
    k = np.array([10.0, 100.0, 1000.0])
    covered = 0
    for _ in range(400):
        slope = slope_over_seeds(k, [k ** -random.normal(1.5, 0.2) for _ in range(4)], confidence=0.9)
        covered += slope.low <= -1.5 <= slope.high
    assert 0.86 < covered / 400 < 0.94


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: contraction([0], [1.0]), "at least two"),
        (lambda: contraction([0, 0], [1.0, 1.0]), "increase"),
        (lambda: contraction([0, 1], [1.0, 0.0]), "positive"),
        (lambda: log_log_slope([1, 2], [1.0]), "match"),
        (lambda: log_log_slope([1, 2], [1.0, 0.0]), "losses"),
        (lambda: slope_over_seeds([1, 2], [[1.0, 2.0]]), "two seeds"),
        (lambda: slope_over_seeds([1, 2], [[1.0, 2.0]] * 2, confidence=1), "confidence"),
        (lambda: Anchor("", -1.0, 0.0), "radius"),
        (lambda: certificate_average(1.0, 1.0, -1.0, 3), "first_loss"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
