"""Channel selection by the loss of the whole network: the tape against a forward pass for each candidate.

    python benchmarks/channel_loss.py [--only NAME] [--threads 1] [--save results/benchmark-channel-loss.json]

Block by block, side by side: ``select_by_loss`` as it is and with ``oracle=True``, with the authors' fifty
random candidates a step and a fresh mini-batch at each. Some steps of the first and some forward passes of
the second are timed, in turn; both are scaled to the number of candidates that a selection of half the unit
tries. What is recorded as ``seconds`` is scaled in this way, never a whole run. Weights and images are
random: time does not depend on them. On smaller images, in float64, both must pick the same candidates step
for step.

Below 16 images, on one thread, torch computes the small convolutions of late blocks in a slower way, for
both, and the ratio is lower.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from itertools import islice

import torch
from torch import Tensor, nn

from gfs_tutorial import results
from gfs_tutorial.cnn.loss import picks_by_loss
from gfs_tutorial.cnn.models import build
from gfs_tutorial.cnn.units import Unit, find_units

SETTINGS = {
    "candidates": 50,
    "fast_steps": 3,  # timed, after one that is not
    "oracle_forwards": 4,  # timed, three times over, after some that are not
    "check_steps": 3,  # compared
    "check_candidates": 12,
    "seed": 0,
}
# classes; image size, batch; the same for the comparison; how many times less over all blocks is the aim
NETWORKS = {"resnet20": (10, 32, 128, 16, 8, 3.0), "efficientnet-lite0": (1000, 224, 16, 64, 2, 8.0)}
LATE_TARGET = 10.0  # over the last third of the blocks


def network(name: str) -> nn.Module:
    """With random weights and lively batch statistics."""
    torch.manual_seed(SETTINGS["seed"])
    if name == "resnet20":
        model = build("resnet20")
    else:
        from efficientnet_lite_pytorch import EfficientNet

        model = EfficientNet.from_name(name)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return model.eval()


def batches(
    count: int, batch: int, size: int, classes: int, dtype=torch.float32
) -> list[tuple[Tensor, Tensor]]:
    return [
        (torch.randn(batch, 3, size, size, dtype=dtype), torch.randint(0, classes, (batch,)))
        for _ in range(count)
    ]


def seconds(function: Callable, *arguments) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def compare_picks(model: nn.Module, unit: Unit, data: list[tuple[Tensor, Tensor]]) -> int:
    """Number of steps at which both picked the same candidate: all of them, or an error."""
    s, picks = SETTINGS, []
    for oracle in (False, True):
        steps = picks_by_loss(
            model,
            unit,
            data,
            candidates=s["check_candidates"],
            oracle=oracle,
            generator=torch.Generator().manual_seed(s["seed"]),
        )
        picks.append([pick for pick, _ in islice(steps, s["check_steps"])])
    if picks[0] != picks[1]:
        raise RuntimeError(f"unit {unit.name}: picks {picks[0]}, the oracle's {picks[1]}")
    return len(picks[0])


def time_unit(model: nn.Module, unit: Unit, data: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Seconds, scaled to a selection of half the unit, of both."""
    s = SETTINGS
    tried = min(s["candidates"], unit.size)
    fast = picks_by_loss(model, unit, data, candidates=tried, with_replacement=True)
    # With few candidates: each step is as many forward passes, and one more for the new mini-batch.
    forwards = min(s["oracle_forwards"], unit.size)
    slow = picks_by_loss(model, unit, data, candidates=forwards, oracle=True, with_replacement=True)
    times = [
        (seconds(next, fast) / tried, seconds(next, slow) / (forwards + 1))
        for _ in range(s["fast_steps"] + 1)
    ]
    fast_each, slow_each = (statistics.median(column) for column in zip(*times[1:]))
    trials = sum(min(s["candidates"], unit.size - k) for k in range(unit.size // 2))
    return {
        "unit": unit.name,
        "candidates": unit.size,
        "trials": trials,
        "fast_seconds": fast_each * trials,
        "oracle_seconds": slow_each * trials,
        "ratio": slow_each / fast_each,
    }


def ratio(rows: list[dict]) -> float:
    return sum(row["oracle_seconds"] for row in rows) / sum(row["fast_seconds"] for row in rows)


def compare(name: str) -> dict:
    classes, size, batch, check_size, check_batch, target = NETWORKS[name]
    model = network(name)
    units = find_units(model, torch.randn(2, 3, check_size, check_size))
    print(f"{name}: {len(units)} units, {batch} images of {size}x{size}; seconds scaled to half of each unit")
    print(f"{'unit':32s} candidates   tape s  oracle s  ratio")
    data, rows = batches(4, batch, size, classes), []
    for unit in units:
        rows.append(time_unit(model, unit, data))
        print("{0:32s} {1:10d} {3:8.1f} {4:9.1f} {5:6.1f}".format(*rows[-1].values()), flush=True)
    checks = batches(3, check_batch, check_size, classes, torch.float64)
    model.double()
    steps = sum(compare_picks(model, unit, checks) for unit in units)
    late, total = ratio(rows[-(len(rows) // 3) :]), ratio(rows)
    print(f"all blocks {total:.1f}x (aim {target}x), last third {late:.1f}x (aim {LATE_TARGET}x)")
    print(f"same picks at all {steps} steps that were compared")
    return {"network": name, "all_blocks": total, "last_third": late, "same_picks": steps, "units": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", choices=list(NETWORKS), help="this network alone")
    parser.add_argument("--threads", type=int, default=1, help="of torch, on as many cores")
    parser.add_argument("--save", help="write the result to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if hasattr(os, "sched_setaffinity"):  # the last cores: the first ones serve interrupts
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-options.threads :])
    names = [options.only] if options.only else list(NETWORKS)
    rows = [compare(name) for name in names]
    if options.save:
        command = f"python benchmarks/channel_loss.py --threads {options.threads} --save {options.save}"
        settings = {**SETTINGS, "networks": {name: list(NETWORKS[name]) for name in names}}
        results.write(options.save, {**results.provenance(command, settings), "rows": rows})


if __name__ == "__main__":
    main()
