"""Quantities of the hull against brute force, Qhull and scipy's general-purpose solvers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.spatial import ConvexHull

from gfs_tutorial import TwoLayerNet
from gfs_tutorial.theory import (
    anchor,
    ball_certificate,
    feature_vectors,
    frontier,
    hull_membership,
    hull_minimum,
    hull_radius,
    hull_variance,
    inscribed_ball,
    network_features,
)

seeds = st.integers(0, 10**6)


def instance(seed, count, dimension, reach=0.6):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(count, dimension, generator=generator, dtype=torch.float64)
    return features, reach * torch.randn(dimension, generator=generator, dtype=torch.float64)


def convex(seed, count):
    weights = torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 3
    return weights / weights.sum()


@pytest.mark.parametrize("outputs", [1, 3])
def test_features_average_to_the_network(outputs):
    net = TwoLayerNet(5, 7, outputs, generator=torch.Generator().manual_seed(0)).double()
    X = torch.randn(6, 5, generator=torch.Generator().manual_seed(1)).double()
    y = torch.randn(6, outputs, generator=torch.Generator().manual_seed(2)).double()
    features, target = network_features(net, X, y)
    assert features.shape == (7, 6 * outputs) and target.shape == (6 * outputs,)
    torch.testing.assert_close(features.mean(0) * 6**0.5, net(X).detach().flatten())
    loss = float((net(X) - y).square().sum().detach() / 12)
    assert anchor(features, target).loss == pytest.approx(loss)


@settings(max_examples=50, deadline=None)
@given(seed=seeds, count=st.integers(1, 8), dimension=st.integers(1, 5))
def test_radius_and_variance_are_their_definitions(seed, count, dimension):
    features, target = instance(seed, count, dimension)
    p = convex(seed, count)
    point = sum(p[i] * features[i] for i in range(count))
    variance = sum(float(p[i]) * math.dist(features[i], point) ** 2 for i in range(count))
    assert hull_radius(features, target, p) == pytest.approx(math.dist(point, target))
    assert hull_variance(features, p) == pytest.approx(variance, abs=1e-12)
    assert hull_variance(features) == pytest.approx(
        hull_variance(features, torch.full((count,), 1 / count).double())
    )


@settings(max_examples=60, deadline=None)
@given(seed=seeds, count=st.integers(1, 12), dimension=st.integers(1, 6))
def test_the_minimum_is_that_of_a_general_solver_and_its_gap_covers_the_difference(seed, count, dimension):
    features, target = instance(seed, count, dimension, reach=1.5)
    found = hull_minimum(features, target)
    Z = (features - target).numpy()
    general = minimize(
        lambda p: 0.5 * np.square(p @ Z).sum(),
        np.full(count, 1 / count),
        jac=lambda p: Z @ (p @ Z),
        bounds=[(0, 1)] * count,
        constraints={"type": "eq", "fun": lambda p: p.sum() - 1, "jac": np.ones_like},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert found.loss <= general.fun + 1e-9
    assert found.lower_bound <= general.fun + 1e-9
    assert found.loss - found.duality_gap <= found.lower_bound + 1e-12
    assert found.loss == pytest.approx(anchor(features, target, found.weights).loss, abs=1e-12)
    assert found.duality_gap <= 1e-8


def test_a_minimum_that_stops_early_says_how_far_off_it_may_be():
    features, target = instance(0, 400, 120, reach=0.5)
    early, full = hull_minimum(features, target, rounds=1), hull_minimum(features, target)
    assert early.loss > full.loss
    assert early.loss - early.duality_gap <= early.lower_bound <= full.loss
    assert full.duality_gap < 1e-9 < early.duality_gap


@settings(max_examples=60, deadline=None)
@given(seed=seeds, dimension=st.integers(2, 5), more=st.integers(1, 20))
def test_inside_and_outside_agree_with_qhull_and_come_with_a_proof(seed, dimension, more):
    features, target = instance(seed, dimension + more, dimension)
    faces = ConvexHull(features.numpy()).equations
    beyond = float((faces[:, :-1] @ target.numpy() + faces[:, -1]).max())
    membership = hull_membership(features, target)
    assert membership.inside == (beyond < 0)
    if membership.inside:
        assert float(membership.weights.min()) > 0
        torch.testing.assert_close(membership.weights @ features, target, atol=1e-8, rtol=0)
        assert hull_minimum(features, target).loss < 1e-16
    else:
        assert float(((features - target) @ membership.direction).max()) < 0
        distance = math.sqrt(2 * hull_minimum(features, target).loss)
        assert 0 < membership.margin <= distance * (1 + 1e-9)


def test_inside_means_inside_the_flat_space_of_the_hull():
    """Two points of a line in the plane: their middle is inside, a point beside the line is not."""
    features = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).double()
    assert hull_membership(features, torch.tensor([0.5, 0.0]).double()).inside is True
    assert hull_membership(features, torch.tensor([0.0, 0.1]).double()).inside is False
    assert inscribed_ball(features, torch.zeros(2).double()).upper == pytest.approx(1)


@settings(max_examples=25, deadline=None)
@given(seed=seeds, dimension=st.integers(2, 5), more=st.integers(3, 15))
def test_the_bounds_on_the_ball_enclose_the_one_of_qhull(seed, dimension, more):
    features, target = instance(seed, dimension + more, dimension, reach=0.2)
    faces = ConvexHull(features.numpy()).equations
    depth = float(-(faces[:, :-1] @ target.numpy() + faces[:, -1]).max())
    if depth <= 1e-6:
        return
    ball = inscribed_ball(features, target, starts=2)
    assert 0 < ball.lower <= depth * (1 + 1e-6) and depth <= ball.upper * (1 + 1e-9)
    assert ball.upper == pytest.approx(float(((features - target) @ ball.direction).max()))
    assert ball.upper <= 1.6 * depth  # a search from three directions: near, not always the least
    assert ball.reach <= float((features - target).norm(dim=1).max()) * (1 + 1e-12)


def test_no_ball_fits_around_a_target_outside():
    features, _ = instance(0, 10, 3)
    with pytest.raises(ValueError, match="outside the hull"):
        inscribed_ball(features, torch.full((3,), 10.0).double())


@settings(max_examples=25, deadline=None)
@given(seed=seeds, count=st.integers(2, 20), dimension=st.integers(1, 8))
def test_no_random_weights_lie_below_the_frontier(seed, count, dimension):
    """The tightest step for a given walk W: 2 W R_p + E‖Φ - y‖², which is convex in p."""
    features, target = instance(seed, count, dimension)
    points = frontier(features, target)
    squares = (features - target).square().sum(1)
    assert points[0].radius ** 2 == pytest.approx(float(squares.min()))

    def value(point, c):
        return point.radius**2 / 2 + c * (point.radius**2 + point.variance)

    for c, point in zip(np.geomspace(1, 1e-4, 9), points[1:]):
        for draw in range(20):
            trial = anchor(features, target, convex(seed + draw, count))
            assert value(point, c) <= value(trial, c) * 1.003 + 1e-9


def test_the_ball_certificate_is_attained_by_two_opposite_neurons():
    """Neurons at +1 and -1, target 0: the walk alternates between 1 and 0, γ = D = 1."""
    assert ball_certificate(1.0, 1.0, 3).tolist() == pytest.approx([1 / 2, 1 / 8, 1 / 18])
    with pytest.raises(ValueError, match="gamma"):
        ball_certificate(0.0, 1.0, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda F, y: hull_minimum(F, y[:2]), ValueError, "target must be"),
        (lambda F, y: hull_minimum(F, y, tolerance=0), ValueError, "tolerance"),
        (lambda F, y: hull_membership(F.long(), y), TypeError, "features"),
        (lambda F, y: anchor(F, y, torch.ones(5)), ValueError, "sum to 1"),
        (lambda F, y: anchor(F, y, torch.ones(4) / 4), ValueError, "weights must be"),
        (lambda F, y: frontier(F, y * math.nan), ValueError, "target"),
        (lambda F, y: inscribed_ball(F, y, starts=-1), ValueError, "starts"),
        (lambda F, y: feature_vectors(F, F), ValueError, "output_weights"),
        (lambda F, y: network_features(F, F, y), TypeError, "TwoLayerNet"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call(*instance(0, 5, 3))
