"""Try it: torchrun --standalone --nproc_per_node 2 -m gfs_tutorial.distributed --shard data neurons

Prunes a network that reads the embedded digits, on all processes together and then on one alone.
"""

from __future__ import annotations

import argparse

import torch

from gfs_tutorial import TwoLayerNet, greedy_forward_selection, load_mnist, train_sgd
from gfs_tutorial.distributed import (
    Communicator,
    greedy_forward_selection_distributed,
    process_group,
    share_of,
)
from gfs_tutorial.selection import SelectionPath


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, train, select; rank 0 prints."""
    parser = argparse.ArgumentParser(
        prog="torchrun --standalone --nproc_per_node 2 -m gfs_tutorial.distributed", description=__doc__
    )
    kinds = ("data", "neurons")
    parser.add_argument(
        "--shard", choices=kinds, nargs="+", default=["data"], help="what to share out, one after another"
    )
    parser.add_argument("--width", type=int, default=500, help="neurons of the network")
    parser.add_argument("--images", type=int, default=2000, help="rows of data")
    parser.add_argument("--size", type=int, default=50, help="picks")
    chosen = parser.parse_args(arguments)

    data = load_mnist(source="embedded", train_size=chosen.images, verbose=False)
    generator = torch.Generator().manual_seed(0)
    net = TwoLayerNet(784, chosen.width, generator=generator)
    train_sgd(
        net,
        data.X_train,
        data.y_train,
        iterations=100,
        batch_size=100,
        lr=(0.01, 1.0),
        generator=generator,
        progress=False,
    )
    net, X, y = net.double(), data.X_train.double(), data.y_train.double()
    with process_group() as device:
        net, X, y = net.to(device), X.to(device), y.to(device)
        for shard in chosen.shard:
            communicator = Communicator()  # a ledger of its own
            rows = share_of(len(X), communicator) if shard == "data" else slice(None)
            path = greedy_forward_selection_distributed(
                net, X[rows], y[rows], chosen.size, shard=shard, communicator=communicator
            )
            if communicator.rank == 0:
                report(path, greedy_forward_selection(net, X, y, chosen.size), communicator, shard)


def report(path: SelectionPath, alone: SelectionPath, communicator: Communicator, shard: str) -> None:
    """Print the picks, and the bytes sent for each purpose."""
    print(f"{communicator.world} processes on {communicator.device.type}, {shard} sharded")
    print("first picks:", path.indices[:10].tolist())
    print("one process alone picks the same:", path.indices.tolist() == alone.indices.tolist())
    print(f"loss {path.losses[-1]:.4f} with {len(path.distinct(len(path)))} distinct neurons")
    for purpose, sent in communicator.ledger.per_process().items():
        calls = communicator.ledger.calls[purpose]
        print(f"{purpose:10s} {calls:4d} collectives, {sent / calls:12,.0f} bytes each, sent by each process")


if __name__ == "__main__":
    main()
