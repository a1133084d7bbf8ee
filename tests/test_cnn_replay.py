"""The tape answers what the network answers, on every architecture and past every in-place trap."""

import pytest
import torch
from test_cnn_units import instance
from torch import nn

from gfs_tutorial.cnn.replay import Replay, evaluation_mode


def with_output(model, layer, change, x):
    """The model's answer and the layer's own output, where the layer's output is changed."""
    seen = []

    def hook(_, __, output):
        seen.append(output.clone())
        return change(output)

    handle = model.get_submodule(layer).register_forward_hook(hook)
    try:
        with torch.no_grad(), evaluation_mode(model):
            return model(x), seen[0]
    finally:
        handle.remove()


def assert_replays(model, layer, x):
    expected, output = with_output(model, layer, lambda o: o, x)
    replay = Replay(model, layer, x)
    before = output.clone()
    for _ in range(2):  # the second time nothing kept may have changed
        torch.testing.assert_close(replay(output), expected, rtol=1e-12, atol=1e-14)
    assert torch.equal(output, before)
    torch.testing.assert_close(replay.result, expected, rtol=0, atol=0)
    other, _ = with_output(model, layer, lambda o: 1.3 * o - 0.1, x)
    torch.testing.assert_close(replay(1.3 * output - 0.1), other, rtol=1e-12, atol=1e-14)


ARCHITECTURES = [
    "resnet18",
    "resnet50",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "regnet_y_400mf",
    "vgg",
    "efficientnet_lite0",
    "user",
]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_tape_answers_what_the_model_answers(name):
    model, x, units, _ = instance(name)
    for unit in (units[0], units[len(units) // 2], units[-1]):
        assert_replays(model, unit.consumer, x)


def test_only_what_follows_is_on_the_tape():
    model, x, units, _ = instance("resnet18")
    last = Replay(model, units[-1].consumer, x)
    assert [step.operation._schema.name for step in last._steps if "conv" in str(step.operation)] == []
    assert len(last._steps) < 12


class Traps(nn.Module):
    """In-place operations before and after the layer that is replaced, on all that residual blocks share."""

    def __init__(self, trap):
        super().__init__()
        self.first, self.layer = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.relu, self.trap = nn.ReLU(inplace=True), trap

    def forward(self, x):
        identity = self.first(x)
        if self.trap == "view":
            view = identity[:, :2]
        if self.trap == "activated before":  # as in pre-activation blocks: the identity changes as well
            out = self.layer(self.relu(identity))
        else:
            out = self.layer(torch.sigmoid(identity))
        if self.trap == "activated after":
            out = out * identity
            self.relu(identity)
            out = out + identity
        elif self.trap == "value":
            out = out if out.sum() > 0 else -out
        elif self.trap == "twice":
            out = self.layer(out)
        else:
            self.relu(out)  # on the layer's own output
            identity += out
            out = identity
        if self.trap == "view":
            return view.mean((2, 3))
        return self.relu(out).mean((2, 3))


@pytest.mark.parametrize("trap", ["none", "activated before", "activated after"])
def test_in_place_operations_around_the_layer(trap):
    torch.manual_seed(0)
    assert_replays(Traps(trap).double(), "layer", torch.randn(2, 3, 4, 4).double())


@pytest.mark.parametrize(
    "trap, message", [("view", "view"), ("value", "value of a tensor"), ("twice", "more than once")]
)
def test_what_no_tape_can_repeat_is_refused_and_the_model_left_alone(trap, message):
    model = Traps(trap).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(RuntimeError, match=message):
        Replay(model, "layer", torch.randn(2, 3, 4, 4))
    assert_unchanged(model, before)


def assert_unchanged(model, state):
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_the_models_mode_weights_and_hooks_stay():
    model, x, units, _ = instance("resnet18")
    before = {key: value.clone() for key, value in model.train().state_dict().items()}
    replay = Replay(model, units[3].consumer, x)
    replay(torch.zeros(replay._like[0]).double())
    assert_unchanged(model, before)


def test_a_tape_can_end_at_a_layer():
    model, x, units, _ = instance("mobilenet_v3_large")
    unit = next(unit for unit in units if unit.gates)
    replay = Replay(model, unit.gates[0], x, until=unit.consumer)
    whole = Replay(model, unit.consumer, x)
    _, gate = with_output(model, unit.gates[0], lambda o: o, x)
    torch.testing.assert_close(replay(gate), whole.inputs, rtol=0, atol=0)


def test_other_memory_layouts_are_taken(device):
    torch.manual_seed(0)
    model, x = Traps("none").to(device), torch.randn(2, 3, 4, 4, device=device)
    expected, output = with_output(model, "layer", lambda o: o, x)
    other = output.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(Replay(model, "layer", x)(other), expected)


def test_bad_input():
    model, x = Traps("none"), torch.randn(2, 3, 4, 4)
    with pytest.raises(ValueError, match="no layer 'conv9'"):
        Replay(model, "conv9", x)
    model.idle = nn.Conv2d(1, 1, 1)
    with pytest.raises(ValueError, match="idle does not run"):
        Replay(model, "idle", x)
    with pytest.raises(ValueError, match="idle does not run"):
        Replay(model, "layer", x, until="idle")
    with pytest.raises(ValueError, match=r"output must be \(2, 4, 4, 4\)"):
        Replay(model, "layer", x)(torch.randn(1, 4, 4, 4))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
