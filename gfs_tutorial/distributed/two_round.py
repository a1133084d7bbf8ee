r"""The two-round scheme: each process selects on its neurons, then one selects among the chosen.

Two rounds instead of two collectives a step, and no longer exact: a neuron that is good only beside neurons
of another process may fall out in the first round. Known in distributed submodular maximisation as GreeDi
(Mirzasoleiman et al., 2013); Wolfe et al. (2024) have a distributed variant of greedy forward selection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gfs_tutorial import checks, theory
from gfs_tutorial.distributed.collectives import Collectives
from gfs_tutorial.distributed.communicator import Communicator
from gfs_tutorial.distributed.neuron_sharded import agree_on_neurons, moments
from gfs_tutorial.distributed.share import Share
from gfs_tutorial.selection import SelectionPath, select_neurons

__all__ = ["TwoRoundPath", "select_two_round"]


@dataclass(frozen=True, kw_only=True)
class TwoRoundPath(SelectionPath):
    """A :class:`SelectionPath` of the two-round scheme.

    Attributes:
        finalists: (n,) int64, the neurons chosen in the first round, ascending.
        finalist_loss, finalist_variance: L and V of these instead of all neurons.
    """

    finalists: Tensor = field(repr=False)
    finalist_loss: float
    finalist_variance: float

    def bound(self, k: int, anchors: Sequence[theory.Anchor] = ()) -> float:
        """An upper bound on ``losses[k - 1]``: the certificate of an exact selection among the finalists.

        That of all neurons does not hold: the second round does not see them.

        Args:
            k: Number of picks.
            anchors: Further points of the hull of the finalists, as in :meth:`SelectionPath.bound`.
        """
        return self._among().bound(k, anchors)

    def bound_components(self, k: int, anchors: Sequence[theory.Anchor] = ()) -> theory.BoundComponents:
        """What :meth:`bound` is made of; the anchor "dense network" is the mean of the finalists."""
        return self._among().bound_components(k, anchors)

    def _among(self) -> SelectionPath:
        """The exact selection that the second round is."""
        return SelectionPath(
            indices=self.indices,
            losses=self.losses,
            num_neurons=len(self.finalists),
            dense_loss=self.finalist_loss,
            variance=self.finalist_variance,
            with_replacement=self.with_replacement,
        )


@torch.no_grad()
def select_two_round(
    hidden: Tensor,
    output_weights: Tensor,
    targets: Tensor,
    size: int,
    *,
    first_size: int | None = None,
    with_replacement: bool = True,
    communicator: Collectives | None = None,
) -> TwoRoundPath:
    """Select on each process's neurons, then on rank 0 among all that were chosen; all must call it.

    Args:
        hidden, output_weights, targets, size, with_replacement, communicator: As in
            :func:`select_neurons_sharded`.
        first_size: Picks of each process in the first round; ``None`` takes ``size``. Without replacement
            a process that holds fewer neurons chooses them all.

    Returns:
        A :class:`TwoRoundPath`, the same on every process.

    Raises:
        RuntimeError: no process group, or another process had an error.
        TypeError, ValueError: an argument does not fit, or differs between processes; without replacement,
            the first round chooses fewer than ``size``.
    """
    communicator = communicator or Communicator()
    first_size = size if first_size is None else first_size
    task = f"a two-round selection with first_size={first_size}"
    counts = agree_on_neurons(communicator, task, hidden, output_weights, targets, size, with_replacement)
    checks.positive_int("first_size", first_size)
    if not with_replacement and sum(min(first_size, count) for count in counts) < size:
        raise ValueError(
            f"size is {size} but with first_size={first_size} the first round chooses fewer: raise first_size"
        )
    share = Share(hidden, output_weights, targets.reshape(len(targets), -1))
    whole = moments(communicator, share, sum(counts))
    chosen, features = _first_round(
        communicator, counts, hidden, output_weights, targets, first_size, with_replacement
    )
    picks, losses, finalist_loss, finalist_variance = _second_round(
        communicator, features, targets, size, with_replacement
    )
    return TwoRoundPath(
        indices=chosen[picks],
        losses=losses,
        num_neurons=sum(counts),
        dense_loss=whole.dense_loss,
        variance=whole.variance,
        with_replacement=bool(with_replacement),
        finalists=chosen,
        finalist_loss=finalist_loss,
        finalist_variance=finalist_variance,
    )


def _first_round(
    communicator: Collectives,
    counts: list[int],
    hidden: Tensor,
    output_weights: Tensor,
    targets: Tensor,
    first_size: int,
    with_replacement: bool,
) -> tuple[Tensor, Tensor | None]:
    """The finalists (n,), and on rank 0 their activations and output weights, (n, m + C)."""
    longest = max(min(first_size, count) for count in counts)
    if not with_replacement:
        first_size = min(first_size, counts[communicator.rank])
    path = select_neurons(hidden, output_weights, targets, first_size, with_replacement=with_replacement)
    own = path.distinct(first_size).sort().values  # (n_r,), ascending: ties go to the lowest index
    numbers = torch.full((longest,), -1)
    numbers[: len(own)] = own + sum(counts[: communicator.rank])
    table = communicator.all_gather(numbers, "candidates")  # (R, longest), -1 where there is none
    longest = int((table >= 0).sum(1).max())  # as some were picked again
    own = own.to(hidden.device)
    features = hidden.new_zeros(longest, len(hidden) + output_weights.shape[1])
    features[: len(own)] = torch.cat([hidden[:, own].T, output_weights[own]], 1)
    gathered = communicator.gather(features, "features")  # (R, longest, m + C)
    there = table[:, :longest] >= 0
    chosen = table[:, :longest][there]  # (n,)
    return chosen, None if gathered is None else gathered[there.to(gathered.device)]


def _second_round(
    communicator: Collectives, features: Tensor | None, targets: Tensor, size: int, with_replacement: bool
) -> tuple[Tensor, Tensor, float, float]:
    """Picks among the finalists (size,), losses (size,), and the finalists' L and V; from rank 0 to all."""
    picks = torch.zeros(size, dtype=torch.int64)
    numbers = torch.zeros(size + 2, dtype=torch.float64)
    if features is not None:
        m = len(targets)
        path = select_neurons(
            features[:, :m].T, features[:, m:], targets, size, with_replacement=with_replacement
        )
        picks = path.indices
        numbers = torch.tensor([*path.losses.tolist(), path.dense_loss, path.variance], dtype=numbers.dtype)
    picks = communicator.broadcast(picks, "result", source=0)
    numbers = communicator.broadcast(numbers, "result", source=0)
    return picks, numbers[:size], float(numbers[-2]), float(numbers[-1])
