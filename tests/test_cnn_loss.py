"""Selection by the loss of the whole network: the fast way against a forward pass for each candidate."""

import functools
import itertools
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.mobilenetv3 import InvertedResidual as GatedResidual
from torchvision.models.mobilenetv3 import InvertedResidualConfig
from torchvision.models.regnet import ResBottleneckBlock
from torchvision.models.resnet import BasicBlock, Bottleneck

from gfs_tutorial.cnn import loss
from gfs_tutorial.cnn.loss import picks_by_loss, select_by_loss
from gfs_tutorial.cnn.mini_batches import mini_batches
from gfs_tutorial.cnn.surgery import masked, slice_units
from gfs_tutorial.cnn.units import find_units

CLASSES = 5


def around(*blocks, channels):
    """A stem of 8 channels, the blocks, and a head."""
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)]
    stem = [nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True)]
    return nn.Sequential(*stem, *blocks, *head)


def resnet():
    shortcut = nn.Sequential(nn.Conv2d(8, 12, 1, 2, bias=False), nn.BatchNorm2d(12))
    return around(BasicBlock(8, 8), BasicBlock(8, 12, 2, shortcut), BasicBlock(12, 12), channels=12)


def grouped():
    shortcut = nn.Sequential(nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16))
    return around(Bottleneck(8, 4, 1, shortcut, groups=4, base_width=128), channels=16)


def mobilenet_v2():
    return around(InvertedResidual(8, 8, 1, 2), InvertedResidual(8, 12, 2, 2), channels=12)


def gated():
    config = InvertedResidualConfig(8, 3, 16, 8, True, "HS", 1, 1, 1.0)
    return around(GatedResidual(config, nn.BatchNorm2d), channels=8)


def gated_groups():
    block = ResBottleneckBlock(8, 16, 1, nn.BatchNorm2d, partial(nn.ReLU, inplace=True), 4, 1.0, 0.25)
    return around(block, channels=16)


class PaddedConv2d(nn.Conv2d):
    """Padding of its own, as in EfficientNet-Lite."""

    def forward(self, x):
        return F.conv2d(F.pad(x, [0, 1, 0, 1]), self.weight, self.bias)


def flat():
    """A convolution with a padding of its own, then a linear layer that reads four positions a channel."""
    return nn.Sequential(
        *[nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), PaddedConv2d(8, 6, 2), nn.ReLU()],
        *[nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, CLASSES)],
    )


MODELS = {f.__name__: f for f in (resnet, grouped, mobilenet_v2, gated, gated_groups, flat)}


