"""Behind a pruned prefix: rows, streams and targets against the blocks' own equations."""

import copy

import pytest
import torch
from test_cnn_units import instance
from torch import nn

from gfs_tutorial.cnn.moments import consumer_moments
from gfs_tutorial.cnn.prefix import DenseAnswers
from gfs_tutorial.cnn.refit import following_norms
from gfs_tutorial.cnn.surgery import slice_units
from gfs_tutorial.cnn.units import find_units


def answers_of(model, units, images, seed=0):
    return DenseAnswers(
        model, units, following_norms(model, [u.consumer for u in units], images), images, seed=seed
    )


def outputs_of(model, names, images):
    """Name of each module to its output on the images."""
    seen = {}
    hooks = [
        model.get_submodule(n).register_forward_hook(lambda m, i, o, n=n: seen.update({n: o.clone()}))
        for n in names
    ]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    return seen


def gathered(output, at):
    """(n, p, outputs) of (n, outputs, H, W) at positions (n, p)."""
    return output.flatten(2).gather(2, at[:, None].expand(-1, output.shape[1], -1)).mT


STREAMS = {  # of some units: whether something is added to the consumer's answer
    "resnet18": {"layer1.0.conv1": True, "layer2.0.conv1": True, "layer4.1.conv1": True},
    "resnet50": {"layer1.0.conv1": False, "layer1.0.conv2": True, "layer2.0.conv2": True},
    "mobilenet_v2": {"features.0.0": False, "features.2.conv.0.0": False, "features.3.conv.0.0": True},
    "mobilenet_v3_large": {"features.2.block.0.0": False, "features.5.block.0.0": True},
    "efficientnet_lite0": {"_blocks.1._expand_conv": False, "_blocks.2._expand_conv": True},
    "vgg": {"features.0": False, "features.7": False},
}


@pytest.mark.parametrize("name", STREAMS)
@torch.no_grad()
def test_answers_are_the_consumers_and_streams_are_what_blocks_add(name):
    model, x, units, _ = instance(name)
    rows = answers_of(model, units, x).rows
    norms = following_norms(model, [unit.consumer for unit in units], x)
    for unit in units:
        if unit.name not in STREAMS[name]:
            continue
        found, norm, block = rows[unit.consumer], norms.get(unit.consumer), unit.block
        seen = outputs_of(model, [unit.consumer, norm or unit.consumer, block], x)
        if seen[unit.consumer].ndim == 4:
            expected = gathered(seen[unit.consumer], found.at)
            torch.testing.assert_close(found.answers, expected)
        assert (found.stream is not None) == STREAMS[name][unit.name]
        if found.stream is not None:
            total = gathered(seen[norm], found.at) + found.stream
            total = total.relu() if "resnet" in name else total
            torch.testing.assert_close(total, gathered(seen[block], found.at))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_large", "vgg"])
def test_behind_a_dense_prefix_the_moments_are_the_layers_own(name):
    model, x, units, _ = instance(name)
    answers = answers_of(model, units, x, seed=3)
    for unit in units:
        names = [unit.consumer, *unit.gates]
        expected = consumer_moments(model, names, x, seed=3)
        for layer, found in answers.moments(model, unit).items():
            assert found.count == expected[layer].count
            torch.testing.assert_close(found.K, expected[layer].K)
            torch.testing.assert_close(found.B, expected[layer].B)
            torch.testing.assert_close(found.output_mean, expected[layer].output_mean)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
@torch.no_grad()
def test_the_target_makes_up_for_what_the_stream_has_lost(name):
    """A consumer that met its target would give the block the dense sum."""
    model, x, units, kept = instance(name)
    norms = following_norms(model, [unit.consumer for unit in units], x)
    unit = [u for u in units if u.name in STREAMS[name] and STREAMS[name][u.name]][-1]
    before = [u for u in units if units.index(u) < units.index(unit)]
    pruned = slice_units(model, before, {u.name: kept[u.name] for u in before})
    answers = answers_of(model, [unit], x)
    stream, at = answers.rows[unit.consumer].stream, answers.rows[unit.consumer].at
    dense = gathered(outputs_of(model, [norms[unit.consumer]], x)[norms[unit.consumer]], at) + stream
    lost = answers_of(pruned, [unit], x).rows[unit.consumer].stream  # the same positions, by the seed
    target = answers.moments(pruned, unit)[unit.consumer].output_mean  # (outputs,)
    norm = model.get_submodule(norms[unit.consumer])
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    reached = (target - norm.running_mean) * scale + norm.bias
    assert float((stream - lost).abs().max()) > 1e-3
    torch.testing.assert_close(reached + lost.mean((0, 1)), dense.mean((0, 1)))


class Sums(nn.Module):
    """One block whose answer meets its input in some way."""

    def __init__(self, way):
        super().__init__()
        self.stem, self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1), nn.Conv2d(5, 4, 1)
        self.norm, self.way = nn.BatchNorm2d(4), way

    def forward(self, x):
        x = self.stem(x)
        answer = self.norm(self.second(torch.relu(self.first(x))))
        ways = {
            "plus": lambda: answer + x,
            "other order": lambda: x + answer,
            "torch.add": lambda: torch.add(x, answer),
            "in place": lambda: answer.add_(x),
            "in place on the stream": lambda: x.clone().add_(answer),
            "method": lambda: x.add(answer),
            "scaled": lambda: torch.add(answer, x, alpha=0.5),
            "activated first": lambda: torch.relu(answer) + x,
            "activated in place": lambda: answer.relu_() + x,
            "constant": lambda: answer + 1.0,
            "per channel": lambda: answer + x.mean((2, 3), keepdim=True),
        }
        return ways[self.way]().mean((2, 3))


@pytest.mark.parametrize(
    "way", ["plus", "other order", "torch.add", "in place", "in place on the stream", "method"]
)
def test_every_plain_sum_is_seen(way):
    torch.manual_seed(0)
    model, x = Sums(way).double().eval(), torch.randn(2, 3, 4, 4).double()
    unit = next(u for u in find_units(model, x) if u.consumer == "second")
    found = answers_of(model, [unit], x).rows["second"]
    torch.testing.assert_close(
        found.stream, gathered(outputs_of(model, ["stem"], x)["stem"], found.at), rtol=0, atol=0
    )


@pytest.mark.parametrize(
    "way", ["scaled", "activated first", "activated in place", "constant", "per channel"]
)
def test_no_other_sum_is(way):
    torch.manual_seed(0)
    model, x = Sums(way).double().eval(), torch.randn(2, 3, 4, 4).double()
    unit = next(u for u in find_units(model, x) if u.consumer == "second")
    assert answers_of(model, [unit], x).rows["second"].stream is None


def test_a_channel_that_the_norm_silences_makes_up_for_nothing():
    torch.manual_seed(0)
    model, x = Sums("plus").double().eval(), torch.randn(2, 3, 4, 4).double()
    with torch.no_grad():
        model.norm.weight[1] = 0.0
    unit = next(u for u in find_units(model, x) if u.consumer == "second")
    pruned = copy.deepcopy(model)
    nn.init.normal_(pruned.stem.weight)
    found = answers_of(model, [unit], x).moments(pruned, unit)["second"]
    dense = outputs_of(model, ["second"], x)["second"].mean((0, 2, 3))
    assert found.cross.isfinite().all()
    torch.testing.assert_close(found.output_mean[1], dense[1])
    assert float((found.output_mean - dense)[[0, 2, 3]].abs().min()) > 1e-3
