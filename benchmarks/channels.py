"""Channel pruning side by side: our default, its parts, and every criterion that torch-pruning ships.

    GFS_DATA_ROOT=... python benchmarks/channels.py [--network NAME] [--only REGEX] [--seeds 3]

Each network is pruned on calibration images and evaluated on others; seeds draw the calibration images. A
finished row is written at once, and a second start goes on where the first one stopped. Rows:

    default                 prune(model, images, macs=...)
    uniform                 the same with the same share of every unit
    local, loss             the default with channels ranked by the error of their layer, or by the loss of
                            the network on labels (the papers' criterion)
    RIVAL, ours             a rival's scores, given our allocation and refit
    ..., inputs dense       these with consumers fitted on what the dense network feeds them, the quicker way
    RIVAL, standard         lowest scores of the whole network go, then batch norms are recalibrated
    ... + labels, + dense   some of them, after the same number of steps on labels, or on the dense network's
                            answers to the same images
"""

from __future__ import annotations

import argparse
import copy
import re
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gfs_tutorial import results
from gfs_tutorial.cnn.cost import MacModel, count_macs
from gfs_tutorial.cnn.models import load_pretrained
from gfs_tutorial.cnn.prune import prune
from gfs_tutorial.cnn.recalibration import recalibrate_norms
from gfs_tutorial.cnn.rivals import RIVALS, global_candidates, rival_scores
from gfs_tutorial.cnn.surgery import slice_units
from gfs_tutorial.cnn.training import evaluate, fit, native_precision, normalize
from gfs_tutorial.cnn.units import find_units
from gfs_tutorial.data.imagenet import load_imagenet_sample
from gfs_tutorial.data.images import load_cifar10

OUT = Path(__file__).resolve().parents[1] / "results" / "benchmark-channels.json"
BUDGETS = {"efficientnet-lite0": (0.78, 0.55), "resnet20-cifar10": (0.70, 0.50, 0.30)}
WITH_OURS = ("random", "l1", "fpgm", "taylor")  # rivals that are also given our allocation and refit
TUNING = {"steps": 150, "batch_size": 128, "lr": 0.02}
TUNED = (
    *("default", "uniform", "l1, ours", "taylor, ours", "l1, standard", "taylor, standard"),
    *("inputs dense", "uniform, inputs dense", "l1, ours, inputs dense", "taylor, ours, inputs dense"),
)
COLUMNS = ("accuracy", "accuracy + labels", "accuracy + dense")
KEY = ("network", "seed", "macs", "variant")  # of a row
Row = dict[str, object]


