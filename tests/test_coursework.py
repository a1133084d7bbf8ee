"""Checks of students' functions: right ones pass, wrong ones never, and typical mistakes are named."""

import inspect
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gfs_tutorial import coursework, select_neurons, theory, train_sgd
from gfs_tutorial.coursework import (
    Feedback,
    WrongAnswerError,
    channels,
    check_backward_elimination,
    check_certificate,
    check_first_reached,
    check_greedy_selection,
    check_loss,
    check_mean_field_output,
    check_neuron_scores,
    check_refit,
    check_sgd_step,
    elimination,
    network,
    selection,
)
from gfs_tutorial.coursework import theory as theory_exercises
from gfs_tutorial.networks import TwoLayerNet
from gfs_tutorial.training import half_squared_error

EXERCISES = {
    check_mean_field_output: network.OUTPUT,
    check_loss: network.LOSS,
    check_sgd_step: network.SGD_STEP,
    check_greedy_selection: selection.GREEDY,
    check_neuron_scores: selection.SCORES,
    check_backward_elimination: elimination.BACKWARD,
    check_certificate: theory_exercises.CERTIFICATE,
    check_first_reached: theory_exercises.FIRST_REACHED,
    check_refit: channels.REFIT,
}
EVERY = pytest.mark.parametrize("check", EXERCISES, ids=lambda check: check.__name__)


# Students. A right one of each kind first, then the typical wrong ones, each written as a student would.


def output(X, a, c, b):
    return torch.tanh(X @ a.T + c) @ b / len(b)


def output_numpy(X, a, c, b):
    result = np.zeros((len(X), b.shape[1]))
    for j, x in enumerate(np.asarray(X)):
        for i in range(len(b)):
            result[j] += np.asarray(b[i]) * math.tanh(float(np.asarray(a[i]) @ x + c[i])) / len(b)
    return result


def output_that_centres_its_data(X, a, c, b):
    X -= X.mean(0)
    return output(X, a, c, b)


OUTPUTS = [
    (lambda X, a, c, b: torch.tanh(X @ a.T + c) @ b, r"not divided by N\.$"),
    (lambda X, a, c, b: torch.tanh(X @ a.T + c) @ b / len(X), "divided by m, the number of rows"),
    (lambda X, a, c, b: torch.tanh(X @ a.T + c) @ b / len(b) ** 0.5, "divided by √N"),
    (lambda X, a, c, b: torch.tanh(X @ a.T) @ b / len(b), "biases c are left out"),
    (lambda X, a, c, b: torch.sigmoid(X @ a.T + c) @ b / len(b), "a sigmoid, not tanh"),
    (lambda X, a, c, b: torch.tanh((X @ a.T + c) @ b / len(b)), "applied to the average"),
    (lambda X, a, c, b: (X @ a.T + c) @ b / len(b), "tanh is left out"),
    (output_that_centres_its_data, r"changes its argument X in place"),
    (lambda X, a, c, b: output(X, a, c, b)[:, 0], r"array of shape \(1,\), and not of shape \(1, 1\)"),
]


def loss(prediction, target):
    return (prediction - target).square().sum() / (2 * len(target))


def loss_numpy(prediction, target):
    return (
        0.5
        * sum(np.sum((p - t) ** 2) for p, t in zip(np.asarray(prediction), np.asarray(target)))
        / len(target)
    )


def loss_that_changes_its_arguments(prediction, target):
    prediction -= target
    return (prediction**2).sum() / (2 * len(target))


LOSSES = [
    (lambda p, t: ((p - t) ** 2).sum() / len(t), "factor 1/2 is missing"),
    (lambda p, t: ((p - t) ** 2).mean(), "mean over all entries"),
    (lambda p, t: ((p - t) ** 2).mean() / 2, "mean runs over the C outputs too"),
    (lambda p, t: ((p - t) ** 2).sum() / 2, "sum is not divided by m"),
    (lambda p, t: (p - t).abs().sum() / (2 * len(t)), "absolute value and not squared"),
    (lambda p, t: ((p - t[:, 0]) ** 2).sum() / (2 * len(t)), r"shapes \(m, 1\) and \(m,\) broadcast"),
    (lambda p, t: torch.linalg.norm(p - t) / (2 * len(t)) ** 0.5, "square root is taken"),
    (loss_that_changes_its_arguments, "changes its argument prediction in place.*Apart from that"),
    (lambda p, t: ((p - t) ** 2).sum(1) / (2 * len(t)), "and not a single number"),
    (lambda p, t: print(end=""), r"it returned None: is there a return statement\?"),
]


