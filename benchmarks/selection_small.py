"""Selection in score form against a loop over candidates on cached activations, side by side.

Run: python benchmarks/selection_small.py [--save results/benchmark-selection-small.json]
"""

import argparse
import statistics
import time

import torch
from torch import Tensor

from gfs_tutorial import TwoLayerNet, results, select_neurons, train_sgd

SETTINGS = {
    "neurons": 1_000,
    "rows": 2_000,
    "steps": 100,  # of the score form, its set-up counted in
    "loop_steps": 10,  # of the loop, whose steps all cost the same
    "sgd_iterations": [0, 100, 300],
    "repeats": 9,
    "seed": 0,
}


def instance(neurons: int, rows: int, seed: int, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    """Activations (m, N), output weights (N, 1) and labels (m, 1) of a net after some SGD."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(rows, 20, generator=generator)
    y = torch.tanh(X @ torch.randn(20, 1, generator=generator))
    net = TwoLayerNet(20, neurons, generator=generator)
    if iterations:
        train_sgd(
            net,
            X,
            y,
            iterations=iterations,
            batch_size=100,
            lr=(0.01, 1.0),
            generator=generator,
            progress=False,
        )
    with torch.no_grad():
        return net.hidden(X), net.output_weights.detach(), y


def loop_over_candidates(hidden: Tensor, output_weights: Tensor, y: Tensor, steps: int) -> list[int]:
    """GFS as one would first write it: activations (N, m) cached, the loss of each candidate at each step."""
    total, picks = torch.zeros_like(y), []
    for k in range(1, steps + 1):
        losses = [
            float(((total + h * b) / k - y).square().sum() / (2 * len(y)))
            for h, b in zip(hidden, output_weights)
        ]
        picks.append(losses.index(min(losses)))
        total = total + hidden[picks[-1]] * output_weights[picks[-1]]
    return picks


def seconds(function, *arguments) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def compare(iterations: int) -> dict[str, float]:
    """Time both on one net, in turn, and check that they pick the same neurons."""
    s = SETTINGS
    hidden, output_weights, y = instance(s["neurons"], s["rows"], s["seed"], iterations)
    looped = (hidden.T.contiguous(), output_weights[:, 0], y[:, 0], s["loop_steps"])
    fast = select_neurons(hidden, output_weights, y, s["steps"])
    slow = loop_over_candidates(*looped)
    assert fast.indices[: s["loop_steps"]].tolist() == slow, "the two picked different neurons"

    fast_times, slow_times = [], []
    for _ in range(s["repeats"]):
        fast_times.append(seconds(select_neurons, hidden, output_weights, y, s["steps"]) / s["steps"])
        slow_times.append(seconds(loop_over_candidates, *looped) / s["loop_steps"])
    score_form, loop = statistics.median(fast_times), statistics.median(slow_times)
    return {
        "sgd_iterations": iterations,
        "distinct_neurons": len(fast.distinct(s["steps"])),
        "score_form_ms_per_step": 1e3 * score_form,
        "loop_ms_per_step": 1e3 * loop,
        "ratio": loop / score_form,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", help="write the result to this file")
    save = parser.parse_args().save
    print(
        f"N = {SETTINGS['neurons']:,}, m = {SETTINGS['rows']:,}, k = {SETTINGS['steps']}; ms a step, medians"
    )
    print("SGD iterations  distinct  score form  loop over candidates  ratio")
    rows = [compare(iterations) for iterations in SETTINGS["sgd_iterations"]]
    for row in rows:
        print("{:14d} {:9d} {:11.3f} {:21.3f} {:6.0f}".format(*row.values()))
    if save:
        command = "python benchmarks/selection_small.py --save " + save
        results.write(save, {**results.provenance(command, SETTINGS), "rows": rows})


if __name__ == "__main__":
    main()
