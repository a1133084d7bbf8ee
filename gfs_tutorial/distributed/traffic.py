r"""What travels between the processes: counted as it happens, and predicted.

With R processes and a payload of P bytes on each, the processes send, all together,

====================  ===========  ==========================================================
collective            bytes        in a ring, or a tree for the broadcast
====================  ===========  ==========================================================
all-reduce            2 (R - 1) P  each hands on 2 (R - 1) pieces of P/R bytes
all-gather            R (R - 1) P  each hands on R - 1 payloads
broadcast, gather     (R - 1) P    each but one receives, or sends, the payload once
====================  ===========  ==========================================================

gloo and nccl use these or others of the same volume; :mod:`gfs_tutorial.distributed.wire` counts what gloo
really put on the wire.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from gfs_tutorial import checks

__all__ = ["Estimate", "Ledger", "estimate", "sent_by_all"]

SCORE, BEST = 8, 24  # bytes: one float64; best score, runner-up and index, a float64 each


def sent_by_all(collective: str, payload: float, world: int) -> float:
    """Bytes that ``world`` processes send in one collective, all together.

    Args:
        collective: ``"all_reduce"``, ``"all_gather"``, ``"broadcast"`` or ``"gather"``.
        payload: Bytes of each process's tensor.
        world: R, the number of processes.

    Raises:
        ValueError: there is no such collective.
    """
    names = ("all_reduce", "all_gather", "broadcast", "gather")
    factors = dict(zip(names, (2 * (world - 1), world * (world - 1), world - 1, world - 1)))
    return factors[checks.one_of("collective", collective, names)] * payload


@dataclass
class Ledger:
    """What one process took part in.

    Attributes:
        world: R, the number of processes.
        calls: Purpose to number of collectives.
        sent: Purpose to the bytes that all processes sent for it, by :func:`sent_by_all`.
    """

    world: int
    calls: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)

    def add(self, collective: str, purpose: str, payload: int) -> None:
        self.calls[purpose] += 1
        self.sent[purpose] += int(sent_by_all(collective, payload, self.world))

    def per_process(self) -> dict[str, float]:
        """Purpose to bytes sent, the mean over the processes."""
        return {purpose: sent / self.world for purpose, sent in self.sent.items()}


@dataclass(frozen=True)
class Estimate:
    """One step of a sharded selection that picks a neuron for the first time.

    Attributes:
        bytes_sent: Of one process, the mean over the processes.
        seconds_sending: Time of the collectives, one after the other.
        bytes_held: Activations of one process.
    """

    bytes_sent: float
    seconds_sending: float
    bytes_held: float


def estimate(
    shard: str,
    *,
    neurons: int,
    rows: int,
    outputs: int,
    world: int,
    bytes_per_value: int = 4,
    bandwidth: float = 50e9,
    latency: float = 10e-6,
) -> Estimate:
    r"""Predict the traffic of a step, for data sharded or for neurons sharded.

    A message of P bytes takes ``latency + P / bandwidth``. Then, with N neurons, m rows, C outputs and
    R processes,

    - **data sharded**: a ring all-reduce of N float64, :math:`2(R-1)` messages of :math:`8N/R` bytes;
    - **neurons sharded**: a ring all-gather of 24 bytes, :math:`R-1` messages, and a broadcast of m + C
      values down a tree, :math:`\lceil\log_2 R\rceil` messages one after the other.

    A neuron that was picked before moves no column and no features. Ties, to within rounding, cost more:
    8 bytes for each neuron near the best one, or two numbers, in one more all-reduce or two.

    Args:
        shard: ``"data"`` or ``"neurons"``.
        neurons, rows, outputs, world: N, m, C, R.
        bytes_per_value: Of an activation: 4 for float32.
        bandwidth: Bytes per second of each process's link. The default is 400 Gbit/s.
        latency: Seconds until the first byte of a message arrives. The default is a guess for a cluster.
    """
    for name, value in (("neurons", neurons), ("rows", rows), ("outputs", outputs), ("world", world)):
        checks.positive_int(name, value)
    rounds = world - 1
    if checks.one_of("shard", shard, ("data", "neurons")) == "data":
        sent = sent_by_all("all_reduce", SCORE * neurons, world)
        seconds = 2 * rounds * (latency + SCORE * neurons / world / bandwidth)
    else:
        features = bytes_per_value * (rows + outputs)
        sent = sent_by_all("all_gather", BEST, world) + sent_by_all("broadcast", features, world)
        seconds = rounds * (latency + BEST / bandwidth)
        seconds += math.ceil(math.log2(world)) * (latency + features / bandwidth)
    return Estimate(sent / world, seconds, bytes_per_value * neurons * rows / world)
