"""Pruning of whole networks, from the calibration images to the small model and its report."""

import copy
import sys

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import mobilenet_v3_small
from torchvision.ops import SqueezeExcitation

from gfs_tutorial.cnn.cost import count_macs, count_parameters
from gfs_tutorial.cnn.local import select_local
from gfs_tutorial.cnn.models.resnet_cifar import ResNetCifar
from gfs_tutorial.cnn.moments import Moments, consumer_moments
from gfs_tutorial.cnn.prune import prune
from gfs_tutorial.cnn.ranking import rank_by_scores
from gfs_tutorial.cnn.surgery import masked, slice_units
from gfs_tutorial.cnn.units import find_units


def settled(model, images):
    """Random weights, but batch norms that fit the images."""
    model.train()
    with torch.no_grad():
        for _ in range(20):
            model(images)
    return model.eval()


@pytest.fixture(scope="module")
def images():
    torch.manual_seed(1)
    return nn.functional.interpolate(torch.randn(60, 3, 5, 5), 16, mode="bilinear")


@pytest.fixture(scope="module")
def model(images):
    torch.manual_seed(0)
    return settled(ResNetCifar(1, (8, 12, 16)), images)


@pytest.fixture(scope="module")
def plain(images):
    """Convolutions without norms, an odd flattening, and a linear consumer."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, bias=False), nn.ReLU(), nn.Conv2d(8, 10, 3, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(90, 20), nn.ReLU(), nn.Linear(20, 5),
    ).eval()  # fmt: skip


def distance(model, small, images):
    with torch.no_grad():
        return float((model(images) - small(images)).square().mean())


@pytest.mark.parametrize("method", ["ols", "local", "loss"])
@pytest.mark.parametrize("allocation, inputs", [("error", "pruned"), ("uniform", "dense")])
def test_budget_report_and_model_agree(model, images, method, allocation, inputs):
    state, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    options = {"method": method, "allocation": allocation, "inputs": inputs, "floor": 0.0}
    small, report = prune(model, [images], macs=0.6, **options)
    assert report.macs == (count_macs(model, images[:1]), count_macs(small, images[:1]))
    assert report.parameters == (count_parameters(model), count_parameters(small))
    assert 0.5 < report.macs[1] / report.macs[0] <= 0.6
    units = find_units(model, images[:1])
    assert list(report.channels) == [unit.name for unit in units]
    for unit in units:
        assert report.channels[unit.name] == (len(report.kept[unit.name]), unit.size)
    rebuilt = slice_units(model, units, report.kept)
    rebuilt.load_state_dict(small.state_dict())
    assert distance(rebuilt, small, images) == 0
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert modes == [m.training for m in model.modules()]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert (len(report.errors) == len(units)) == (allocation == "error")
    assert "MACs" in str(report) and units[0].name in str(report)


def test_refit_answers_more_like_the_dense_net(model, images):
    refitted, raw = (prune(model, [images], ratio=0.5, refit=refit)[0] for refit in (True, False))
    assert distance(model, refitted, images) < 0.5 * distance(model, raw, images)


def test_allocation_finds_redundant_channels(model, images):
    twins = copy.deepcopy(model)
    block, pairs = twins.layer1[0], torch.arange(8) // 2  # four channels, each of them twice
    for layer in (block.conv1, block.bn1):
        layer.load_state_dict({k: v if v.ndim == 0 else v[pairs] for k, v in layer.state_dict().items()})
    ours, report = prune(twins, [images], macs=0.75)
    uniform, _ = prune(twins, [images], macs=0.75, allocation="uniform")
    assert report.channels["layer1.0.conv1"] == (4, 8)
    assert (report.kept["layer1.0.conv1"] // 2).tolist() == [0, 1, 2, 3]
    assert distance(twins, ours, images) < 0.5 * distance(twins, uniform, images)


def test_refits_behind_the_pruned_prefix_answer_more_like_the_dense_net(images):
    torch.manual_seed(0)
    fresh = nn.functional.interpolate(torch.randn(200, 3, 5, 5), 16, mode="bilinear")
    model = settled(ResNetCifar(2, (8, 12, 16)), fresh)
    dense, pruned = (prune(model, [fresh], ratio=0.5, inputs=inputs)[0] for inputs in ("dense", "pruned"))
    assert distance(model, pruned, images) < 0.8 * distance(model, dense, images)


def test_without_a_refit_inputs_are_dense(model, images):
    options = {"ratio": 0.5, "refit": False, "method": "local"}
    one, two = (prune(model, [images], inputs=inputs, **options)[0] for inputs in ("dense", "pruned"))
    assert distance(one, two, images) == 0


@pytest.mark.parametrize("options", [{"macs": 1.0}, {"ratio": 1.0}, {"counts": {}}])
@pytest.mark.parametrize("inputs", ["dense", "pruned"])
def test_everything_kept_changes_nothing(model, images, options, inputs):
    small, report = prune(model, [images], inputs=inputs, **options)
    assert distance(model, small, images) == 0
    assert report.macs[0] == report.macs[1]


def test_same_seed_same_model_whatever_the_batches(model, images):
    loader = DataLoader(TensorDataset(images, torch.zeros(60).long()), batch_size=7)
    workers = DataLoader(TensorDataset(images, torch.zeros(60).long()), batch_size=16, num_workers=2)
    states = [prune(model, batches, macs=0.5)[0].state_dict() for batches in ([images], loader, workers)]
    for state in states[1:]:
        assert all(torch.equal(value, state[key]) for key, value in states[0].items())


def test_counts_of_single_units_and_multiples(plain, images):
    small, _ = prune(plain, [images], counts={"0": 4, "2": 3})
    assert (small[0].out_channels, small[2].out_channels, small[5].in_features) == (4, 3, 27)
    assert small[2].bias is not None and plain[0].bias is None
    small, _ = prune(plain, [images], macs=0.7, multiple=4)
    assert small[0].out_channels % 4 == 0 and small[2].out_channels in (4, 8, 10)


def test_recalibration_without_refit_helps(model, images):
    def pruned(**options):
        return prune(model, [images], ratio=0.5, method="local", refit=False, scaling="unit", **options)[0]

    assert distance(model, pruned(recalibrate=True), images) < distance(model, pruned(), images)


def families(model):
    """A copy whose first unit has two kinds of channels, four of each, and the weights at the consumer of
    which the first of each kind is the mean."""
    twins = copy.deepcopy(model)
    block, kind = twins.layer1[0], torch.tensor([0, 0, 0, 0, 4, 4, 4, 4])
    for layer in (block.conv1, block.bn1):
        layer.load_state_dict({k: v if v.ndim == 0 else v[kind] for k, v in layer.state_dict().items()})
    columns, spread = block.conv2.weight.detach()[:, kind], torch.randn(8, 2, 3, 3)
    spread = spread / spread.std() * columns.std() * 3
    with torch.no_grad():
        for first, noise in ((0, spread[:, :1]), (4, spread[:, 1:])):
            columns[:, first + 1 : first + 4] += torch.cat([noise, -noise / 2, -noise / 2], 1)
        block.conv2.weight.copy_(columns)
    return twins


@pytest.mark.parametrize("method", ["local", "loss"])
@pytest.mark.parametrize("scaling", ["mean", "unit"])
def test_with_replacement_counts_are_folded_in_as_weights(model, images, method, scaling):
    """The factors by which the consumer's columns grew are counts, and the masked dense net agrees."""
    twins, name = families(model), "layer1.0.conv1"
    options = {"method": method, "scaling": scaling, "refit": False, "with_replacement": True}
    small, report = prune(twins, [images], counts={name: 4}, **options)
    unit, kept = find_units(twins, images[:1])[0], report.kept[name]
    columns = twins.get_submodule(unit.consumer).weight[:, kept].detach()  # (outputs, kept, 3, 3)
    factors = small.get_submodule(unit.consumer).weight.detach() / columns
    factors = factors.transpose(0, 1).flatten(1).median(1).values  # (kept,)
    with masked(twins, [unit], {name: torch.zeros(8).index_put((kept,), factors)}), torch.no_grad():
        torch.testing.assert_close(twins(images), small(images), rtol=1e-3, atol=1e-4)
    assert len(kept) == report.channels[name][0] <= 4
    assert float(factors.sum()) == pytest.approx(8, rel=1e-4) or scaling == "unit"
    if method == "local":
        torch.testing.assert_close(factors, torch.tensor([4.0, 4.0]), rtol=1e-4, atol=0)
        assert kept.tolist() == [0, 4] and distance(twins, small, images) < 1e-8
    else:
        assert float(factors.max()) > 2.1 if scaling == "mean" else float(factors.max()) > 1.9


