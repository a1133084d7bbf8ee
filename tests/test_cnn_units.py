"""Units, masks, slices and costs on every architecture that the book prunes."""

import copy
import functools

import pytest
import torch
import torchvision
from torch import nn

from gfs_tutorial.cnn.cost import MacModel, count_macs, count_parameters
from gfs_tutorial.cnn.surgery import masked, slice_units
from gfs_tutorial.cnn.units import find_units


def lite0():
    from efficientnet_lite_pytorch import EfficientNet

    return EfficientNet.from_name("efficientnet-lite0")


def proxyless():
    from pytorchcv.models.proxylessnas import proxylessnas_mobile

    model = proxylessnas_mobile(num_classes=10)
    model.features.final_pool = nn.AdaptiveAvgPool2d(1)  # its own pooling wants 224 pixels
    return model


class UserNet(nn.Module):
    """What a reader might write: a stem, a depthwise pair, functional activations, a linear head."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.depthwise, self.bn2 = nn.Conv2d(12, 12, 3, groups=12), nn.BatchNorm2d(12)
        self.conv2 = nn.Conv2d(12, 6, 1, bias=False)
        self.head = nn.Linear(6 * 4, 5)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = nn.functional.gelu(self.bn2(self.depthwise(x)))
        x = nn.functional.adaptive_avg_pool2d(self.conv2(x), 2)
        return self.head(x.flatten(1))


def small_vgg():
    """Torchvision's VGG with batch norm, narrow, and with one linear layer behind the flattening."""
    model = torchvision.models.vgg.VGG(
        torchvision.models.vgg.make_layers([8, "M", 12, 16, "M"], batch_norm=True)
    )
    model.classifier = nn.Linear(16 * 49, 10)
    return model


def torchvision_model(name):
    return lambda: getattr(torchvision.models, name)(num_classes=10)


def narrow_resnet50():
    """ResNet-50 with a quarter of the width in its blocks, where the units are; the whole one is in
    test_imagenet_models.py."""
    return torchvision.models.resnet50(num_classes=10, width_per_group=16)


# builder, image size, number of units, and the pair of one of them
MODELS = {
    "resnet18": (torchvision_model("resnet18"), 32, 8, ("layer2.0.conv1", "layer2.0.conv2")),
    "resnet34": (torchvision_model("resnet34"), 32, 16, ("layer4.2.conv1", "layer4.2.conv2")),
    "resnet50": (narrow_resnet50, 32, 32, ("layer1.0.conv2", "layer1.0.conv3")),
    "mobilenet_v2": (torchvision_model("mobilenet_v2"), 32, 20, ("features.3.conv.0.0", "features.3.conv.2")),
    "mobilenet_v3_large": (
        torchvision_model("mobilenet_v3_large"),
        32,
        15,
        ("features.4.block.0.0", "features.4.block.3.0"),
    ),
    "regnet_x_400mf": (
        torchvision_model("regnet_x_400mf"),
        32,
        22,
        ("trunk_output.block2.block2-0.f.a.0", "trunk_output.block2.block2-0.f.c.0"),
    ),
    "regnet_y_400mf": (
        torchvision_model("regnet_y_400mf"),
        32,
        16,
        ("trunk_output.block2.block2-0.f.a.0", "trunk_output.block2.block2-0.f.c.0"),
    ),
    "vgg": (small_vgg, 32, 3, ("features.7", "classifier")),
    "efficientnet_lite0": (lite0, 64, 19, ("_blocks.1._expand_conv", "_blocks.1._project_conv")),
    "proxylessnas": (
        proxyless,
        64,
        23,
        ("features.stage2.unit1.body.bc_conv.conv", "features.stage2.unit1.body.pw_conv.conv"),
    ),
    "user": (UserNet, 8, 2, ("conv1", "conv2")),
}
every_model = pytest.mark.parametrize("name", MODELS)


def instance(name, dtype=torch.float64):
    """The model in evaluation mode with lively statistics, a batch, its units, and half of each unit."""
    model, x, units, kept = copy.deepcopy(found(name))
    return model.to(dtype), x.to(dtype), units, kept


