"""Allocation: curves, hulls and budgets."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gfs_tutorial.cnn.allocation import allocate, error_curve, lower_hull, uniform_counts
from gfs_tutorial.cnn.cost import MacModel
from gfs_tutorial.cnn.units import find_units


@pytest.fixture(scope="module")
def costs():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 20, 3), nn.ReLU(), nn.Conv2d(20, 30, 3), nn.ReLU(), nn.Conv2d(30, 40, 1), nn.ReLU(),
        nn.Conv2d(40, 5, 1),
    )  # fmt: skip
    x = torch.randn(1, 3, 12, 12)
    return MacModel(model, find_units(model, x), x)


def some_curves(costs, seed=0):
    g = torch.Generator().manual_seed(seed)
    curves = {}
    for name, unit in costs.units.items():
        steps = torch.rand(unit.size, generator=g, dtype=torch.float64) ** 3
        curves[name] = steps.flip(0).cumsum(0).flip(0) - steps[-1]
    return curves


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(deadline=None)
def test_hull_lies_below_every_point_and_is_convex(y):
    corners = lower_hull(list(range(len(y))), y)
    assert corners[0] == 0 and corners[-1] == len(y) - 1
    for a, b in itertools.pairwise(corners):
        for i in range(a, b + 1):
            assert y[i] >= y[a] + (y[b] - y[a]) * (i - a) / (b - a) - 1e-9
    slopes = [(y[b] - y[a]) / (b - a) for a, b in itertools.pairwise(corners)]
    assert all(s <= t + 1e-9 for s, t in itertools.pairwise(slopes))


def test_curve_passes_through_what_was_measured():
    pursuit = torch.linspace(1, 0, 10) ** 2
    sizes, measured = torch.tensor([2, 5, 8]), torch.tensor([0.4, 0.2, 0.01], dtype=torch.float64)
    curve = error_curve(pursuit, sizes, measured)
    torch.testing.assert_close(curve[sizes - 1], measured)
    assert (curve.diff() <= 0).all() and curve[-1] == 0
    assert curve[0] / curve[1] == pytest.approx(float(pursuit[0] / pursuit[1]), rel=1e-5)


def test_curve_of_one_or_repeated_measurements():
    pursuit = torch.tensor([0.5, 0.5, 0.25, 0.0])
    curve = error_curve(pursuit, torch.tensor([1]), torch.tensor([0.2]))
    torch.testing.assert_close(curve, torch.tensor([0.2, 0.2, 0.1, 0.0], dtype=torch.float64))
    assert error_curve(pursuit, torch.tensor([1, 2]), torch.tensor([0.2, 0.3])).isfinite().all()
    assert error_curve(torch.zeros(3), torch.tensor([1, 2]), torch.zeros(2))[-1] == 0


@given(st.integers(0, 1000), st.floats(0.2, 1), st.sampled_from([1, 4, 8]))
@settings(deadline=None, max_examples=25)
def test_budget_is_met_and_nearly_spent(costs, seed, macs, multiple):
    kept = allocate(some_curves(costs, seed), costs, macs, floor=0.0, multiple=multiple)
    spent = costs.total(kept) / costs.dense
    assert spent <= macs + 1e-9
    assert all(k % multiple == 0 or k == costs.units[name].size for name, k in kept.items())
    assert multiple > 1 or spent >= macs - 0.05  # the dearest candidate costs 4.4%


def test_channels_go_where_they_save_most(costs):
    names = list(costs.units)
    flat = {name: torch.linspace(1e-3, 0, costs.units[name].size) for name in names}
    steep = flat | {names[1]: torch.linspace(10, 0, costs.units[names[1]].size)}
    assert allocate(steep, costs, 0.5)[names[1]] > allocate(flat, costs, 0.5)[names[1]]


def test_whole_budget_keeps_everything(costs):
    whole = {name: unit.size for name, unit in costs.units.items()}
    assert allocate(some_curves(costs), costs, 1.0) == whole
    assert uniform_counts(costs, 1.0) == whole


@given(st.floats(0.2, 1), st.sampled_from([1, 4]))
@settings(deadline=None, max_examples=30)
def test_uniform_counts_keep_equal_shares(costs, macs, multiple):
    kept = uniform_counts(costs, macs, floor=0.0, multiple=multiple)
    assert costs.total(kept) <= macs * costs.dense * (1 + 1e-6)
    shares = [(k / unit.size, multiple / unit.size) for unit, k in zip(costs.units.values(), kept.values())]
    assert max(s for s, _ in shares) - min(s + step for s, step in shares) <= 1e-9


@pytest.mark.parametrize("rule", ["allocate", "uniform"])
@pytest.mark.parametrize(
    ("macs", "options", "message"),
    [
        (0.0, {}, "in \\(0, 1\\]"),
        (1.5, {}, "in \\(0, 1\\]"),
        (0.1, {"floor": 0.5}, "still leaves 0\\.\\d+ of the dense"),
        (0.5, {"floor": 2}, "floor must lie"),
        (0.5, {"multiple": 0}, "multiple must be at least 1"),
    ],
)
def test_impossible_budgets(costs, rule, macs, options, message):
    with pytest.raises(ValueError, match=message):
        if rule == "allocate":
            allocate(some_curves(costs), costs, macs, **options)
        else:
            uniform_counts(costs, macs, **options)
