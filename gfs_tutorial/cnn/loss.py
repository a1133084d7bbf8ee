r"""The papers' rule for channels: at each step the candidate that gives the whole network the lowest loss.

Greedy forward selection layer by layer (Ye et al., 2020; Wolfe et al., 2021) starts from no channel and adds,
with a fresh mini-batch at each step, the one whose network loses least. After k picks a candidate picked c
times weighs :math:`N c / k` where it is read (``scaling="mean"``) or :math:`c` (``"unit"``).

The obvious way runs the network once for each candidate (``oracle=True``). The same numbers come faster: a
unit's consumer is linear, so its output is a constant plus :math:`\frac{N}{k}` (the sum of what was picked +
what the candidate adds), and only what follows has to be computed (:class:`replay.Replay`).
Squeeze-and-excitation breaks the sum, as its gates see all candidates that are kept: there the gates, which
are small, and the consumer on the kept channels are computed for each candidate. Chapter *Channels*.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from gfs_tutorial import checks
from gfs_tutorial.cnn.loss_scorers import AdditiveScorer, GatedScorer, OracleScorer, Scorer
from gfs_tutorial.cnn.loss_shared import SharedScorer, agreed_seed
from gfs_tutorial.cnn.mini_batches import Batch, mini_batches
from gfs_tutorial.cnn.surgery import check_unit
from gfs_tutorial.cnn.training_checks import check_model
from gfs_tutorial.cnn.unit_selection import SCALINGS, UnitSelection
from gfs_tutorial.cnn.units import Unit
from gfs_tutorial.distributed import Collectives

__all__ = ["picks_by_loss", "select_by_loss"]

TIE = 64  # losses this many units in the last place apart differ by rounding alone


def select_by_loss(
    model: nn.Module,
    unit: Unit,
    batches: Iterable[Any],
    size: int,
    *,
    scaling: str = "mean",
    with_replacement: bool = False,
    distinct: int | None = None,
    labels: bool = True,
    candidates: int | None = None,
    oracle: bool = False,
    generator: torch.Generator | None = None,
    communicator: Collectives | None = None,
    progress: bool = False,
) -> UnitSelection:
    """Pick ``size`` candidates of a unit by the loss of the whole network.

    Args:
        model: The network, in any mode; it is evaluated, and left as it was.
        unit: One of its units.
        batches: Pairs (images (n, C, H, W), labels (n,) int64), gone through again and again: each step takes
            the next one. A single one is used at every step. Images are moved to the model's device.
        size: Number of picks.
        scaling: ``"mean"`` or ``"unit"``, see above.
        with_replacement: Whether a candidate may be picked again.
        distinct: Stop as soon as so many different candidates are picked; ``None`` goes on to ``size``.
        labels: ``True``: the loss is the cross-entropy; ``False``: half the squared distance of the logits to
            those that the model gives with the whole unit, averaged over the images; labels may be missing.
        candidates: How many random candidates to try at each step (the authors: 50); ``None`` tries all.
        oracle: Run the whole network for each candidate: slow, and obviously right.
        generator: Source of the random candidates, on the CPU; ``None`` takes torch's global one.
        communicator: Processes that share out the candidates of each step. All call this with the same model
            and mini-batches, rank 0's generator counts, and all get the picks that one process makes.
        progress: Whether to show a progress bar, which counts the candidates tried.

    Returns:
        A selection whose errors are the losses after each pick, on the mini-batch of the step. Ties, up to
        rounding, go to the lowest index.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message).
        RuntimeError: the network cannot be replayed; ``oracle=True`` still works.
    """
    picks: list[int] = []
    errors: list[float] = []
    with tqdm(desc="candidates", unit="candidate", disable=not progress, leave=False) as bar:
        steps = picks_by_loss(
            model,
            unit,
            batches,
            scaling=scaling,
            with_replacement=with_replacement,
            labels=labels,
            candidates=candidates,
            oracle=oracle,
            generator=generator,
            communicator=communicator,
            after_each=bar.update,
        )
        if checks.positive_int("size", size) > unit.size and not with_replacement:
            raise ValueError(f"size is {size} but unit {unit.name} has only {unit.size} candidates")
        distinct = size if distinct is None else checks.positive_int("distinct", distinct)
        bar.total = _tries(unit.size, size, with_replacement, candidates)
        while len(picks) < size and len(set(picks)) < distinct:
            pick, error = next(steps)
            picks.append(pick)
            errors.append(error)
    return UnitSelection(unit, torch.tensor(picks), torch.tensor(errors, dtype=torch.float64), scaling)


def _tries(candidates: int, picks: int, with_replacement: bool, most: int | None) -> int:
    """How many candidates so many picks try, at most ``most`` each."""
    free = (candidates if with_replacement else candidates - k for k in range(picks))
    return sum(min(most or n, n) for n in free)


def picks_by_loss(
    model: nn.Module,
    unit: Unit,
    batches: Iterable[Any],
    *,
    scaling: str = "mean",
    with_replacement: bool = False,
    labels: bool = True,
    candidates: int | None = None,
    oracle: bool = False,
    generator: torch.Generator | None = None,
    communicator: Collectives | None = None,
    after_each: Callable[[], object] = lambda: None,
) -> Iterator[tuple[int, float]]:
    """The picks of :func:`select_by_loss` one by one, each with its loss, for who stops by another rule.

    Arguments and errors as there; ``after_each`` is called after each candidate tried. Between two picks the
    model is as it was. Without replacement the iterator ends when all candidates are picked.
    """
    check_model(model)
    check_unit(model, unit)
    checks.one_of("scaling", scaling, SCALINGS)
    if candidates is not None:
        checks.positive_int("candidates", candidates)
    # A generator of our own: a data loader that draws ahead from the same one cannot disturb it.
    seed = int(torch.randint(2**62, (), generator=checks.generator(generator)))
    kind = OracleScorer if oracle or len(unit.gates) > 1 else GatedScorer if unit.gates else AdditiveScorer
    scorer: Scorer | SharedScorer = kind(model, unit)
    stream = mini_batches(batches, model, labels=labels)
    if communicator is not None:
        scorer = SharedScorer(kind(model, unit), communicator)
        seed = agreed_seed(model, unit, seed, communicator)
    tries = _Tries(unit.size, with_replacement, candidates, torch.Generator().manual_seed(seed))
    return _picks(scorer, stream, tries, scaling, after_each)


@dataclass
class _Tries:
    """Which candidates a step tries."""

    size: int
    with_replacement: bool
    number: int | None
    generator: torch.Generator

    def draw(self, counts: Tensor) -> Tensor:
        """Indices (tried,) in ascending order; none where all are picked and none may be picked again."""
        free = (counts == 0).nonzero()[:, 0] if not self.with_replacement else torch.arange(self.size)
        if self.number is None or self.number >= len(free):
            return free
        return free[torch.randperm(len(free), generator=self.generator)[: self.number]].sort().values


def _picks(
    scorer: Scorer | SharedScorer,
    stream: Iterator[Batch],
    tries: _Tries,
    scaling: str,
    after_each: Callable[[], object],
) -> Iterator[tuple[int, float]]:
    counts = torch.zeros(tries.size, dtype=torch.float64)  # how often each candidate was picked
    for k in itertools.count(1):
        tried = tries.draw(counts)
        if len(tried) == 0:
            return
        scale = tries.size / k if scaling == "mean" else 1.0
        losses = scorer.losses(next(stream), counts, scale, tried, after_each)  # (tried,)
        best = _lowest(losses, scorer.dtype)
        counts[tried[best]] += 1
        yield int(tried[best]), float(losses[best])


def _lowest(losses: Tensor, dtype: torch.dtype) -> int:
    """Index of the lowest loss, the first of those that differ from it by rounding alone."""
    losses = losses.nan_to_num(nan=torch.inf)
    low = float(losses.min())
    if low == torch.inf:
        raise ValueError("the model's loss is NaN or infinite with every candidate: are its weights finite?")
    return int((losses <= low + TIE * torch.finfo(dtype).eps * abs(low)).nonzero()[0])
