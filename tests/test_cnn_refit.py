"""Least-squares refit and recalibration of batch norms."""

import copy
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gfs_tutorial.cnn.moments import Moments, consumer_moments
from gfs_tutorial.cnn.recalibration import recalibrate_norms
from gfs_tutorial.cnn.refit import following_norms, install, kept_rows, refit_weights
from gfs_tutorial.cnn.units import Part, Unit


def unit_of(size, span=1):
    return Unit("a", "b", size, span, span, "b", (Part("a", "out"), Part("b", "in")))


def instance(seed, size=5, rows=2, outputs=3, count=80):
    g = torch.Generator().manual_seed(seed)
    features = size * rows
    mix = torch.randn(features, features, generator=g, dtype=torch.float64)
    A = torch.randn(count, features, generator=g, dtype=torch.float64) @ mix + 1
    W = torch.randn(outputs, features, generator=g, dtype=torch.float64)
    return A, W, A @ W.T - 2


def squared_error(A, Z, weight, constant):
    return float((A @ weight.T + constant - Z).square().sum())


subsets = given(st.integers(0, 10_000), st.sets(st.integers(0, 4), min_size=1))


@subsets
@settings(deadline=None, max_examples=40)
def test_refit_without_shrinkage_is_least_squares_with_an_intercept(seed, kept):
    A, W, Z = instance(seed)
    kept = torch.tensor(sorted(kept))
    rows = kept_rows(unit_of(5, 2), kept, 10)
    weight, constant = refit_weights(unit_of(5, 2), Moments.of_rows(A, Z), W, kept, 0.0)
    design = torch.cat([A[:, rows], torch.ones(len(A), 1, dtype=A.dtype)], 1)
    solution = torch.linalg.lstsq(design, Z, driver="gelsd").solution
    torch.testing.assert_close(A @ weight.T + constant, design @ solution, rtol=1e-5, atol=1e-5)
    removed = torch.ones(10, dtype=torch.bool).index_fill(0, rows, False)
    assert (weight[:, removed] == 0).all()


@subsets
@settings(deadline=None, max_examples=40)
def test_refit_never_increases_the_error(seed, kept):
    """At any shrinkage, against the old weights with the best constant."""
    A, W, Z = instance(seed)
    kept = torch.tensor(sorted(kept))
    rows = kept_rows(unit_of(5, 2), kept, 10)
    plain = torch.zeros_like(W)
    plain[:, rows] = W[:, rows]
    before = squared_error(A, Z, plain, (Z - A @ plain.T).mean(0))
    errors = [
        squared_error(A, Z, *refit_weights(unit_of(5, 2), Moments.of_rows(A, Z), W, kept, strength))
        for strength in (1e-6, 1e-3, 1e-1, 10.0)
    ]
    assert all(a <= b * (1 + 1e-9) + 1e-9 for a, b in itertools.pairwise([*errors, before]))


def test_refit_on_everything_changes_nothing():
    A, W, Z = instance(0)
    weight, constant = refit_weights(unit_of(5, 2), Moments.of_rows(A, Z), W, torch.arange(5))
    torch.testing.assert_close(weight, W)
    torch.testing.assert_close(constant, torch.full((3,), -2.0, dtype=torch.float64))


def test_refit_refuses():
    A, W, Z = instance(0)
    with pytest.raises(ValueError, match="strength"):
        refit_weights(unit_of(5, 2), Moments.of_rows(A, Z), W, torch.arange(5), -1.0)
    twins = Moments.of_rows(torch.ones(8, 10).double() * torch.arange(8)[:, None], Z[:8])
    with pytest.raises(ValueError, match="linearly dependent"):
        refit_weights(unit_of(5, 2), twins, W, torch.arange(5), 0.0)


def normed(bias, norm):
    torch.manual_seed(0)
    layers = [nn.Conv2d(4, 6, 3, padding=1, bias=bias)]
    if norm:
        layers.append(nn.BatchNorm2d(6))
        layers[1].running_mean.normal_()
        layers[1].running_var.uniform_(0.5, 2)
    return nn.Sequential(*layers).double().eval()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", [True, False])
def test_the_mean_of_the_answer_stays(bias, norm):
    """Through the bias, the norm behind, or a new bias."""
    model, images = normed(bias, norm), torch.rand(9, 4, 6, 6, dtype=torch.float64)
    unit = Unit("x", "0", 4, 1, 1, "0", (Part("0", "in"),))
    moments = consumer_moments(model, ["0"], images)["0"]
    small = copy.deepcopy(model)
    weight, constant = refit_weights(unit, moments, model[0].weight, torch.tensor([0, 3]))
    install(small[0], weight, constant, small[1] if norm else None)
    assert (small[0].bias is not None) == (bias or not norm)
    torch.testing.assert_close(small(images).mean((0, 2, 3)), model(images).mean((0, 2, 3)))


def test_following_norms():
    model = nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, 1), nn.ReLU(), nn.BatchNorm2d(2)
    ).eval()
    assert following_norms(model, ["0", "3"], torch.randn(2, 1, 3, 3)) == {"0": "1"}


def test_recalibration_measures_the_statistics_and_restores_the_mode():
    model = normed(bias=False, norm=True)
    model[0].train()
    images = torch.rand(40, 4, 6, 6, dtype=torch.float64)
    assert recalibrate_norms(model, [images[:10], images[10:]]) is model
    values = model[0](images).transpose(0, 1).flatten(1)  # (6, positions)
    torch.testing.assert_close(model[1].running_mean, values.mean(1))
    torch.testing.assert_close(model[1].running_var, values.var(1))
    assert model[0].training and not model[1].training and model[1].momentum == 0.1


def test_recalibration_refuses_an_empty_loader():
    with pytest.raises(ValueError, match="empty"):
        recalibrate_norms(normed(False, True), [])