def sgd_step(X, y, a, c, b, lr_a, lr_b):
    """The way of the chapter."""
    m, N = len(X), len(b)
    h = torch.tanh(X @ a.T + c)
    error = h @ b / N - y
    grad_b = h.T @ error / (m * N)
    delta = error * b.T * (1 - h**2) / (m * N)
    return a - N * lr_a * delta.T @ X, c - N * lr_a * delta.sum(0), b - N * lr_b * grad_b


def sgd_step_by_autograd(X, y, a, c, b, lr_a, lr_b):
    weights = [v.clone().requires_grad_() for v in (a, c, b)]
    half_squared_error(output(X, *weights), y).backward()
    return [v - len(b) * lr * v.grad for v, lr in zip(weights, (lr_a, lr_a, lr_b))]


def sgd_step_numpy(X, y, a, c, b, lr_a, lr_b):
    X, y, a, c, b = (np.asarray(v) for v in (X, y, a, c, b))
    h = np.tanh(X @ a.T + c)
    error = (h @ b / len(b) - y) / len(X)
    delta = error * b.T * (1 - h * h)
    return a - lr_a * delta.T @ X, c - lr_a * delta.sum(0), b - lr_b * h.T @ error


def altered(function, *replacements):
    """``function`` with parts of its source replaced: a slip of the pen."""
    source = inspect.getsource(function)
    for old, new in replacements:
        assert old in source
        source = source.replace(old, new)
    names = {"torch": torch, "np": np, "math": math}
    exec(source, names)
    return names[function.__name__]


def sgd_step_in_place(X, y, a, c, b, lr_a, lr_b):
    new = sgd_step(X, y, a, c, b, lr_a, lr_b)
    for old, value in zip((a, c, b), new):
        old.copy_(value)
    return a, c, b


STEPS = [
    (altered(sgd_step, ("a - N", "a + N"), ("c - N", "c + N"), ("b - N", "b + N")), "up the gradient"),
    (altered(sgd_step, ("- N * lr", "- lr")), r"not multiplied by N\.$"),
    (altered(sgd_step, ("(m * N)", "m")), "lacks its 1/N"),
    (altered(sgd_step, ("(m * N)", "N")), "sum over the rows is not divided by m"),
    (altered(sgd_step, ("* (1 - h**2)", "")), r"derivative of tanh, 1 - h², is left out"),
    (altered(sgd_step, ("h**2", "h")), r"taken as 1 - h and not"),
    (altered(sgd_step, ("error * b.T", "error")), "output weight b is left out"),
    (
        altered(
            sgd_step,
            ("    delta", "    new = b - N * lr_b * grad_b\n    delta"),
            ("error * b.T", "error * new.T"),
        ),
        "b is changed first",
    ),
    (altered(sgd_step, ("c - N * lr_a * delta.sum(0)", "c")), r"biases c are not updated.*Right: a and b"),
    (altered(sgd_step, ("lr_a, lr_b)", "lr_b, lr_a)")), "are exchanged"),
    (sgd_step_in_place, "changes its arguments a, b and c in place"),
    (lambda *v: sgd_step(*v)[:2], r"should return 3 arrays \(a, c, b\), not 2 things"),
]


def greedy(hidden, output_weights, y, size):
    """The ten lines."""
    features = (hidden * output_weights).T / len(y) ** 0.5
    labels = y / len(y) ** 0.5
    total = torch.zeros_like(labels)
    picks = []
    for k in range(1, size + 1):
        averages = (total + features) / k
        losses = (averages - labels).square().sum(1) / 2
        best = int(losses.argmin())
        picks.append(best)
        total = total + features[best]
    return picks


def greedy_by_scores(hidden, output_weights, y, size):
    """The score form; the factor 1/√m on both sides changes no pick, so it does without."""
    features = np.asarray(hidden).T * np.asarray(output_weights)[:, None]
    n, c, s = (features**2).sum(1), features @ np.asarray(y), np.zeros(len(features))
    picks = np.zeros(size, dtype=int)
    for k in range(1, size + 1):
        picks[k - 1] = np.argmin(n / 2 + s - k * c)
        s += features @ features[picks[k - 1]]
    return picks