def enliven(model):
    """Statistics, weights and biases of batch norms that are not all zeros and ones."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)


@functools.cache
def found(name):
    torch.manual_seed(0)
    build, size, *_ = MODELS[name]
    model, x = build().double(), torch.randn(2, 3, size, size).double()
    enliven(model)
    units = find_units(model.eval(), x)
    kept = {unit.name: torch.randperm(unit.size)[: (unit.size + 1) // 2].sort().values for unit in units}
    return model, x, units, kept


def masks(units, kept, weights=None):
    result = {}
    for unit in units:
        result[unit.name] = torch.zeros(unit.size, dtype=torch.float64)
        result[unit.name][kept[unit.name]] = 1.0 if weights is None else weights[unit.name]
    return result


def largest_difference(a, b):
    return float((a - b).abs().max() / b.abs().max())


@every_model
def test_all_units_are_found(name):
    _, _, units, _ = instance(name)
    _, _, number, pair = MODELS[name]
    assert len(units) == number
    assert pair in [(unit.name, unit.consumer) for unit in units]


@every_model
@torch.no_grad()
def test_masked_and_sliced_models_agree_in_evaluation(name):
    model, x, units, kept = instance(name)
    weights = {key: torch.rand(len(value), dtype=torch.float64) + 0.5 for key, value in kept.items()}
    with masked(model, units, masks(units, kept, weights)):
        expected = model(x)
    small = slice_units(model, units, kept, weights)
    assert largest_difference(small(x), expected) < 1e-12
    assert largest_difference(small.float()(x.float()).double(), expected) < 1e-3


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "mobilenet_v3_large", "regnet_y_400mf", "vgg"])
@torch.no_grad()
def test_masked_and_sliced_models_agree_in_training_mode(name):
    model, _, units, kept = instance(name)
    x = torch.randn(4, 3, 64, 64).double()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    other = copy.deepcopy(model).train()
    with masked(other, units, masks(units, kept)):
        expected = other(x)
    assert largest_difference(slice_units(model, units, kept).train()(x), expected) < 1e-9


@every_model
def test_the_cost_model_counts_what_the_sliced_model_costs(name):
    model, x, units, kept = instance(name)
    cost = MacModel(model, units, x)
    assert cost.dense == count_macs(model, x) == cost.total({})
    small = slice_units(model, units, kept)
    assert cost.total({key: len(value) for key, value in kept.items()}) == pytest.approx(count_macs(small, x))
    assert count_parameters(small) < count_parameters(model)


def test_macs_of_known_models_at_224_pixels():
    x = torch.randn(1, 3, 224, 224)
    assert count_macs(torchvision.models.resnet50(), x) / 1e9 == pytest.approx(4.09, abs=0.01)
    assert count_macs(torchvision.models.mobilenet_v2(), x) / 1e6 == pytest.approx(300.8, abs=1)
    assert count_macs(lite0(), x) / 1e6 == pytest.approx(385.2, abs=1)


def test_macs_of_a_grouped_and_a_depthwise_convolution_by_hand():
    grouped = nn.Conv2d(8, 12, 3, groups=4, padding=1)
    depthwise = nn.Conv2d(8, 8, 5, groups=8)
    assert count_macs(grouped, torch.randn(3, 8, 6, 6)) == 12 * (8 // 4) * 9 * 36
    assert count_macs(depthwise, torch.randn(3, 8, 6, 6)) == 8 * 25 * 4


@every_model
def test_finding_masking_and_slicing_leave_the_model_alone(name):
    model, x, units, kept = instance(name)
    model.train()
    frozen = next(model.parameters()).requires_grad_(False)
    state = copy.deepcopy(model.state_dict())
    find_units(model, x)
    slice_units(model, units, kept)
    with masked(model, units, masks(units, kept)):
        pass
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert model.training and not frozen.requires_grad
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_units_come_in_the_order_in_which_they_run():
    _, _, units, _ = instance("resnet50")
    names = [unit.name for unit in units]
    assert names == sorted(names)
    assert names[:2] == ["layer1.0.conv1", "layer1.0.conv2"]


def test_the_block_is_the_residual_block_or_the_consumer():
    blocks = {unit.name: unit.block for unit in instance("mobilenet_v2")[2]}
    assert blocks["features.3.conv.0.0"] == "features.3"
    assert {unit.block for unit in instance("user")[2]} == {"conv2", "head"}


def test_groups_are_removed_as_a_whole():
    unit = next(u for u in instance("regnet_x_400mf")[2] if u.name == "trunk_output.block2.block2-0.f.a.0")
    assert unit.width == unit.span == 16 and unit.size * unit.width == 64


def test_what_is_left_out_is_said_with_the_reason(capsys):
    model, x, *_ = instance("resnet18")
    find_units(model, x, verbose=True)
    assert "conv1: left out, its channels meet those of layer1.1.conv2 in a sum" in capsys.readouterr().out


BAD = {
    "no module": (lambda: find_units(3, torch.randn(1, 3, 8, 8)), TypeError, "model must be"),
    "no tensor": (lambda: find_units(UserNet(), [1]), TypeError, "example_input must be"),
    "wrong shape": (
        lambda: find_units(UserNet(), torch.randn(1, 4, 8, 8)),
        ValueError,
        r"shape \(1, 4, 8, 8\)",
    ),
    "no convolution": (
        lambda: find_units(nn.Linear(3, 2), torch.randn(1, 3)),
        ValueError,
        "no prunable unit",
    ),
    "only residual": (
        lambda: find_units(nn.Sequential(nn.Conv2d(3, 4, 3)), torch.randn(1, 3, 8, 8)),
        ValueError,
        "no prunable unit",
    ),
    "group norm": (
        lambda: find_units(
            nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 1)), torch.randn(1, 3, 8, 8)
        ),
        ValueError,
        "GroupNorm.* mixes its channels",
    ),
    "shuffled channels": (
        lambda: find_units(torchvision.models.shufflenet_v2_x0_5(), torch.randn(1, 3, 64, 64)),
        ValueError,
        "torch-pruning cannot follow",
    ),
    "no weights yet": (
        lambda: find_units(torchvision.models.resnet18(num_classes=2).to("meta"), torch.randn(1, 3, 64, 64)),
        ValueError,
        "on the meta device and has no weights: load",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_model_without_units_or_an_input_that_does_not_fit_is_refused(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({"conv9": torch.tensor([0])}, "'conv9' is no unit"),
        ({"conv1": torch.tensor([], dtype=torch.long)}, "at least one"),
        ({"conv1": torch.tensor([1, 1])}, "all different"),
        ({"conv1": torch.tensor([12])}, "between 0 and 11"),
        ({"conv1": torch.tensor([-1])}, "between 0 and 11"),
    ],
)
def test_candidates_that_are_not_there_cannot_be_kept(kept, message):
    model, _, units, _ = instance("user")
    with pytest.raises(ValueError, match=message):
        slice_units(model, units, kept)


def test_a_mask_of_the_wrong_size_is_refused_and_leaves_no_hook():
    model, _, units, _ = instance("user")
    with pytest.raises(ValueError, match=r"\(12,\)"), masked(model, units, {"conv1": torch.ones(3)}):
        pass
    assert not any(module._forward_pre_hooks for module in model.modules())
