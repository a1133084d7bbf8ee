"""What each process in tests/test_distributed.py does: torchrun ... distributed_worker.py killed|stalled."""

import os
import signal
import sys
import time

import torch

from gfs_tutorial import TwoLayerNet, greedy_forward_selection, select_neurons
from gfs_tutorial.distributed import (
    Communicator,
    greedy_forward_selection_distributed,
    greedy_forward_selection_two_round,
    process_group,
    select_data_sharded,
    select_neurons_sharded,
    select_two_round,
    share_of,
    simulate,
)
from gfs_tutorial.distributed.agreement import checksum
from gfs_tutorial.distributed.wire import tcp_bytes_sent


def instance(N, m, C, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(m, N, generator=generator, dtype=dtype)
    output_weights = torch.randn(N, C, generator=generator, dtype=dtype)
    targets = torch.randn(m, C, generator=generator, dtype=dtype) / 2
    return hidden, output_weights, targets


def on_rows(communicator, hidden, output_weights, targets, size, **options):
    rows = share_of(len(hidden), communicator)
    return select_data_sharded(
        hidden[rows], output_weights, targets[rows], size, communicator=communicator, **options
    )


def on_neurons(communicator, hidden, output_weights, targets, size, **options):
    part = share_of(len(output_weights), communicator)
    return select_neurons_sharded(
        hidden[:, part], output_weights[part], targets, size, communicator=communicator, **options
    )


def in_two_rounds(communicator, hidden, output_weights, targets, size, **options):
    part = share_of(len(output_weights), communicator)
    return select_two_round(
        hidden[:, part], output_weights[part], targets, size, communicator=communicator, **options
    )


def assert_same(path, expected, communicator):
    assert path.indices.tolist() == expected.indices.tolist()
    torch.testing.assert_close(path.losses, expected.losses, rtol=1e-10, atol=1e-28)
    sums = communicator.all_gather(torch.tensor([checksum(path.indices, path.losses)]), "test")
    assert len(set(sums.flatten().tolist())) == 1  # every process has the very same path


def compare_bare_tensors(communicator, data, size, **options):
    expected = select_neurons(*data, size, **options)
    for shard in (on_rows, on_neurons):
        assert_same(shard(communicator, *data, size, **options), expected, communicator)
    simulated, _ = simulate(communicator.world, lambda other: in_two_rounds(other, *data, size, **options))
    assert_same(in_two_rounds(communicator, *data, size, **options), simulated[0], communicator)


def compare_networks(communicator):
    generator = torch.Generator().manual_seed(1)
    X, net = torch.randn(50, 4, generator=generator), TwoLayerNet(4, 40, 2, generator=generator)
    y = torch.sin(X[:, :2])
    net, X, y = net.double(), X.double(), y.double()
    expected = greedy_forward_selection(net, X, y, 30)
    rows = share_of(len(X), communicator)
    for path in (
        greedy_forward_selection_distributed(net, X[rows], y[rows], 30, shard="data"),
        greedy_forward_selection_distributed(net, X, y, 30, shard="neurons"),
    ):
        assert_same(path, expected, communicator)
        torch.testing.assert_close(path.subnetwork(9)(X), expected.subnetwork(9)(X), rtol=1e-12, atol=1e-13)
    two = greedy_forward_selection_two_round(net, X, y, 30)
    loss = (two.subnetwork(30)(X) - y).square().sum() / (2 * len(X))
    torch.testing.assert_close(loss.item(), float(two.losses[-1]), rtol=1e-10, atol=0)


def an_error_on_one_process_reaches_all(communicator):
    hidden, output_weights, targets = instance(10, 8, 1, 0)
    if communicator.rank == 1:
        hidden[0, 0] = float("nan")
    expected = ValueError if communicator.rank == 1 else RuntimeError
    for select in (select_data_sharded, select_neurons_sharded, select_two_round):
        try:
            select(hidden, output_weights, targets, 3)
        except expected as error:
            assert ("NaN" if communicator.rank == 1 else "rank(s) [1]") in str(error)
        else:
            raise AssertionError("no error")


def the_wire_carries_what_the_ledger_says(communicator):
    """To within 100 bytes a message of headers; broken off connections or other libraries would show."""
    for shard, data in ((on_rows, instance(20_000, 8, 1, 0)), (on_neurons, instance(8, 20_000, 1, 0))):
        before = tcp_bytes_sent()
        if before is None:
            return
        counted = Communicator()
        shard(counted, *data, 5)
        counted.all_gather(torch.zeros(1), "wait for the others")
        time.sleep(0.5)  # the last acknowledgements
        carried = communicator.all_reduce(torch.tensor([tcp_bytes_sent() - before]), "test").item()
        ledger = sum(counted.ledger.sent.values())
        messages = sum(counted.ledger.calls.values()) * 4 * communicator.world**2
        assert ledger <= carried <= ledger + 100 * messages, (ledger, carried, messages)


def compare(communicator):
    ties = torch.randint(-1, 2, (8, 12), generator=torch.Generator().manual_seed(0)).double()
    for with_replacement in (True, False):
        for dtype, C in ((torch.float32, 3), (torch.float64, 1)):
            data = instance(60, 41, C, C, dtype)
            compare_bare_tensors(communicator, data, 40, with_replacement=with_replacement)
        tied = (ties, torch.ones(12, 1).double(), ties[:, 1:2].clone())
        compare_bare_tensors(communicator, tied, 12, with_replacement=with_replacement)
    compare_networks(communicator)
    an_error_on_one_process_reaches_all(communicator)
    the_wire_carries_what_the_ledger_says(communicator)
    print(f"rank {communicator.rank} of {communicator.world} is done", flush=True)


class Failing(Communicator):
    """On rank 1 the process is killed, or falls asleep, at the fifth step."""

    def all_gather(self, tensor, purpose):
        if self.rank == 1 and self.ledger.calls["best"] == 4:
            print("four steps done", flush=True)
            if sys.argv[1] == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(600)
        return super().all_gather(tensor, purpose)


def main():
    with process_group(timeout=20):
        compare(Communicator())
        on_neurons(Failing(), *instance(60, 40, 1, 0), 40)
        print("selected to the end", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