def greedy_by_the_package(hidden, output_weights, y, size):
    return select_neurons(hidden, output_weights[:, None], y, size).indices


def greedy_that_scales_in_place(hidden, output_weights, y, size):
    hidden *= output_weights / len(y) ** 0.5
    y /= len(y) ** 0.5
    return greedy(hidden * len(y) ** 0.5, torch.ones_like(output_weights), y * len(y) ** 0.5, size)


GREEDIES = [
    (altered(greedy, ("argmin", "argmax")), "argmax in the place of argmin"),
    (altered(greedy, ("range(1, size + 1)", "range(size)")), r"divides by k - 1 where"),
    (altered(greedy, ("features) / k", "features) / (k + 1)")), r"divides by k \+ 1 where"),
    (altered(greedy, ("(total + features) / k", "total + features")), r"does not divide by k\.$"),
    (altered(greedy, ("best = int", "losses[picks] = torch.inf\n        best = int")), "without replacement"),
    (altered(greedy, ("labels = y / len(y) ** 0.5", "labels = y")), "labels are not divided by √m"),
    (altered(greedy, (".T / len(y) ** 0.5", ".T")), "feature vectors are not divided by √m"),
    (altered(greedy, ("        total = total + features[best]\n", "")), "never added to the total"),
    (altered(greedy, ("total + features[best]", "averages[best]")), "last average, and not to the total"),
    (altered(greedy, ("hidden * output_weights", "hidden")), "output weights are left out"),
    (lambda *v: sorted(greedy(*v)), "returns the picks sorted"),
    (lambda *v: set(greedy(*v)), "not an array of numbers: set"),
    (lambda *v: list(dict.fromkeys(greedy(*v))), "returns every neuron once"),
    (greedy_that_scales_in_place, "changes its arguments hidden and y in place.*Apart from that"),
]


def scores(features, labels, total, k):
    return (features**2).sum(1) / 2 + features @ total - k * features @ labels


def scores_numpy(features, labels, total, k):
    features, labels, total = (np.asarray(v) for v in (features, labels, total))
    return [0.5 * f @ f + f @ total - k * (f @ labels) for f in features]


def scores_that_change_their_arguments(features, labels, total, k):
    total -= k * labels
    return (features**2).sum(1) / 2 + features @ total


SCORES = [
    (altered(scores, (".sum(1) / 2", ".sum(1)")), "n is not halved"),
    (altered(scores, ("k * features", "features")), "c is not multiplied by k"),
    (altered(scores, ("k * features", "(k - 1) * features")), "k - 1 and not by k"),
    (altered(scores, ("- k", "+ k")), "c is added"),
    (altered(scores, ("+ features @ total", "")), "s is left out"),
    (altered(scores, ("(features**2).sum(1)", "features.norm(dim=1)")), "length of Φ, and not its square"),
    (lambda *v: -scores(*v), "wrong sign"),
    (scores_that_change_their_arguments, "changes its argument total in place"),
]


def backward(features, labels, size):
    left = list(range(len(features)))
    while len(left) > size:
        losses = []
        for i in left:
            rest = [j for j in left if j != i]
            losses.append(float((features[rest].mean(0) - labels).square().sum()))
        left.pop(losses.index(min(losses)))
    return left


def backward_numpy(features, labels, size):
    features, labels = np.asarray(features), np.asarray(labels)
    mask = np.ones(len(features), bool)
    while mask.sum() > size:
        rest = (features[mask].sum(0) - features) / (mask.sum() - 1)
        mask[np.where(mask, ((rest - labels) ** 2).sum(1), np.inf).argmin()] = False
    return np.flatnonzero(mask)[::-1]


def one_shot(features, labels, size):
    rest = (features.sum(0) - features) / (len(features) - 1)
    return (rest - labels).square().sum(1).topk(size).indices


def backward_that_zeroes(features, labels, size):
    left = backward(features, labels, size)
    features[[i for i in range(len(features)) if i not in left]] = 0
    return left


