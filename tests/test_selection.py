"""Selection against brute force, its certificate on every run, and its properties."""

import pytest
import torch
from brute_force import brute_force, features, loss
from hypothesis import given, settings
from hypothesis import strategies as st

from gfs_tutorial import TwoLayerNet, greedy_forward_selection, select_neurons, train_sgd
from gfs_tutorial.selection import activations, bounds

sizes = st.integers(1, 12)
instances = st.fixed_dictionaries(
    {"N": sizes, "m": sizes, "C": st.sampled_from([1, 2, 10]), "seed": st.integers(0, 10**6)}
)
both = pytest.mark.parametrize("with_replacement", [True, False])


@pytest.fixture(params=["plain", "bounds", "impatient", "patient"], scope="module", autouse=True)
def path_through_the_code(request):
    """Small instances go without bounds, unless told."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "plain":
            patch.setattr(bounds, "SMALLEST", 0)
            patch.setattr(bounds, "SHORTEST", 0)
        if request.param == "impatient":  # a longer basis after every pick that leaves a doubt
            patch.setattr(bounds, "PATIENCE", 0)
        if request.param == "patient":  # the basis that it begins with, for ever
            patch.setattr(bounds, "PATIENCE", 10**6)
        yield


def instance(N, m, C, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(m, N, generator=generator, dtype=dtype)
    output_weights = torch.randn(N, C, generator=generator, dtype=dtype)
    targets = torch.randn(m, C, generator=generator, dtype=dtype) / 2
    return hidden, output_weights, targets


def steps(N, with_replacement):
    return 25 if with_replacement else N


def assert_same_as_brute_force(hidden, output_weights, targets, with_replacement):
    size = steps(hidden.shape[1], with_replacement)
    path = select_neurons(hidden, output_weights, targets, size, with_replacement=with_replacement)
    indices, losses = brute_force(hidden, output_weights, targets, size, with_replacement)
    assert path.indices.tolist() == indices
    torch.testing.assert_close(path.losses.tolist(), losses, rtol=1e-10, atol=1e-28)
    return path


@both
@settings(max_examples=150, deadline=None)
@given(given_instance=instances)
def test_random_instances_match_brute_force_and_stay_below_the_certificate(with_replacement, given_instance):
    path = assert_same_as_brute_force(*instance(**given_instance), with_replacement)
    for k in range(1, len(path) + 1):
        assert path.losses[k - 1] <= path.bound(k) * (1 + 1e-9)


@both
@settings(max_examples=100, deadline=None)
@given(given_instance=instances, copies=st.integers(2, 4))
def test_duplicated_neurons_tie_and_the_first_copy_wins(with_replacement, given_instance, copies):
    hidden, output_weights, targets = instance(**given_instance)
    hidden, output_weights = hidden.repeat(1, copies), output_weights.repeat(copies, 1)
    path = assert_same_as_brute_force(hidden, output_weights, targets, with_replacement)
    if with_replacement:
        assert int(path.indices.max()) < given_instance["N"]


@both
@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), N=st.integers(2, 10))
def test_ties_between_different_neurons_match_brute_force(with_replacement, seed, N):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randint(-1, 2, (4, N), generator=generator).double()  # small integers: many exact ties
    targets = torch.randint(-1, 2, (4, 1), generator=generator).double()
    assert_same_as_brute_force(hidden, torch.ones(N, 1).double(), targets, with_replacement)


@both
def test_one_neuron_one_row(with_replacement):
    one = torch.ones(1, 1).double()
    path = assert_same_as_brute_force(2 * one, one, one, with_replacement)
    assert path.losses[0] == pytest.approx(0.5)


def test_a_neuron_is_picked_again_when_it_alone_fits():
    hidden = torch.tensor([[1.0, 5.0], [1.0, -5.0]]).double()
    path = select_neurons(hidden, torch.ones(2, 1).double(), torch.ones(2, 1).double(), 4)
    assert path.indices.tolist() == [0, 0, 0, 0]
    assert path.weights(4).tolist() == [1, 0]


def test_without_replacement_no_neuron_is_picked_twice_and_the_last_loss_is_the_dense_loss():
    path = select_neurons(*instance(9, 7, 2, 0), 9, with_replacement=False)
    assert sorted(path.indices.tolist()) == list(range(9))
    assert path.losses[-1] == pytest.approx(path.dense_loss, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(given_instance=instances)
def test_dense_loss_and_variance_follow_their_definitions(given_instance):
    hidden, output_weights, targets = instance(**given_instance)
    path = select_neurons(hidden, output_weights, targets, 1)
    phi = features(hidden, output_weights)  # (N, m, C)
    assert path.dense_loss == pytest.approx(loss(phi.mean(0), targets), rel=1e-10)
    variance = float(((phi - phi.mean(0)) ** 2).sum((1, 2)).mean() / len(targets))
    assert path.variance == pytest.approx(variance, rel=1e-9, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(given_instance=instances, permutation_seed=st.integers(0, 10**6))
def test_permuting_the_neurons_permutes_the_answer(given_instance, permutation_seed):
    hidden, output_weights, targets = instance(**given_instance)
    order = torch.randperm(hidden.shape[1], generator=torch.Generator().manual_seed(permutation_seed))
    path = select_neurons(hidden, output_weights, targets, 15)
    permuted = select_neurons(hidden[:, order], output_weights[order], targets, 15)
    assert order[permuted.indices].tolist() == path.indices.tolist()


@settings(max_examples=50, deadline=None)
@given(given_instance=instances, permutation_seed=st.integers(0, 10**6))
def test_the_order_of_the_data_does_not_matter(given_instance, permutation_seed):
    hidden, output_weights, targets = instance(**given_instance)
    order = torch.randperm(len(hidden), generator=torch.Generator().manual_seed(permutation_seed))
    path = select_neurons(hidden, output_weights, targets, 15)
    shuffled = select_neurons(hidden[order], output_weights, targets[order], 15)
    assert shuffled.indices.tolist() == path.indices.tolist()
    torch.testing.assert_close(shuffled.losses, path.losses, rtol=1e-9, atol=1e-26)


@settings(max_examples=50, deadline=None)
@given(given_instance=instances, factor=st.sampled_from([1e-3, 0.5, 7.0, 1e4]))
def test_scaling_outputs_and_targets_scales_the_losses(given_instance, factor):
    hidden, output_weights, targets = instance(**given_instance)
    path = select_neurons(hidden, output_weights, targets, 15)
    scaled = select_neurons(hidden, factor * output_weights, factor * targets, 15)
    assert scaled.indices.tolist() == path.indices.tolist()
    torch.testing.assert_close(scaled.losses, factor**2 * path.losses, rtol=1e-9, atol=1e-26 * factor**2)


@settings(max_examples=50, deadline=None)
@given(given_instance=instances)
def test_a_neuron_far_from_all_data_is_never_picked(given_instance):
    hidden, output_weights, targets = instance(**given_instance)
    useless = 1e4 * torch.ones(len(hidden), 1).double()
    path = select_neurons(hidden, output_weights, targets, 15)
    wider = select_neurons(
        torch.cat([hidden, useless], 1),
        torch.cat([output_weights, 1 + output_weights[:1].abs()]),
        targets,
        15,
    )
    assert wider.indices.tolist() == path.indices.tolist()


@both
def test_a_longer_selection_begins_with_the_shorter_one(with_replacement):
    data = instance(40, 30, 1, 1)
    long = select_neurons(*data, 40, with_replacement=with_replacement)
    short = select_neurons(*data, 11, with_replacement=with_replacement)
    assert long.indices[:11].tolist() == short.indices.tolist()
    assert long.losses[:11].tolist() == short.losses.tolist()


@pytest.mark.parametrize("C", [1, 10])
def test_float32_picks_what_float64_picks(C):
    for seed in range(5):
        hidden, output_weights, targets = instance(300, 500, C, seed, torch.float32)
        single = select_neurons(hidden, output_weights, targets, 150)
        double = select_neurons(hidden.double(), output_weights.double(), targets.double(), 150)
        assert single.indices.tolist() == double.indices.tolist()
        torch.testing.assert_close(single.losses, double.losses, rtol=1e-9, atol=0)


def trained_net(width=60, out_features=2, activation="tanh"):
    generator = torch.Generator().manual_seed(3)
    X = torch.randn(80, 5, generator=generator).double()
    y = torch.sin(X[:, :out_features])
    net = TwoLayerNet(5, width, out_features, activation, generator=generator).double()
    train_sgd(net, X, y, iterations=60, batch_size=20, lr=0.05, generator=generator, progress=False)
    return net, X, y


@both
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softplus", "relu"])
def test_a_trained_net_matches_brute_force_under_every_activation(activation, with_replacement):
    net, X, y = trained_net(activation=activation)
    path = greedy_forward_selection(net, X, y, 40, with_replacement=with_replacement)
    with torch.no_grad():
        indices, losses = brute_force(net.hidden(X), net.output_weights, y, 40, with_replacement)
    assert path.indices.tolist() == indices
    torch.testing.assert_close(path.losses.tolist(), losses, rtol=1e-10, atol=0)


@both
@pytest.mark.parametrize("k", [1, 2, 17, 40])
def test_the_subnetwork_computes_the_weighted_average_and_has_the_recorded_loss(k, with_replacement):
    net, X, y = trained_net()
    path = greedy_forward_selection(net, X, y, 40, with_replacement=with_replacement)
    with torch.no_grad():
        average = (net.hidden(X) * path.weights(k)) @ net.output_weights  # (m, C)
        small = path.subnetwork(k)
        torch.testing.assert_close(small(X), average, rtol=1e-12, atol=1e-13)
        assert loss(small(X), y) == pytest.approx(float(path.losses[k - 1]), rel=1e-10)
    assert small.width == len(path.distinct(k)) == len(set(path.indices[:k].tolist()))
    assert float(path.weights(k).sum()) == pytest.approx(1)


def test_training_the_net_further_leaves_an_earlier_path_alone():
    net, X, y = trained_net()
    path = greedy_forward_selection(net, X, y, 10)
    before = path.subnetwork(10)(X)
    train_sgd(net, X, y, iterations=5, batch_size=80, lr=0.05, progress=False)
    assert torch.equal(path.subnetwork(10)(X), before)


def test_large_data_go_through_in_chunks(monkeypatch):
    net, X, y = trained_net()
    whole = greedy_forward_selection(net, X, y, 30)
    for module in ("activations", "scores", "walk"):
        monkeypatch.setattr(f"gfs_tutorial.selection.{module}.CHUNK", 130)
    for name, value in (("TILE", 7), ("SLAB", 3)):
        monkeypatch.setattr(activations, name, value)
    chunked = greedy_forward_selection(net, X, y, 30)
    assert chunked.indices.tolist() == whole.indices.tolist()
    torch.testing.assert_close(chunked.losses, whole.losses, rtol=1e-12, atol=0)


@both
@pytest.mark.parametrize("rows", [1, 7, 79])
def test_passes_over_the_data_pick_the_same_in_less_memory(rows, with_replacement):
    net, X, y = trained_net()
    whole = greedy_forward_selection(net, X, y, 40, with_replacement=with_replacement)
    limit = rows * 24 * net.width  # bytes that so many rows take: twice in float64, and widened
    passes = greedy_forward_selection(net, X, y, 40, with_replacement=with_replacement, max_memory=limit)
    assert passes.indices.tolist() == whole.indices.tolist()
    torch.testing.assert_close(passes.losses, whole.losses, rtol=1e-12, atol=0)
    assert passes.dense_loss == pytest.approx(whole.dense_loss, rel=1e-12)
    assert passes.variance == pytest.approx(whole.variance, rel=1e-12)


def test_a_limit_below_one_row_of_the_data_is_refused():
    net, X, y = trained_net()
    with pytest.raises(ValueError, match=r"max_memory is 100 .* take 38,400, and 1,440 on"):
        greedy_forward_selection(net, X, y, 5, max_memory=100)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@both
@pytest.mark.parametrize("width", [60, 4_000])
def test_a_gpu_picks_what_the_cpu_picks(width, with_replacement):
    net, X, y = trained_net(width)
    cpu = greedy_forward_selection(net, X, y, 40, with_replacement=with_replacement)
    gpu = greedy_forward_selection(net.cuda(), X.cuda(), y.cuda(), 40, with_replacement=with_replacement)
    assert gpu.indices.tolist() == cpu.indices.tolist()


def test_half_precision_is_selected_in_float32():
    hidden, output_weights, targets = (t.bfloat16() for t in instance(30, 20, 1, 5))
    half = select_neurons(hidden, output_weights, targets, 10)
    single = select_neurons(hidden.float(), output_weights.float(), targets.float(), 10)
    assert half.indices.tolist() == single.indices.tolist()


def test_arguments_are_left_as_they_were():
    data = instance(10, 8, 2, 0)
    copies = [t.clone() for t in data]
    select_neurons(*data, 5)
    assert all(torch.equal(t, copy) for t, copy in zip(data, copies))
