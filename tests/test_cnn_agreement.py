"""Masked and sliced networks agree to rounding: every architecture, both precisions, both modes."""

import copy
import functools

import pytest
import torch
from test_cnn_units import MODELS, found, largest_difference, masks
from torch import nn

from gfs_tutorial.cnn.models import MODELS as CIFAR
from gfs_tutorial.cnn.models import build
from gfs_tutorial.cnn.surgery import masked, slice_units
from gfs_tutorial.cnn.units import find_units

PIXELS = {"efficientnet_lite0": 64, "proxylessnas": 64, "user": 8, "vgg": 32}  # else 48; CIFAR: 16
# In train mode a norm divides by the deviation of few numbers, and magnifies what rounding did before.
ALLOWED = {
    (torch.float64, False): 1e-12,
    (torch.float64, True): 1e-9,
    (torch.float32, False): 1e-4,
    (torch.float32, True): 5e-3,
}


@functools.cache
def cifar(name):
    """As ``found`` of the other networks."""
    torch.manual_seed(0)
    model, x = build(name).double(), torch.randn(2, 3, 16, 16).double()
    units = find_units(model, x)
    return model, x, units, {u.name: torch.randperm(u.size)[: (u.size + 1) // 2].sort().values for u in units}


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", [*MODELS, *CIFAR])
@torch.no_grad()
def test_masked_and_sliced_models_agree(name, dtype, train):
    model, _, units, kept = cifar(name) if name in CIFAR else found(name)
    model = copy.deepcopy(model).to(dtype).train(train)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # random numbers for fewer channels are others
    small = slice_units(model, units, kept)
    size = 16 if name in CIFAR else PIXELS.get(name, 48)
    x = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1)).to(dtype)
    torch.manual_seed(2)  # EfficientNet leaves out whole blocks at random
    with masked(model, units, masks(units, kept)):
        expected = model(x)
    torch.manual_seed(2)
    answer = small(x)
    assert answer.dtype == dtype and small.training == train
    assert largest_difference(answer, expected) < ALLOWED[dtype, train]


@pytest.mark.parametrize(
    "name, number", [("resnet20", 9), ("resnet34-cifar", 16), ("mobilenet-v2-cifar", 20)]
)
def test_all_units_of_the_cifar_networks_are_found(name, number):
    units = cifar(name)[2]
    assert len(units) == number
    if name.startswith("resnet"):
        assert all(unit.name.removesuffix("conv1") == unit.consumer.removesuffix("conv2") for unit in units)