BACKWARDS = [
    (altered(backward, ("index(min", "index(max")), "argmax in the place of argmin"),
    (altered(backward, (".mean(0)", ".sum(0) / len(features)")), "goes on dividing by N"),
    (altered(backward, (".mean(0)", ".sum(0)")), "does not divide"),
    (altered(backward, (".mean(0)", ".sum(0) / len(left)")), "before the removal"),
    (altered(backward, ("> size", "> size + 1")), "one removal too early"),
    (altered(backward, ("> size", ">= size")), "one neuron too many"),
    (one_shot, "every removal once"),
    (lambda f, y, size: f.norm(dim=1).topk(size).indices, "largest norm"),
    (lambda f, y, size: [i for i in range(len(f)) if i not in backward(f, y, size)], "returns the removed"),
    (lambda f, y, size: greedy_without(f, y, size), "forward selection without replacement"),
    (backward_that_zeroes, "changes its argument features in place"),
]


def greedy_without(features, labels, size):
    return select_neurons(
        features.T, torch.ones(len(features), 1), labels, size, with_replacement=False
    ).indices


def certificate(dense_loss, variance, size):
    R, W, bounds = math.sqrt(2 * dense_loss), 0.0, []
    for k in range(1, size + 1):
        W = math.sqrt((W + R) ** 2 + variance)
        bounds.append(W**2 / (2 * k**2))
    return bounds


def certificate_by_the_package(dense_loss, variance, size):
    return theory.certificate(dense_loss, variance, size)


CERTIFICATES = [
    (altered(certificate, ("2 * dense_loss", "dense_loss")), r"√L and not as √\(2L\)"),
    (altered(certificate, ("math.sqrt(2 * dense_loss)", "2 * dense_loss")), "R is taken as 2L, without"),
    (
        altered(
            certificate,
            ("R, W, bounds = math.sqrt(2 * dense_loss), 0.0", "W, bounds = math.sqrt(2 * dense_loss)"),
            ("    for", "    R = W\n    for"),
        ),
        "starts at W_0 = R",
    ),
    (altered(certificate, (" + variance", "")), "V is left out"),
    (altered(certificate, ("k**2)", "k)")), "divides by k and not by k²"),
    (altered(certificate, ("(2 * k**2)", "k**2")), "factor 1/2 is missing"),
    (altered(certificate, ("W**2 / (2 * k**2)", "W / k")), "the distance, and not the loss"),
    (
        lambda L, V, size: [float(theory.certificate_closed_form(L, V, k)) for k in range(1, size + 1)],
        "closed form",
    ),
    (lambda L, V, size: certificate(L, V, size)[-1], r"shape \(\), and not of shape \(1,\)"),
]


def first_reached(times, losses, level):
    return min(t for t, loss in zip(times, losses) if loss <= level)


def first_reached_numpy(times, losses, level):
    times, losses = np.asarray(times), np.asarray(losses)
    return np.sort(times)[losses[np.argsort(times)] <= level][0]


def first_reached_that_sorts(times, losses, level):
    order = times.argsort()
    times[:], losses[:] = times[order].clone(), losses[order].clone()
    return times[losses <= level][0]


REACHED = [
    (
        lambda t, q, level: t[q < level].min(),
        "below the level, and not at most",
    ),
    (altered(first_reached, ("min(", "max(")), "the last such time"),
    (altered(first_reached, ("min(", "next(")), "first in the list, though"),
    (lambda t, q, level: (q <= level).nonzero()[0, 0], "the position in the list, and not the time"),
    (lambda t, q, level: t[q.argmin()], "time of the least loss"),
    (altered(first_reached, ("<=", ">=")), "at least the level, and not at most"),
    (first_reached_that_sorts, "changes its arguments losses and times in place"),
]


def refit(inputs, weights, kept, ridge):
    A, W = inputs[:, kept], weights[kept]
    return torch.linalg.solve(A.T @ A + ridge * torch.eye(len(kept)), A.T @ (inputs @ weights) + ridge * W)


def refit_numpy(inputs, weights, kept, ridge):
    """One long least-squares problem: the ridge as further rows."""
    inputs, weights = np.asarray(inputs, float), np.asarray(weights, float)
    A = np.vstack([inputs[:, kept], ridge**0.5 * np.eye(len(kept))])
    return np.linalg.lstsq(A, np.vstack([inputs @ weights, ridge**0.5 * weights[kept]]), rcond=None)[0]


def refit_in_place(inputs, weights, kept, ridge):
    answer = refit(inputs, weights, kept, ridge)
    weights[kept] = answer
    return answer


