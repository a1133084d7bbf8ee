"""The error of a block with one unit pruned, against the masked model's block."""

import copy

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v3_small
from torchvision.models.resnet import Bottleneck

from gfs_tutorial.cnn.block_error import Variant, block_errors
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
