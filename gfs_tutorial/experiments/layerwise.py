"""The papers' recipe for a convolutional network: greedy forward selection, one unit after another.

Ye et al. (2020) and Wolfe et al. (2024), after the authors' code: per unit, start from no channel; at each
step draw a fresh mini-batch, try some random candidates, add the one that gives the whole network the lowest
loss; keep the scale N/n; train a little before the next unit. Theirs stops a unit by a tolerance on the
accuracy (:func:`gfs_tutorial.cnn.prune_with_tolerance`), so each network ends at a size of its own. Here
every unit keeps the same given share, so that networks after any pre-training compare at equal MACs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from gfs_tutorial.cnn.loss import select_by_loss
from gfs_tutorial.cnn.surgery import remove_channels
from gfs_tutorial.cnn.units import Unit

__all__ = ["fresh_batches", "prune_layer_by_layer"]


def fresh_batches(
    X: Tensor, y: Tensor, size: int, prepare: Callable[[Tensor], Tensor], generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless random mini-batches: images (size, 3, H, W) as ``prepare`` leaves them, labels (size,)."""
    while True:
        rows = torch.randperm(len(X), generator=generator)[:size].to(X.device)  # (size,)
        yield prepare(X[rows]), y[rows]


def prune_layer_by_layer(
    model: nn.Module,
    units: list[Unit],
    batches: Iterator[tuple[Tensor, Tensor]],
    *,
    share: float,
    candidates: int,
    train_between: Callable[[nn.Module], object],
    generator: torch.Generator,
) -> tuple[nn.Module, dict[str, Tensor]]:
    """A smaller network, and the channels that each unit keeps.

    Args:
        model: The dense network; not changed.
        units: Its units, in the order in which they run.
        batches: Endless mini-batches, a fresh one for each step.
        share: Of its candidates that each unit keeps, at least one.
        candidates: How many random candidates each step tries.
        train_between: Called with the network after each unit.
        generator: Source of the random candidates.
    """
    small, kept = copy.deepcopy(model).eval(), {}
    for unit in units:
        size = max(1, round(share * unit.size))
        selection = select_by_loss(
            small, unit, batches, size, scaling="mean", candidates=candidates, generator=generator
        )
        kept[unit.name] = selection.kept(size)
        remove_channels(small, unit, kept[unit.name], selection.weights(size))
        train_between(small)
        small.eval()
    return small, kept
