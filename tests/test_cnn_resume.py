"""Resumed passes against passes from the images on, over whole prunings."""

import copy

import pytest
import torch
from test_cnn_units import instance
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from gfs_tutorial.cnn import images as chunking
from gfs_tutorial.cnn.prefix import DenseAnswers
from gfs_tutorial.cnn.refit import following_norms, install, refit_weights
from gfs_tutorial.cnn.resume import ResumedPasses
from gfs_tutorial.cnn.surgery import slice_units
from gfs_tutorial.cnn.units import find_units


def pruned_with(kept_bytes, model, units, images, kept):
    """The network pruned unit by unit, and all moments on the way."""
    norms = following_norms(model, [unit.consumer for unit in units], images[:1])
    answers = DenseAnswers(model, units, norms, images, passes=ResumedPasses(kept_bytes))
    small, found = copy.deepcopy(model).eval(), []
    for unit in units:
        moments = answers.moments(small, unit)
        found.append(moments)
        for name in (unit.consumer, *unit.gates):
            fitted = refit_weights(
                unit, moments[name], model.get_submodule(name).weight, kept[unit.name], 0.01
            )
            norm = norms.get(name)
            install(small.get_submodule(name), *fitted, norm and small.get_submodule(norm))
        small = slice_units(small, [unit], {unit.name: kept[unit.name]})
    return small, found


def assert_same(model, units, images, kept, kept_bytes=2**30):
    """That what is kept changes nothing, to the bit."""
    expected, from_scratch = pruned_with(0, model, units, images, kept)
    small, resumed = pruned_with(kept_bytes, model, units, images, kept)
    for a, b in zip(from_scratch, resumed):
        for layer in a:
            assert torch.equal(a[layer].inputs, b[layer].inputs)
            assert torch.equal(a[layer].cross, b[layer].cross)
    assert all(torch.equal(p, q) for p, q in zip(expected.state_dict().values(), small.state_dict().values()))


ALL, LITTLE = 2**30, 60_000  # bytes
NETWORKS = {
    "resnet18": LITTLE,
    "resnet50": ALL,
    "mobilenet_v2": LITTLE,
    "mobilenet_v3_large": ALL,
    "vgg": ALL,
}


@pytest.mark.parametrize(("name", "kept_bytes"), NETWORKS.items())
def test_moments_are_those_of_passes_from_the_images_on(name, kept_bytes, monkeypatch):
    monkeypatch.setattr(chunking, "CHUNK", 1)
    model, x, units, kept = instance(name)
    assert_same(model, units, x, kept, kept_bytes)


class Unusual(nn.Module):
    """Two units with something in front that is hard to skip."""

    def __init__(self, way):
        super().__init__()
        self.stem, self.norm, self.way = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), way
        self.first, self.second = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(6, 4, 1)
        self.third, self.fourth = nn.Conv2d(4, 6, 1), nn.Conv2d(6, 4, 1)
        self.out = nn.Linear(4, 3)

    def middle(self, x, stem):
        ways = {
            "plain": lambda: x,
            "written in place": lambda: x.mul_(0.5).add_(stem),
            "written through a view": lambda: (x[:, :2].mul_(2.0), x)[1],
            "a view that outlives its base": lambda: torch.cat((x, stem), 1)[:, 1:5],
            "another shape in place": lambda: x.unsqueeze_(0).squeeze_(0),
            "a number": lambda: x * (1.0 + float(x.mean()) ** 2),
            "a branch": lambda: x.relu() if x.mean() > 0 else x + 1,
            "pieces": lambda: torch.cat(x.chunk(2, 1)[::-1], 1),
            "made from nothing": lambda: x + torch.linspace(0, 1, x.shape[-1], dtype=x.dtype),
            "filled in place": lambda: torch.zeros_like(x).copy_(x).clamp_(min=-1),
        }
        return ways[self.way]()

    def forward(self, x):
        stem = self.norm(self.stem(x))
        x = self.middle(self.second(self.first(stem).relu_()), stem.detach())
        x = self.fourth(torch.relu(self.third(x))) + stem  # from far back
        return self.out(x.mean((2, 3)))


WAYS = [
    *("plain", "written in place", "written through a view", "a view that outlives its base", "a number"),
    *("another shape in place", "a branch", "pieces", "made from nothing", "filled in place"),
]


@pytest.mark.parametrize("way", WAYS)
def test_unusual_networks_are_resumed_as_well(way, monkeypatch):
    monkeypatch.setattr(chunking, "CHUNK", 2)
    torch.manual_seed(0)
    model, images = Unusual(way).double().eval(), torch.randn(5, 3, 6, 6).double()
    found = find_units(Unusual("plain").double().eval(), images)
    units = [unit for unit in found if unit.name in ("first", "third")]
    assert_same(model, units, images, {unit.name: torch.tensor([1, 2, 5]) for unit in units})


class Count(TorchDispatchMode):
    """Counts convolutions."""

    def __init__(self):
        super().__init__()
        self.convolutions = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.convolutions += operation is torch.ops.aten.convolution.default
        return operation(*args, **(kwargs or {}))


@torch.no_grad()
@pytest.mark.parametrize(("kept_bytes", "expected"), [(2**30, 2), (0, 20)])
def test_operations_in_front_are_not_done_again(kept_bytes, expected):
    model, x, *_ = instance("resnet18")
    passes = ResumedPasses(kept_bytes)
    for _ in range(2):  # the second goes on from where the first was
        with Count() as count:
            passes.run(0, model, "layer4.1.conv1", lambda: model(x))
    assert count.convolutions == expected
    with Count() as count:  # from an earlier layer nothing is known
        passes.run(0, model, "layer1.0.conv1", lambda: model(x))
    with Count() as count:
        passes.run(0, model, "layer4.1.conv1", lambda: model(x))
    assert count.convolutions == 20


@torch.no_grad()
def test_the_network_answers_as_always():
    model, x, *_ = instance("mobilenet_v3_large")
    passes, expected, answers = ResumedPasses(), model(x), []
    for layer in ("features.4.block.0.0", "features.10.block.0.0", "features.10.block.0.0"):
        passes.run(0, model, layer, lambda: answers.append(model(x)))
    assert all(torch.equal(answer, expected) for answer in answers)
