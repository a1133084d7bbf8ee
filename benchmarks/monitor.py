"""The pre-training monitor: what it costs, and whether looking back would have chosen the same moment.

Run: python benchmarks/monitor.py [--save results/benchmark-monitor.json]

Looking back: the states at the monitor's checkpoints were kept, and GFS is run on *all* training images at
each, as in the MNIST experiment.
"""

import argparse
import itertools
import statistics
import time
from dataclasses import replace

import torch
from tqdm.auto import tqdm

from gfs_tutorial import (
    PretrainingMonitor,
    TwoLayerNet,
    greedy_forward_selection,
    load_mnist,
    results,
    train_sgd,
)
from gfs_tutorial.accuracy import accuracy
from gfs_tutorial.monitor import Criteria, MonitorRecord
from gfs_tutorial.monitor.cadence import grid

SETTINGS = {
    "neurons": 1_000,
    "picks": 200,
    "monitor_rows": 1_000,
    "share": 0.05,
    "train_sizes": [500, 1000, 4000],
    "seeds": [0, 1, 2],
    "iterations": 640,
    "cost_iterations": 2_000,
    "batch_size": 100,
    "lr": [0.01, 1.0],
    "source": "embedded",
    "criteria": [
        {"loss": 0.1},
        {"loss": 0.05},
        {"accuracy": 0.95},
        {"accuracy": 0.98},
        {"patience": [100, 0.1]},
    ],
}
GRID = tuple(itertools.takewhile(lambda t: t <= SETTINGS["iterations"], grid(None)))


def training(m: int, seed: int, iterations: int, keep=(), **monitoring):
    """The data, the history and the monitor of one training (no monitor without ``monitoring``)."""
    s = SETTINGS
    data = load_mnist(train_size=m, seed=seed, source=s["source"], verbose=False)
    generator = torch.Generator().manual_seed(seed)
    net = TwoLayerNet(784, s["neurons"], generator=generator)
    rows = s["monitor_rows"]
    batch = data.X_train[:rows], data.y_train[:rows]  # subsets come shuffled
    monitor = PretrainingMonitor(*batch, s["picks"], **monitoring) if monitoring else None
    begin = time.perf_counter()
    history = train_sgd(
        net,
        data.X_train,
        data.y_train,
        iterations=iterations,
        batch_size=s["batch_size"],
        lr=tuple(s["lr"]),
        checkpoints=keep,
        generator=generator,
        monitor=monitor,
        progress=False,
    )
    return data, history, monitor, time.perf_counter() - begin


def full_record(data, history, record: MonitorRecord) -> MonitorRecord:
    """What the full selection finds where the monitor looked."""
    path = greedy_forward_selection(
        history.at(record.iteration), data.X_train, data.y_train, SETTINGS["picks"]
    )
    subnetwork = path.subnetwork(SETTINGS["picks"])
    right = accuracy(subnetwork, data.X_train, data.y_train)
    return replace(record, subnetwork_loss=float(path.losses[-1]), subnetwork_accuracy=right)


def agreement(m: int, seed: int) -> list[dict]:
    """For every criterion: the monitor's stopping time and the one found by looking back, on two cadences."""
    rows = []
    for cadence, monitoring in (
        ("whole grid", {"checkpoints": GRID}),
        ("5% share", {"share": SETTINGS["share"]}),
    ):
        data, history, monitor, _ = training(m, seed, SETTINGS["iterations"], GRID, **monitoring)
        times = [record.iteration for record in monitor.history]
        looked_back = [full_record(data, history, record) for record in monitor.history]
        for chosen in SETTINGS["criteria"]:
            criteria = Criteria(**chosen)
            found = [criteria.first_met(records) for records in (monitor.history, looked_back)]
            # "never" counts as the checkpoint after the last
            places = [len(times) if t is None else times.index(t) for t in found]
            rows.append(
                {
                    "m": m,
                    "seed": seed,
                    "cadence": cadence,
                    "criterion": chosen,
                    "monitor": found[0],
                    "looking_back": found[1],
                    "checkpoints_apart": places[0] - places[1],
                }
            )
    return rows


def cost(budget: str, seed: int) -> dict:
    """Time of a training with the monitor and without, in turn."""
    m, iterations = max(SETTINGS["train_sizes"]), SETTINGS["cost_iterations"]
    plain = training(m, seed, iterations)[-1]
    *_, monitor, watched = training(m, seed, iterations, share=SETTINGS["share"], budget=budget)
    return {
        "budget": budget,
        "seed": seed,
        "checks": len(monitor.history),
        "overhead": monitor.overhead,
        "seconds_without": plain,
        "seconds_with": watched,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--save", help="write the result to this file")
    save = parser.parse_args().save
    training(500, 0, 50)  # warm up
    costs = [cost(budget, seed) for budget in ("work", "clock") for seed in SETTINGS["seeds"]]
    for budget in ("work", "clock"):
        mine = [row for row in costs if row["budget"] == budget]
        overhead = statistics.median(row["overhead"] for row in mine)
        extra = statistics.median(row["seconds_with"] / row["seconds_without"] - 1 for row in mine)
        print(f"budget {budget}: {mine[0]['checks']} checks, overhead {overhead:.1%}, whole run {extra:+.1%}")

    runs = [(m, seed) for m in SETTINGS["train_sizes"] for seed in SETTINGS["seeds"]]
    rows = [row for m, seed in tqdm(runs, desc="agreement") for row in agreement(m, seed)]
    for cadence in ("whole grid", "5% share"):
        for criterion in SETTINGS["criteria"]:
            apart = [
                row["checkpoints_apart"]
                for row in rows
                if row["cadence"] == cadence and row["criterion"] == criterion
            ]
            print(f"{cadence}, {criterion}: checkpoints apart {sorted(apart)}")
    if save:
        command = "python benchmarks/monitor.py --save " + save
        results.write(save, {**results.provenance(command, SETTINGS), "cost": costs, "agreement": rows})


if __name__ == "__main__":
    main()
