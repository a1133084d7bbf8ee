r"""The walk of a selection, :math:`z_k = \sum_{j \le k} \Phi_{q_j}`, in float64: what settles close calls."""

from __future__ import annotations

import torch
from torch import Tensor

from gfs_tutorial.selection.activations import CHUNK, RecomputedActivations, StoredActivations

__all__ = ["Walk"]

TIE = 1e-13  # scores that differ by less than this, relative to their terms, count as equal


class Walk:
    """The sum of the picks so far.

    Args:
        activations: Of N neurons on m rows.
        output_weights: (N, C).
        targets: (m, C).
        norms: (N,) float64, squared norms of the neurons' feature vectors.

    Attributes:
        length: k, the number of picks.
    """

    def __init__(
        self,
        activations: StoredActivations | RecomputedActivations,
        output_weights: Tensor,
        targets: Tensor,
        norms: Tensor,
    ):
        self.activations, self.output_weights, self.norms = activations, output_weights, norms
        self.targets = targets.double()  # (m, C)
        self.length = 0
        self._waiting: list[int] = []
        self._total = torch.zeros_like(self.targets)  # z, but for the picks that wait

    def add(self, neuron: int) -> None:
        """Take one more pick; its activations are read when they are needed."""
        self.length += 1
        self._waiting.append(neuron)

    def position(self) -> Tensor:
        """z, (m, C) float64."""
        if self._waiting:
            picked = torch.tensor(self._waiting, device=self._total.device)
            for part in picked.split(max(1, CHUNK // len(self._total))):
                H, B = self.activations.rows(part), self.output_weights[part]  # (n, m), (n, C)
                self._total.addmm_(H.T.double(), B.double())
            self._waiting = []
        return self._total

    def residual(self) -> Tensor:
        r""":math:`w_k = z_k - (k + 1)\,y`, (m, C) float64: the next pick makes :math:`\lVert w_k + \Phi_i
        \rVert` least."""
        return self.position() - (self.length + 1) * self.targets

    def best_among(self, near: Tensor) -> int:
        """The best next pick of the neurons ``near`` (n,), ascending; the first where several tie."""
        residual, m, inner = self.residual(), len(self.targets), []
        for part in near.split(max(1, CHUNK // m)):
            H, B = self.activations.rows(part).double(), self.output_weights[part].double()  # (n, m), (n, C)
            inner.append((H @ residual * B).sum(1) / m)
        n = self.norms[near]  # (n,)
        scores = n / 2 + torch.cat(inner)  # (n,)
        # The terms that rounding acts on: the products with z and with y are sums of larger ones.
        sizes = self._total.norm() + (self.length + 1) * self.targets.norm()
        terms = n + n.sqrt() * sizes / m**0.5  # (n,)
        return int(near[(scores <= scores.min() + TIE * terms.max()).nonzero()[0, 0]])
