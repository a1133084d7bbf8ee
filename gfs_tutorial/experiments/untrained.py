"""What selection finds in a network that nobody trained, against its width; chapter *Random, untrained nets*.

After Ye et al. (2020), in our own setting.

Run: python -m gfs_tutorial.experiments.untrained --preset laptop
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from tqdm.auto import tqdm

from gfs_tutorial import checks, results, theory
from gfs_tutorial.data import load_mnist
from gfs_tutorial.experiments.mnist import accuracy
from gfs_tutorial.experiments.script import run_as_script
from gfs_tutorial.networks import TwoLayerNet
from gfs_tutorial.selection import greedy_forward_selection

__all__ = ["PRESETS", "UntrainedSettings", "preset", "run"]

Row = dict[str, Any]
BEST_UP_TO = 4_000_000  # neurons times digits up to which the hull is examined


@dataclass(frozen=True)
class UntrainedSettings:
    """All that the result depends on.

    Attributes:
        train_sizes: m, digits to select on.
        widths: N; the networks of one seed are nested, the smaller one the beginning of the larger.
        sizes: k, at which the loss is recorded.
        seeds: One run each: weights and subset of the images.
        source: As in :func:`gfs_tutorial.load_mnist`.
    """

    train_sizes: tuple[int, ...]
    widths: tuple[int, ...]
    sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    source: str = "embedded"


SIZES = (10, 20, 50, 100, 200)
PRESETS = {
    "quick": UntrainedSettings((100,), (200, 600, 2000, 6000), SIZES, (0, 1)),
    "laptop": UntrainedSettings(
        (100, 1000), (200, 600, 2000, 6000, 20_000, 60_000), (*SIZES, 400, 800), tuple(range(5))
    ),
}


def run(settings: UntrainedSettings, *, preset: str = "custom", progress: bool = True) -> dict[str, Any]:
    """Select from untrained networks, with and without replacement.

    Args:
        settings: What to run; :data:`PRESETS` has some.
        preset: Their name, for the record.
        progress: Whether to show a progress bar.

    Returns:
        The provenance, and ``rows``: for each m, N, seed, rule (``with_replacement``) and size k the
        loss, the number of distinct neurons, the test accuracy; and, the same for all sizes, the dense
        loss, the hull's minimum and whether y is inside (``None`` where the network is too large for it).
    """
    start = time.perf_counter()
    runs = [(m, N, seed) for m in settings.train_sizes for N in settings.widths for seed in settings.seeds]
    rows: list[Row] = []
    for m, N, seed in tqdm(runs, desc="untrained", unit="net", disable=not progress):
        rows.extend(_select_from(settings, m, N, seed))
    record = results.provenance(
        f"python -m gfs_tutorial.experiments.untrained --preset {preset}",
        settings,
        preset=preset,
        seconds=round(time.perf_counter() - start, 3),
    )
    return {**record, "rows": rows}


def _select_from(settings: UntrainedSettings, m: int, N: int, seed: int) -> list[Row]:
    data = load_mnist("binary", train_size=m, seed=seed, source=settings.source, verbose=False)
    largest = TwoLayerNet(784, max(settings.widths), generator=torch.Generator().manual_seed(seed))
    net = largest.subset(torch.arange(N))
    common: Row = {"m": m, "N": N, "seed": seed, "minimum": None, "inside": None}
    if m * N <= BEST_UP_TO:
        features, target = theory.network_features(net, data.X_train, data.y_train)
        common["minimum"] = theory.hull_minimum(features, target).loss
        common["inside"] = theory.hull_membership(features, target).inside
    rows = []
    for with_replacement in (True, False):
        sizes = [k for k in settings.sizes if with_replacement or k <= N]
        path = greedy_forward_selection(
            net, data.X_train, data.y_train, max(sizes), with_replacement=with_replacement
        )
        for k in sizes:
            small = path.subnetwork(k)
            rows.append(
                {
                    **common,
                    "with_replacement": with_replacement,
                    "k": k,
                    "loss": float(path.losses[k - 1]),
                    "distinct": small.width,
                    "dense_loss": path.dense_loss,
                    "test_accuracy": accuracy(small, data.X_test, data.y_test),
                }
            )
    return rows


def preset(name: str) -> UntrainedSettings:
    """The settings of that name; ``ValueError`` lists those that there are."""
    return PRESETS[checks.one_of("preset", name, tuple(PRESETS))]


if __name__ == "__main__":
    run_as_script("untrained", run, PRESETS)
