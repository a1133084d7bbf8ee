r"""Exact selection with the data sharded: each process holds some of the rows, for all neurons.

All that the score form needs are sums over rows, so processes add up their parts. All of them then know the
scores of all neurons and pick the same one, each for itself. A step sends one column of the Gram matrix, N
numbers; nothing if the neuron was picked before. Where scores nearly tie, one more small sum decides. That
all find the same scores takes the same kind of processor, or GPU, everywhere.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from tqdm.auto import tqdm

from gfs_tutorial import checks
from gfs_tutorial.distributed.agreement import agree, checksum, dtype_code
from gfs_tutorial.distributed.collectives import Collectives
from gfs_tutorial.distributed.communicator import Communicator
from gfs_tutorial.distributed.share import GUARD, TIE, Share, check_share, squared_errors
from gfs_tutorial.selection import SelectionPath

__all__ = ["select_data_sharded"]


@torch.no_grad()
def select_data_sharded(
    hidden: Tensor,
    output_weights: Tensor,
    targets: Tensor,
    size: int,
    *,
    with_replacement: bool = True,
    communicator: Collectives | None = None,
    progress: bool = False,
) -> SelectionPath:
    """:func:`gfs_tutorial.select_neurons` on rows that are spread over the processes; all must call it.

    Args:
        hidden: (m_r, N), activation of every neuron on the rows of this process; at least one row.
        output_weights: (N, C), the same on all processes.
        targets: (m_r, C), or (m_r,) where C = 1.
        size, with_replacement: As in :func:`gfs_tutorial.select_neurons`; the same on all processes.
        communicator: Of the processes; ``None`` takes the default process group.
        progress: Whether rank 0 shows a progress bar.

    Returns:
        The :class:`SelectionPath` of all rows together, the same on every process.

    Raises:
        RuntimeError: no process group, or another process had an error.
        TypeError, ValueError: an argument does not fit, or differs between processes.
    """
    communicator = communicator or Communicator()

    def check() -> dict[str, int]:
        H, B, Y = check_share(hidden, output_weights, targets)
        if checks.positive_int("size", size) > len(B) and not with_replacement:
            raise ValueError(f"size is {size} but there are only {len(B)} neurons: set with_replacement=True")
        return {
            "size": size,
            "with_replacement": bool(with_replacement),
            "dtype": dtype_code(H.dtype),
            "the number of neurons": len(B),
            "the number of outputs": Y.shape[1],
            "output_weights (checksum)": checksum(B),
            "rows": len(H),
        }

    terms = agree(communicator, "a selection with the data sharded", check, free=("rows",))
    share = Share(hidden, output_weights, targets.reshape(len(targets), -1))
    scores = _DataShardedScores(communicator, share, sum(terms["rows"]))
    banned = None if with_replacement else torch.zeros_like(scores.norms)  # (N,)
    picks: list[int] = []
    hide = communicator.rank > 0 or not progress
    for k in tqdm(range(1, size + 1), desc="GFS, data sharded", unit="neuron", disable=hide, leave=False):
        q = scores.best(k, banned)
        scores.add(q)
        picks.append(q)
        if banned is not None:
            banned[q] = math.inf
    return SelectionPath(
        indices=torch.tensor(picks),
        losses=scores.losses(picks).cpu(),
        num_neurons=len(output_weights),
        dense_loss=scores.dense_loss,
        variance=scores.variance,
        with_replacement=bool(with_replacement),
    )


class _DataShardedScores:
    """Running scores of all neurons, equal on all processes."""

    def __init__(self, communicator: Collectives, share: Share, m: int):
        self.communicator, self.share, self.m = communicator, share, m
        norms, alignments, output = share.moments()  # (N,), (N,), (m_r, C)
        sums = communicator.all_reduce(torch.stack([norms, alignments]), "set-up")
        self.norms, self.alignments = checks.finite("the neurons' squared norms", sums / m)
        mean = output / len(norms)
        parts = torch.stack([(mean - share.targets).square().sum(), mean.square().sum()])
        error, energy = communicator.all_reduce(parts, "set-up").tolist()
        self.dense_loss = error / (2 * m)
        self.variance = max(0.0, float(self.norms.mean()) - energy / m)
        self.guard = GUARD[share.hidden.dtype] * float(self.norms.mean())
        self.tie = TIE * float(self.norms.mean() + self.alignments.abs().max())
        self.running = self.norms / 2  # n/2 + s, (N,)
        self.total = torch.zeros_like(share.targets)  # z on the rows here, (m_r, C)
        self.columns: dict[int, Tensor] = {}  # neuron -> its Gram column, (N,)

    def best(self, k: int, banned: Tensor | None) -> int:
        """The neuron of least score; each process finds the same, as an all-reduce leaves equal numbers."""
        scores = torch.sub(self.running, self.alignments, alpha=k)  # (N,)
        if banned is not None:
            scores += banned
        near = (scores <= scores.min() + max(1.0, k / 1000) * self.guard).nonzero()[:, 0]  # (n,)
        if len(near) == 1:
            return int(near[0])
        inner = self.communicator.all_reduce(self.share.inner(near, self.total), "ties") / self.m  # (n,)
        scores = self.norms[near] / 2 + inner - k * self.alignments[near]
        return int(near[(scores <= scores.min() + k * self.tie).nonzero()[0, 0]])

    def add(self, neuron: int) -> None:
        activation, output_weight = self.share.hidden[neuron], self.share.output_weights[neuron]
        if neuron not in self.columns:
            column = self.share.gram_column(activation, output_weight)
            self.columns[neuron] = self.communicator.all_reduce(column, "column") / self.m
        self.running += self.columns[neuron]
        self.total.addr_(activation.double(), output_weight.double())

    def losses(self, picks: list[int]) -> Tensor:
        """Loss after each pick, from its definition, (size,) float64."""
        share = self.share
        errors = squared_errors(share.hidden[picks], share.output_weights[picks], share.targets)
        return self.communicator.all_reduce(errors, "losses") / (2 * self.m)
