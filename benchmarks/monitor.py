"""The pre-training monitor: what it costs, and whether looking back would have chosen the same moment.

Run: python benchmarks/monitor.py [--part cost] [--save results/benchmark-monitor.json]

Cost: the same training with the monitor and without, timed in turn; leave the machine alone meanwhile.
Agreement: the states at the monitor's checkpoints are kept, and GFS is run on *all* training images at each,
as in the MNIST experiment. It comes out the same on a busy machine. What is finished is kept in runs/, and
the same command goes on from there.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
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
from gfs_tutorial.experiments.store import Cell, RunFolder
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


def finished(store: RunFolder, cell: Cell, measure: Callable[[], list[dict]]) -> list[dict]:
    """The rows of a cell: those that were kept, or else measured now and kept."""
    record = store.load(cell)
    if record is None:
        record = {"date": results.now(), "hardware": results.hardware(), "rows": measure()}
        store.save(cell, record)
    return record["rows"]


def all_costs(store: RunFolder) -> list[dict]:
    """With a line for each budget."""
    training(500, 0, 50)  # warm up
    rows = []
    for budget, seed in itertools.product(("work", "clock"), SETTINGS["seeds"]):
        cell = {"part": "cost", "budget": budget, "seed": seed}
        rows += finished(store, cell, lambda budget=budget, seed=seed: [cost(budget, seed)])
    for budget in ("work", "clock"):
        mine = [row for row in rows if row["budget"] == budget]
        overhead = statistics.median(row["overhead"] for row in mine)
        extra = statistics.median(row["seconds_with"] / row["seconds_without"] - 1 for row in mine)
        print(f"budget {budget}: {mine[0]['checks']} checks, overhead {overhead:.1%}, whole run {extra:+.1%}")
    return rows


def all_agreements(store: RunFolder) -> list[dict]:
    """With a line for each cadence and criterion."""
    rows = []
    for m, seed in tqdm(list(itertools.product(SETTINGS["train_sizes"], SETTINGS["seeds"]))):
        cell = {"part": "agreement", "m": m, "seed": seed}
        rows += finished(store, cell, lambda m=m, seed=seed: agreement(m, seed))
    for cadence, criterion in itertools.product(("whole grid", "5% share"), SETTINGS["criteria"]):
        mine = [row for row in rows if (row["cadence"], row["criterion"]) == (cadence, criterion)]
        print(f"{cadence}, {criterion}: apart by {sorted(row['checkpoints_apart'] for row in mine)}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--part", choices=("cost", "agreement"), help="only this part, and save nothing")
    parser.add_argument("--save", help="write the result to this file")
    arguments = parser.parse_args()
    parts = {"cost": all_costs, "agreement": all_agreements}
    with RunFolder("runs/benchmark-monitor", {"settings": SETTINGS}) as store:
        done = {name: run(store) for name, run in parts.items() if arguments.part in (None, name)}
    if arguments.save and arguments.part is None:
        command = f"python benchmarks/monitor.py --save {arguments.save}"
        results.write(arguments.save, {**results.provenance(command, SETTINGS), **done})


if __name__ == "__main__":
    main()
