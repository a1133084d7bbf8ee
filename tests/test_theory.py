"""The certificate: its two forms, its order, and the walk that it bounds."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gfs_tutorial import select_neurons
from gfs_tutorial.theory import certificate, certificate_closed_form

quantities = st.just(0.0) | st.floats(1e-100, 100)  # no denormal numbers, whose rounding is coarse


@settings(max_examples=100, deadline=None)
@given(dense_loss=quantities, variance=quantities)
def test_the_closed_form_is_never_below_the_recursion(dense_loss, variance):
    k = torch.arange(1, 51)
    recursion = certificate(dense_loss, variance, 50)
    closed = certificate_closed_form(dense_loss, variance, k)
    assert bool((recursion <= closed * (1 + 1e-12) + 1e-300).all())
    assert float(recursion[0]) == pytest.approx(dense_loss + variance / 2)  # mean loss of a single neuron


def test_the_certificate_falls_to_the_dense_loss():
    bounds = certificate(0.1, 4.0, 20_000)
    assert bool((bounds[1:] < bounds[:-1]).all())
    assert 0.1 < float(bounds[-1]) < 0.11


def test_without_replacement_the_certificate_agrees_when_neurons_abound():
    with_replacement = certificate(0.1, 4.0, 50)
    without = certificate(0.1, 4.0, 50, with_replacement=False, width=10**9)
    torch.testing.assert_close(without, with_replacement, rtol=1e-6, atol=0)


@pytest.mark.parametrize("with_replacement", [True, False])
def test_two_opposite_neurons_reach_the_certificate(with_replacement):
    """Neurons at +1 and -1, target 0: L = 0, V = 1, and the first step must cost 1/2."""
    hidden = torch.tensor([[1.0, -1.0]]).double()
    path = select_neurons(
        hidden, torch.ones(2, 1).double(), torch.zeros(1, 1).double(), 2, with_replacement=with_replacement
    )
    assert path.variance == 1 and path.dense_loss == 0
    assert path.losses[0] == path.bound(1) == 0.5
    assert path.losses[1] == 0


def test_the_bound_of_a_path_is_that_of_its_dense_loss_and_variance():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(6, 10, generator=generator).double()
    path = select_neurons(hidden, torch.ones(10, 1).double(), torch.ones(6, 1).double(), 5)
    walk = 0.0
    for k in range(1, 6):
        walk = math.hypot(walk + math.sqrt(2 * path.dense_loss), math.sqrt(path.variance))
        assert path.bound(k) == pytest.approx(walk**2 / (2 * k**2))
