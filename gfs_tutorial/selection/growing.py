"""Rows that are added to a matrix again and again, without a copy of all of it each time."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["GrowingRows"]


class GrowingRows:
    """A matrix that grows by rows; its memory doubles when it is full.

    Args:
        width: Number of columns.
        like: A tensor of the dtype and device wanted.
        capacity: Rows to make room for at first.
    """

    def __init__(self, width: int, like: Tensor, capacity: int = 16):
        self._memory = like.new_empty(capacity, width)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def rows(self) -> Tensor:
        """All rows so far, (count, width)."""
        return self._memory[: self._count]

    def add(self, rows: Tensor) -> None:
        """Append ``rows`` (p, width)."""
        needed = self._count + len(rows)
        if needed > len(self._memory):
            grown = torch.empty(
                max(needed, 2 * len(self._memory)), rows.shape[1], dtype=rows.dtype, device=rows.device
            )
            grown[: self._count] = self.rows
            self._memory = grown
        self._memory[self._count : needed] = rows
        self._count = needed
