r"""Exact selection with the neurons sharded: each process holds some of the neurons, on all rows.

Each process knows the scores of its own neurons. A step sends the best of each, three numbers, and then
the winner's features, m activations and C output weights, from the process that holds it to all; nothing if
it won before. Where scores nearly tie, two more numbers decide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor
from tqdm.auto import tqdm

from gfs_tutorial import checks
from gfs_tutorial.distributed.agreement import agree, checksum, dtype_code
from gfs_tutorial.distributed.collectives import Collectives
from gfs_tutorial.distributed.communicator import Communicator
from gfs_tutorial.distributed.share import GUARD, TIE, Share, check_share, squared_errors
from gfs_tutorial.selection import SelectionPath

__all__ = ["Moments", "agree_on_neurons", "moments", "select_neurons_sharded"]


@torch.no_grad()
def select_neurons_sharded(
    hidden: Tensor,
    output_weights: Tensor,
    targets: Tensor,
    size: int,
    *,
    with_replacement: bool = True,
    communicator: Collectives | None = None,
    progress: bool = False,
) -> SelectionPath:
    """:func:`gfs_tutorial.select_neurons` on neurons that are spread over the processes; all must call it.

    Neurons are numbered through: those of rank 0 first, then those of rank 1, and so on.

    Args:
        hidden: (m, N_r), activation of the neurons of this process on every row; at least one neuron.
        output_weights: (N_r, C).
        targets: (m, C), or (m,) where C = 1; the same on all processes.
        size, with_replacement: As in :func:`gfs_tutorial.select_neurons`; the same on all processes.
        communicator: Of the processes; ``None`` takes the default process group.
        progress: Whether rank 0 shows a progress bar.

    Returns:
        The :class:`SelectionPath` of all neurons together, the same on every process.

    Raises:
        RuntimeError: no process group, or another process had an error.
        TypeError, ValueError: an argument does not fit, or differs between processes.
    """
    communicator = communicator or Communicator()
    task = "a selection with the neurons sharded"
    counts = agree_on_neurons(communicator, task, hidden, output_weights, targets, size, with_replacement)
    share = Share(hidden, output_weights, targets.reshape(len(targets), -1))
    scores = _NeuronShardedScores(communicator, share, counts)
    banned = None if with_replacement else torch.zeros_like(scores.norms)  # (N_r,)
    picks: list[int] = []
    hide = communicator.rank > 0 or not progress
    for k in tqdm(range(1, size + 1), desc="GFS, neurons sharded", unit="neuron", disable=hide, leave=False):
        q = scores.best(k, banned)
        scores.add(q)
        picks.append(q)
        if banned is not None and scores.first <= q < scores.first + len(banned):
            banned[q - scores.first] = math.inf
    return SelectionPath(
        indices=torch.tensor(picks),
        losses=scores.losses(picks).cpu(),
        num_neurons=sum(counts),
        dense_loss=scores.moments.dense_loss,
        variance=scores.moments.variance,
        with_replacement=bool(with_replacement),
    )


def agree_on_neurons(
    communicator: Collectives,
    task: str,
    hidden: Tensor,
    output_weights: Tensor,
    targets: Tensor,
    size: int,
    with_replacement: bool,
) -> list[int]:
    """Check the arguments on all processes; returns how many neurons each holds."""

    def check() -> dict[str, int]:
        H, B, Y = check_share(hidden, output_weights, targets)
        return {
            "size": checks.positive_int("size", size),
            "with_replacement": bool(with_replacement),
            "dtype": dtype_code(H.dtype),
            "the number of rows": len(H),
            "the number of outputs": Y.shape[1],
            "targets (checksum)": checksum(Y),
            "neurons": len(B),
        }

    counts = agree(communicator, task, check, free=("neurons",))["neurons"]
    if not with_replacement and size > sum(counts):
        raise ValueError(
            f"size is {size} but all processes together hold {sum(counts)} neurons: lower size, or set "
            "with_replacement=True"
        )
    return counts


@dataclass(frozen=True)
class Moments:
    """Of the neurons here: ``norms`` n and ``alignments`` c, (N_r,). Of all: mean norm, L and V."""

    norms: Tensor
    alignments: Tensor
    mean_norm: float
    dense_loss: float
    variance: float


def moments(communicator: Collectives, share: Share, N: int) -> Moments:
    """What scores begin with, and what the dense network of all ``N`` neurons is like."""
    m = len(share.targets)
    norms, alignments, output = share.moments()  # (N_r,), (N_r,), (m, C)
    norms, alignments = norms / m, alignments / m
    mean = communicator.all_reduce(output, "set-up") / N  # (m, C)
    mean_norm = communicator.all_reduce(norms.sum()[None], "set-up") / N  # (1,)
    checks.finite("the mean squared norm of the neurons", mean_norm)
    dense_loss = float((mean - share.targets).square().sum() / (2 * m))
    variance = max(0.0, float(mean_norm - mean.square().sum() / m))
    return Moments(norms, alignments, float(mean_norm), dense_loss, variance)


class _NeuronShardedScores:
    """Running scores of the neurons here."""

    def __init__(self, communicator: Collectives, share: Share, counts: list[int]):
        self.communicator, self.share, self.m = communicator, share, len(share.targets)
        self.ends = list(accumulate(counts))  # the first neuron that is not on ranks 0, 0-1, 0-2, ...
        self.first = self.ends[communicator.rank] - counts[communicator.rank]
        self.moments = moments(communicator, share, self.ends[-1])
        self.norms, self.alignments = self.moments.norms, self.moments.alignments
        largest = communicator.all_reduce(self.alignments.abs().max()[None], "set-up", op="max")
        self.guard = GUARD[share.hidden.dtype] * self.moments.mean_norm
        self.tie = TIE * (self.moments.mean_norm + float(largest))
        self.running = self.norms / 2  # n/2 + s, (N_r,)
        self.total = torch.zeros_like(share.targets)  # z, (m, C), the same on all processes
        self.features: dict[int, tuple[Tensor, Tensor]] = {}  # neuron -> its activations (m,), weights (C,)
        self.columns: dict[int, Tensor] = {}  # neuron -> its Gram column, (N_r,)

    def best(self, k: int, banned: Tensor | None) -> int:
        """The neuron of least score; all processes decide on the same numbers, those gathered."""
        scores = torch.sub(self.running, self.alignments, alpha=k)  # (N_r,)
        if banned is not None:
            scores += banned
        lowest, where = scores.topk(min(2, len(scores)), largest=False)
        mine = scores.new_full((3,), math.inf)
        mine[: len(lowest)], mine[2] = lowest, self.first + where[0]
        table = self.communicator.all_gather(mine, "best").cpu()  # (R, 3): score, runner-up, neuron
        limit = float(table[:, 0].min()) + max(1.0, k / 1000) * self.guard
        if int((table[:, :2] <= limit).sum()) == 1:
            return int(table[table[:, 0].argmin(), 2])
        return self._best_among((scores <= limit).nonzero()[:, 0], k)

    def _best_among(self, near: Tensor, k: int) -> int:
        """Compare the neurons ``near`` (n,) of all processes again, their s recomputed in float64 from z."""
        inner = self.share.inner(near, self.total) / self.m  # (n,)
        scores = self.norms[near] / 2 + inner - k * self.alignments[near]
        infinity = scores.new_full((1,), math.inf)
        least = self.communicator.all_reduce(torch.cat([scores, infinity]).min()[None], "ties", op="min")
        tied = near[scores <= least + k * self.tie] + self.first
        neuron = torch.cat([tied, tied.new_full((1,), self.ends[-1])]).min()[None]
        return int(self.communicator.all_reduce(neuron, "ties", op="min"))

    def add(self, neuron: int) -> None:
        if neuron not in self.features:
            activation, output_weight = self.features[neuron] = self._fetch(neuron)
            self.columns[neuron] = self.share.gram_column(activation, output_weight) / self.m
        activation, output_weight = self.features[neuron]
        self.running += self.columns[neuron]
        self.total.addr_(activation.double(), output_weight.double())

    def _fetch(self, neuron: int) -> tuple[Tensor, Tensor]:
        """Activations (m,) and output weights (C,) of a neuron, from the process that holds it."""
        holder = next(rank for rank, end in enumerate(self.ends) if neuron < end)
        features = self.share.hidden.new_empty(self.m + self.share.targets.shape[1])
        if holder == self.communicator.rank:
            local = neuron - self.first
            features = torch.cat([self.share.hidden[local], self.share.output_weights[local]])
        features = self.communicator.broadcast(features, "features", source=holder)
        return features[: self.m], features[self.m :]

    def losses(self, picks: list[int]) -> Tensor:
        """Loss after each pick, from its definition, (size,) float64; each process sums over some rows."""
        rank, world = self.communicator.rank, self.communicator.world
        rows = slice(self.m * rank // world, self.m * (rank + 1) // world)
        activations = torch.stack([self.features[q][0][rows] for q in picks])  # (size, rows)
        output_weights = torch.stack([self.features[q][1] for q in picks])  # (size, C)
        errors = squared_errors(activations, output_weights, self.share.targets[rows])
        return self.communicator.all_reduce(errors, "losses") / (2 * self.m)
