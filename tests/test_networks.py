"""The two-layer net against a loop over its neurons, its scaling, and the nets cut out of it."""

import io
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gfs_tutorial import TwoLayerNet, train_sgd

SCALAR_ACTIVATIONS = {
    "tanh": math.tanh,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "softplus": lambda x: math.log1p(math.exp(x)),
    "relu": lambda x: max(x, 0.0),
}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def make_net(width=7, out_features=1, activation="tanh", seed=0, dtype=torch.float64):
    return TwoLayerNet(4, width, out_features, activation, generator=seeded(seed)).to(dtype)


def rows(m=6, dtype=torch.float64, seed=1):
    return torch.randn(m, 4, generator=seeded(seed)).to(dtype)


def output_by_hand(net, x):
    """The C outputs of ``net`` on one row, neuron by neuron, in Python floats."""
    outputs = [0.0] * net.out_features
    for a, c, b in zip(net.input_weights.tolist(), net.input_biases.tolist(), net.output_weights.tolist()):
        preactivation = c
        for weight, value in zip(a, x.tolist()):
            preactivation += weight * value
        activation = SCALAR_ACTIVATIONS[net.activation](preactivation)
        for j in range(net.out_features):
            outputs[j] += b[j] * activation / net.width
    return outputs


@pytest.mark.parametrize("activation", SCALAR_ACTIVATIONS)
@pytest.mark.parametrize("out_features", [1, 3])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), width=st.integers(1, 9), m=st.integers(1, 5))
def test_the_output_is_the_average_over_the_neurons(activation, out_features, seed, width, m):
    net, X = make_net(width, out_features, activation, seed), rows(m, seed=seed + 1)
    by_hand = torch.tensor([output_by_hand(net, x) for x in X], dtype=torch.float64)
    torch.testing.assert_close(net(X), by_hand, rtol=1e-12, atol=1e-14)


def test_duplicating_all_neurons_leaves_the_outputs_unchanged():
    net, X = make_net(out_features=3), rows()
    torch.testing.assert_close(net.subset(torch.arange(7).repeat(4))(X), net(X), rtol=1e-12, atol=1e-14)


def test_permuting_the_neurons_leaves_the_outputs_unchanged():
    net, X = make_net(out_features=3), rows()
    order = torch.tensor([3, 1, 6, 0, 5, 2, 4])
    torch.testing.assert_close(net.subset(order)(X), net(X), rtol=1e-12, atol=1e-14)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    for first, again, other in zip(*(make_net(seed=seed).parameters() for seed in (5, 5, 6))):
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_without_a_generator_the_global_seed_decides():
    nets = [torch.manual_seed(4) and TwoLayerNet(4, 7) for _ in range(2)]
    assert torch.equal(nets[0].input_weights, nets[1].input_weights)
    assert torch.equal(nets[0].output_weights, nets[1].output_weights)


def test_a_generator_leaves_the_global_random_numbers_alone():
    before = torch.get_rng_state()
    make_net()
    assert torch.equal(torch.get_rng_state(), before)


def test_initial_weights_have_the_documented_variances():
    net = TwoLayerNet(16, 20_000, 2, generator=seeded(0))
    assert float(net.input_weights.detach().var()) == pytest.approx(1 / 16, rel=0.05)
    assert float(net.input_biases.detach().var()) == pytest.approx(1 / 16, rel=0.05)
    assert float(net.output_weights.detach().var()) == pytest.approx(1, rel=0.05)


def test_hidden_has_one_row_per_datum_and_one_column_per_neuron():
    net, X = make_net(width=9), rows(5)
    hidden = net.hidden(X)
    assert hidden.shape == (5, 9)
    torch.testing.assert_close(hidden, torch.tanh(X @ net.input_weights.T + net.input_biases))
    assert hidden.T.is_contiguous()  # neuron by neuron, as selection reads it


