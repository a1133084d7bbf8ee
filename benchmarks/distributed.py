"""Selection on many processes: against one process, in two rounds, and its bytes against the estimate.

    torchrun --standalone --nproc_per_node 2 benchmarks/distributed.py [--save FILE]

Three parts. *Exact*: the same network is pruned on all processes, data or neurons sharded, and by rank 0
alone while the others wait; the picks must be the same, and the bytes are those that gloo's TCP connections
carried, beside the ledger's. *Two rounds*: its loss beside the exact one for several numbers of shares,
simulated on rank 0. *Estimate*: a million neurons on 64 processes, simulated on rank 0, which takes some
7 GB of memory; bytes and seconds a step, beside the formula's.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gfs_tutorial import SelectionPath, TwoLayerNet, load_mnist, results, select_neurons, train_sgd
from gfs_tutorial.distributed import (
    Communicator,
    estimate,
    process_group,
    select_data_sharded,
    select_neurons_sharded,
    select_two_round,
    share_of,
    simulate,
)
from gfs_tutorial.distributed.wire import tcp_bytes_sent

SETTINGS: dict[str, Any] = {
    "sgd_iterations": 300,
    "exact": {"neurons": 4000, "images": 4000, "size": 100, "repeats": 3},
    "two_rounds": {
        "neurons": 1000,
        "images": 1000,
        "size": 100,
        "shares": [2, 4, 8, 16, 32],
        "seeds": [0, 1, 2],
    },
    "estimate": {"neurons": 1_000_000, "world": 64, "rows": 60_000, "outputs": 10},
    "simulated": {
        "data": {"rows": 64, "outputs": 1, "size": 3},
        "neurons": {"rows": 32, "outputs": 1, "size": 5},
    },
    "network": {"bandwidth": 50e9, "latency": 10e-6},
}
Data = tuple[Tensor, Tensor, Tensor]


def trained(neurons: int, images: int, seed: int) -> Data:
    """Activations (m, N), output weights (N, 1) and labels (m, 1) of a network that reads digits; float32."""
    digits = load_mnist(source="embedded", train_size=images, verbose=False)
    generator = torch.Generator().manual_seed(seed)
    net = TwoLayerNet(784, neurons, generator=generator)
    options = {"iterations": SETTINGS["sgd_iterations"], "batch_size": 100, "lr": (0.01, 1.0)}
    train_sgd(net, digits.X_train, digits.y_train, generator=generator, progress=False, **options)
    with torch.no_grad():
        return net.hidden(digits.X_train), net.output_weights.detach(), digits.y_train


def on_rows(communicator: Communicator, data: Data, size: int, **options: bool) -> SelectionPath:
    rows = share_of(len(data[0]), communicator)
    own = data[0][rows], data[1], data[2][rows]
    return select_data_sharded(*own, size, communicator=communicator, **options)


def on_neurons(communicator: Communicator, data: Data, size: int, **options: bool) -> SelectionPath:
    part = share_of(len(data[1]), communicator)
    own = data[0][:, part], data[1][part], data[2]
    return select_neurons_sharded(*own, size, communicator=communicator, **options)


SHARDED: dict[str, Callable[..., SelectionPath]] = {"data": on_rows, "neurons": on_neurons}


def exact(communicator: Communicator) -> list[dict[str, Any]]:
    """Seconds (medians), picks and bytes of both kinds of sharding and of rank 0 alone."""
    s = SETTINGS["exact"]
    data = trained(s["neurons"], s["images"], 0)
    data = tuple(communicator.broadcast(tensor, "test", source=0) for tensor in data)
    alone, times = None, []
    for _ in range(s["repeats"]):
        start = time.perf_counter()
        alone = select_neurons(*data, s["size"]) if communicator.rank == 0 else None
        times.append(time.perf_counter() - start)
        communicator.all_gather(torch.zeros(1), "wait")
    rows: list[dict[str, Any]] = [{"shard": "none", "seconds": statistics.median(times)}]
    for name, shard in SHARDED.items():
        row = {"shard": name, **measure(communicator, shard, data, s["size"], s["repeats"])}
        path = row.pop("path")
        row["same_picks"] = alone is None or path.indices.tolist() == alone.indices.tolist()
        row["distinct_neurons"] = len(path.distinct(len(path)))
        rows.append(row)
    return rows


def measure(communicator: Communicator, shard, data: Data, size: int, repeats: int) -> dict[str, Any]:
    """Seconds of the slowest process, and the bytes of one selection, the mean over the processes."""
    times = []
    for _ in range(repeats):
        counted, before = Communicator(), tcp_bytes_sent()
        counted.all_gather(torch.zeros(1), "wait")
        start = time.perf_counter()
        path = shard(counted, data, size)
        seconds = torch.tensor(time.perf_counter() - start, dtype=torch.float64)
        times.append(float(counted.all_reduce(seconds, "wait", op="max")))
        time.sleep(0.2)  # the last acknowledgements
        carried = None if before is None else tcp_bytes_sent() - before
    if carried is not None:
        carried = float(communicator.all_reduce(torch.tensor([carried]), "test")) / communicator.world
    return {
        "path": path,
        "seconds": statistics.median(times),
        "bytes_on_the_wire": carried,
        "bytes_of_the_ledger": sum(counted.ledger.per_process().values()),
        "bytes_by_purpose": counted.ledger.per_process(),
        "calls": dict(counted.ledger.calls),
    }


def two_rounds() -> list[dict[str, Any]]:
    """Loss beside exact selection; each process chooses ``size``, or twice its share of that."""
    s, rows = SETTINGS["two_rounds"], []
    for seed in s["seeds"]:
        data = trained(s["neurons"], s["images"], seed)
        exact_path = select_neurons(*data, s["size"])
        for shares in s["shares"]:
            for first_size in sorted({s["size"], -(-2 * s["size"] // shares)}):
                choose = partial(in_two_rounds, data=data, size=s["size"], first_size=first_size)
                path = simulate(shares, choose)[0][0]
                rows.append(
                    {
                        "seed": seed,
                        "shares": shares,
                        "first_size": first_size,
                        "candidates": len(path.finalists),
                        "loss": float(path.losses[-1]),
                        "exact_loss": float(exact_path.losses[-1]),
                        "dense_loss": exact_path.dense_loss,
                    }
                )
    return rows


def in_two_rounds(communicator: Communicator, data: Data, size: int, first_size: int) -> SelectionPath:
    part = share_of(len(data[1]), communicator)
    own = data[0][:, part], data[1][part], data[2]
    return select_two_round(*own, size, first_size=first_size, communicator=communicator)


def estimates() -> list[dict[str, Any]]:
    """A step at full width, on few rows: what the simulated processes sent and the formula says."""
    s, rows = SETTINGS["estimate"], []
    N, world = s["neurons"], s["world"]
    for name, shard in SHARDED.items():
        small = SETTINGS["simulated"][name]
        m, C, size = small["rows"], small["outputs"], small["size"]
        generator = torch.Generator().manual_seed(0)
        hidden = torch.randn(N, m, generator=generator).T  # (m, N)
        data = hidden, torch.randn(N, C, generator=generator), torch.randn(m, C, generator=generator)
        task = partial(shard, data=data, size=size, with_replacement=False)  # all picks are new
        _, processes = simulate(world, task, **SETTINGS["network"])
        step = ("column",) if name == "data" else ("best", "features")
        sent = sum(one.bytes_sent[purpose] for one in processes for purpose in step) / world / size
        seconds = max(sum(one.seconds_for[purpose] for purpose in step) for one in processes) / size
        sizes = {"neurons": N, "world": world, **SETTINGS["network"]}
        formula = estimate(name, rows=m, outputs=C, **sizes)
        full = estimate(name, rows=s["rows"], outputs=s["outputs"], **sizes)
        rows.append(
            {
                "shard": name,
                "simulated_rows": m,
                "simulated_bytes": sent,
                "formula_bytes": formula.bytes_sent,
                "simulated_seconds": seconds,
                "formula_seconds": formula.seconds_sending,
                "bytes": full.bytes_sent,
                "seconds": full.seconds_sending,
                "bytes_held": full.bytes_held,
            }
        )
    return rows


def show(result: dict[str, Any]) -> None:
    for row in result["exact"]:
        print("exact, {shard} sharded: {seconds:.3f} s".format(**row), end=" ")
        if "same_picks" in row:
            wire = row["bytes_on_the_wire"]
            print(
                f"same picks {row['same_picks']}, ledger {row['bytes_of_the_ledger']:,.0f} bytes, wire {wire}"
            )
        else:
            print()
    for row in result["two_rounds"]:
        print(
            "{shares:3d} shares, {first_size:3d} picks each, {candidates:4d} candidates: loss {loss:.5f}, "
            "exact {exact_loss:.5f}".format(**row)
        )
    for row in result["estimate"]:
        print(row)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--save", help="write the result to this file")
    save = parser.parse_args().save
    begin = time.perf_counter()
    with process_group("gloo", timeout=600):
        communicator = Communicator()
        rows = exact(communicator)
    if communicator.rank:
        return
    result = {"exact": rows, "two_rounds": two_rounds(), "estimate": estimates()}
    show(result)
    command = f"torchrun --standalone --nproc_per_node {communicator.world} benchmarks/distributed.py"
    seconds = time.perf_counter() - begin
    print(f"{seconds:.0f} s")
    if save:
        threads = os.environ.get("OMP_NUM_THREADS", "1")
        settings = {**SETTINGS, "processes": communicator.world, "threads": threads}
        record = results.provenance(f"{command} --save {save}", settings, seconds=seconds)
        results.write(save, {**record, **result})


if __name__ == "__main__":
    main()