REFITS = [
    (lambda A, W, kept, ridge: W[kept], "old weights of what is kept"),
    (lambda A, W, kept, ridge: W[kept] * len(W) / len(kept), "old weights times C/k"),
    (altered(refit, (" + ridge * W", "")), "towards zero and not towards the old weights"),
    (altered(refit, (" + ridge * torch.eye(len(kept))", "")), "on the right-hand side only"),
    (altered(refit, (" + ridge * W", " - ridge * W")), "subtracted on the right-hand side"),
    (lambda A, W, kept, ridge: refit(A, W, kept, 0.0), "the ridge is left out"),
    (altered(refit, ("ridge * ", "ridge * len(A) * ")), "multiplied by the number of rows"),
    (lambda A, W, kept, ridge: refit(A, W, sorted(kept), ridge), "in ascending order"),
    (lambda A, W, kept, ridge: refit(A, W, kept, ridge).T, r"shape \(1, 2\), and not of shape \(2, 1\)"),
    (refit_in_place, "changes its argument weights in place"),
]

RIGHT = {
    check_mean_field_output: (output, output_numpy),
    check_loss: (loss, loss_numpy, half_squared_error),
    check_sgd_step: (sgd_step, sgd_step_numpy, sgd_step_by_autograd),
    check_greedy_selection: (greedy, greedy_by_scores, greedy_by_the_package),
    check_neuron_scores: (scores, scores_numpy),
    check_backward_elimination: (backward, backward_numpy),
    check_certificate: (certificate, certificate_by_the_package),
    check_first_reached: (first_reached, first_reached_numpy),
    check_refit: (refit, refit_numpy),
}
WRONG = {
    check_mean_field_output: OUTPUTS,
    check_loss: LOSSES,
    check_sgd_step: STEPS,
    check_greedy_selection: GREEDIES,
    check_neuron_scores: SCORES,
    check_backward_elimination: BACKWARDS,
    check_certificate: CERTIFICATES,
    check_first_reached: REACHED,
    check_refit: REFITS,
}


