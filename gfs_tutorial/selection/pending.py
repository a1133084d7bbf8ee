r"""Picks whose direction is not in the basis yet: how far their sum reaches behind it."""

from __future__ import annotations

import torch
from torch import Tensor

from gfs_tutorial.selection.basis import Basis
from gfs_tutorial.selection.growing import GrowingRows

__all__ = ["PendingPicks"]


class PendingPicks:
    r"""The picks since the basis was last extended.

    Their part of the walk behind the basis is :math:`w^\perp = \sum_q h_q^\perp b_q^\top`. Its length follows
    from the inner products of the few :math:`h_q^\perp` alone.

    Args:
        basis: Behind which.
        output_weights: (N, C) float64.
        rounding: Relative error of an inner product over the data.
    """

    def __init__(self, basis: Basis, output_weights: Tensor, rounding: float):
        self.basis, self.output_weights, self.rounding = basis, output_weights, rounding
        self.counts: dict[int, int] = {}  # neuron -> how often it was picked
        self._rows = GrowingRows(basis.directions.shape[1], basis.directions)
        self.gram = output_weights.new_empty(0, 0)  # (p, p), inner products behind the basis

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def rows(self) -> Tensor:
        """Activations of the picks, (p, m)."""
        return self._rows.rows

    def add(self, neuron: int, row: Tensor) -> None:
        """Take a pick of ``neuron``, with its activations ``row`` (m,)."""
        if neuron not in self.counts:
            self._rows.add(row[None])
            coordinates = self.basis.coordinates[:, [*self.counts, neuron]].double()  # (r, p)
            inner = torch.mv(self.rows, row).double() - coordinates.T @ coordinates[:, -1]  # (p,)
            inner[-1] = inner[-1].clamp(min=0) + 2 * self.rounding * row.double().square().sum()
            grown = self.gram.new_empty(len(inner), len(inner))
            grown[:-1, :-1], grown[-1], grown[:, -1] = self.gram, inner, inner
            self.gram, self.counts[neuron] = grown, 0
        self.counts[neuron] += 1

    def squared_reach(self) -> Tensor:
        r""":math:`(w^\perp)^\top w^\perp`, (C, C) float64."""
        counts = self.gram.new_tensor(list(self.counts.values()))  # (p,)
        B = counts[:, None] * self.output_weights[list(self.counts)]  # (p, C)
        return B.T @ self.gram @ B