def test_the_average_of_the_hidden_activations_is_the_output():
    net, X = make_net(width=9, out_features=2), rows(5)
    torch.testing.assert_close(net.hidden(X) @ net.output_weights / 9, net(X))


def test_a_subset_without_weights_is_the_plain_average_of_its_neurons():
    net, X = make_net(out_features=3), rows()
    small = net.subset(torch.tensor([4, 1, 4]))
    by_hand = sum(net.hidden(X)[:, [i]] * net.output_weights[i] for i in (4, 1, 4)) / 3
    torch.testing.assert_close(small(X), by_hand, rtol=1e-12, atol=1e-14)
    assert (small.width, small.in_features, small.out_features, small.activation) == (3, 4, 3, "tanh")


@pytest.mark.parametrize("activation", SCALAR_ACTIVATIONS)
def test_a_subset_with_weights_is_the_weighted_sum_of_its_neurons(activation):
    net, X = make_net(out_features=3, activation=activation), rows()
    small = net.subset(torch.tensor([2, 0, 5]), torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64))
    weighted = ((2, 0.5), (0, 0.3), (5, 0.2))
    by_hand = sum(weight * net.hidden(X)[:, [i]] * net.output_weights[i] for i, weight in weighted)
    torch.testing.assert_close(small(X), by_hand, rtol=1e-12, atol=1e-14)


def test_training_a_subset_leaves_the_big_net_untouched():
    net, X = make_net(), rows()
    before = [p.clone() for p in net.parameters()]
    small = net.subset(torch.arange(7))
    y = torch.ones(len(X), 1).double()
    train_sgd(small, X, y, iterations=3, batch_size=6, lr=0.1, progress=False)
    assert all(torch.equal(p, old) for p, old in zip(net.parameters(), before))
    assert not any(torch.equal(p, q) for p, q in zip(net.parameters(), small.parameters()))


def test_training_the_big_net_leaves_a_subset_untouched():
    net, X = make_net(), rows()
    small = net.subset(torch.tensor([0, 1]))
    before = small(X)
    train_sgd(net, X, torch.ones(6).double(), iterations=3, batch_size=6, lr=0.1, progress=False)
    assert torch.equal(small(X), before)


def test_a_subset_can_be_trained():
    small = make_net().subset(torch.tensor([0, 1]))
    assert all(p.requires_grad and p.is_leaf for p in small.parameters())


def test_taking_a_subset_leaves_the_global_random_numbers_alone():
    net = make_net()
    before = torch.get_rng_state()
    net.subset(torch.tensor([0, 1]))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_state_dict_survives_a_file_that_is_loaded_with_weights_only():
    net, X = make_net(out_features=3), rows()
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    copy = make_net(out_features=3, seed=99)
    copy.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(copy(X), net(X))


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.05)]
)
def test_every_precision_computes_the_same_function_on_every_device(dtype, tolerance, device):
    exact, X = make_net(out_features=3), rows()
    net = make_net(out_features=3, dtype=dtype).to(device)
    outputs = net(X.to(device, dtype))
    assert outputs.dtype == dtype and outputs.device.type == device
    torch.testing.assert_close(outputs.double().cpu(), exact(X), rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.05)]
)
def test_a_subset_keeps_the_dtype_and_the_device(dtype, tolerance, device):
    exact, X = make_net(), rows()
    indices, weights = torch.tensor([2, 0, 5]), torch.tensor([0.5, 0.3, 0.2]).double()
    small = make_net(dtype=dtype).to(device).subset(indices, weights)
    outputs = small(X.to(device, dtype))
    assert {(p.dtype, p.device.type) for p in small.parameters()} == {(dtype, device)}
    expected = exact.subset(indices, weights)(X)
    torch.testing.assert_close(outputs.double().cpu(), expected, rtol=0, atol=tolerance)


def test_the_printed_net_names_its_sizes_and_activation():
    assert repr(TwoLayerNet(4, 7, 3, "relu")) == "TwoLayerNet(4, 7, 3, activation='relu')"
