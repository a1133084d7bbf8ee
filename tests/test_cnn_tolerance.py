"""The papers' budget rule: units give up channels until the held-aside accuracy says stop; runs resume."""

import copy

import pytest
import torch
from test_cnn_loss import CLASSES, MODELS
from torch import nn

from gfs_tutorial.cnn.cost import count_macs
from gfs_tutorial.cnn.tolerance import prune_with_tolerance


@pytest.fixture(scope="module")
def trained():
    """A small residual net that has learned to tell the colours of noisy images, and mini-batches of them."""
    torch.manual_seed(0)
    model, colours = MODELS["resnet"](), torch.randn(CLASSES, 3, 1, 1)
    batches = []
    for _ in range(10):
        labels = torch.randint(0, CLASSES, (32,))
        batches.append((colours[labels] + 0.7 * torch.randn(32, 3, 8, 8), labels))
    train(model, batches, 40)
    return model, batches


def train(model, batches, steps):
    updates = torch.optim.SGD(model.train().parameters(), lr=0.1, momentum=0.9)
    for images, labels in (batches[i] for i in torch.randint(len(batches), (steps,)).tolist()):
        updates.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        updates.step()


@torch.no_grad()
def accuracy(model, batches):
    model = copy.deepcopy(model).eval()
    return sum(int((model(x).argmax(1) == y).sum()) for x, y in batches) / sum(len(y) for _, y in batches)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(value, b[key]) for key, value in a.items())


def test_units_shrink_as_far_as_the_accuracy_on_images_held_aside_allows(trained):
    model, batches = trained
    before = {key: value.clone() for key, value in model.state_dict().items()}
    small, report = prune_with_tolerance(model.train(), batches, tolerance=0.05, progress=False)
    aside = [batches[4], batches[9]]
    assert report.initial == accuracy(model, aside) > 0.9
    assert report.target == pytest.approx(0.95 * report.initial)
    assert report.final == accuracy(small, aside) >= report.target
    assert [unit.name for unit in report.units] == ["3.conv1", "4.conv1", "5.conv1"]
    assert all(unit.reached and unit.accuracy >= report.target for unit in report.units)
    assert {unit.name: unit.kept for unit in report.units} == {k: len(v) for k, v in report.kept.items()}
    assert sum(unit.kept for unit in report.units) < sum(unit.size for unit in report.units)
    x = batches[0][0][:2]
    assert (report.macs_before, report.macs_after) == (count_macs(model, x), count_macs(small, x))
    assert report.macs_after < report.macs_before
    assert same(model.state_dict(), before) and model.training and not small.training


def test_selection_never_sees_what_is_held_aside(trained, monkeypatch):
    model, batches = trained
    seen = []

    def spy(model, unit, selected_on, **options):
        seen.extend(images for images, _ in selected_on)
        return picks(model, unit, selected_on, **options)

    from gfs_tutorial.cnn import tolerance

    picks = tolerance.picks_by_loss
    monkeypatch.setattr(tolerance, "picks_by_loss", spy)
    prune_with_tolerance(model, batches[:6], candidates=2, tolerance=0.9, progress=False)
    assert len(seen) == 3 * 5
    assert not any(torch.equal(images, batches[4][0]) for images in seen)


def test_a_tolerance_of_zero_and_one_that_cannot_be_met(trained):
    model, batches = trained
    _, report = prune_with_tolerance(model, batches, tolerance=0.0, candidates=4, progress=False)
    assert report.final >= report.initial
    answers = iter([1.0])  # the dense net alone is any good
    small, report = prune_with_tolerance(
        model, batches, evaluate=lambda net: next(answers, 0.5), candidates=1, progress=False
    )
    assert not any(unit.reached for unit in report.units)
    assert report.macs_after == report.macs_before
    x = batches[0][0]
    torch.testing.assert_close(small(x), copy.deepcopy(model).eval()(x), rtol=1e-4, atol=1e-5)


