"""Training of image classifiers: against plain loops, on problems of a second."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gfs_tutorial.cnn.augmentation import augment_batch
from gfs_tutorial.cnn.layout import training_layout
from gfs_tutorial.cnn.models import build
from gfs_tutorial.cnn.training import evaluate, fit, normalize, one_cycle
from gfs_tutorial.training import TrainingDivergedError

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
NORMAL = {"mean": MEAN, "std": STD}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def problem(m=64):
    """Noise images (m, 3, 16, 16) whose class, of two, is which half is brighter, top or bottom."""
    X = torch.randint(0, 200, (m, 3, 16, 16), generator=seeded(1), dtype=torch.uint8)
    y = torch.arange(m) % 2
    X[y == 0, :, :8] += 50
    X[y == 1, :, 8:] += 50
    return X, y


X, Y = problem()


def network(seed=0, num_classes=2):
    return build("resnet20", num_classes, widths=(4, 4, 8), seed=seed)


def train(model=None, X=X, y=Y, **changes):
    model = network() if model is None else model
    settings = {"steps": 4, "batch_size": 16, "lr": 0.1, "precision": "float32", "generator": seeded()}
    return model, fit(model, X, y, **{**settings, **NORMAL, "progress": False, **changes})


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


# The recipe


@pytest.mark.parametrize("optimizer, lr", [("sgd", 0.1), ("adam", 0.01)])
def test_a_tiny_problem_is_learnt(optimizer, lr):
    model, history = train(steps=60, lr=lr, optimizer=optimizer)
    assert history.losses[-5:].mean() < 0.3 * history.losses[:5].mean()
    assert evaluate(model, X, Y, **NORMAL) > 0.95


def test_a_step_is_one_of_nesterov_momentum_without_decay_on_norms_and_biases():
    model, reference = nn.Sequential(nn.Flatten(), nn.Linear(768, 2)), None
    reference = copy.deepcopy(model)
    train(model, steps=3, batch_size=64, augment=False, weight_decay=0.1, label_smoothing=0.2)
    weight, bias = reference[1].weight, reference[1].bias
    velocity = {weight: 0, bias: 0}
    scaled = (X / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    for factor in (1.0, 1.0, 0.5):  # one step up, then half a cosine over the other two
        loss = F.cross_entropy(reference(scaled), Y, label_smoothing=0.2)
        gradients = torch.autograd.grad(loss, (weight, bias))
        with torch.no_grad():
            for p, gradient, decay in zip((weight, bias), gradients, (0.1, 0.0)):
                gradient = gradient + decay * p
                velocity[p] = 0.9 * velocity[p] + gradient
                p -= 0.1 * factor * (gradient + 0.9 * velocity[p])
    torch.testing.assert_close(model[1].weight, weight, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(model[1].bias, bias, rtol=1e-3, atol=1e-4)


def test_the_learning_rate_rises_for_a_fifth_and_falls_to_zero():
    rates = [one_cycle(step, 100) for step in range(100)]
    assert rates[:20] == pytest.approx([(step + 1) / 20 for step in range(20)])
    assert rates[20] == 1 and rates[60] == pytest.approx(0.5) and 0 < rates[99] < 1e-3
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert [one_cycle(0, 1), one_cycle(0, 2), one_cycle(1, 2)] == [1, 1, 1]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_generator_gives_the_same_network(precision):
    runs = [train(precision=precision, generator=seeded(seed)) for seed in (0, 0, 1)]
    assert torch.equal(runs[0][1].losses, runs[1][1].losses)
    assert same(state(runs[0][0]), state(runs[1][0]))
    assert not torch.equal(runs[0][1].losses, runs[2][1].losses)


def test_the_global_random_numbers_stay_untouched_with_a_generator():
    torch.manual_seed(3)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    train()
    assert torch.equal(drawn, torch.rand(1))


def test_epochs_count_whole_batches_and_every_image_is_seen_once_a_pass():
    seen = []
    model = network()
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    _, history = train(model, epochs=2, steps=None, batch_size=20, augment=False)
    assert len(history.losses) == len(seen) == 2 * (64 // 20)
    for images in (torch.cat(seen[:3]), torch.cat(seen[3:])):
        assert len(images.unique(dim=0)) == 60
    layout = training_layout(torch.device("cpu"))
    assert all(images.is_contiguous(memory_format=layout) for images in seen)


def test_bfloat16_learns_too_and_is_recorded():
    model, history = train(steps=60, precision="bfloat16")
    assert history.precision == "bfloat16" and history.losses[-5:].mean() < 0.3
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_model_comes_back_in_its_mode_after_a_run_and_after_an_interrupt():
    model = network().eval()
    model.layer1.train()
    before = [module.training for module in model.modules()]
    train(model)
    assert [module.training for module in model.modules()] == before

    def interrupt(module, inputs):
        raise KeyboardInterrupt

    model.layer3.register_forward_pre_hook(interrupt)
    weights = state(model)
    with pytest.raises(KeyboardInterrupt):
        train(model)
    assert [module.training for module in model.modules()] == before
    assert same({k: v for k, v in weights.items() if "weight" in k}, state(model))


def test_frozen_norms_keep_their_statistics():
    model = network()
    before = state(model)
    train(model, freeze_norm=True)
    after = state(model)
    assert torch.equal(before["bn1.running_mean"], after["bn1.running_mean"])
    assert not torch.equal(before["bn1.weight"], after["bn1.weight"])
    assert not torch.equal(before["conv1.weight"], after["conv1.weight"])


def test_frozen_parameters_stay():
    model = network()
    model.conv1.weight.requires_grad_(False)
    before = state(model)["conv1.weight"]
    train(model)
    assert torch.equal(before, model.conv1.weight)


# A teacher


@torch.no_grad()
def gap(student, teacher, distance):
    """Half the mean squared distance of the logits, or the mean divergence of the probabilities."""
    ours, theirs = (model.eval()(normalize(X, **NORMAL)).double() for model in (student, teacher))  # (m, 2)
    if distance == "squared":
        return float((ours - theirs).square().sum(1).mean() / 2)
    p = theirs.softmax(1)
    return float((p * (p / ours.softmax(1)).log()).sum(1).mean())


@pytest.mark.parametrize("distance", ["squared", "kl"])
def test_a_student_moves_towards_its_teacher_without_labels(distance):
    teacher, _ = train(network(seed=0), steps=30)
    student = copy.deepcopy(teacher)
    with torch.no_grad():
        for p in student.layer3.parameters():
            p.mul_(0.5)
    before, weights = gap(student, teacher, distance), state(teacher)
    teacher.train()
    settings = {"optimizer": "adam", "lr": 0.01, "weight_decay": 0, "freeze_norm": True, "augment": False}
    _, history = train(
        student, y=None, teacher=teacher, distance=distance, steps=60, batch_size=64, **settings
    )
    assert float(history.losses[0]) == pytest.approx(before, rel=1e-3)
    assert teacher.training and same(weights, state(teacher))
    assert gap(student, teacher, distance) < 0.2 * before


@pytest.mark.parametrize("distance", ["squared", "kl"])
def test_a_copy_of_the_teacher_has_nothing_to_learn(distance):
    teacher = network()
    settings = {"distance": distance, "freeze_norm": True, "weight_decay": 0}
    _, history = train(copy.deepcopy(teacher), y=None, teacher=teacher, **settings)
    assert float(history.losses.abs().max()) < 1e-6


# Augmentation and normalisation


def test_augmented_images_are_shifted_mirrored_copies():
    images = torch.randint(0, 256, (40, 3, 16, 24), generator=seeded(), dtype=torch.uint8)
    out = augment_batch(images, seeded(1))
    assert out.shape == images.shape and out.dtype == images.dtype
    padded = F.pad(images.float(), (3, 3, 2, 2), mode="reflect").to(torch.uint8)  # an eighth of 24 and of 16
    flips, shifts = 0, set()
    for before, after in zip(padded, out):
        places = [
            (flip, top, left)
            for flip in (False, True)
            for top in range(5)
            for left in range(7)
            if torch.equal(after.flip(2) if flip else after, before[:, top : top + 16, left : left + 24])
        ]
        assert len(places) == 1
        flips += places[0][0]
        shifts.add(places[0][1:])
    assert 8 <= flips <= 32 and len(shifts) > 12


def test_crops_alone_do_not_flip():
    ramp = torch.arange(32, dtype=torch.uint8).expand(50, 3, 32, 32)
    out = augment_batch(ramp, seeded(), flip=False)
    assert bool((out[:, :, :, 20].int() > out[:, :, :, 10].int()).all())


def test_normalising_gives_each_channel_its_mean_and_deviation():
    out = normalize(X, **NORMAL)
    plain = (X.double() / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    torch.testing.assert_close(out.double(), plain, rtol=0, atol=1e-5)
    assert out.dtype == torch.float32


# Evaluation


@pytest.mark.parametrize("batch_size", [1, 7, 64, 100])
def test_evaluate_equals_a_plain_loop(batch_size):
    model, _ = train(steps=10)
    model.eval()
    hits = sum(
        int(model(normalize(image[None], **NORMAL)).argmax()) == int(label) for image, label in zip(X, Y)
    )
    model.train()
    accuracy = evaluate(model, X, Y, **NORMAL, batch_size=batch_size, precision="float32")
    assert accuracy == hits / 64 and model.training


def test_the_devices_agree(device):
    model, _ = train(network().to(device), X=X.to(device), y=Y.to(device), steps=30)
    assert next(model.parameters()).device.type == device
    from_host = evaluate(model, X, Y, **NORMAL)
    assert from_host == evaluate(model, X.to(device), Y.to(device), **NORMAL) > 0.6


# Bad input


def test_a_diverging_loss_stops_with_an_error():
    with pytest.raises(TrainingDivergedError, match="Lower lr"):
        train(steps=200, lr=1e6)


NOT_A_NUMBER = math.nan
BAD = [
    ({"model": "resnet20"}, TypeError, "model must be a torch.nn.Module"),
    ({"model": nn.ReLU()}, ValueError, "model has no parameters"),
    ({"X": X.float()}, TypeError, "X must hold uint8"),
    ({"X": X.numpy()}, TypeError, "X must be a torch.Tensor"),
    ({"X": X[:, :1]}, ValueError, r"X must have shape \(m, 3, H, W\)"),
    ({"X": X[:0], "y": Y[:0]}, ValueError, "not be empty"),
    ({"y": Y.float()}, TypeError, "y must hold int64"),
    ({"y": Y[:5]}, ValueError, r"y must have shape \(64,\)"),
    ({"y": Y[:, None]}, ValueError, r"y must have shape \(64,\)"),
    ({"y": Y - 1}, ValueError, "y must hold class numbers from 0, got -1"),
    ({"mean": (0.5, 0.5)}, ValueError, "mean and std must be three numbers"),
    ({"std": (1, 1, 0)}, ValueError, "mean and std must be three numbers"),
    ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
    ({"precision": "half"}, ValueError, "unknown precision 'half'"),
]
BAD_FIT = [
    *BAD,
    ({"model": network().requires_grad_(False)}, ValueError, "model has no parameter to train"),
    ({"y": None}, ValueError, "y is missing: give labels or a teacher"),
    ({"batch_size": 65}, ValueError, "batch_size is 65 but X has only 64"),
    ({"steps": None}, ValueError, "give one of epochs and steps"),
    ({"epochs": 1}, ValueError, "give one of epochs and steps"),
    ({"steps": 0}, ValueError, "steps must be at least 1"),
    ({"steps": None, "epochs": 1.5}, TypeError, "epochs must be a whole number"),
    ({"lr": -1}, ValueError, "lr must be finite and not negative"),
    ({"lr": NOT_A_NUMBER}, ValueError, "lr must be finite and not negative"),
    ({"weight_decay": -1}, ValueError, "weight_decay must be finite"),
    ({"label_smoothing": 1}, ValueError, "label_smoothing must lie in"),
    ({"augment": "flip"}, ValueError, "augment must be True, False or"),
    ({"distance": "cosine"}, ValueError, "unknown distance 'cosine'"),
    ({"optimizer": "lion"}, ValueError, "unknown optimizer 'lion'"),
    ({"generator": 0}, TypeError, "generator must be a torch.Generator"),
    ({"teacher": "resnet20"}, TypeError, "teacher must be a torch.nn.Module"),
]


@pytest.mark.parametrize("changes, error, message", BAD_FIT)
def test_bad_arguments_of_fit(changes, error, message):
    with pytest.raises(error, match=message):
        train(**changes)


@pytest.mark.parametrize("changes, error, message", BAD)
def test_bad_arguments_of_evaluate(changes, error, message):
    arguments = {"model": network(), "X": X, "y": Y, **NORMAL, **changes}
    with pytest.raises(error, match=message):
        evaluate(**arguments)


def test_a_label_beyond_the_outputs_and_a_model_as_its_own_teacher_are_errors():
    with pytest.raises(ValueError, match=r"y holds class 2 but the model has 2 outputs"):
        train(y=torch.full_like(Y, 2))
    model = network()
    with pytest.raises(ValueError, match="teacher is the model itself"):
        train(model, teacher=model)
