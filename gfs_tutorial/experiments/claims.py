"""Claims of the two papers, each beside what the committed results say about it.

Every outcome and every verdict is computed from a file in ``results/``; only the claims are written by hand.

Chapter *Claims and what we found*.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gfs_tutorial import results
from gfs_tutorial.experiments.imagenet_table import own_figures
from gfs_tutorial.experiments.methods import compare
from gfs_tutorial.experiments.thresholds import fit_laws, reached_by_all, thresholds

__all__ = ["CLAIMS", "Claim", "table"]

CIFAR10, CIFAR10_RAN = "cifar10-laptop-narrow", "`cifar10 --preset laptop-narrow`: short training, one seed"
WOLFE, YE = "Wolfe et al. (2024)", "Ye et al. (2020)"
YES, NO, MIXED, OPEN = "holds here", "does not hold here", "holds in part", "not yet tested"
Row = dict[str, Any]


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        source: Which paper, and where in it.
        text: The claim in our words.
        ran: What we ran to test it.
        judge: Finds the outcome and the verdict; ``None`` where nothing has been run.
    """

    source: str
    text: str
    ran: str
    judge: Callable[[], tuple[str, str]] | None = None


def _verdict(wins: int, of: int) -> str:
    """Nine in ten are enough, for or against."""
    return YES if wins > 0.9 * of else NO if wins < 0.1 * of else MIXED


def _rows(name: str, **fixed: Any) -> list[Row]:
    rows = results.stored(f"{name}.json")["rows"]
    return [row for row in rows if all(row[key] == value for key, value in fixed.items())]


def _mean(rows: Sequence[Row], key: str) -> float:
    return float(np.mean([row[key] for row in rows]))


def _compare(
    one: str, other: str, words: str, *, of: Callable[[Row], bool] = lambda row: True
) -> tuple[str, str]:
    """How often the loss of one method is below that of another, and the geometric mean of their ratio."""
    wins, total, ratio = compare(filter(of, _rows("methods-laptop")), one, other)
    outcome = f"{words} in {wins} of {total} comparisons; the losses' ratio is {ratio:.2f} in the mean"
    return outcome, _verdict(wins, total)


def _good_subnetwork(name: str = "mnist-laptop") -> tuple[str, str]:
    found = thresholds(_rows(name, k=200), "subnetwork_train_accuracy", 0.98)
    times = [run.t for run in found if run.t is not None]
    outcome = f"{len(times)} of {len(found)} runs reach 98% training accuracy with 200 of 1,000 neurons"
    if times:
        outcome += f", after {min(times):.0f} to {max(times):.0f} iterations"
    return outcome, _verdict(len(times), len(found))


def _more_data_more_training() -> tuple[str, str]:
    found = thresholds(_rows("mnist-laptop", k=200), "subnetwork_loss", 0.1)
    sizes = sorted({run.m for run in found})
    means = [np.mean([run.t for run in found if run.m == m]) for m in sizes]
    outcome = "first t with loss 0.1: " + ", ".join(f"{t:.0f} for m = {m:,}" for m, t in zip(sizes, means))
    return outcome, YES if all(np.diff(means) > 0) else MIXED


def _logarithm() -> tuple[str, str]:
    rows, words, wins = _rows("mnist-laptop", k=200), [], []
    criteria = (("subnetwork_loss", 0.1), ("subnetwork_loss", 0.05), ("subnetwork_train_accuracy", 0.98))
    for key, level in criteria:
        reached = reached_by_all(thresholds(rows, key, level))
        laws = fit_laws([run.m for run in reached], [run.t for run in reached if run.t is not None])
        lead = laws["power"].aic - laws["logarithm"].aic  # positive: the logarithm is ahead
        wins.append(lead > 0)
        what = f"{'training accuracy' if 'accuracy' in key else 'loss'} {level:g}"
        words.append(f"{what}: AIC {'logarithm' if lead > 0 else 'power'} by {abs(lead):.0f}")
    return "; ".join(words), _verdict(sum(wins), len(wins))


