"""Bad input at every door of the CNN package: one clear error that names what was wrong, nothing changed."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gfs_tutorial import cnn
from gfs_tutorial.cnn.distributed import prune_shared
from gfs_tutorial.cnn.models.resnet_cifar import ResNetCifar


@pytest.fixture(scope="module")
def at_hand():
    torch.manual_seed(0)
    model = ResNetCifar(1, (4, 6, 8))
    with torch.no_grad():  # statistics that are not those of a fresh norm
        model(torch.randn(8, 3, 12, 12))
    x, y = torch.randn(8, 3, 12, 12), torch.arange(8)
    return model, cnn.find_units(model, x), x, y


def look(model):
    hooks = [
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()
    ]
    modes, grads = [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]
    return copy.deepcopy(model.state_dict()), [hooks, modes, grads, [id(p) for p in model.parameters()]]


DOORS = {
    "prune": lambda m, u, b: cnn.prune(m, b, macs=0.8),
    "prune by the loss": lambda m, u, b: cnn.prune(m, b, counts={u[0].name: 2}, method="loss"),
    "select_by_loss": lambda m, u, b: cnn.select_by_loss(m, u[0], b, 2),
    "select_by_loss, oracle": lambda m, u, b: cnn.select_by_loss(m, u[0], b, 2, oracle=True),
    "prune_with_tolerance": lambda m, u, b: cnn.prune_with_tolerance(
        m, b, evaluate=lambda net: 1.0, progress=False
    ),
    "rival_scores": lambda m, u, b: cnn.rival_scores("taylor", m, u, b),
    "recalibrate_norms": lambda m, u, b: cnn.recalibrate_norms(m, b),
}
BATCHES = {
    "none": (lambda x, y: [], "batches is empty"),
    "no image": (lambda x, y: [(x[:0], y[:0])], r"batches (is empty|must be .* n > 0)"),
    "NaN": (lambda x, y: [(x, y), (x * torch.nan, y)], "batches holds .* NaN or infinite"),
    "channels": (lambda x, y: [(x[:, :2], y)], r"does not accept .*batches of shape \(\d, 2, 12, 12\)"),
    "one image": (lambda x, y: [(x[0], y[0])], r"batches must (be|hold images) \(n, C, H, W\)"),
    "precision": (lambda x, y: [(x.double(), y)], "batches .*float64"),
    "pixels": (lambda x, y: [(x.byte(), y)], "batches must .*uint8"),
    "dicts": (
        lambda x, y: [{"image": x, "label": y}],
        "batches must (be|hold) .*dict|needs labels: give batches of",
    ),
    "nothing": (lambda x, y: None, "batches must be .*NoneType"),
    "a tensor": (lambda x, y: x, "batches must be .*Tensor"),
    "another device": (lambda x, y: [(x.to("meta"), y)], "batches lies on the meta device"),
}


@pytest.mark.parametrize("batches", BATCHES)
@pytest.mark.parametrize("door", DOORS)
def test_mini_batches_that_do_not_fit(at_hand, door, batches):
    (model, units, x, y), (make, message) = at_hand, BATCHES[batches]
    state, rest = look(model)
    with pytest.raises((TypeError, ValueError), match=message):
        DOORS[door](model, units, make(x, y))
    now, rest_now = look(model)
    assert rest_now == rest and all(torch.equal(value, state[key]) for key, value in now.items())


NEED_LABELS = ("prune by the loss", "select_by_loss", "prune_with_tolerance", "rival_scores")


@pytest.mark.parametrize("door", NEED_LABELS)
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (lambda y: y.float(), "labels of batches must be int64"),
        (lambda y: y[:3], r"labels of batches must be \(8,\)"),
        (lambda y: y + 10, "labels of batches must lie between 0 and 9"),
    ],
)
def test_labels_that_do_not_fit(at_hand, door, labels, message):
    model, units, x, y = at_hand
    with pytest.raises((TypeError, ValueError), match=message):
        DOORS[door](model, units, [(x, labels(y))])


def test_bad_labels_show_before_any_work_is_done(at_hand, monkeypatch):
    model, _, x, y = at_hand
    monkeypatch.setattr("gfs_tutorial.cnn.calibration.consumer_moments", None)
    with pytest.raises(TypeError, match="int64"):
        cnn.prune(model, [(x, y.float())], macs=0.8, method="loss")


MODEL_DOORS = {
    "find_units": lambda m, u, x, p: cnn.find_units(m, x),
    "prune": lambda m, u, x, p: cnn.prune(m, [x]),
    "prune_shared": lambda m, u, x, p: prune_shared(m, x),
    "select_by_loss": lambda m, u, x, p: cnn.select_by_loss(m, u[0], [x], 2, labels=False),
    "prune_with_tolerance": lambda m, u, x, p: cnn.prune_with_tolerance(
        m, [(x, torch.zeros(len(x)).long())] * 2, evaluate=lambda net: 1.0, progress=False
    ),
    "rival_scores": lambda m, u, x, p: cnn.rival_scores("l1", m, u, [x]),
    "compare_rules": lambda m, u, x, p: cnn.compare_rules(m, u[0], x),
    "slice_units": lambda m, u, x, p: cnn.slice_units(m, u, {u[0].name: torch.arange(2)}),
    "masked": lambda m, u, x, p: cnn.masked(m, u, {u[0].name: torch.ones(4)}).__enter__(),
    "recalibrate_norms": lambda m, u, x, p: cnn.recalibrate_norms(m, [x]),
    "save_pruned": lambda m, u, x, p: cnn.save_pruned(p / "a.pt", m, u, {u[0].name: torch.arange(2)}),
    "load_pruned": lambda m, u, x, p: cnn.load_pruned(
        cnn.save_pruned(p / "b.pt", ResNetCifar(1, (4, 6, 8)), u, {}), m
    ),
    "export_onnx": lambda m, u, x, p: cnn.export_onnx(m, x, p / "c.onnx"),
}


@pytest.mark.parametrize("door", MODEL_DOORS)
def test_what_is_no_model_or_has_no_weights(at_hand, door, tmp_path):
    _, units, x, _ = at_hand
    name = {"save_pruned": "small", "load_pruned": "dense"}.get(door, "model")
    with pytest.raises(TypeError, match=rf"{name} must be a torch\.nn\.Module, got str"):
        MODEL_DOORS[door]("resnet20", units, x, tmp_path)
    with pytest.raises(ValueError, match=f"{name} lies on the meta device and has no weights"):
        MODEL_DOORS[door](ResNetCifar(1, (4, 6, 8)).to("meta"), units, x, tmp_path)


@pytest.mark.parametrize("door", MODEL_DOORS)
def test_another_model_than_the_units(at_hand, door, tmp_path):
    _, units, x, _ = at_hand
    other = nn.Sequential(nn.Conv2d(2, 3, 1), nn.Flatten(), nn.Linear(3, 2))
    with pytest.raises(
        ValueError, match=r"none of this model|does not (accept|fit)|has None channels in layer1\.0\.conv1"
    ):
        MODEL_DOORS[door](other, units, x, tmp_path)
    assert not (tmp_path / "a.pt").exists() and not (tmp_path / "c.onnx").exists()


def test_a_slice_is_not_sliced_again(at_hand):
    model, units, *_ = at_hand
    kept = {units[0].name: torch.arange(2)}
    small = cnn.slice_units(model, units, kept)
    with pytest.raises(ValueError, match=r"unit layer1\.0\.conv1 is none of this model: call find_units"):
        cnn.slice_units(small, units, kept)


def test_the_dense_model_is_not_saved_as_the_small_one(at_hand, tmp_path):
    model, units, *_ = at_hand
    with pytest.raises(ValueError, match=r"small has 4 channels in layer1\.0\.conv1, but kept 2"):
        cnn.save_pruned(tmp_path / "a.pt", model, units, {units[0].name: torch.arange(2)})
    with pytest.raises(ValueError, match="kept names 'x', which is none of units"):
        cnn.save_pruned(tmp_path / "a.pt", model, units, {"x": torch.arange(2)})


def test_loading_leaves_the_dense_model_where_it_is(at_hand, tmp_path, monkeypatch):
    model, units, *_ = at_hand
    kept = {units[0].name: torch.arange(2)}
    path = cnn.save_pruned(tmp_path / "a.pt", cnn.slice_units(model, units, kept), units, kept)
    moved = []
    monkeypatch.setattr(nn.Module, "cpu", lambda module: moved.append(module) or module)
    cnn.load_pruned(path, model)
    assert all(module is not model for module in moved)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_recalibration_gives_the_old_statistics_back(at_hand, error):
    model, calls = copy.deepcopy(at_hand[0]), iter(range(9))
    state, rest = look(model)

    def stop(*_):
        if next(calls) == 2:  # after the check and the first part
            raise error

    hook = model.fc.register_forward_pre_hook(stop)
    with pytest.raises(error):
        cnn.recalibrate_norms(model, [torch.randn(128, 3, 12, 12)])
    hook.remove()
    now, rest_now = look(model)
    assert rest_now == rest and all(torch.equal(value, state[key]) for key, value in now.items())


def test_comparing_rules_leaves_a_model_in_train_mode_alone(at_hand):
    model, units, x, _ = at_hand
    state, rest = look(model)
    model.train()
    rules = cnn.compare_rules(model, units[0], x)
    assert look(model)[1] == rest and all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    evaluated = cnn.compare_rules(copy.deepcopy(model).eval(), units[0], x)
    assert all(torch.equal(rules[name], errors) for name, errors in evaluated.items())


class Wrapped(nn.Module):
    """A network whose answer comes in something else."""

    def __init__(self, net, wrap):
        super().__init__()
        self.net, self.wrap = net, wrap

    def forward(self, x):
        return self.wrap(self.net(x))


@pytest.mark.parametrize("oracle", [False, True])
@pytest.mark.parametrize("wrap", [lambda z: (z, z), lambda z: {"logits": z}, lambda z: z[:, :, None]])
def test_the_loss_wants_logits(at_hand, wrap, oracle):
    model, _, x, y = at_hand
    model = Wrapped(model, wrap)
    units = cnn.find_units(model, x)
    with pytest.raises(ValueError, match=r"must return (logits|a tensor)"):
        cnn.select_by_loss(model, units[0], [(x, y)], 2, oracle=oracle)
    small, _ = cnn.prune(model, [x], macs=0.8)  # which looks at no answers
    assert type(small(x)) is type(wrap(torch.zeros(1, 1)))


def test_the_default_of_a_multiple_out_of_reach_is_named(at_hand):
    model, _, x, _ = at_hand
    with pytest.raises(ValueError, match=r"macs is .* or lower floor or multiple"):
        cnn.prune(model, [x], multiple=64)


# Unusual, and all right


def test_batches_as_a_loader_of_images_alone_makes_them(at_hand):
    model, units, x, _ = at_hand
    loader = DataLoader(TensorDataset(x), batch_size=4)
    picks = cnn.select_by_loss(model, units[0], loader, 3, labels=False).picks
    assert torch.equal(picks, cnn.select_by_loss(model, units[0], [x[:4], x[4:]], 3, labels=False).picks)
    scores, plain = (cnn.rival_scores("activation", model, units, batches) for batches in (loader, [x]))
    assert all(torch.allclose(scores[name], plain[name]) for name in scores)
    cnn.prune(model, loader, counts={units[0].name: 2}, method="loss")


class Viewing(nn.Module):
    """Flattens by ``view``, as many do, which channels-last memory does not allow."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3), nn.Linear(6 * 64, 10)

    def forward(self, x):
        x = torch.relu(self.b(torch.relu(self.a(x))))
        return self.head(x.view(x.size(0), -1))