class Trial:
    """One network with calibration and evaluation images, drawn by a seed."""

    def __init__(self, network: str, seed: int):
        self.network, self.seed = network, seed
        self.pretrained = load_pretrained(network)
        self.normal = {"mean": self.pretrained.mean, "std": self.pretrained.std}
        self.model = self.pretrained.model
        (X, y), self.test = self._cifar10() if network == "resnet20-cifar10" else self._imagenet()
        self.X, self.y = X, y
        self.batches = list(zip(normalize(X, **self.normal).split(50), y.split(50)))
        self.units = find_units(self.model, self.batches[0][0][:1])
        self.costs = MacModel(self.model, self.units, self.batches[0][0][:1])

    def _imagenet(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        sample = load_imagenet_sample(verbose=False)
        self.source = f"{len(sample.y)} ImageNet photographs of as many classes, halved by the seed"
        order = torch.randperm(len(sample.y), generator=torch.Generator().manual_seed(self.seed))
        half, rest = order[: len(order) // 2], order[len(order) // 2 :]
        return (sample.X[half], sample.y[half]), (sample.X[rest], sample.y[rest])

    def _cifar10(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        data = load_cifar10(verbose=False)
        self.train = data.X_train, data.y_train
        self.source = "CIFAR-10, re-encoded as JPEG of quality about 75: 500 training images, all test images"
        rows = torch.randperm(len(data.y_train), generator=torch.Generator().manual_seed(self.seed))[:500]
        return (data.X_train[rows], data.y_train[rows]), (data.X_test, data.y_test)

    def accuracy(self, model: nn.Module) -> float:
        return evaluate(model, *self.test, **self.normal, batch_size=100)

    def standard(self, rival: str, macs: float) -> nn.Module:
        scores = rival_scores(rival, self.model, self.units, self.batches, seed=self.seed)
        small = slice_units(self.model, self.units, global_candidates(scores, self.costs, macs))
        return recalibrate_norms(small, self.batches)

    def ours(self, macs: float, **options) -> nn.Module:
        return prune(self.model, self.batches, macs=macs, seed=self.seed, **options)[0]

    def ours_with(self, rival: str, macs: float, inputs: str) -> nn.Module:
        scores = rival_scores(rival, self.model, self.units, self.batches, seed=self.seed)
        return self.ours(macs, importance=scores, inputs=inputs)

    def tuned(self, small: nn.Module, teacher: nn.Module | None) -> nn.Module:
        small = copy.deepcopy(small)
        generator = torch.Generator().manual_seed(self.seed)
        fit(small, *self.train, **self.normal, **TUNING, teacher=teacher, generator=generator, progress=False)
        return small


def variants(trial: Trial, macs: float) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """Name of each variant and how it is made."""
    for words, inputs in (("", "pruned"), ("inputs dense", "dense")):
        comma = f", {words}" if words else ""
        yield words or "default", lambda inputs=inputs: trial.ours(macs, inputs=inputs)
        yield (
            f"uniform{comma}",
            lambda inputs=inputs: trial.ours(macs, inputs=inputs, allocation="uniform"),
        )
        for rival in WITH_OURS:
            yield (
                f"{rival}, ours{comma}",
                lambda rival=rival, inputs=inputs: trial.ours_with(rival, macs, inputs),
            )
    for method in ("local", "loss"):
        yield method, lambda method=method: trial.ours(macs, method=method)
    for rival in RIVALS:
        yield f"{rival}, standard", lambda rival=rival: trial.standard(rival, macs)


def dense_row(trial: Trial, done: set[tuple]) -> Iterator[Row]:
    """The network before pruning."""
    key = (trial.network, trial.seed, 1.0, "dense")
    if key not in done:
        row = dict(zip(KEY, key))
        yield row | {"kept_macs": 1.0, "seconds": 0.0, "accuracy": trial.accuracy(trial.model)}


def rows_of(trial: Trial, macs: float, done: set[tuple], only: str) -> Iterator[Row]:
    """Prune and evaluate what is not done yet."""
    for name, make in variants(trial, macs):
        key = (trial.network, trial.seed, macs, name)
        if key in done or not re.search(only, name):
            continue
        start = time.perf_counter()
        try:
            small = make()
        except ValueError as reason:  # a criterion of torch-pruning that its code cannot compute here
            print(f"{name} left out: {reason}", flush=True)
            continue
        seconds = time.perf_counter() - start
        share = count_macs(small, trial.batches[0][0][:1]) / trial.costs.dense
        row = dict(zip(KEY, key))
        row |= {"kept_macs": share, "seconds": seconds, "accuracy": trial.accuracy(small)}
        if hasattr(trial, "train") and name in TUNED:
            row["accuracy + labels"] = trial.accuracy(trial.tuned(small, None))
            row["accuracy + dense"] = trial.accuracy(trial.tuned(small, trial.model))
        yield row


def table(rows: list[Row]) -> str:
    """Mean and standard deviation over seeds."""
    lines = []
    for network, macs in dict.fromkeys((row["network"], row["macs"]) for row in rows):
        group = [row for row in rows if (row["network"], row["macs"]) == (network, macs)]
        lines.append(f"\n{network} at {macs:.0%} of the MACs")
        for name in dict.fromkeys(row["variant"] for row in group):
            mine = [row for row in group if row["variant"] == name]
            cells = []
            for column in (c for c in COLUMNS if c in mine[0]):
                values = [row[column] for row in mine]
                cells.append(f"{column} {statistics.mean(values):.3f} ± {statistics.pstdev(values):.3f}")
            lines.append(f"  {name:24s} {'   '.join(cells)}   ({len(mine)} seeds)")
    return "\n".join(lines)


def so_far() -> dict[str, Any]:
    """What is stored."""
    return results.read(OUT) if OUT.exists() else {"rows": [], "data": {}}


def add(trial: Trial, row: Row, threads: int) -> None:
    """Store one more row, with the machine that made it."""
    settings = {"budgets": BUDGETS, "tuning": TUNING, "threads": threads}
    settings["evaluation"] = native_precision(torch.device("cpu"))
    record = results.provenance("GFS_DATA_ROOT=... python benchmarks/channels.py", settings)
    stored = so_far()  # read again: another process may have added to it
    stored["data"][trial.network] = trial.source
    stored["rows"].append({**row, "hardware": record["hardware"], "torch": record["versions"]["torch"]})
    results.write(OUT, {**record, **{name: stored[name] for name in ("data", "rows")}})
    print("{network} {macs} seed {seed} {variant}: {accuracy:.3f}".format(**row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=tuple(BUDGETS), action="append")
    parser.add_argument("--only", default="", help="variants whose names match this regular expression")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for network in options.network or BUDGETS:
        for seed in range(options.seeds):
            trial = Trial(network, seed)
            done = {tuple(row[name] for name in KEY) for row in so_far()["rows"]}
            parts = (rows_of(trial, macs, done, options.only) for macs in BUDGETS[network])
            for row in chain(dense_row(trial, done), *parts):
                add(trial, row, options.threads)
    print(table(so_far()["rows"]))


if __name__ == "__main__":
    main()
