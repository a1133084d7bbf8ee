"""R processes that are threads: every message between them is handed over, counted and timed.

For runs on more processes than the machine has, and for tests. A thread runs the same selection code as a
process does; its collectives pass messages round a ring (down a tree for a broadcast) through queues. Each
thread has a clock, which only messages advance: how long sending would take on a network of given bandwidth
and latency.
"""

from __future__ import annotations

import queue
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gfs_tutorial import checks
from gfs_tutorial.distributed.traffic import Ledger

__all__ = ["SimulatedCommunicator", "simulate"]

COMBINE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum": torch.add,
    "min": torch.minimum,
    "max": torch.maximum,
}
PATIENCE = 300.0  # seconds without a message after which a thread gives up


class SimulatedCommunicator:
    """One simulated process; the methods are those of :class:`~gfs_tutorial.distributed.Communicator`.

    Attributes:
        bytes_sent: Purpose to the bytes of all messages that this process sent for it.
        seconds: Its clock: a message leaves when its sender is free, occupies it for P / bandwidth seconds,
            and arrives ``latency`` later.
        seconds_for: Purpose to the part of them that it took, waiting included.
    """

    def __init__(self, rank: int, inboxes: list[dict[int, queue.Queue]], bandwidth: float, latency: float):
        self.rank, self.world, self.ledger = rank, len(inboxes), Ledger(len(inboxes))
        self.inboxes, self.bandwidth, self.latency = inboxes, bandwidth, latency
        self.seconds, self.purpose = 0.0, ""
        self.bytes_sent: Counter[str] = Counter()
        self.seconds_for: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def _collective(self, name: str, purpose: str, tensor: Tensor) -> Iterator[None]:
        self.ledger.add(name, purpose, tensor.nbytes)
        self.purpose, start = purpose, self.seconds
        yield
        self.seconds_for[purpose] += self.seconds - start

    def _send(self, to: int, tensor: Tensor) -> None:
        self.bytes_sent[self.purpose] += tensor.nbytes
        self.seconds += tensor.nbytes / self.bandwidth
        self.inboxes[to][self.rank].put((tensor.clone(), self.seconds + self.latency))

    def _receive(self, sender: int) -> Tensor:
        message = self.inboxes[self.rank][sender].get(timeout=PATIENCE)
        if message is None:
            raise RuntimeError("another process failed")
        tensor, arrival = message
        self.seconds = max(self.seconds, arrival)
        return tensor

    def _pass_on(self, tensor: Tensor) -> Tensor:
        """Send to the next process of the ring, receive from the one before."""
        self._send((self.rank + 1) % self.world, tensor)
        return self._receive((self.rank - 1) % self.world)

    def all_reduce(self, tensor: Tensor, purpose: str, *, op: str = "sum") -> Tensor:
        combine = COMBINE[op]
        pieces = list(tensor.detach().flatten().tensor_split(self.world))
        with self._collective("all_reduce", purpose, tensor):
            for hop in range(self.world - 1):  # each piece goes round once and collects
                mine, theirs = (self.rank - hop) % self.world, (self.rank - hop - 1) % self.world
                arrived = self._pass_on(pieces[mine])
                pieces[theirs] = combine(arrived, pieces[theirs])
            for hop in range(self.world - 1):  # and once more to tell the result
                mine, theirs = (self.rank + 1 - hop) % self.world, (self.rank - hop) % self.world
                pieces[theirs] = self._pass_on(pieces[mine])
        return torch.cat(pieces).view_as(tensor)

    def all_gather(self, tensor: Tensor, purpose: str) -> Tensor:
        parts = [tensor.detach()] * self.world
        with self._collective("all_gather", purpose, tensor):
            for hop in range(self.world - 1):
                theirs = (self.rank - hop - 1) % self.world
                parts[theirs] = self._pass_on(parts[(self.rank - hop) % self.world])
        return torch.stack(parts)

    def broadcast(self, tensor: Tensor, purpose: str, *, source: int) -> Tensor:
        place, reach = (self.rank - source) % self.world, 1  # those below `reach` have it
        with self._collective("broadcast", purpose, tensor):
            while reach < self.world:
                if place < reach and place + reach < self.world:
                    self._send((self.rank + reach) % self.world, tensor)
                elif reach <= place < 2 * reach:
                    tensor = self._receive((self.rank - reach) % self.world)
                reach *= 2
        return tensor

    def gather(self, tensor: Tensor, purpose: str) -> Tensor | None:
        with self._collective("gather", purpose, tensor):
            if self.rank:
                self._send(0, tensor)
                return None
            parts = [tensor, *(self._receive(sender) for sender in range(1, self.world))]
        return torch.stack(parts)


def simulate(
    world: int,
    function: Callable[[SimulatedCommunicator], Any],
    *,
    bandwidth: float = 50e9,
    latency: float = 10e-6,
) -> tuple[list[Any], list[SimulatedCommunicator]]:
    """Run ``function`` as ``world`` processes at once.

    Args:
        world: How many.
        function: What each does, with its communicator.
        bandwidth: Bytes per second of each process's link.
        latency: Seconds on the way.

    Returns:
        What ``function`` returned, by rank, and the communicators with their counts and clocks.

    Raises:
        ValueError: ``world`` is below 1, bandwidth not positive or latency negative.
        Exception: the first that a process raised; the others are stopped.
    """
    checks.positive_int("world", world)
    checks.not_negative("latency", latency)
    if not bandwidth > 0:
        raise ValueError(f"bandwidth must be positive, got {bandwidth}")
    inboxes: list[dict[int, queue.Queue]] = [
        {sender: queue.Queue() for sender in range(world)} for _ in range(world)
    ]
    communicators = [SimulatedCommunicator(rank, inboxes, bandwidth, latency) for rank in range(world)]
    failures: list[BaseException] = []
    lock = threading.Lock()

    def run(communicator: SimulatedCommunicator) -> Any:
        try:
            return function(communicator)
        except BaseException as error:
            with lock:
                failures.append(error)
            for inbox in inboxes:  # wake those who wait for this one, and through them all
                inbox[communicator.rank].put(None)
            return None

    with ThreadPoolExecutor(world) as pool:
        answers = list(pool.map(run, communicators))
    if failures:
        raise failures[0]
    return answers, communicators