@functools.cache
def instance(name, dtype=torch.float64):
    """The model in training mode, its units, and three mini-batches of different lengths."""
    torch.manual_seed(0)
    model = MODELS[name]().to(dtype)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.05, 0.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    batches = [(torch.randn(n, 3, 8, 8, dtype=dtype), torch.randint(0, CLASSES, (n,))) for n in (6, 6, 4)]
    return model.train(), find_units(model, batches[0][0]), batches


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def assert_same(fast, slow):
    assert fast.picks.tolist() == slow.picks.tolist()
    torch.testing.assert_close(fast.errors, slow.errors, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("with_replacement", [False, True])
@pytest.mark.parametrize("scaling", ["mean", "unit"])
@pytest.mark.parametrize("name", MODELS)
def test_picks_and_losses_are_those_of_the_oracle(name, scaling, with_replacement):
    model, units, batches = instance(name)
    for unit, data in itertools.product(units, (batches, batches[:1])):
        size = min(6, unit.size)
        select = partial(
            select_by_loss, model, unit, data, size, scaling=scaling, with_replacement=with_replacement
        )
        assert_same(select(), select(oracle=True))


@pytest.mark.parametrize("name", MODELS)
def test_so_they_are_without_labels_and_with_random_candidates(name):
    model, units, batches = instance(name)
    images = [images for images, _ in batches]
    for unit in units:
        size = min(6, unit.size)
        select = partial(select_by_loss, model, unit, size=size, labels=False)
        assert_same(select(images), select(images, oracle=True))
        few = [
            select(data, candidates=3, generator=seeded(), oracle=oracle)
            for data, oracle in ((images, False), (images, True), (batches, False))
        ]
        assert_same(few[0], few[1])
        assert_same(few[0], few[2])


def test_selection_stops_at_so_many_different_candidates():
    model, units, batches = instance("resnet")
    select = partial(select_by_loss, model, units[0], batches, with_replacement=True)
    long = select(20).picks
    for distinct in (1, 2, 3):
        picks = select(20, distinct=distinct).picks
        assert picks.tolist() == long[: len(picks)].tolist()
        assert len(picks.unique()) == distinct > len(picks[:-1].unique())


def test_the_progress_bar_counts_the_candidates_tried(capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    totals = []

    class Bar(loss.tqdm):
        def __exit__(self, *arguments):
            totals.append((self.n, self.total))
            super().__exit__(*arguments)

    monkeypatch.setattr(loss, "tqdm", Bar)
    model, units, batches = instance("resnet")
    for options in ({}, {"candidates": 3}, {"with_replacement": True}, {"progress": False}):
        select_by_loss(model, units[0], batches, 4, **{"progress": True, **options})
    assert totals[:3] == [(8 + 7 + 6 + 5,) * 2, (4 * 3,) * 2, (4 * 8,) * 2]
    assert "candidate" in capsys.readouterr().err


def by_hand(model, unit, batches, size):
    """The rule in its plainest form: ``mean``, without replacement, every candidate."""
    picks, errors, model = [], [], model.eval()
    for k in range(1, size + 1):
        images, labels = batches[(k - 1) % len(batches)]
        losses = torch.full((unit.size,), torch.inf, dtype=torch.float64)
        for candidate in set(range(unit.size)) - set(picks):
            weights = torch.zeros(unit.size, dtype=torch.float64)
            weights[[*picks, candidate]] = unit.size / k
            with torch.no_grad(), masked(model, [unit], {unit.name: weights}):
                losses[candidate] = F.cross_entropy(model(images), labels)
        picks.append(int(losses.argmin()))
        errors.append(float(losses.min()))
    return picks, errors


@pytest.mark.parametrize("name", ["resnet", "gated_groups"])
def test_the_oracle_is_right(name):
    model, units, batches = instance(name)
    selection = select_by_loss(model, units[-1], batches, units[-1].size, oracle=True)
    picks, errors = by_hand(model, units[-1], batches, units[-1].size)
    model.train()
    assert selection.picks.tolist() == picks
    assert selection.errors.tolist() == pytest.approx(errors, rel=1e-12)


def test_the_last_error_is_the_loss_of_the_sliced_model():
    model, units, batches = instance("mobilenet_v2")
    unit, (images, labels) = units[1], batches[0]
    selection = select_by_loss(model, unit, batches[:1], 5)
    kept, weights = selection.kept(5), selection.weights(5)
    small = slice_units(model, [unit], {unit.name: kept}, {unit.name: weights}).eval()
    loss = float(F.cross_entropy(small(images), labels).detach())
    assert loss == pytest.approx(float(selection.errors[-1]), rel=1e-12)


def test_ties_go_to_the_lowest_index():
    torch.manual_seed(0)
    model = MODELS["resnet"]().double().eval()
    unit = find_units(model, torch.randn(2, 3, 8, 8).double())[1]
    producer = model.get_submodule(unit.name)
    consumer = model.get_submodule(unit.consumer)
    with torch.no_grad():  # all candidates alike
        producer.weight.copy_(producer.weight[:1].clone().expand_as(producer.weight))
        consumer.weight.copy_(consumer.weight[:, :1].clone().expand_as(consumer.weight))
    batch = (torch.randn(4, 3, 8, 8).double(), torch.randint(0, CLASSES, (4,)))
    for oracle in (False, True):
        selection = select_by_loss(model, unit, [batch], unit.size, oracle=oracle)
        assert selection.picks.tolist() == list(range(unit.size))


def test_the_model_is_left_as_it_was():
    model, units, batches = instance("gated")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model[0].eval()
    for oracle in (False, True):
        steps = picks_by_loss(model, units[0], batches, oracle=oracle)
        next(steps)
        assert model.training and model[1].training and not model[0].training
    model[0].train()
    with pytest.raises(ValueError, match="NaN"):
        select_by_loss(model, units[0], [(batches[0][0] * torch.nan, batches[0][1])], 2)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_the_number_of_loader_workers_does_not_matter():
    model, units, batches = instance("resnet")
    data = TensorDataset(torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches]))

    def run(workers):
        generator = seeded()
        loader = DataLoader(data, 5, shuffle=True, num_workers=workers, generator=generator)
        return select_by_loss(model, units[-1], loader, 8, candidates=4, generator=generator)

    one, two = run(0), run(2)
    assert one.picks.tolist() == two.picks.tolist()
    assert torch.equal(one.errors, two.errors)