def _without_full_training() -> tuple[str, str]:
    def nearly_the_finished_dense(run: Sequence[Mapping[str, Any]]) -> float:
        return max(run, key=lambda row: row["t"])["dense_test_accuracy"] - 0.01

    rows = _rows("mnist-laptop", k=200)
    found = thresholds(rows, "subnetwork_test_accuracy", nearly_the_finished_dense)
    last, times = max(row["t"] for row in rows), [run.t for run in found if run.t is not None]
    outcome = (
        f"in {len(times)} of {len(found)} runs, 200 neurons come within a point of the test accuracy of the "
        f"dense network after {last:,} iterations"
        + (f", at the median after {np.median(times):.0f} of them" if times else "")
    )
    return outcome, _verdict(len(times), len(found))


def _untrained() -> tuple[str, str]:
    rows = _rows("mnist-laptop", t=0, k=200)
    losses = _mean(rows, "subnetwork_loss"), _mean(rows, "dense_loss")
    accuracies = _mean(rows, "subnetwork_test_accuracy"), _mean(rows, "dense_test_accuracy")
    outcome = (
        f"at t = 0 selection brings the loss from {losses[1]:.2f} to {losses[0]:.2f} and the accuracy from "
        f"{accuracies[1]:.2f} to {accuracies[0]:.2f}, far from a trained network's"
    )
    return outcome, YES if losses[0] < losses[1] and accuracies[0] > accuracies[1] + 0.05 else NO


def _pairs(one: str, key: str, other: str, other_key: str) -> list[tuple[float, float]]:
    """Accuracies of two methods in the same cells of the CIFAR-10 study."""
    cells: dict[tuple, dict[str, Row]] = {}
    for row in _rows(CIFAR10):
        cell = tuple(row[name] for name in ("net", "m", "t", "seed"))
        cells.setdefault(cell, {})[row["method"]] = row
    return [(cell[one][key], cell[other][other_key]) for cell in cells.values()]


def _against(one: str, key: str, other: str, other_key: str, words: str) -> tuple[str, str]:
    pairs = _pairs(one, key, other, other_key)
    wins, lead = sum(a > b for a, b in pairs), np.mean([a - b for a, b in pairs])
    outcome = f"{words} in {wins} of {len(pairs)} cells, by {100 * lead:+.1f} points of accuracy in the mean"
    return outcome, _verdict(wins, len(pairs))


def _cifar10_longer() -> tuple[str, str]:
    rows = _rows(CIFAR10, method="gfs")
    words, rises = [], []
    for m in sorted({row["m"] for row in rows}):
        times = sorted({row["t"] for row in rows if row["m"] == m})
        means = [_mean([row for row in rows if (row["m"], row["t"]) == (m, t)], "after") for t in times]
        rises += [b > a for a, b in itertools.pairwise(means)]
        words.append(f"m = {m:,}: " + ", ".join(f"{a:.2f} (t = {t:,})" for a, t in zip(means, times)))
    return "accuracy of the fine-tuned subnetwork, " + "; ".join(words), _verdict(sum(rises), len(rises))


def _seeds(number: int) -> str:
    return "one seed" if number == 1 else f"mean of {number} seeds"


def _imagenet_sample() -> tuple[str, str]:
    """A sample of photographs and another network cannot decide the claim, whatever comes out."""
    words, rows = [], own_figures("imagenet-laptop.json")
    dense = next(row for row in rows if row["method"] == "dense")
    for row in (row for row in rows if row["method"] == "pruned"):
        words.append(f"{row['top1']:.2f} at {row['macs'] / dense['macs']:.0%} of the MACs")
    outcome = (
        f"top-1 on {dense['images']} photographs, {_seeds(dense['seeds'])}: dense {dense['top1']:.2f}, "
        f"pruned without any training {', '.join(words)}; a sample of {dense['images']} cannot tell methods "
        "apart that lie a point from each other"
    )
    return outcome, OPEN


