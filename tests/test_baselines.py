"""Rivals against brute force, independent solvers and optimality conditions; one interface for all paths."""

import math

import numpy as np
import pytest
import torch
from brute_force import brute_force_backward, features, loss
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar
from sklearn.linear_model import orthogonal_mp

from gfs_tutorial import TwoLayerNet, baselines, greedy_forward_selection, select_neurons, train_sgd
from gfs_tutorial.selection import NeuronPath
from gfs_tutorial.theory.simplex import simplex_least_squares

RULES = {
    "random": baselines.random_selection,
    "magnitude": baselines.magnitude_selection,
    "backward": baselines.backward_elimination,
    "frank-wolfe": baselines.frank_wolfe,
    "fully-corrective": baselines.fully_corrective,
    "matching-pursuit": baselines.orthogonal_matching_pursuit,
}
CONVEX = ("random", "backward", "frank-wolfe", "fully-corrective")
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
sizes = st.integers(1, 12)
instances = st.fixed_dictionaries(
    {"N": sizes, "m": sizes, "C": st.sampled_from([1, 2, 10]), "seed": st.integers(0, 10**6)}
)


def instance(N, m, C, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(m, N, generator=generator, dtype=dtype)
    output_weights = torch.randn(N, C, generator=generator, dtype=dtype)
    targets = torch.randn(m, C, generator=generator, dtype=dtype) / 2
    return hidden, output_weights, targets


def matrix(hidden, output_weights, targets):
    """Feature vectors as columns (m C, N), and the labels (m C,), in NumPy."""
    phi = features(hidden, output_weights).flatten(1).T / math.sqrt(len(targets))
    return phi.numpy(), targets.flatten().numpy() / math.sqrt(len(targets))


def small_net(width=40, out_features=2):
    generator = torch.Generator().manual_seed(3)
    X = torch.randn(60, 5, generator=generator).double()
    y = torch.sin(X[:, :out_features])
    net = TwoLayerNet(5, width, out_features, generator=generator).double()
    train_sgd(net, X, y, iterations=40, batch_size=20, lr=0.05, generator=generator, progress=False)
    return net, X, y


NET, X, Y = small_net()
BARE = (NET.hidden(X).detach(), NET.output_weights.detach(), Y)
BUDGET = {"iterations": 30, "batch_size": 20, "lr": 0.05}


# One interface


@every_rule
@pytest.mark.parametrize("k", [1, 7, 20])
def test_a_subnetwork_computes_the_weighted_sum_and_has_the_recorded_loss(rule, k):
    torch.manual_seed(0)
    path = rule(NET, X, Y, 20)
    assert isinstance(path, NeuronPath) and len(path) == 20 and path.losses.dtype == torch.float64
    small = path.subnetwork(k)
    with torch.no_grad():
        weighted = (NET.hidden(X) * path.weights(k)) @ NET.output_weights  # (m, C)
        torch.testing.assert_close(small(X), weighted, rtol=1e-9, atol=1e-11)
        assert loss(weighted, Y) == pytest.approx(float(path.losses[k - 1]), rel=1e-9)
    assert small.width == len(path.distinct(k)) == len(set(path.distinct(k).tolist())) <= k
    assert set(path.weights(k).nonzero()[:, 0].tolist()) == set(path.distinct(k).tolist())


@every_rule
def test_bare_tensors_give_the_path_of_the_net(rule):
    torch.manual_seed(0)
    from_net = rule(NET, X, Y, 15)
    torch.manual_seed(0)
    bare = rule(*BARE, 15)
    assert bare.indices.tolist() == from_net.indices.tolist()
    torch.testing.assert_close(bare.losses, from_net.losses, rtol=1e-9, atol=1e-15)
    assert bare.dense_loss == pytest.approx(greedy_forward_selection(NET, X, Y, 1).dense_loss)
    with pytest.raises(ValueError, match="bare tensors"):
        bare.subnetwork(1)


@every_rule
def test_one_dimensional_targets_and_float32_are_fine_and_nothing_is_changed(rule):
    hidden, output_weights, targets = instance(9, 12, 1, 0, torch.float32)
    copies = [t.clone() for t in (hidden, output_weights, targets)]
    torch.manual_seed(1)
    flat = rule(hidden, output_weights, targets[:, 0], 5)
    torch.manual_seed(1)
    exact = rule(hidden.double(), output_weights.double(), targets.double(), 5)
    assert flat.indices.tolist() == exact.indices.tolist()
    torch.testing.assert_close(flat.losses, exact.losses, rtol=1e-12, atol=0)
    assert all(torch.equal(t, copy) for t, copy in zip((hidden, output_weights, targets), copies))


@pytest.mark.parametrize("name", CONVEX)
@settings(max_examples=25, deadline=None)
@given(given_instance=instances)
def test_the_weights_of_convex_rules_are_convex(name, given_instance):
    path = RULES[name](*instance(**given_instance), given_instance["N"])
    for k in range(1, len(path) + 1):
        assert float(path.weights(k).min()) >= 0
        assert float(path.weights(k).sum()) == pytest.approx(1, rel=1e-12)


@every_rule
def test_a_shorter_path_is_a_prefix_of_a_longer_one(rule):
    torch.manual_seed(2)
    long = rule(NET, X, Y, 25)
    torch.manual_seed(2)
    short = rule(NET, X, Y, 8)
    assert long.indices[:8].tolist() == short.indices.tolist()
    torch.testing.assert_close(long.losses[:8], short.losses, rtol=1e-9, atol=1e-15)


@every_rule
def test_numpy_numbers_are_numbers(rule):
    assert len(rule(*BARE, np.int64(3))) == 3


def test_a_neuron_whose_weight_is_zero_is_not_in_the_subnetwork():
    path = baselines.fully_corrective(NET, X, Y, 40)
    left = [k for k in range(1, 41) if len(path.distinct(k)) < len(path.picked(k))]
    assert left  # some neuron left
    assert path.subnetwork(left[0]).width == len(path.distinct(left[0]))


# Random


def test_the_mean_loss_of_random_selection_is_that_of_the_theory():
    data, k = instance(6, 8, 1, 4), 3
    exact = select_neurons(*data, 1)
    generator = torch.Generator().manual_seed(0)
    for with_replacement, share in ((True, 1.0), (False, (6 - k) / (6 - 1))):
        draws = [
            baselines.random_selection(*data, k, with_replacement=with_replacement, generator=generator)
            for _ in range(1500)
        ]
        losses = torch.stack([path.losses[-1] for path in draws])
        expected = exact.dense_loss + share * exact.variance / (2 * k)
        assert abs(float(losses.mean()) - expected) < 4 * float(losses.std()) / math.sqrt(len(losses))
        repeated = [path for path in draws if len(path.picked()) < k]
        assert bool(repeated) == with_replacement


# Magnitude


@settings(max_examples=40, deadline=None)
@given(given_instance=instances)
def test_magnitude_takes_the_largest_and_the_best_multiple_of_their_average(given_instance):
    data, N = instance(**given_instance), given_instance["N"]
    phi, labels = matrix(*data)
    best = baselines.magnitude_selection(*data, N)
    average = baselines.magnitude_selection(*data, N, rescale="average")
    assert best.indices.tolist() == np.argsort(-np.linalg.norm(phi, axis=0), kind="stable").tolist()
    for k in range(1, N + 1):
        mean = phi[:, best.indices[:k].tolist()].mean(1)
        scale = np.linalg.lstsq(mean[:, None], labels)[0][0]
        assert float(best.losses[k - 1]) == pytest.approx(np.sum((scale * mean - labels) ** 2) / 2, abs=1e-12)
        assert float(average.losses[k - 1]) == pytest.approx(np.sum((mean - labels) ** 2) / 2, abs=1e-12)


def test_silent_neurons_are_no_reason_to_divide_by_zero():
    hidden, output_weights, targets = instance(4, 6, 1, 0)
    path = baselines.magnitude_selection(0 * hidden, output_weights, targets, 3)
    assert path.losses.tolist() == pytest.approx([loss(0 * targets, targets)] * 3)
    assert len(path.distinct(2)) == 1


# Backward elimination


@settings(max_examples=100, deadline=None)
@given(given_instance=instances)
def test_backward_elimination_matches_brute_force(given_instance):
    data = instance(**given_instance)
    path = baselines.backward_elimination(*data, given_instance["N"])
    assert path.indices.tolist() == brute_force_backward(*data)[::-1]
    assert float(path.losses[-1]) == pytest.approx(path.dense_loss, rel=1e-9, abs=1e-15)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), N=st.integers(2, 10))