def test_with_replacement_and_a_refit_the_set_alone_counts(model, images):
    options = {"ratio": 0.5, "method": "local", "scaling": "mean"}
    _, report = prune(model, [images], **options, with_replacement=True)
    unit = find_units(model, images[:1])[0]
    moments = consumer_moments(model, [unit.consumer], images)[unit.consumer]
    counts = {"size": 4 * unit.size, "distinct": round(0.5 * unit.size)}
    weight = model.get_submodule(unit.consumer).weight
    chosen = select_local(unit, moments, weight, **counts, with_replacement=True, centred=True)
    assert torch.equal(report.kept[unit.name], chosen.picks.unique())


def test_scores_of_your_own(model, images):
    units = find_units(model, images[:1])
    scores = {unit.name: torch.arange(unit.size).float() for unit in units}
    for importance in (scores, lambda unit: scores[unit.name]):
        _, report = prune(model, [images], ratio=0.5, importance=importance)
        for unit in units:
            assert report.kept[unit.name].tolist() == list(range(unit.size))[-report.channels[unit.name][0] :]
    prune(model, [images], macs=0.7, importance=scores)


def test_ranking_by_scores_breaks_ties_by_index(model, images):
    unit = find_units(model, images[:1])[0]
    A = torch.randn(50, unit.size * 9)
    picks = rank_by_scores(unit, torch.ones(unit.size), Moments.of_rows(A, A[:, :2])).picks
    assert picks.tolist() == list(range(unit.size))


