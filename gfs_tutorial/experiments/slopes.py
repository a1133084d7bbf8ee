"""The slope experiment: loss against number of neurons on log axes, for three ways to get a small network.

Greedy forward selection and backward elimination from a trained network, and training from scratch, after
Ye et al. (2020) in our own setting; chapter *Slopes*.

Run: python -m gfs_tutorial.experiments.slopes --preset laptop
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from gfs_tutorial import checks, results, theory
from gfs_tutorial.baselines import backward_elimination
from gfs_tutorial.data import load_mnist
from gfs_tutorial.experiments.script import run_as_script
from gfs_tutorial.experiments.teacher import random_net, teacher_data
from gfs_tutorial.networks import TwoLayerNet
from gfs_tutorial.selection import greedy_forward_selection
from gfs_tutorial.training import half_squared_error, train_sgd

__all__ = ["PRESETS", "Case", "SlopeSettings", "losses_of", "preset", "run", "trained_net"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One task and one network.

    Attributes:
        name: e.g. ``"teacher"``.
        rows: m.
        width: N, neurons of the dense network.
        iterations: Of training, for the dense network and for those from scratch alike.
        sizes: n, neurons of the small networks.
        more_sizes: Further sizes for forward selection alone, which may exceed N.
        lr: Mean-field learning rates of the two layers.
        batch_size: Rows a batch; ``None`` takes all.
    """

    name: str
    rows: int
    width: int
    iterations: int
    sizes: tuple[int, ...]
    more_sizes: tuple[int, ...] = ()
    lr: tuple[float, float] = (0.01, 1.0)
    batch_size: int | None = 100


@dataclass(frozen=True)
class SlopeSettings:
    """All that the result depends on.

    Attributes:
        cases: What to run; ``"teacher..."`` makes its data, the others take digits (below five or not).
        seeds: One run each: data, weights and batches.
        source: Of the digits, as in :func:`gfs_tutorial.load_mnist`.
    """

    cases: tuple[Case, ...]
    seeds: tuple[int, ...]
    source: str = "embedded"


TEACHER = Case(
    "teacher",
    rows=200,
    width=4000,
    iterations=400,
    sizes=(90, 150, 250, 400, 630, 1000),
    more_sizes=(10, 20, 40, 1600, 2500, 4000, 6300, 10_000),
    lr=(1.0, 1.0),
    batch_size=None,
)
SIZES = (10, 20, 50, 100, 200, 400, 800)
FEW_DIGITS = Case("digits-200", 200, 1000, 1000, SIZES, more_sizes=(1600, 3200, 6400, 12_800))
MANY_DIGITS = Case("digits-4000", 4000, 1000, 1000, SIZES, more_sizes=(1600, 3200, 6400, 12_800))
PRESETS = {
    "quick": SlopeSettings((TEACHER,), (0, 1)),
    "laptop": SlopeSettings((TEACHER, FEW_DIGITS, MANY_DIGITS), tuple(range(5))),
}


def run(settings: SlopeSettings, *, preset: str = "custom", progress: bool = True) -> dict[str, Any]:
    """Train, select, eliminate and train from scratch, for every case and seed.

    Args:
        settings: What to run; :data:`PRESETS` has some.
        preset: Their name, for the record.
        progress: Whether to show a progress bar.

    Returns:
        The provenance; ``networks``, one dictionary for each case and seed (dense loss, V, the hull's
        minimum with its duality gap, whether y is inside); and ``rows``, the loss for each case, seed,
        method (``"forward"``, ``"backward"``, ``"scratch"``) and size n.
    """
    start = time.perf_counter()
    runs = [(case, seed) for case in settings.cases for seed in settings.seeds]
    networks, rows = [], []
    for case, seed in tqdm(runs, desc="slopes", unit="run", disable=not progress):
        network, its_rows = _run_one(case, seed, settings.source)
        networks.append(network)
        rows.extend(its_rows)
    record = results.provenance(
        f"python -m gfs_tutorial.experiments.slopes --preset {preset}",
        settings,
        preset=preset,
        seconds=round(time.perf_counter() - start, 3),
    )
    return {**record, "networks": networks, "rows": rows}


