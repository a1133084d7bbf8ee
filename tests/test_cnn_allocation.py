"""Allocation: curves, hulls, budgets, and the error of a block with one unit pruned."""

import copy
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models import mobilenet_v3_small
from torchvision.models.resnet import Bottleneck

from gfs_tutorial.cnn.allocation import (
    Variant,
    allocate,
    block_errors,
    error_curve,
    lower_hull,
    uniform_counts,
)
from gfs_tutorial.cnn.cost import MacModel
from gfs_tutorial.cnn.refit import following_norms
from gfs_tutorial.cnn.surgery import masked
from gfs_tutorial.cnn.units import find_units


class Residual(nn.Module):
    """Two bottlenecks behind a stem and before a classifier."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.blocks = nn.Sequential(Bottleneck(8, 2), Bottleneck(8, 2))
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def random_norms(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.bias.data.normal_(0.3, 0.3)
    return model.eval()


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


@pytest.mark.parametrize("build", [Residual, lambda: mobilenet_v3_small(num_classes=4)])
def test_block_errors_are_those_of_the_pruned_block(build):
    """Against the masked model's block on the dense block's input, squeeze-and-excitation included."""
    torch.manual_seed(0)
    model, images = random_norms(build()), torch.randn(20, 3, 32, 32)
    units = [unit for unit in find_units(model, images[:1]) if unit.block != unit.consumer][:3]
    generator, state = torch.Generator().manual_seed(1), copy.deepcopy(model.state_dict())
    masks = {u.name: (torch.rand(2, u.size, generator=generator) < 0.6).float() for u in units}
    variants = {}
    for unit in units:
        layer = model.get_submodule(unit.consumer)
        bias = torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias.detach()
        variants[unit.name] = []
        for mask in masks[unit.name]:
            columns = mask.repeat_interleave(unit.span).view(1, -1, 1, 1)
            variants[unit.name].append(Variant(layer.weight.detach() * columns, bias, mask.bool()))
    found = block_errors(model, units, variants, images, {})
    for unit in units:
        seen = []
        block = model.get_submodule(unit.block)
        hook = block.register_forward_hook(lambda m, i, o, seen=seen: seen.append((i, o)))
        with torch.no_grad():
            model(images)
        hook.remove()
        (inputs, dense) = seen[0]
        for error, mask in zip(found[unit.name], masks[unit.name]):
            with torch.no_grad(), masked(model, [unit], {unit.name: mask}):
                pruned = block(*inputs)
            spread = (dense - dense.mean((0, 2, 3), keepdim=True)).square().sum()
            assert float(error) == pytest.approx(float((pruned - dense).square().sum() / spread), rel=1e-3)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert not any("forward" in module.__dict__ for module in model.modules())


def test_error_of_a_unit_without_block_shows_behind_the_norm():
    torch.manual_seed(0)
    model = random_norms(
        nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 1, bias=False), nn.BatchNorm2d(5))
    )
    images = torch.randn(20, 3, 8, 8)
    (unit,) = find_units(model, images[:1])
    weight = model[2].weight.detach().clone()
    weight[:, 3:] = 0
    variant = Variant(weight, torch.zeros(5), torch.arange(6) < 3)
    norms = following_norms(model, ["2"], images)
    found = block_errors(model, [unit], {"0": [variant]}, images, norms)["0"]
    with torch.no_grad():
        dense = model(images)
        pruned = model[3](nn.functional.conv2d(model[:2](images), weight))
    spread = (dense - dense.mean((0, 2, 3), keepdim=True)).square().sum()
    torch.testing.assert_close(found[0].float(), (pruned - dense).square().sum() / spread)