@pytest.mark.parametrize(
    ("check", "function"), [(check, function) for check in RIGHT for function in RIGHT[check]]
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_right_answers_pass(check, function, seed):
    feedback = check(function, seed=seed)
    assert feedback and feedback.passed and feedback.score == 1 and not feedback.mistakes
    assert "right. All" in str(feedback) and str(feedback).startswith("✓")
    feedback.raise_if_wrong()


IN_NUMPY = {"greedy_by_scores", "certificate", *(f"{name}_numpy" for name in ["output", "loss", "scores"])}
IN_NUMPY |= {"sgd_step_numpy", "backward_numpy", "first_reached_numpy", "refit_numpy"}


@EVERY
def test_right_answers_in_numpy_pass_on_numpy_arrays(check):
    in_numpy = next(f for f in RIGHT[check] if f.__name__ in IN_NUMPY)
    assert check(in_numpy, arrays="numpy").passed


@pytest.mark.parametrize(
    ("check", "function", "message"), [(check, *case) for check in WRONG for case in WRONG[check]]
)
def test_typical_wrong_answers_are_caught_and_named(check, function, message):
    for seed in (0, 1):
        feedback = check(function, seed=seed)
        assert not feedback and feedback.score < 1
        assert re.search(message, feedback.message, re.DOTALL | re.MULTILINE), feedback.message
        with pytest.raises(WrongAnswerError, match=re.escape(EXERCISES[check].name)):
            feedback.raise_if_wrong()


# The catalogue itself


@EVERY
def test_every_mistake_of_the_catalogue_is_caught_and_named_as_itself(check):
    exercise = EXERCISES[check]
    assert len(exercise.mistakes) >= 5
    for name, mistaken in exercise.mistakes.items():
        for seed in range(3):
            feedback = check(by_position(exercise, mistaken), seed=seed, arrays="numpy")
            assert feedback.mistakes == (name,), (name, seed)
            assert name in feedback.message


def by_position(exercise, function):
    names = list(instances_of(exercise)[0])
    return quietly(lambda *values: function(**dict(zip(names, values))))


def quietly(function):
    def called(*values):
        with np.errstate(all="ignore"):
            return function(*values)

    return called


def instances_of(exercise, seed=0):
    return list(exercise.instances(np.random.default_rng(seed)))


@EVERY
def test_instances_are_random_many_and_the_smallest_come_first(check):
    first, again, other = (instances_of(EXERCISES[check], seed) for seed in (0, 0, 1))
    sizes = [sum(np.size(value) for value in instance.values()) for instance in first]
    assert sizes[0] == min(sizes) and len(first) >= 20
    assert repr(first) == repr(again) != repr(other)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
@EVERY
def test_an_answer_that_is_wrong_once_never_passes(check, data):
    """The right function, but for one number in the answer to one instance."""
    exercise, seed = EXERCISES[check], data.draw(st.integers(0, 2**32))
    instances = instances_of(exercise, seed)
    spoilt = data.draw(st.integers(0, len(instances) - 1))
    calls = iter(range(len(instances)))

    def function(*values):
        right = exercise.oracle(*values)
        parts = [np.array(part, dtype=float) for part in (right if isinstance(right, tuple) else (right,))]
        if next(calls) == spoilt:
            part = parts[data.draw(st.integers(0, len(parts) - 1))]
            place = data.draw(st.integers(0, part.size - 1))
            sizes = [-2.0, -1.0, 1.0, 3.0] if exercise.indices else [-10.0, -0.01, 0.003, 0.5]
            part.flat[place] += data.draw(st.sampled_from(sizes)) * max(1.0, np.abs(part).max())
            part[...] = np.round(part) if exercise.indices else part
        return tuple(parts) if len(parts) > 1 else parts[0]

    feedback = check(function, seed=seed, arrays="numpy")
    assert not feedback.passed and feedback.score == pytest.approx(1 - 1 / len(instances))
    assert f"{len(instances) - 1} of {len(instances)} instances are right" in feedback.message


@settings(max_examples=50, deadline=None)
@given(weights=st.tuples(*[st.floats(-3, 3)] * 3).filter(lambda w: max(abs(w[0] - 1), *np.abs(w[1:])) > 0.01))
def test_no_other_mixture_of_the_scores_passes(weights):
    def mixture(features, labels, total, k):
        norms, aligned = np.square(features).sum(1), features @ labels
        scale, more_norms, more_aligned = weights
        return (
            scale * selection.SCORES.oracle(features, labels, total, k)
            + more_norms * norms
            + more_aligned * aligned
        )

    assert not check_neuron_scores(mixture, arrays="numpy").passed


# What it says


def test_the_message_shows_the_smallest_instance_with_both_answers():
    message = check_loss(lambda p, t: 0.0 if len(t) < 3 else loss_numpy(p, t), arrays="numpy").message
    instance = instances_of(network.LOSS)[0]
    assert f"prediction = {instance['prediction']}" in message
    assert f"expected answer: {network.LOSS.oracle(**instance):.6g}\n  your answer: 0" in message
    assert re.search(r"It runs, and 12 of 24 instances are right", message)


def test_a_sequence_says_where_it_goes_wrong():
    message = check_certificate(lambda *v: [*certificate(*v)[:2], *([9.0] * (v[2] - 2))]).message
    assert "the one at position 2, counted from 0" in message
    assert "8 of 20 instances are right" in message


def broken(prediction, target):
    wanted = prediction - target
    return wanted[0][7]


def test_an_exception_is_reported_with_its_line_and_does_not_escape():
    message = check_loss(broken).message
    line = inspect.getsourcelines(broken)[1] + 2
    assert re.search(rf"it raised IndexError: .*\n  in line {line}: return wanted\[0\]\[7\]", message)
    assert "None of 24 instances is right" in message and "prediction = [[" in message


def test_an_exception_on_some_instances_hides_no_known_mistake():
    def plain_sum_for_few_rows(prediction, target):
        if len(target) > 3:
            raise RuntimeError("too many")
        return ((prediction - target) ** 2).sum()

    assert "divided neither by m nor by 2" in check_loss(plain_sum_for_few_rows).message


def test_a_few_answers_are_too_little_to_name_a_mistake():
    feedback = check_loss(lambda p, t: ((p - t) ** 2).sum() if p.numel() == 1 else None)
    assert not feedback and not feedback.mistakes


def test_even_an_exit_is_caught_and_an_interrupt_is_not():
    def give_up(*_):
        raise SystemExit

    def interrupt(*_):
        raise KeyboardInterrupt

    assert "it raised SystemExit" in check_loss(give_up).message
    with pytest.raises(KeyboardInterrupt):
        check_loss(interrupt)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (float("nan"), r"1 number\(s\) that are NaN or infinite"),
        (math.inf, r"1 number\(s\) that are NaN or infinite"),
        ("0.5", "not an array of numbers: str"),
        ("half", "not an array of numbers: str"),
        ({}, "not an array of numbers: dict"),
        ([1.0, [2.0]], "not an array of numbers: list"),
        ([0.5], r"shape \(1,\), and not a single number"),
        (None, "None: is there a return"),
        (1 + 2j, "not an array of numbers: complex"),
    ],
)
def test_answers_that_are_no_answers(answer, message):
    feedback = check_loss(lambda prediction, target: answer)
    assert not feedback and feedback.score == 0
    assert re.search(message, feedback.message)