def test_mini_batches_come_again_and_a_single_one_as_the_same_object():
    model, _, batches = instance("resnet")
    several = list(itertools.islice(mini_batches(batches, model), 5))
    assert [len(images) for images, _ in several] == [6, 6, 4, 6, 6]
    one, again, third = itertools.islice(mini_batches(iter(batches[:1]), model), 3)
    assert one is again is third


def test_picks_end_when_all_are_picked(device):
    model, units, batches = instance("resnet", torch.float32)
    model, unit = MODELS["resnet"]().to(device), units[0]
    picks = [pick for pick, _ in picks_by_loss(model, unit, batches)]
    assert sorted(picks) == list(range(unit.size))


def test_bad_arguments():
    model, units, batches = instance("resnet")
    select, unit = partial(select_by_loss, model, units[0]), units[0]
    with pytest.raises(ValueError, match=r"size is 9 but unit 3\.conv1 has only 8"):
        select(batches, unit.size + 1)
    assert len(select(batches, unit.size + 1, with_replacement=True).picks) == unit.size + 1
    for size, error in ((0, ValueError), (-1, ValueError), (2.5, TypeError)):
        with pytest.raises(error, match="size must be"):
            select(batches, size)
    with pytest.raises(ValueError, match="unknown scaling 'mena'"):
        select(batches, 2, scaling="mena")
    with pytest.raises(ValueError, match="candidates must be at least 1"):
        select(batches, 2, candidates=0)
    with pytest.raises(TypeError, match="generator must be"):
        select(batches, 2, generator=3)
    with pytest.raises(TypeError, match="unit must be a Unit"):
        select_by_loss(model, "0", batches, 2)
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module"):
        select_by_loss("resnet", unit, batches, 2)
    with pytest.raises(ValueError, match=r"unit 3\.conv1 is none of this model"):
        select_by_loss(slice_units(model, units, {unit.name: torch.arange(3)}), unit, batches, 2)


def test_bad_batches():
    model, units, ((x, y), *_) = instance("resnet")

    def refused(batches, error, message):
        with pytest.raises(error, match=message):
            select_by_loss(model, units[0], batches, 4)

    refused([x], TypeError, r"pair \(images, labels\).*labels=False")
    refused((x, y), TypeError, r"pair \(images, labels\)")
    refused([(x, None)], TypeError, r"labels of batches must be a torch\.Tensor")
    refused([(x, y.float())], TypeError, "labels of batches must be int64")
    refused([(x, y[:2])], ValueError, r"labels of batches must be \(6,\)")
    refused([(x, y + CLASSES)], ValueError, "between 0 and 4")
    refused([(x.float(), y)], TypeError, r"must be torch\.float64 as the model is")
    refused([(x[0], y[:1])], ValueError, r"images of batches must be \(n, C, H, W\)")
    refused([(x.numpy(), y)], TypeError, r"images of batches must be a torch\.Tensor")
    refused([(x, y), (x * torch.inf, y)], ValueError, "images of batches holds .* NaN or infinite")
    refused([], ValueError, "batches is empty")
    refused(iter([(x, y), (x, y)]), ValueError, "an iterator that came to its end")
    refused(x, TypeError, "batches must be an iterable of mini-batches, got Tensor")
    refused(3, TypeError, "batches must be an iterable of mini-batches, got int")


def test_a_model_with_weights_that_are_not_finite_is_named():
    torch.manual_seed(0)
    model = MODELS["resnet"]().double()
    x = torch.randn(2, 3, 8, 8).double()
    units = find_units(model, x)
    nn.init.constant_(model[-1].weight, torch.nan)
    with pytest.raises(ValueError, match="NaN or infinite with every candidate"):
        select_by_loss(model, units[0], [(x, torch.zeros(2, dtype=torch.int64))], 2)
