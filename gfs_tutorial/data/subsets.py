"""Class-balanced subsets, drawn reproducibly.

Chapter *The MNIST experiment*.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gfs_tutorial import checks

__all__ = ["balanced_subset"]


def balanced_subset(labels: Tensor, size: int, seed: int = 0) -> Tensor:
    """Draw ``size`` positions so that every class has the same share, as nearly as the data allow.

    Smaller classes are used up before larger ones get more than their share. The subsets of one seed are
    nested up to one row a class: a larger ``size`` keeps what a smaller one drew.

    Args:
        labels: (m,) integer class of each row.
        size: How many rows to draw, at most m.
        seed: Which subset.

    Returns:
        (size,) int64 positions in ``labels``, shuffled.

    Raises:
        ValueError: ``size`` is below 1 or above m.
    """
    if checks.is_tensor("labels", labels).ndim != 1:
        raise ValueError(f"labels must have shape (m,), got {tuple(labels.shape)}")
    seed = checks.integer_at_least("seed", seed, 0)
    if checks.positive_int("size", size) > len(labels):
        raise ValueError(f"size is {size} but there are only {len(labels)} rows: lower it")
    generator = torch.Generator().manual_seed(seed)
    classes = [(labels == c).nonzero()[:, 0] for c in labels.unique()]  # positions of each class
    classes = [rows[torch.randperm(len(rows), generator=generator)] for rows in classes]
    shares = _shares([len(rows) for rows in classes], size)
    chosen = torch.cat([rows[:share] for rows, share in zip(classes, shares)])
    return chosen[torch.randperm(size, generator=generator)]


def _shares(available: list[int], size: int) -> list[int]:
    """Split ``size`` over classes as evenly as what is ``available`` allows."""
    shares, left = [0] * len(available), size
    by_size = sorted(range(len(available)), key=lambda c: (available[c], c))
    for position, c in enumerate(by_size):  # smallest class first: what it cannot give, the others share
        shares[c] = min(available[c], left // (len(available) - position))
        left -= shares[c]
    return shares
