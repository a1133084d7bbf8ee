"""The page of claims: verdicts follow the results, whichever way they fall."""

import numpy as np
import pytest

from gfs_tutorial import results
from gfs_tutorial.experiments import claims

SIZES = (1000, 2000, 4000, 8000, 16_000)


def mnist_rows(threshold):
    """Runs in which every entry of the subnetwork is worth its level at t = ``threshold(m)``."""
    for seed in (0, 1):
        for m in SIZES:
            for t in (0, 10, 100, 1000, 10_000):
                late = (1 + t) / (1 + threshold(m) * (1 + 0.02 * seed))
                loss = 0.5 / (1 + 9 * late)
                yield {
                    "m": m, "seed": seed, "t": t, "k": 200, "dense_loss": 2 * loss, "subnetwork_loss": loss,
                    "dense_test_accuracy": 1 - 2 * loss, "subnetwork_test_accuracy": 1 - loss,
                    "subnetwork_train_accuracy": 1 - loss,
                }  # fmt: skip


def method_rows(losses):
    for m in (1000, 4000):
        for t in (60, 280, 1000):
            for method, loss in losses.items():
                yield {"m": m, "seed": 0, "t": t, "k": 50, "method": method, "loss": loss(t)}


@pytest.fixture
def stored(monkeypatch):
    """``stored(name, rows)`` puts made-up rows in the place of a result file."""
    files = {}

    def made_up(name):
        if name not in files:
            raise FileNotFoundError(name)
        return {"rows": files[name]}

    monkeypatch.setattr(results, "stored", made_up)
    return lambda name, rows: files.update({f"{name}.json": list(rows)})


def judged(text):
    claim = next(claim for claim in claims.CLAIMS if text in claim.text)
    return claim.judge()


def test_a_power_behind_the_thresholds_contradicts_the_logarithm_and_a_logarithm_confirms_it(stored):
    stored("mnist-laptop", mnist_rows(lambda m: 0.05 * m))
    assert judged("logarithm")[1] == claims.NO
    stored("mnist-laptop", mnist_rows(lambda m: -300 + 60 * np.log(m)))
    assert judged("logarithm")[1] == claims.YES


def test_more_data_more_training(stored):
    stored("mnist-laptop", mnist_rows(lambda m: 0.05 * m))
    outcome, verdict = judged("Larger data sets")
    assert verdict == claims.YES and "for m = 16,000" in outcome
    stored("mnist-laptop", mnist_rows(lambda m: 2e5 / m))
    assert judged("Larger data sets")[1] == claims.MIXED


def test_good_subnetworks_are_found_or_not(stored):
    stored("mnist-laptop", mnist_rows(lambda m: 100))
    assert judged("good training error")[1] == claims.YES
    assert judged("without training the dense network")[1] == claims.YES
    stored("mnist-laptop", [{**row, "subnetwork_train_accuracy": 0.5} for row in mnist_rows(lambda m: 100)])
    assert judged("good training error")[1] == claims.NO


def test_untrained_networks(stored):
    stored("mnist-laptop", mnist_rows(lambda m: 1000))
    assert judged("random weights, too")[1] == claims.YES
    swapped = [{**row, "subnetwork_loss": 2.0} for row in mnist_rows(lambda m: 1000)]
    stored("mnist-laptop", swapped)
    assert judged("random weights, too")[1] == claims.NO


def test_methods_are_compared_pair_by_pair(stored):
    by_method = {
        "forward": lambda t: 0.2,
        "backward": lambda t: 0.4,
        "from-scratch": lambda t: 0.3 if t < 1000 else 0.1,
        "fine-tuned": lambda t: 0.2 if t < 280 else 0.1,
        "re-initialised": lambda t: 0.15,
    }
    stored("methods-laptop", method_rows(by_method))
    outcome, verdict = judged("backward elimination")
    assert verdict == claims.YES and "6 of 6" in outcome and "0.50" in outcome
    assert judged("trained directly")[1] == claims.YES
    assert judged("after long training of both")[1] == claims.NO
    assert judged("Fine-tune the subnetwork")[1] == claims.MIXED


def cifar10_rows(m, **accuracies):
    """Accuracies after fine-tuning by method, each a function of t."""
    for t in (100, 400):
        for method, accuracy in accuracies.items():
            row = {"net": "n", "m": m, "t": t, "seed": 0, "method": method, "before": None}
            yield row | {"after": accuracy(t)}


def test_cifar10_rows_decide(stored):
    rises, falls = (lambda t: 0.3 + t / 1000), (lambda t: 0.9 - t / 1000)
    first = {"gfs": rises, "re-initialised": lambda t: 0.2, "l1": falls}
    stored(claims.CIFAR10, cifar10_rows(2000, **first))
    outcome, verdict = judged("More pre-training gives better")
    assert verdict == claims.YES and "m = 2,000: 0.40 (t = 100), 0.70 (t = 400)" in outcome
    outcome, verdict = judged("Fine-tuned channels are better")
    assert verdict == claims.YES and "2 of 2 cells, by +35.0 points" in outcome
    assert judged("Better pruned networks than by earlier")[1] == claims.MIXED
    second = {"gfs": falls, "re-initialised": rises, "l1": rises}
    stored(claims.CIFAR10, [*cifar10_rows(2000, **first), *cifar10_rows(50_000, **second)])
    assert judged("More pre-training gives better")[1] == claims.MIXED
    assert "of 4 cells" in judged("Fine-tuned channels are better")[0]


def test_the_table_has_a_row_for_each_claim_and_says_what_waits():
    lines = claims.table([claim for claim in claims.CLAIMS if claim.judge is None]).splitlines()
    assert len(lines) >= 4 and all(claims.OPEN in line and "waits" in line for line in lines[2:])
    assert len({line.count("|") for line in lines}) == 1
    assert all(("Ye" in claim.source) or ("Wolfe" in claim.source) for claim in claims.CLAIMS)


def test_a_claim_whose_results_are_not_there_yet_waits(monkeypatch):
    def missing(name):
        raise FileNotFoundError(name)

    monkeypatch.setattr(results, "stored", missing)
    lines = claims.table().splitlines()[2:]
    assert len(lines) == len(claims.CLAIMS) and all(claims.OPEN in line for line in lines)