def trained_net(
    case: Case, seed: int, width: int | None = None, *, source: str = "embedded"
) -> tuple[TwoLayerNet, Tensor, Tensor]:
    """The data of a case and a network trained on them.

    Args:
        case: Which.
        seed: Of data, weights and batches.
        width: Number of neurons; ``None`` takes the case's N. Other widths see the same data.
        source: Of the digits.

    Returns:
        The network, ``X`` (m, d) and ``y`` (m, 1).
    """
    generator = torch.Generator().manual_seed(seed)
    width = case.width if width is None else width
    if case.name.startswith("teacher"):
        X, y = teacher_data(case.rows, generator=generator)
        net = random_net(X.shape[1], width, 0.5, generator=generator)
    else:
        data = load_mnist("binary", train_size=case.rows, seed=seed, source=source, verbose=False)
        X, y = data.X_train, data.y_train
        net = TwoLayerNet(X.shape[1], width, generator=generator)
    train_sgd(
        net,
        X,
        y,
        iterations=case.iterations,
        batch_size=case.batch_size or len(X),
        lr=case.lr,
        generator=generator,
        progress=False,
    )
    return net, X, y


def _run_one(case: Case, seed: int, source: str) -> tuple[Row, list[Row]]:
    net, X, y = trained_net(case, seed, source=source)
    forward = greedy_forward_selection(net, X, y, max(case.sizes + case.more_sizes))
    backward = backward_elimination(net, X, y, max(case.sizes))
    features, target = theory.network_features(net, X, y)
    minimum = theory.hull_minimum(features, target)
    network = {
        "case": case.name,
        "seed": seed,
        "dense_loss": forward.dense_loss,
        "variance": forward.variance,
        "minimum": minimum.loss,
        "duality_gap": minimum.duality_gap,
        "inside": theory.hull_membership(features, target).inside,
    }
    found: dict[str, dict[int, Any]] = {
        "forward": {n: forward.losses[n - 1] for n in sorted(case.sizes + case.more_sizes)},
        "backward": {n: backward.losses[n - 1] for n in case.sizes},
        "scratch": {n: _from_scratch(case, seed, n, source) for n in case.sizes},
    }
    common = {"case": case.name, "seed": seed}
    rows = [
        {**common, "method": method, "n": n, "loss": float(loss)}
        for method, losses in found.items()
        for n, loss in losses.items()
    ]
    return network, rows


@torch.no_grad()
def _full_loss(net: TwoLayerNet, X: Tensor, y: Tensor) -> float:
    return float(half_squared_error(net(X).double(), y.double()))


def _from_scratch(case: Case, seed: int, width: int, source: str) -> float:
    return _full_loss(*trained_net(case, seed, width, source=source))


def losses_of(rows: Iterable[Row], case: str, method: str) -> tuple[list[int], list[list[float]]]:
    """Sizes n, and the losses at them, one list a seed: what :func:`theory.slope_over_seeds` wants.

    Raises:
        ValueError: there are no such rows.
    """
    chosen = [row for row in rows if row["case"] == case and row["method"] == method]
    if not chosen:
        raise ValueError(f"there are no rows of case {case!r} and method {method!r}")
    sizes = sorted({row["n"] for row in chosen})
    by_seed: Iterator[int] = iter(sorted({row["seed"] for row in chosen}))
    at = {(row["seed"], row["n"]): row["loss"] for row in chosen}
    return sizes, [[at[seed, n] for n in sizes] for seed in by_seed]


def preset(name: str) -> SlopeSettings:
    """The settings of that name; ``ValueError`` lists those that there are."""
    return PRESETS[checks.one_of("preset", name, tuple(PRESETS))]


if __name__ == "__main__":
    run_as_script("slopes", run, PRESETS)
