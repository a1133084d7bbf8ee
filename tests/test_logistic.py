"""Selection on the logistic loss against every candidate's loss from the definition, and its bound."""

import math

import pytest
import torch
from brute_force import features
from hypothesis import given, settings
from hypothesis import strategies as st

from gfs_tutorial.losses import logistic_loss
from gfs_tutorial.selection import select_neurons_logistic
from gfs_tutorial.theory import Anchor


def instance(seed, m=12, N=9, C=1, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    hidden, weights = torch.randn(m, N, generator=draw), 3 * torch.randn(N, C, generator=draw)
    signs = torch.randint(2, (m, C), generator=draw) * 2.0 - 1
    return hidden.to(dtype), weights.to(dtype), signs.to(dtype)


def by_definition(prediction, targets):
    terms = [math.log1p(math.exp(-float(y * u))) for y, u in zip(targets.flatten(), prediction.flatten())]
    return sum(terms) / len(targets)


def brute_force_logistic(hidden, weights, targets, size, with_replacement=True):
    phi = features(hidden, weights)  # (N, m, C)
    total, picks, losses = torch.zeros_like(targets), [], []
    for k in range(1, size + 1):
        candidates = [
            by_definition((total + phi[i]) / k, targets) if with_replacement or i not in picks else math.inf
            for i in range(len(phi))
        ]
        best = next(i for i, loss in enumerate(candidates) if loss <= min(candidates) * (1 + 1e-12))
        picks.append(best)
        losses.append(candidates[best])
        total = total + phi[best]
    return picks, losses


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), C=st.integers(1, 3), N=st.integers(1, 9), with_replacement=st.booleans())
def test_it_picks_what_the_definition_picks(seed, C, N, with_replacement):
    problem = instance(seed, C=C, N=N)
    size = 12 if with_replacement else N
    path = select_neurons_logistic(*problem, size, with_replacement=with_replacement)
    picks, losses = brute_force_logistic(*problem, size, with_replacement)
    assert path.indices.tolist() == picks
    assert path.losses.tolist() == pytest.approx(losses, rel=1e-10)


def test_pieces_of_candidates_change_nothing(monkeypatch):
    problem = instance(3, N=40)
    whole = select_neurons_logistic(*problem, 20)
    monkeypatch.setattr("gfs_tutorial.selection.logistic.CHUNK", 25)
    assert torch.equal(select_neurons_logistic(*problem, 20).indices, whole.indices)


def test_equal_neurons_give_the_lowest_index():
    hidden, weights, signs = instance(0, N=4)
    hidden, weights = hidden[:, [0, 0, 1, 1]], weights[[0, 0, 1, 1]]
    assert set(select_neurons_logistic(hidden, weights, signs, 8).indices.tolist()) <= {0, 2}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), C=st.integers(1, 3))
def test_the_loss_never_exceeds_its_bound(seed, C):
    hidden, weights, signs = instance(seed, m=20, N=15, C=C)
    path = select_neurons_logistic(hidden, weights, signs, 30)
    dense = features(hidden, weights).mean(0)
    assert path.dense_loss == pytest.approx(float(logistic_loss(dense, signs)))
    spread = (features(hidden, weights) - dense).square().sum((1, 2)).mean() / 20
    assert path.variance == pytest.approx(float(spread))
    assert all(path.losses[k - 1] <= path.bound(k) for k in range(1, 31))


def test_without_replacement_there_is_no_bound():
    path = select_neurons_logistic(*instance(0), 4, with_replacement=False)
    with pytest.raises(ValueError, match="with_replacement=True"):
        path.bound(2)


def test_the_bound_takes_no_anchors_and_has_no_components():
    path = select_neurons_logistic(*instance(0), 4)
    with pytest.raises(ValueError, match="anchors"):
        path.bound(2, [Anchor("elsewhere", 0.0, 1.0)])
    with pytest.raises(ValueError, match="logistic"):
        path.bound_components(2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": torch.zeros(12, 1)}, "-1 and"),
        ({"targets": torch.ones(11, 1)}, "targets"),
        ({"output_weights": torch.ones(8, 1)}, "output_weights"),
        ({"size": 0}, "size"),
        ({"size": 10, "with_replacement": False}, "lower size"),
    ],
)
def test_bad_input_is_named(change, message):
    hidden, weights, signs = instance(0, dtype=torch.float32)
    arguments = {"hidden": hidden, "output_weights": weights, "targets": signs, "size": 3, **change}
    with pytest.raises(ValueError, match=message):
        select_neurons_logistic(**arguments)