@pytest.mark.parametrize("inputs", ["pruned", "dense"])
def test_a_network_that_flattens_by_view(at_hand, inputs):
    x = at_hand[2]
    model = Viewing()
    small, _ = cnn.prune(model, [x], macs=0.7, inputs=inputs)
    assert small(x).shape == (8, 10)
    assert [unit.span for unit in cnn.find_units(model, x)] == [1, 64]
    prune_shared(model, x, macs=0.7, inputs=inputs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(at_hand, dtype):
    model, _, x, y = at_hand
    model, x = copy.deepcopy(model).to(dtype), x.to(dtype)
    small, _ = cnn.prune(model, [x], macs=0.8)
    assert small(x).dtype == dtype and bool(small(x).isfinite().all())
    units = cnn.find_units(model, x)
    assert len(cnn.select_by_loss(model, units[0], [(x, y)], 2).picks) == 2


def test_one_image_of_one_pixel():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8, 4)
    )
    x = torch.randn(1, 3, 1, 1)
    small, report = cnn.prune(model, iter([x]), ratio=0.5)
    assert small(x).shape == (1, 4) and report.macs[1] < report.macs[0]


@pytest.mark.parametrize(
    "options, words",
    [
        ({"macs": "half"}, "macs must be a number, got 'half'"),
        ({"macs": True}, "macs must be a number, got True"),
        ({"ratio": "x"}, "ratio must be a number"),
        ({"floor": "a"}, "floor must be a number"),
        ({"counts": 3}, "counts must map names of units"),
        ({"checkpoint": 3}, "checkpoint must be a path"),
    ],
)
def test_an_option_of_the_wrong_type_is_named(options, words):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    with pytest.raises(TypeError, match=words):
        cnn.prune(model, [torch.randn(8, 3, 6, 6)], **options)