def test_ties_in_backward_elimination_match_brute_force(seed, N):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randint(-1, 2, (4, N), generator=generator).double()  # small integers: many exact ties
    targets = torch.randint(-1, 2, (4, 1), generator=generator).double()
    path = baselines.backward_elimination(hidden, torch.ones(N, 1).double(), targets, N)
    assert path.indices.tolist() == brute_force_backward(hidden, torch.ones(N, 1).double(), targets)[::-1]


def test_backward_elimination_of_a_trained_net_matches_brute_force():
    path = baselines.backward_elimination(NET, X, Y, NET.width)
    assert path.indices.tolist() == brute_force_backward(*BARE)[::-1]


# Frank-Wolfe


def frank_wolfe_by_hand(phi, labels, size):
    """From the definition: the slope of every neuron, and the line search by a scalar minimiser."""
    losses = ((phi - labels[:, None]) ** 2).sum(0) / 2
    u, picks = phi[:, losses.argmin()], [int(losses.argmin())]
    path = [losses.min()]
    for _ in range(1, size):
        q = int((phi.T @ (u - labels)).argmin())
        line = minimize_scalar(
            lambda step, u=u, q=q: np.sum(((1 - step) * u + step * phi[:, q] - labels) ** 2) / 2,
            bounds=(0, 1),
            method="bounded",
            options={"xatol": 1e-12},
        )
        u = (1 - line.x) * u + line.x * phi[:, q]
        picks.append(q)
        path.append(line.fun)
    return picks, path