CLAIMS = (
    Claim(
        f"{WOLFE}, abstract",
        "Beyond a number of pre-training iterations, greedy forward selection finds a subnetwork of good "
        "training error.",
        "`mnist --preset laptop`",
        _good_subnetwork,
    ),
    Claim(
        f"{WOLFE}, abstract",
        "The same with the logistic loss, which the authors train with.",
        "`mnist --preset laptop-logistic`",
        lambda: _good_subnetwork("mnist-laptop-logistic"),
    ),
    Claim(
        f"{WOLFE}, abstract",
        "Larger data sets need more pre-training.",
        "`mnist --preset laptop`",
        _more_data_more_training,
    ),
    Claim(
        f"{WOLFE}, abstract",
        "The threshold depends on the logarithm of the size of the data set. (A sufficient number in their "
        "theorem; we look at the first success.)",
        "`mnist --preset laptop`, fits by AIC",
        _logarithm,
    ),
    Claim(
        f"{WOLFE}, abstract of an earlier version",
        "Good subnetworks can be found without training the dense network to the end.",
        "`mnist --preset laptop`",
        _without_full_training,
    ),
    Claim(
        f"{YE}, abstract",
        "Subnetworks selected from a large trained network have a lower loss than networks of their size "
        "trained directly. Tested at equal iterations.",
        "`methods --preset laptop`, t of 60 and 280",
        lambda: _compare(
            "forward", "from-scratch", "selection has the lower loss", of=lambda row: row["t"] <= 280
        ),
    ),
    Claim(
        f"{YE}, abstract",
        "The same, after long training of both.",
        "`methods --preset laptop`, t of 1,000 and 4,000",
        lambda: _compare(
            "forward", "from-scratch", "selection has the lower loss", of=lambda row: row["t"] >= 1000
        ),
    ),
    Claim(
        f"{YE}, abstract",
        "It works on networks with random weights, too.",
        "`mnist --preset laptop`, t = 0",
        _untrained,
    ),
    Claim(
        f"{YE}, abstract",
        "Fine-tune the subnetwork: it is better than training its shape from new random weights.",
        "`methods --preset laptop`, equal iterations in all",
        lambda: _compare("fine-tuned", "re-initialised", "fine-tuning has the lower loss"),
    ),
    Claim(
        f"{YE}, abstract",
        "Forward selection, in place of backward elimination.",
        "`methods --preset laptop`",
        lambda: _compare("forward", "backward", "forward selection has the lower loss"),
    ),
    Claim(
        f"{YE}, abstract",
        "Better ResNets, MobileNets and ProxylessNets on ImageNet than earlier pruning methods.",
        "`imagenet --preset laptop`: a sample, EfficientNet-Lite0, no earlier method beside it; "
        "`--preset paper` is ready and not yet run",
        _imagenet_sample,
    ),
    Claim(
        f"{WOLFE}, abstract",
        "More pre-training gives better subnetworks of convolutional networks, too: CIFAR-10.",
        CIFAR10_RAN,
        _cifar10_longer,
    ),
    Claim(
        f"{WOLFE}, abstract",
        "The threshold of pre-training grows with the data for convolutional networks: CIFAR-10, ImageNet.",
        "waits for `cifar10 --preset paper`: smaller runs have too few lengths to tell",
    ),
    Claim(
        f"{YE}, abstract",
        "Fine-tuned channels are better than their shape trained from new random weights: CIFAR-10.",
        f"{CIFAR10_RAN}, equal iterations in all",
        lambda: _against("gfs", "after", "re-initialised", "after", "fine-tuning is ahead"),
    ),
    Claim(
        f"{YE}, abstract",
        "Better pruned networks than by earlier methods: CIFAR-10, the papers' recipe beside L1 magnitude at "
        "equal MACs, both fine-tuned.",
        CIFAR10_RAN,
        lambda: _against("gfs", "after", "l1", "after", "the papers' recipe is ahead"),
    ),
)


def table(claims: Sequence[Claim] = CLAIMS) -> str:
    """The claims as a Markdown table. Where the result file is not there yet, the verdict says so."""
    lines = ["| claim | source | what we ran | what came out | verdict |", "|---|---|---|---|---|"]
    for claim in claims:
        try:
            outcome, verdict = claim.judge() if claim.judge is not None else ("", OPEN)
        except FileNotFoundError:
            outcome, verdict = "", OPEN
        lines.append(f"| {claim.text} | {claim.source} | {claim.ran} | {outcome} | **{verdict}** |")
    return "\n".join(lines)
