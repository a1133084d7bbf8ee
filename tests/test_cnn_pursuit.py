"""Moments, orthogonal matching pursuit and local imitation against brute force, in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from gfs_tutorial.cnn.images import gather_images
from gfs_tutorial.cnn.local import contribution_gram, select_local
from gfs_tutorial.cnn.moments import Moments, consumer_moments
from gfs_tutorial.cnn.pursuit import pursue
from gfs_tutorial.cnn.refit import kept_rows
from gfs_tutorial.cnn.units import Part, Unit


def unit_of(size, span=1):
    return Unit("a", "b", size, span, span, "b", (Part("a", "out"), Part("b", "in")))


def instance(seed, size, rows, outputs=3, count=60):
    """Correlated inputs with a mean, the moments, and outputs that are linear in the inputs."""
    g = torch.Generator().manual_seed(seed)
    features = size * rows
    mix = torch.randn(features, features, generator=g, dtype=torch.float64)
    A = torch.randn(count, features, generator=g, dtype=torch.float64) @ mix + 2
    W = torch.randn(outputs, features, generator=g, dtype=torch.float64)
    Z = A @ W.T + 1
    return A, W, Z, Moments.of_rows(A, Z)


instances = given(st.integers(0, 10_000), st.integers(2, 6), st.sampled_from([1, 3]))


def ridge_objective(A, Z, columns, ridge):
    """Least of |Z - A V|^2 + ridge |V|^2 over V on the centred columns, by a direct solve."""
    a, z = A[:, columns] - A[:, columns].mean(0), Z - Z.mean(0)
    V = torch.linalg.solve(a.T @ a + ridge * torch.eye(len(columns), dtype=a.dtype), a.T @ z)
    return float((z - a @ V).square().sum() + ridge * V.square().sum())


@instances
@settings(deadline=None, max_examples=40)
def test_pursuit_is_greedy_and_its_errors_are_those_of_direct_refits(seed, size, rows):
    A, _, Z, moments = instance(seed, size, rows)
    unit, ridge = unit_of(size, rows), 1e-4 * float(moments.K.diagonal().mean())
    found = pursue(unit, moments)
    total = float((Z - Z.mean(0)).square().sum())
    for k in range(1, size + 1):
        before = found.picks[: k - 1].tolist()
        objective = {
            i: ridge_objective(A, Z, kept_rows(unit, torch.tensor([*before, i]), size * rows), ridge) / total
            for i in set(range(size)) - set(before)
        }
        assert float(found.errors[k - 1]) == pytest.approx(objective[int(found.picks[k - 1])], abs=1e-6)
        assert objective[int(found.picks[k - 1])] <= min(objective.values()) + 1e-9
    assert sorted(found.picks.tolist()) == list(range(size))
    assert (found.errors.diff() <= 1e-9).all()


def test_pursuit_in_a_given_order():
    _, _, _, moments = instance(0, 5, 2)
    free = pursue(unit_of(5, 2), moments)
    torch.testing.assert_close(pursue(unit_of(5, 2), moments, order=free.picks).errors, free.errors)
    assert len(pursue(unit_of(5, 2), moments, 3).picks) == 3


def test_pursuit_with_fewer_rows_than_outputs():
    A, _, Z, moments = instance(1, 6, 1, outputs=12, count=5)
    ridge = 1e-4 * float(moments.K.diagonal().mean())
    total = float((Z - Z.mean(0)).square().sum())
    found = pursue(unit_of(6), moments)
    for k in range(1, 7):
        direct = ridge_objective(A, Z, found.picks[:k], ridge) / total
        assert float(found.errors[k - 1]) == pytest.approx(direct, abs=1e-6)


def test_pursuit_of_silent_channels():
    found = pursue(unit_of(4), Moments.of_rows(torch.zeros(9, 4), torch.zeros(9, 2)))
    assert sorted(found.picks.tolist()) == [0, 1, 2, 3]
    assert (found.errors == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size must be at least 1"),
        ({"size": 6}, "only 5 candidates"),
        ({"ridge": -1.0}, "ridge"),
        ({"order": torch.tensor([0, 0])}, "all different"),
        ({"order": torch.tensor([7])}, "between 0 and 4"),
    ],
)
def test_pursuit_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        pursue(unit_of(5), instance(0, 5, 1)[3], **options)


def test_pursuit_refuses_the_moments_of_another_unit():
    with pytest.raises(ValueError, match="does not fit"):
        pursue(unit_of(4), instance(0, 5, 1)[3])


@instances
@settings(deadline=None, max_examples=40)
@pytest.mark.parametrize("scaling", ["mean", "unit"])
@pytest.mark.parametrize("with_replacement", [True, False])
def test_local_is_greedy_on_the_sum_of_contributions(scaling, with_replacement, seed, size, rows):
    A, W, Z, moments = instance(seed, size, rows)
    unit, columns = unit_of(size, rows), torch.arange(size * rows).view(size, rows)
    parts = torch.stack([A[:, c] @ W[:, c].T for c in columns])  # (size, count, outputs)
    dense, z, free = Z - 1, 0, set(range(size))
    found = select_local(unit, moments, W, scaling=scaling, with_replacement=with_replacement)
    for k, pick in enumerate(found.picks.tolist(), 1):
        scale = size / k if scaling == "mean" else 1
        error = {
            i: float((scale * (z + parts[i]) - dense).square().sum() / dense.square().sum()) for i in free
        }
        assert error[pick] <= min(error.values()) + 1e-9 * max(error.values())
        assert float(found.errors[k - 1]) == pytest.approx(error[pick], rel=1e-6, abs=1e-9)
        z = z + parts[pick]
        free -= set() if with_replacement else {pick}


def test_local_stops_at_so_many_different_candidates():
    _, W, _, moments = instance(2, 6, 2)
    unit, options = unit_of(6, 2), {"with_replacement": True}
    long = select_local(unit, moments, W, 60, **options).picks
    for distinct in (1, 2, 3):
        picks = select_local(unit, moments, W, 60, distinct=distinct, **options).picks
        assert picks.tolist() == long[: len(picks)].tolist()
        assert len(picks.unique()) == distinct > len(picks[:-1].unique())
    assert len(select_local(unit, moments, W, 2, distinct=3, **options).picks) == 2


def test_centred_contributions():
    A, W, _, moments = instance(3, 4, 2)
    A = A - A.mean(0)
    parts = torch.stack([A[:, c] @ W[:, c].T for c in torch.arange(8).view(4, 2)]).flatten(1)
    gram = contribution_gram(unit_of(4, 2), moments, W, centred=True)
    torch.testing.assert_close(gram, parts @ parts.T)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scaling": "sum"}, "unknown scaling"),
        ({"size": 6}, "only 5"),
        ({"size": 0}, "at least 1"),
        ({"distinct": 0}, "distinct must be at least 1"),
    ],
)
def test_local_refuses(options, message):
    _, W, _, moments = instance(0, 5, 1)
    with pytest.raises(ValueError, match=message):
        select_local(unit_of(5), moments, W, **options)


def test_local_refuses_a_weight_that_does_not_fit():
    with pytest.raises(ValueError, match="features"):
        select_local(unit_of(5), instance(0, 5, 1)[3], torch.zeros(3, 4))


class PadsItself(nn.Conv2d):
    """Pads in its forward, as the convolutions of EfficientNet-Lite do."""

    def forward(self, x):
        return F.conv2d(F.pad(x, (0, 1, 0, 1)), self.weight, self.bias, self.stride)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 5, 3, stride=2, padding=1),
        nn.Conv2d(3, 5, (3, 2), padding=(1, 0), dilation=(2, 1), bias=False),
        nn.Conv2d(3, 5, 3, padding="same"),
        nn.Conv2d(3, 5, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(3, 5, 1, stride=2),
        PadsItself(3, 5, 2, stride=2),
        nn.Sequential(nn.Flatten(), nn.Linear(3 * 7 * 8, 5)),
    ],
)
@pytest.mark.parametrize("positions", [7, 10_000])
def test_moments_are_those_of_the_layers_equation(layer, positions):
    """Whatever the layer pads, its outputs must be its weights on the rows that were counted."""
    images = torch.randn(40, 3, 7, 8, dtype=torch.float64)
    model = nn.Sequential(layer.double())
    name = "0.1" if isinstance(layer, nn.Sequential) else "0"
    found = consumer_moments(model, [name], images, positions=positions)[name]
    inner = model.get_submodule(name)
    W, outputs = inner.weight.detach().flatten(1), model(images).detach()
    torch.testing.assert_close(found.B, found.K @ W.T)
    torch.testing.assert_close(torch.tensor(found.T, dtype=torch.float64), (W @ found.K @ W.T).trace())
    bias = 0 if inner.bias is None else inner.bias.detach()
    torch.testing.assert_close(found.output_mean, W @ found.input_mean + bias)
    if positions == 10_000:
        torch.testing.assert_close(found.output_mean, outputs.transpose(0, 1).flatten(1).mean(1))


def test_moments_add_up_and_do_not_depend_on_batches():
    model, images = nn.Sequential(nn.Conv2d(2, 3, 1)), 5 + torch.randn(50, 2, 9, 9)
    first = consumer_moments(model, ["0"], images[:32], positions=100)
    second = consumer_moments(model, ["0"], images[32:], positions=100, like=first)
    both = consumer_moments(model, ["0"], images, positions=100)["0"]
    added = first["0"] + second["0"]
    torch.testing.assert_close(added.K, both.K, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(added.B, both.B, rtol=1e-5, atol=1e-5)
    rows = images.transpose(0, 1).flatten(1).double()
    torch.testing.assert_close(both.K / both.count, torch.cov(rows, correction=0), rtol=1e-5, atol=1e-6)


def test_moments_of_a_layer_that_does_not_run():
    model = nn.ModuleDict({"a": nn.Conv2d(1, 1, 1), "b": nn.Conv2d(1, 1, 1)})
    model.forward = model["a"].forward
    with pytest.raises(ValueError, match="b did not run"):
        consumer_moments(model, ["b"], torch.randn(2, 1, 3, 3))


def test_images_of_any_iterable_of_batches():
    x, y = torch.randn(4, 1, 2, 2), torch.arange(4)
    for batches in ([x], [x[:1], x[1:]], [(x, y)], iter([[x, y]]), [(x, y, "more")]):
        assert torch.equal(gather_images(batches), x)


@pytest.mark.parametrize(
    ("batches", "error", "message"),
    [
        ([], ValueError, "empty"),
        ([torch.zeros(0, 1, 2, 2)], ValueError, "empty"),
        (torch.zeros(2, 1, 2, 2), TypeError, "wrap it in a list"),
        (3, TypeError, "data loader"),
        (["images"], TypeError, "got str"),
        ([torch.zeros(2, 1, 2, 2, dtype=torch.uint8)], TypeError, "uint8"),
        ([torch.zeros(2, 2)], ValueError, "one shape"),
        ([torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 3, 2)], ValueError, "one shape"),
        ([torch.full((1, 1, 2, 2), torch.nan)], ValueError, "NaN"),
    ],
)
def test_images_refused(batches, error, message):
    with pytest.raises(error, match=message):
        gather_images(batches)