@pytest.mark.parametrize("seed", range(6))
def test_frank_wolfe_follows_its_definition(seed):
    data = instance(12, 9, 1 + seed % 2, seed)
    path = baselines.frank_wolfe(*data, 15)
    picks, losses = frank_wolfe_by_hand(*matrix(*data), 15)
    assert path.indices.tolist() == picks
    torch.testing.assert_close(path.losses.tolist(), losses, rtol=1e-6, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(given_instance=instances)
def test_frank_wolfe_never_goes_up_and_keeps_the_rate_that_is_proved(given_instance):
    data = instance(**given_instance)
    phi, _ = matrix(*data)
    path = baselines.frank_wolfe(*data, 30)
    assert (path.losses.diff() <= 1e-12).all()
    best = float(baselines.fully_corrective(*data, 60).losses[-1])
    curvature = max(np.sum((a - b) ** 2) for a in phi.T for b in phi.T)  # squared diameter, at least C_f
    for steps in range(1, 30):  # Jaggi (2013), theorem 1, after so many steps from the first corner
        assert path.losses[steps] - best <= 2 * curvature / (steps + 2) + 1e-9


# The simplex and fully corrective selection


def best_on_the_simplex(A, labels):
    return simplex_least_squares((A - labels[:, None]).T)


def assert_optimal_on_the_simplex(A, labels, w, rtol=1e-9):
    """Karush, Kuhn and Tucker: no neuron has a smaller slope than those that carry weight."""
    assert (w >= 0).all() and w.sum() == pytest.approx(1, rel=1e-12)
    slopes = A.T @ (A @ w - labels)
    scale = np.abs(A).max() * (np.abs(A).max() + np.abs(labels).max()) * len(labels)
    assert (slopes >= w @ slopes - rtol * scale).all()


@settings(max_examples=150, deadline=None)
@given(given_instance=instances, copies=st.integers(1, 2))
def test_simplex_least_squares_meets_the_optimality_conditions(given_instance, copies):
    A, labels = matrix(*instance(**given_instance))
    A = np.tile(A, copies)
    assert_optimal_on_the_simplex(A, labels, best_on_the_simplex(A, labels))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("seed", range(4))
def test_simplex_least_squares_agrees_with_a_general_solver_at_every_scale(seed, scale):
    A, labels = matrix(*instance(7, 10, 1, seed))
    ours = best_on_the_simplex(scale * A, scale * labels)
    theirs = minimize(
        lambda w: np.sum((A @ w - labels) ** 2) / 2,
        np.full(7, 1 / 7),
        jac=lambda w: A.T @ (A @ w - labels),
        bounds=[(0, 1)] * 7,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    np.testing.assert_allclose(ours, theirs.x, atol=1e-5)


def test_labels_that_are_in_the_hull_are_met():
    A, _ = matrix(*instance(8, 3, 1, 0))
    labels = A @ np.full(8, 1 / 8)
    np.testing.assert_allclose(A @ best_on_the_simplex(A, labels), labels, atol=1e-12)
    assert best_on_the_simplex(A[:, :1], A[:, 0]).tolist() == [1]


@settings(max_examples=60, deadline=None)
@given(given_instance=instances)
def test_fully_corrective_is_optimal_among_its_picks_and_at_last_among_all(given_instance):
    data = instance(**given_instance)
    A, labels = matrix(*data)
    path = baselines.fully_corrective(*data, 60)
    assert (path.losses.diff() <= 1e-12).all()
    for k in (1, 2, 5, 60):
        picked = path.picked(k).tolist()
        assert_optimal_on_the_simplex(A[:, picked], labels, path.weights(k).numpy()[picked])
    assert_optimal_on_the_simplex(A, labels, path.weights(60).numpy(), rtol=1e-7)


# Matching pursuit


def pursuit_by_hand(phi, labels, size):
    picks, losses, residual = [], [], labels
    for _ in range(size):
        correlations = np.abs(phi.T @ residual) / np.linalg.norm(phi, axis=0)
        correlations[picks] = 0
        picks.append(int(correlations.argmax()))
        residual = labels - phi[:, picks] @ np.linalg.lstsq(phi[:, picks], labels)[0]
        losses.append(np.sum(residual**2) / 2)
    return picks, losses


@pytest.mark.parametrize("seed", range(6))
def test_matching_pursuit_follows_its_definition_and_agrees_with_the_solver_on_the_data(seed):
    data = instance(12, 20, 1 + seed % 2, seed)
    phi, labels = matrix(*data)
    path = baselines.orthogonal_matching_pursuit(*data, 10)
    picks, losses = pursuit_by_hand(phi, labels, 10)
    assert path.indices.tolist() == picks
    torch.testing.assert_close(path.losses.tolist(), losses, rtol=1e-9, atol=1e-14)
    lengths = np.linalg.norm(phi, axis=0)
    theirs = orthogonal_mp(phi / lengths, labels, n_nonzero_coefs=10) / lengths
    np.testing.assert_allclose(path.weights(10).numpy(), theirs, rtol=1e-8, atol=1e-12)


def test_matching_pursuit_ends_where_nothing_is_left_to_gain():
    data = instance(10, 4, 1, 0)  # four rows: four neurons fit them
    path = baselines.orthogonal_matching_pursuit(*data, 10)
    assert 4 <= len(path) <= 5 and float(path.losses[-1]) < 1e-20
    one = baselines.orthogonal_matching_pursuit(*instance(1, 3, 1, 0), 1)
    assert len(one) == 1 and one.indices.tolist() == [0]


def test_a_silent_neuron_is_never_pursued():
    hidden, output_weights, targets = instance(6, 20, 1, 0)
    hidden[:, 2] = 0
    path = baselines.orthogonal_matching_pursuit(hidden, output_weights, targets, 5)
    assert 2 not in path.indices.tolist() and len(path) == 5


# Refit


@settings(max_examples=60, deadline=None)
@given(given_instance=instances, convex=st.booleans())
def test_a_refit_is_the_best_fit_of_the_same_neurons(given_instance, convex):
    data = instance(**given_instance)
    A, labels = matrix(*data)
    path = select_neurons(*data, 8)
    fitted = baselines.refit(path, *data, convex=convex)
    assert fitted.indices.tolist() == path.indices.tolist()
    assert (fitted.losses <= path.losses * (1 + 1e-9) + 1e-12).all()
    for k in (1, 4, 8):
        chosen = path.distinct(k).tolist()
        weights = fitted.weights(k).numpy()
        if convex:
            assert_optimal_on_the_simplex(A[:, chosen], labels, weights[chosen])
        else:
            residual = A[:, chosen] @ np.linalg.lstsq(A[:, chosen], labels)[0] - labels
            assert float(fitted.losses[k - 1]) == pytest.approx(np.sum(residual**2) / 2, abs=1e-12)


def test_any_path_can_be_refitted_and_matching_pursuit_already_is():
    for rule in RULES.values():
        path = rule(NET, X, Y, 12)
        assert (baselines.refit(path, NET, X, Y).losses <= path.losses * (1 + 1e-9)).all()
    pursued = baselines.orthogonal_matching_pursuit(NET, X, Y, 12)
    again = baselines.refit(pursued, NET, X, Y)
    torch.testing.assert_close(again.losses, pursued.losses, rtol=1e-8, atol=0)
    assert again.subnetwork(12).width == 12


def test_twin_neurons_share_what_either_could_carry():
    hidden, output_weights, targets = instance(3, 9, 1, 0)
    hidden, output_weights = hidden.repeat(1, 2), output_weights.repeat(2, 1)
    path = baselines.random_selection(hidden, output_weights, targets, 6)
    weights = baselines.refit(path, hidden, output_weights, targets).weights(6)
    torch.testing.assert_close(weights[:3], weights[3:])


# Training instead


def test_training_from_scratch_is_sgd_on_a_new_small_network():
    small = baselines.train_from_scratch(NET, X, Y, 6, generator=torch.Generator().manual_seed(5), **BUDGET)
    generator = torch.Generator().manual_seed(5)
    by_hand = TwoLayerNet(5, 6, 2, generator=generator).double()
    train_sgd(by_hand, X, Y, generator=generator, progress=False, **BUDGET)
    assert small.width == 6 and torch.equal(small(X), by_hand(X))


def test_fine_tuning_moves_a_neuron_picked_twice_like_two_neurons_at_one_place():
    path = greedy_forward_selection(NET, X, Y, 40)
    assert len(path.distinct(40)) < 40
    tuned = baselines.fine_tune(path, 40, X, Y, generator=torch.Generator().manual_seed(1), **BUDGET)
    copies = NET.subset(path.indices)  # 40 neurons, some of them twins
    train_sgd(copies, X, Y, generator=torch.Generator().manual_seed(1), progress=False, **BUDGET)
    assert tuned.width == len(path.distinct(40))
    torch.testing.assert_close(tuned(X), copies(X), rtol=1e-9, atol=1e-11)


def test_fine_tuning_begins_at_the_subnetwork_and_leaves_the_path_alone():
    path = baselines.orthogonal_matching_pursuit(NET, X, Y, 5)  # weights of both signs
    before = path.subnetwork(5)(X)
    still = baselines.fine_tune(path, 5, X, Y, **{**BUDGET, "lr": 0.0})
    torch.testing.assert_close(still(X), before)
    moved = baselines.fine_tune(path, 5, X, Y, **{**BUDGET, "lr": 0.01})
    assert not torch.equal(moved(X), before)
    assert torch.equal(path.subnetwork(5)(X), before)
    assert not moved.input_weights._backward_hooks  # what trains it next is plain SGD


def test_a_reinitialised_network_keeps_the_shape_and_none_of_the_weights():
    path = greedy_forward_selection(NET, X, Y, 40)
    still = {**BUDGET, "lr": 0.0}
    fresh = baselines.reinitialise(path, 40, X, Y, generator=torch.Generator().manual_seed(1), **still)
    new = TwoLayerNet(5, fresh.width, 2, generator=torch.Generator().manual_seed(1)).double()
    weights = path.weights(40)[path.distinct(40)]
    assert fresh.width == len(path.distinct(40))
    torch.testing.assert_close(fresh(X), (new.hidden(X) * weights) @ new.output_weights)
    trained = baselines.reinitialise(path, 40, X, Y, generator=torch.Generator().manual_seed(1), **BUDGET)
    assert loss(trained(X).detach(), Y) < loss(fresh(X).detach(), Y)


# Bad input


@every_rule
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"size": 0}, ValueError, "size must be at least 1, got 0"),
        ({"size": 2.0}, TypeError, "size must be a whole number, got 2.0"),
        ({"net": torch.nn.Linear(5, 2)}, TypeError, "net must be a TwoLayerNet or a tensor.*got Linear"),
        ({"X": X[:9]}, ValueError, "X and y must have the same length"),
        ({"X": X[:, :2]}, ValueError, r"X must have shape \(m, 5\)"),
        ({"X": X.float(), "y": Y.float()}, TypeError, "X is torch.float32 but the network is torch.float64"),
        ({"y": Y.long()}, TypeError, "y must have a floating"),
        ({"y": Y * math.nan}, ValueError, "y holds 120 NaN"),
        ({"net": BARE[0]}, ValueError, "hidden is .*output_weights must be"),
        ({"net": BARE[0].float(), "X": BARE[1]}, TypeError, "must share a dtype.*convert"),
        ({"net": BARE[0] * 1e200, "X": BARE[1]}, ValueError, "squared norms holds"),
    ],
)
def test_bad_data_are_named(rule, changes, error, message):
    arguments = {"net": NET, "X": X, "y": Y, "size": 3, **changes}
    with pytest.raises(error, match=message):
        rule(**arguments)


