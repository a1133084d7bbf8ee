"""Exact greedy forward selection, side by side with slower ways to the same picks.

    GFS_DATA_ROOT=... python benchmarks/selection.py [--threads 2] [--part NAME] [--save FILE]

large   N = 10,000 on all of MNIST (or what is there of it), after some SGD, with one and with ten outputs:
        computing the activations, one matrix-vector product per distinct neuron, the score form (a column
        each), selection by bounds, and brute force on all candidates, of which a few steps are timed and
        scaled to all.
small   N = 1,000 and m = 2,000: against a loop over candidates on cached activations, of which some steps
        are timed.
grid    Selection as it comes (by bounds where they pay) against the plain score form at many sizes, in turn;
        and how the time grows.
memory  Peak memory over the size of the activations, in a process of its own; and passes over the data.

All variants must pick the same neurons.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from selection_small import instance, loop_over_candidates
from torch import Tensor

from gfs_tutorial import TwoLayerNet, greedy_forward_selection, results, train_sgd
from gfs_tutorial.data import load_mnist
from gfs_tutorial.selection import SelectionPath, greedy
from gfs_tutorial.selection.activations import StoredActivations, activations_of

SETTINGS = {
    "large": {
        "neurons": 10_000,
        "size": 200,
        "outputs and iterations": [[1, 100], [10, 100], [1, 500]],
        "brute_force_steps": 3,
        "repeats": 2,
    },
    "small": {"neurons": 1_000, "rows": 2_000, "size": 100, "iterations": [0, 100, 300], "repeats": 25},
    "grid": {
        "neurons": [100, 1_000, 10_000],
        "rows": [100, 1_000, 10_000],
        "sizes": [50, 200],
        "iterations": 100,
        "repeats": 3,
        "seconds": 3,  # more repeats than that until so long has passed: pauses weigh little then
    },
    "memory": {"neurons": 4_000, "rows": 60_000, "size": 50},
    "seed": 0,
}


def seconds(function: Callable, *arguments) -> tuple[float, object]:
    """Wall-clock time of a call, on the GPU too, and what it returned."""
    start = time.perf_counter()
    value = function(*arguments)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, value


def select(
    hidden: Tensor, output_weights: Tensor, y: Tensor, size: int, *, plain: bool = False
) -> tuple[float, SelectionPath]:
    """Seconds that a selection on hidden (N, m) took, and its path; ``plain``: by the plain score form."""
    problem = StoredActivations(hidden), output_weights.detach(), y, size, True, False
    with patch.object(greedy, "pays", return_value=False) if plain else nullcontext():
        return seconds(greedy.select_from_activations, *problem)


@torch.no_grad()
def brute_force_step(hidden: Tensor, B: Tensor, y: Tensor, total: Tensor, k: int) -> int:
    """The neuron with the least loss, from the residual of every candidate, some neurons at a time."""
    losses = []
    for part in range(0, len(hidden), 64):
        candidates = hidden[part : part + 64, :, None] * B[part : part + 64, None]  # (n, m, C)
        losses.append(((total + candidates) / k - y).square().sum((1, 2)))
    return int(torch.cat(losses).argmin())


def brute_force(hidden: Tensor, B: Tensor, y: Tensor, steps: int) -> list[int]:
    total, picks = torch.zeros_like(y), []
    for k in range(1, steps + 1):
        picks.append(brute_force_step(hidden, B, y, total, k))
        total = total + hidden[picks[-1], :, None] * B[picks[-1]]
    return picks


def one_product_each(hidden: Tensor, neurons: list[int]) -> None:
    for neuron in neurons:
        torch.mv(hidden, hidden[neuron])


def large(device: str, outputs: int, iterations: int) -> dict[str, object]:
    s = SETTINGS["large"]
    data = load_mnist("binary" if outputs == 1 else "one-hot", verbose=False)
    X, y = data.X_train.to(device), data.y_train.to(device)
    generator = torch.Generator().manual_seed(SETTINGS["seed"])
    net = TwoLayerNet(784, s["neurons"], outputs, generator=generator).to(device)
    options = {"iterations": iterations, "batch_size": 100, "lr": (0.01, 1.0), "progress": False}
    train_sgd(net, X, y, generator=generator, **options)
    names = ("forward pass", "product each", "plain score form", "selection")
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(s["repeats"]):
        hidden = None  # two of them may not fit in memory
        spent, activations = seconds(activations_of, net, X, math.inf)
        hidden = activations.hidden
        times["forward pass"].append(spent)
        spent, path = select(hidden, net.output_weights, y, s["size"])
        times["selection"].append(spent)
        spent, plain = select(hidden, net.output_weights, y, s["size"], plain=True)
        times["plain score form"].append(spent)
        assert plain.indices.tolist() == path.indices.tolist(), "the bounds changed the picks"
        distinct = path.distinct(s["size"]).tolist()
        times["product each"].append(seconds(one_product_each, hidden, distinct)[0])
    steps = s["brute_force_steps"]
    spent, picks = seconds(brute_force, hidden, net.output_weights.detach(), y, steps)
    assert picks == path.indices[:steps].tolist(), "brute force picked other neurons"
    row = {name: statistics.median(values) for name, values in times.items()}
    row |= {"brute force, scaled": spent / steps * s["size"]}
    ours = row["selection"]
    for name, value in row.items():
        print(f"  {name:20s} {value:9.2f} s   {value / ours:7.2f} times the selection", flush=True)
    about = {
        "outputs": outputs,
        "iterations": iterations,
        "reads": len(path.reads),
        "products": sum(path.reads),
        "candidates": sum(path.candidates),
        "rows": len(X),
        "distinct": len(distinct),
        "data": f"{len(X):,} images of MNIST",
    }
    about |= {"hidden_bytes": hidden.numel() * hidden.element_size(), "device": device}
    return {**about, "seconds": row}


def large_networks(device: str) -> list[dict[str, object]]:
    rows = []
    for outputs, iterations in SETTINGS["large"]["outputs and iterations"]:
        print(f"{outputs} output(s), {iterations} SGD iterations")
        rows.append(large(device, outputs, iterations))
    return rows


def small() -> list[dict[str, object]]:
    s, rows = SETTINGS["small"], []
    for iterations in s["iterations"]:
        hidden, B, y = instance(s["neurons"], s["rows"], SETTINGS["seed"], iterations)
        H = hidden.T.contiguous()
        fast, plain, loop = [], [], []
        for _ in range(s["repeats"]):
            spent, path = select(H, B, y, s["size"])
            fast.append(spent / s["size"])
            plain.append(select(H, B, y, s["size"], plain=True)[0] / s["size"])
            loop.append(seconds(loop_over_candidates, H, B[:, 0], y[:, 0], 2)[0] / 2)
        assert path.indices[:4].tolist() == loop_over_candidates(H, B[:, 0], y[:, 0], 4)
        times = {name: statistics.median(v) for name, v in (("fast", fast), ("plain", plain), ("loop", loop))}
        rows.append(
            {"iterations": iterations, "distinct": len(path.distinct(s["size"]))}
            | {f"{name} ms a step": 1e3 * value for name, value in times.items()}
            | {"ratio": times["loop"] / times["fast"]}
        )
        print("  " + "  ".join(f"{key} {value:.4g}" for key, value in rows[-1].items()), flush=True)
    return rows


def grid() -> list[dict[str, object]]:
    s, rows = SETTINGS["grid"], []
    for N in s["neurons"]:
        for m in s["rows"]:
            hidden, B, y = instance(N, m, SETTINGS["seed"], s["iterations"])
            H = hidden.T.contiguous()
            for k in s["sizes"]:
                fast, plain = [], []
                while len(fast) < s["repeats"] or sum(fast + plain) < s["seconds"]:
                    spent, path = select(H, B, y, k)
                    fast.append(spent)
                    plain.append(select(H, B, y, k, plain=True)[0])
                distinct = len(path.distinct(k))
                row = {"neurons": N, "rows": m, "size": k, "distinct": distinct}
                row |= {"fast": statistics.median(fast), "plain": statistics.median(plain)}
                # Of neighbours in time, so that a pause of the machine touches one pair alone.
                row["ratio"] = statistics.median(a / b for a, b in zip(fast, plain))
                rows.append(row)
                print("  " + "  ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)
    fitted = exponents([row for row in rows if row["neurons"] >= 1_000])
    print("  time grows like " + " ".join(f"{key}^{value:.2f}" for key, value in fitted.items()))
    return [{**row, "exponents": fitted} for row in rows]


def exponents(rows: list[dict]) -> dict[str, float]:
    """Powers of N, m and k that fit the time best, by least squares on the logarithms."""
    keys = ("neurons", "rows", "size")
    A = np.array([[1.0, *(np.log(row[key]) for key in keys)] for row in rows])
    found = np.linalg.lstsq(A, np.log([row["fast"] for row in rows]), rcond=None)[0]
    return dict(zip(keys, found[1:].tolist()))


def memory_child(passes: bool) -> None:
    """Print the peak memory of a selection beyond what the inputs took, over the size of the activations."""
    s = SETTINGS["memory"]
    X = torch.randn(s["rows"], 100)
    net = TwoLayerNet(100, s["neurons"])
    full = 4 * s["neurons"] * s["rows"]
    greedy_forward_selection(net, X[:100], X[:100, 0], 5)  # the libraries' own memory
    before = peak_memory()
    limit = full / 10 if passes else None
    spent, _ = seconds(lambda: greedy_forward_selection(net, X, X[:, 0], s["size"], max_memory=limit))
    print(json.dumps({"passes": passes, "peak over H": (peak_memory() - before) / full, "seconds": spent}))


def peak_memory() -> int:
    """Bytes; on Linux. The peak that ``resource`` reports is inherited from the parent process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def memory(threads: int) -> list[dict[str, object]]:
    rows = []
    for kind in ("stored", "passes"):
        command = [sys.executable, __file__, "--threads", str(threads), "--memory-child", kind]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
        print(f"  {rows[-1]}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--part", choices=("large", "small", "grid", "memory"), action="append")
    parser.add_argument("--save", help="write the result to this file, each part as it is done")
    parser.add_argument("--memory-child", choices=("stored", "passes"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_child:
        memory_child(options.memory_child == "passes")
        return
    command = f"GFS_DATA_ROOT=... python benchmarks/selection.py --threads {options.threads}"
    record = results.provenance(command, {**SETTINGS, "threads": options.threads})
    measure = {
        "large": lambda: large_networks(options.device),
        "small": small,
        "grid": grid,
        "memory": lambda: memory(options.threads),
    }
    for name in options.part or measure:
        print(name, flush=True)
        part = {**record, "rows": measure[name]()}
        if options.save:
            parts = results.read(options.save)["parts"] if Path(options.save).exists() else {}
            results.write(options.save, {**record, "parts": {**parts, name: part}})


if __name__ == "__main__":
    main()
