"""The threshold experiment: how much pre-training the certificate asks for, and how much it takes.

Every assumption of the derivation is measured on the way; chapter *How much pre-training is enough?*

Run: python -m gfs_tutorial.experiments.pretraining --preset laptop
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tqdm.auto import tqdm

from gfs_tutorial import checks, results, theory
from gfs_tutorial.data import load_mnist
from gfs_tutorial.experiments.script import run_as_script
from gfs_tutorial.networks import TwoLayerNet
from gfs_tutorial.selection import greedy_forward_selection
from gfs_tutorial.training import train_sgd

__all__ = ["PRESETS", "PretrainingSettings", "follow", "preset", "run", "summary"]

Row = dict[str, Any]


@dataclass(frozen=True)
class PretrainingSettings:
    """All that the result depends on.

    Attributes:
        train_sizes: m, digits trained on.
        widths: N.
        iterations: t, when the network is looked at and pruned; increasing, the first is 0.
        size: k, picks of the selection.
        seeds: One run each: weights, batches and subset of the images.
        batch_size: Images a batch; ``None`` is full-batch descent.
        lr: Mean-field learning rates of the two layers. With full batches they must be smaller than for SGD
            elsewhere in the book: at (0.01, 1.0) the loss rises again for some iterations.
        source: As in :func:`gfs_tutorial.load_mnist`.
    """

    train_sizes: tuple[int, ...]
    widths: tuple[int, ...]
    iterations: tuple[int, ...]
    size: int
    seeds: tuple[int, ...]
    batch_size: int | None = None
    lr: tuple[float, float] = (0.003, 0.3)
    source: str = "embedded"


LOOKS = (*range(0, 20, 2), *range(20, 100, 5), *range(100, 300, 20), *range(300, 601, 50))
PRESETS = {
    "quick": PretrainingSettings((100,), (1000,), LOOKS, 100, (0,)),
    "laptop": PretrainingSettings((50, 100, 200, 400), (500, 1000, 2000), LOOKS, 100, tuple(range(4))),
}


def run(settings: PretrainingSettings, *, preset: str = "custom", progress: bool = True) -> dict[str, Any]:
    """Train, look and prune, for every m, N and seed.

    Args:
        settings: What to run; :data:`PRESETS` has some.
        preset: Their name, for the record.
        progress: Whether to show a progress bar.

    Returns:
        The provenance, and ``rows``: one dictionary for each m, N, seed and t, see :func:`follow`.
    """
    start = time.perf_counter()
    runs = [(m, N, seed) for m in settings.train_sizes for N in settings.widths for seed in settings.seeds]
    rows: list[Row] = []
    for m, N, seed in tqdm(runs, desc="pre-training", unit="run", disable=not progress):
        rows.extend(follow(settings, m, N, seed))
    record = results.provenance(
        f"python -m gfs_tutorial.experiments.pretraining --preset {preset}",
        settings,
        preset=preset,
        seconds=round(time.perf_counter() - start, 3),
    )
    return {**record, "rows": rows}


def follow(settings: PretrainingSettings, m: int, N: int, seed: int) -> list[Row]:
    """One training run, looked at: a dictionary for each t.

    Its entries: ``m``, ``N``, ``seed``, ``t``, ``dense_loss`` (:math:`L_t`), ``variance`` (:math:`V_t`),
    ``subnetwork_loss`` (:math:`\\ell(u_k)`), and at t = 0 ``kernel_rho``, the rate that the tangent kernel of
    the untrained network promises.
    """
    data = load_mnist("binary", train_size=m, seed=seed, source=settings.source, verbose=False)
    generator = torch.Generator().manual_seed(seed)
    net = TwoLayerNet(784, N, generator=generator)
    kernel_rho = theory.kernel_contraction(net, data.X_train, settings.lr)
    history = train_sgd(
        net,
        data.X_train,
        data.y_train,
        iterations=max(settings.iterations),
        batch_size=settings.batch_size or m,
        lr=settings.lr,
        checkpoints=settings.iterations,
        generator=generator,
        progress=False,
    )
    rows = []
    for t in settings.iterations:
        path = greedy_forward_selection(history.at(t), data.X_train, data.y_train, settings.size)
        row = {"m": m, "N": N, "seed": seed, "t": t, "dense_loss": path.dense_loss}
        row |= {"variance": path.variance, "subnetwork_loss": float(path.losses[-1])}
        rows.append(row | {"kernel_rho": kernel_rho} if t == 0 else row)
    return rows


def summary(rows: Sequence[Row], size: int) -> Row:
    r"""The thresholds of one run.

    Args:
        rows: Of one m, N and seed.
        size: k.

    Returns:
        ``rho``, ``fitted``, ``r_squared`` of :func:`gfs_tutorial.theory.contraction`, ``kernel_rho``; and the
        first t seen at which

        * ``achieved``: :math:`\ell(u_k) \le 2V_t/k`, what is promised, is there;
        * ``certified``: :math:`L_t \le V_t/2k`, so that the certificate promises it;
        * ``predicted``: :math:`t \ge \log(2kL_0/V_t)/-\log(1-\rho)`, the threshold with the measured
          :math:`\rho`;
        * ``kernel``: the same with the kernel's :math:`\rho` and the V of the ``certified`` t, by
          formula, since it may lie far beyond the last t seen;

        ``None`` where that is not seen.
    """
    rows = sorted(rows, key=lambda row: row["t"])
    start = rows[0]
    measured = theory.contraction([row["t"] for row in rows], [row["dense_loss"] for row in rows])

    def first(holds: Callable[[Row], bool]) -> Row | None:
        return next((row for row in rows if holds(row)), None)

    def threshold(row: Row, rho: float) -> float:
        return theory.pretraining_threshold(start["dense_loss"], row["variance"], size, rho)

    achieved = first(lambda row: row["subnetwork_loss"] <= 2 * row["variance"] / size)
    certified = first(lambda row: row["dense_loss"] <= row["variance"] / (2 * size))
    predicted = first(lambda row: row["t"] >= threshold(row, measured.rho))
    kernel = threshold(certified, start["kernel_rho"]) if certified else math.inf
    return {
        **{key: start[key] for key in ("m", "N", "seed", "kernel_rho")},
        "rho": measured.rho,
        "fitted": measured.fitted,
        "r_squared": measured.r_squared,
        "growth": rows[-1]["variance"] / start["variance"],
        "achieved": achieved and achieved["t"],
        "certified": certified and certified["t"],
        "predicted": predicted and predicted["t"],
        "kernel": int(kernel) if math.isfinite(kernel) else None,
    }


def preset(name: str) -> PretrainingSettings:
    """The settings of that name; ``ValueError`` lists those that there are."""
    return PRESETS[checks.one_of("preset", name, tuple(PRESETS))]


if __name__ == "__main__":
    run_as_script("pretraining", run, PRESETS)
