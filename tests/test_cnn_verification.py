"""Units are promised only where the network without some of the channels is the masked one."""

import copy

import pytest
import torch
from test_cnn_units import UserNet, found
from torch import nn
from torch.nn import functional as F

from gfs_tutorial.cnn.prune import prune
from gfs_tutorial.cnn.units import find_units
from gfs_tutorial.cnn.verification import misfits


class Between(nn.Module):
    """Two convolutions and something between them that torch-pruning knows nothing about."""

    def __init__(self, between, channels=8, read=8):
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, channels, 1), nn.Conv2d(read, 8, 1), nn.Linear(8, 10)
        self.constant, self.between = nn.Parameter(torch.randn(8, 1, 1)), between

    def forward(self, x):
        x = self.b(F.relu(self.between(self, self.a(x))))  # (n, 8, h, w)
        return self.head(x.mean((2, 3)))


def shuffled(net, x):
    n, c, h, w = x.shape
    return x.view(n, 2, 4, h, w).transpose(1, 2).reshape(n, c, h, w)


MIXING = {
    "softmax": lambda net, x: x.softmax(1),
    "centred": lambda net, x: x - x.mean(1, keepdim=True),
    "flipped": lambda net, x: x.flip(1),
    "rolled": lambda net, x: x.roll(1, 1),
    "summed up": lambda net, x: x.cumsum(1),
    "indexed": lambda net, x: x[:, [1, 0, 3, 2, 5, 4, 7, 6]],
    "shuffled": shuffled,
    "normalised": lambda net, x: F.layer_norm(x.transpose(1, 3), (8,)).transpose(1, 3),
    "shifted by a constant": lambda net, x: x + net.constant.detach(),
}


@pytest.mark.parametrize("name", MIXING)
def test_channels_that_meet_in_an_unknown_operation_are_in_no_unit(name, capsys):
    torch.manual_seed(0)
    model, x = Between(MIXING[name]), torch.randn(2, 3, 8, 8)
    assert [unit.name for unit in find_units(model, x, verbose=True)] == ["b"]
    said = capsys.readouterr().out
    assert said.startswith("a: left out, ") and ("mixes" in said or "does not run" in said)
    prune(model, [x], ratio=0.5)


def test_a_random_network_is_refused():
    model = Between(lambda net, x: F.dropout(x, training=True))
    with pytest.raises(ValueError, match=r"no prunable unit .*or is random"):
        find_units(model, torch.randn(1, 3, 8, 8))


@pytest.mark.parametrize("between", [lambda net, x: F.glu(x, 1), lambda net, x: F.pixel_shuffle(x, 2)[:, :4]])
def test_channels_that_become_fewer_are_in_no_unit(between):
    model = Between(between, channels=16, read=between(None, torch.zeros(1, 16, 2, 2)).shape[1])
    assert [unit.name for unit in find_units(model, torch.randn(1, 3, 8, 8))] == ["b"]


@pytest.mark.parametrize(
    "function", [F.softplus, torch.sigmoid, F.silu, lambda x: x * torch.sigmoid(x), torch.cos]
)
def test_operations_on_each_channel_by_itself_stay(function):
    torch.manual_seed(0)
    model = Between(lambda net, x: function(x))
    assert [unit.name for unit in find_units(model, torch.randn(1, 3, 8, 8))] == ["a", "b"]


def test_layers_that_share_a_weight_are_in_no_unit():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 2, 1)
    )
    model[3].weight = model[2].weight
    with pytest.raises(ValueError, match="0: 2 has weights that others use too"):
        find_units(model, torch.randn(1, 3, 4, 4))
    weight = model[3].weight
    model[3].weight = nn.Parameter(weight.detach().clone())
    assert len(find_units(model, torch.randn(1, 3, 4, 4))) == 3


def test_layers_whose_weights_are_computed_are_in_no_unit():
    normed = nn.utils.parametrizations.weight_norm
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1), normed(nn.Conv2d(8, 8, 1)), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 2, 1)
    )
    assert [unit.name for unit in find_units(model, torch.randn(1, 3, 4, 4))] == ["2"]


def test_a_network_used_twice_and_reshaped_to_a_fixed_width():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.twice = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1)
            self.c, self.d, self.head = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 6, 1), nn.Linear(6 * 16, 5)

        def forward(self, x):
            x = self.twice(self.twice(self.a(x)).relu()).relu()
            return self.head(self.d(self.c(x).relu()).view(-1, 96))

    model, x = Net(), torch.randn(3, 3, 4, 4)
    assert [unit.name for unit in find_units(model, x)] == ["c"]
    small, _ = prune(model, [x], ratio=0.5)
    assert small.c.out_channels == 4 and small(x).shape == (3, 5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_rounding_is_no_reason(dtype):
    model, x, units, _ = found("mobilenet_v3_large")
    model, x = copy.deepcopy(model).to(dtype), x.to(dtype)
    assert misfits(model, units, x) == {}
    assert all(misfits(model, [unit], x) == {} for unit in units[:3])


def test_the_model_is_left_alone():
    model, x = UserNet().train(), torch.randn(2, 3, 8, 8)
    state, units = copy.deepcopy(model.state_dict()), find_units(model, x)
    assert misfits(model, units, x) == {}
    assert model.training and all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_weights_that_are_not_finite_do_not_hide_units():
    model, x = UserNet(), torch.randn(2, 3, 8, 8)
    nn.init.constant_(model.conv1.weight, torch.nan)
    assert len(find_units(model, x)) == 2


def test_lazy_layers_are_not_filled_in():
    model = nn.Sequential(nn.LazyConv2d(4, 1), nn.Conv2d(4, 2, 1), nn.Conv2d(2, 2, 1))
    with pytest.raises(ValueError, match="model has lazy layers without weights: run it"):
        find_units(model, torch.randn(1, 3, 4, 4))
    assert model[0].has_uninitialized_params()