class Gated(nn.Module):
    """A residual block whose inner channels pass strong squeeze-and-excitation."""

    def __init__(self):
        super().__init__()
        self.stem, self.expand, self.norm = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 32, 1), nn.BatchNorm2d(32)
        self.gate, self.project = SqueezeExcitation(32, 8), nn.Conv2d(32, 8, 1)
        self.head = nn.Linear(8, 10)
        for layer in (self.gate.fc1, self.gate.fc2):
            nn.init.normal_(layer.weight)

    def forward(self, x):
        x = self.stem(x)  # (n, 8, h, w)
        x = x + self.project(self.gate(torch.relu(self.norm(self.expand(x)))))
        return self.head(x.mean((2, 3)))


def test_gates_are_refitted_too(images, monkeypatch):
    torch.manual_seed(0)
    model = settled(Gated(), images)
    small, _ = prune(model, [images], ratio=0.5)
    monkeypatch.setattr(sys.modules["gfs_tutorial.cnn.rebuild"], "GATES", 1e9)  # as good as no refit
    ungated, _ = prune(model, [images], ratio=0.5)
    assert distance(model, small, images) < 0.6 * distance(model, ungated, images)


def test_squeeze_and_excitation():
    torch.manual_seed(0)
    images = torch.randn(16, 3, 32, 32)
    model = settled(mobilenet_v3_small(num_classes=4, width_mult=0.25), images)
    small, report = prune(model, [images], macs=0.7)
    assert report.macs[1] <= 0.7 * report.macs[0]
    assert small(images).isfinite().all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "magic"}, ValueError, "unknown method 'magic'"),
        ({"allocation": "equal"}, ValueError, "unknown allocation"),
        ({"scaling": "sum"}, ValueError, "unknown scaling"),
        ({"inputs": "sparse"}, ValueError, "unknown inputs"),
        ({"macs": 0.001}, ValueError, "still leaves"),
        ({"macs": 0}, ValueError, "macs must be a fraction"),
        ({"macs": None}, ValueError, "give one of"),
        ({"ratio": 0.5, "counts": {}}, ValueError, "not both"),
        ({"ratio": 0.0}, ValueError, "ratio must lie"),
        ({"counts": {"nowhere": 3}}, ValueError, "no unit"),
        ({"counts": {"layer1.0.conv1": 99}}, ValueError, "has 8 candidates"),
        ({"counts": {"layer1.0.conv1": 0}}, ValueError, "at least 1"),
        ({"multiple": 0}, ValueError, "multiple"),
        ({"floor": 3}, ValueError, "floor"),
        ({"seed": -1}, ValueError, "seed"),
        ({"importance": 3}, TypeError, "importance"),
        ({"with_replacement": True}, ValueError, "ols fits weights of its own"),
        ({"with_replacement": True, "method": "loss", "importance": {}}, ValueError, "ranks each once"),
        ({"importance": lambda unit: torch.ones(3), "ratio": 0.5}, ValueError, "shape"),
        ({"importance": {}, "ratio": 0.5}, ValueError, "importance has no scores"),
    ],
)
def test_options_refused(model, images, options, error, message):
    with pytest.raises(error, match=message):
        prune(model, [images], **options)


@pytest.mark.parametrize(
    ("batches", "error", "message"),
    [
        ([], ValueError, "empty"),
        ([torch.full((2, 3, 16, 16), torch.nan)], ValueError, "NaN"),
        ([torch.randn(2, 1, 16, 16)], ValueError, "does not accept"),
        (torch.randn(2, 3, 16, 16), TypeError, "wrap it in a list"),
        (["image"], TypeError, "tensors of images"),
    ],
)
def test_batches_refused(model, batches, error, message):
    with pytest.raises(error, match=message):
        prune(model, batches)


def test_no_model_and_no_unit(images):
    with pytest.raises(TypeError, match="model must be"):
        prune("resnet", [images])
    with pytest.raises(ValueError, match="no prunable unit"):
        prune(nn.Conv2d(3, 4, 3), [images])