def test_fractions_are_no_indices():
    assert "not whole" in check_greedy_selection(lambda h, b, y, size: [0.5] * size).message


def test_what_has_no_order_may_come_as_a_set():
    assert check_backward_elimination(lambda *v: set(backward(*v))).passed
    assert check_backward_elimination(lambda *v: torch.tensor(backward(*v)).flip(0)).passed


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_tensors_of_any_precision_that_can_hold_the_answer_pass(dtype):
    feedback = check_first_reached(lambda *v: first_reached(*v).to(dtype).requires_grad_())
    assert feedback.passed


def test_students_get_the_default_precision_of_their_library():
    seen = []
    check_loss(lambda p, t: seen.append(p.dtype), arrays="torch")
    check_loss(lambda p, t: seen.append(p.dtype), arrays="numpy")
    assert set(seen) == {torch.float32, np.dtype("float64")}


def test_checks_leave_the_global_random_numbers_alone():
    before, old = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    check_greedy_selection(greedy)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == old).all()  # noqa: NPY002


def test_feedback_is_what_a_notebook_shows():
    feedback = Feedback("loss", False, "wrong.", 0.25)
    assert repr(feedback) == str(feedback) == "✗ loss: wrong." and not feedback
    with pytest.raises(AssertionError, match=r"✗ loss: wrong\."):
        feedback.raise_if_wrong()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"function": 0.5}, TypeError, "hand over the function itself, without calling it; got float"),
        ({"arrays": "jax"}, ValueError, "unknown arrays 'jax': choose one of 'torch', 'numpy'"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"seed": 0.5}, TypeError, "seed must be a whole number"),
    ],
)
@EVERY
def test_a_wrong_argument_of_a_check_is_named(check, arguments, error, message):
    with pytest.raises(error, match=message):
        check(**{"function": print, **arguments})


def test_every_public_check_is_tested_here():
    assert {check.__name__ for check in EXERCISES} == {
        n for n in coursework.__all__ if n.startswith("check_")
    }


def test_the_page_for_teachers_lists_every_check_and_shows_a_message_as_it_is():
    page = (Path(__file__).parents[1] / "book" / "for-teachers.md").read_text(encoding="utf-8")
    assert f"```text\n{check_loss(lambda p, t: ((p - t) ** 2).sum() / len(t))}\n```" in page
    for check, exercise in EXERCISES.items():
        names = ", ".join(instances_of(exercise)[0])
        assert f"| `{check.__name__}` | `({names})`" in page


# The oracles agree with the package


def test_the_oracle_of_a_step_is_what_train_sgd_does():
    for instance in instances_of(network.SGD_STEP, 5):
        X, y, a, c, b = (torch.tensor(instance[name]) for name in ("X", "y", "a", "c", "b"))
        net = TwoLayerNet(X.shape[1], len(b)).double()
        with torch.no_grad():
            net.input_weights.copy_(a), net.input_biases.copy_(c), net.output_weights.copy_(b)
        lr = instance["lr_a"], instance["lr_b"]
        train_sgd(net, X, y, iterations=1, batch_size=len(X), lr=lr, progress=False)
        mine = (net.input_weights, net.input_biases, net.output_weights)
        for parameter, right in zip(mine, network.SGD_STEP.oracle(**instance)):
            assert np.allclose(parameter.detach(), right)


def test_the_oracle_of_the_picks_is_the_package():
    for instance in instances_of(selection.GREEDY, 6):
        hidden, b, y = (torch.tensor(instance[name]) for name in ("hidden", "output_weights", "y"))
        path = select_neurons(hidden, b[:, None], y, instance["size"])
        assert path.indices.tolist() == selection.GREEDY.oracle(**instance)