@pytest.mark.parametrize("name", ["random", "magnitude", "backward", "matching-pursuit"])
def test_rules_that_pick_a_neuron_once_refuse_more_than_there_are(name):
    with pytest.raises(ValueError, match="size is 41 but there are only 40 neurons: lower size"):
        RULES[name](NET, X, Y, 41)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: baselines.random_selection(NET, X, Y, 3, generator=0), TypeError, "generator must be"),
        (lambda: baselines.magnitude_selection(NET, X, Y, 3, rescale="no"), ValueError, "unknown rescale"),
        (lambda: baselines.orthogonal_matching_pursuit(NET, X, 0 * Y, 3), ValueError, "no neuron is corr"),
        (lambda: baselines.refit([0, 1], NET, X, Y), TypeError, "path must be a NeuronPath, got list"),
        (lambda: baselines.refit(PATH, *instance(5, 60, 2, 0)), ValueError, "from 40 neurons but net has 5"),
        (lambda: baselines.train_from_scratch(None, X, Y, 3, **BUDGET), TypeError, "net must be a TwoLayer"),
        (lambda: baselines.train_from_scratch(NET, X, Y, 0, **BUDGET), ValueError, "size must be at least 1"),
        (lambda: baselines.fine_tune(NET, 3, X, Y, **BUDGET), TypeError, "path must be a NeuronPath"),
        (lambda: baselines.fine_tune(PATH, 4, X, Y, **BUDGET), ValueError, "k is 4 but the path has only 3"),
        (lambda: baselines.fine_tune(BARE_PATH, 3, X, Y, **BUDGET), ValueError, "bare tensors"),
        (lambda: baselines.reinitialise(PATH, 3, X, Y, generator=0, **BUDGET), TypeError, "generator must"),
    ],
)
def test_other_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


PATH, BARE_PATH = greedy_forward_selection(NET, X, Y, 3), select_neurons(*BARE, 3)