def test_minus_a_loss_can_take_the_place_of_accuracy(trained):
    model, batches = trained

    def evaluate(net):
        x, y = batches[-1]
        return -float(nn.functional.cross_entropy(net(x), y))

    _, report = prune_with_tolerance(model, batches[:-1], tolerance=0.5, evaluate=evaluate, progress=False)
    assert report.target == pytest.approx(1.5 * report.initial)
    assert all(unit.accuracy >= report.target for unit in report.units)


@pytest.mark.parametrize("scaling", ["mean", "unit"])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(trained, tmp_path, scaling):
    model, batches = trained
    options = {"tolerance": 0.1, "candidates": 3, "scaling": scaling, "progress": False}

    def training(net):
        train(net, batches, 2)

    whole, expected = prune_with_tolerance(model, batches, train_between=training, **options)
    path = tmp_path / "run.pt"
    for stop_at in (0, 1, 1):  # before anything is written, and at the unit after each one
        calls = iter(range(9))

        def interrupted(net, stop_at=stop_at, calls=calls):
            if next(calls) == stop_at:
                raise KeyboardInterrupt
            training(net)

        with pytest.raises(KeyboardInterrupt):
            prune_with_tolerance(model, batches, train_between=interrupted, checkpoint=path, **options)
        torch.rand(3)  # what else the process draws does not matter
    assert len(torch.load(path, weights_only=True)["found"]["rows"]) == 2
    resumed, report = prune_with_tolerance(model, batches, train_between=training, checkpoint=path, **options)
    assert same(resumed.state_dict(), whole.state_dict())
    assert report.units == expected.units and same(report.kept, expected.kept)
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]
    again, report = prune_with_tolerance(
        model, batches, train_between=interrupted, checkpoint=path, **options
    )
    assert same(again.state_dict(), whole.state_dict()) and report.units == expected.units
    for other in ({"seed": 1}, {"candidates": None}):
        with pytest.raises(ValueError, match=f"other {next(iter(other))}: remove it"):
            prune_with_tolerance(model, batches, checkpoint=path, **{**options, **other})


def test_checkpoints_that_are_broken_or_of_other_weights_are_refused(trained, tmp_path):
    model, batches = trained
    path, options = tmp_path / "run.pt", {"candidates": 1, "tolerance": 0.9, "progress": False}
    prune_with_tolerance(model, batches, checkpoint=path, **options)
    with pytest.raises(ValueError, match="other weights"):
        prune_with_tolerance(MODELS["resnet"](), batches, checkpoint=path, **options)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"run\.pt is no file of prune_with_tolerance"):
        prune_with_tolerance(model, batches, checkpoint=path, **options)


def test_bad_input(trained):
    model, batches = trained

    def refused(error, message, *, net=model, data=batches, **options):
        with pytest.raises(error, match=message):
            prune_with_tolerance(net, data, progress=False, **options)

    refused(TypeError, r"model must be a torch\.nn\.Module", net="resnet")
    refused(TypeError, "batches must be an iterable", data=7)
    refused(ValueError, "batches is empty", data=[])
    refused(ValueError, "batches is one mini-batch", data=batches[:1])
    refused(TypeError, "pair", data=[images for images, _ in batches])
    refused(ValueError, "NaN or infinite", data=[(x * torch.nan, y) for x, y in batches])
    refused(TypeError, "not an iterator", data=iter(batches), evaluate=lambda net: 1.0)
    refused(ValueError, r"tolerance must lie in \[0, 1\)", tolerance=1.5)
    refused(ValueError, r"tolerance must lie in \[0, 1\)", tolerance=float("nan"))
    refused(TypeError, "tolerance must be a number", tolerance="2%")
    refused(TypeError, "evaluate must be a function", evaluate=0.9)
    refused(TypeError, "evaluate must return a number, got None", evaluate=lambda net: None)
    refused(ValueError, "accuracy of the model is NaN", evaluate=lambda net: float("nan"))
    refused(TypeError, "train_between must be a function", train_between=3)
    refused(ValueError, "candidates must be at least 1", candidates=0)
    refused(ValueError, "unknown scaling", scaling="N/n")
    refused(ValueError, "seed must be at least 0", seed=-1)
