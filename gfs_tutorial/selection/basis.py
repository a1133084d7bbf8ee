r"""Directions along which all neurons are known: what lies off them can only be bounded.

With an orthonormal basis :math:`Q` of directions in the space of the data, and :math:`w` any vector there,

.. math:: \langle h_i, w\rangle = \langle Q h_i, Q w\rangle + \langle h_i^\perp, w^\perp\rangle, \qquad
    \lvert\langle h_i^\perp, w^\perp\rangle\rvert \le \lVert h_i^\perp\rVert\,\lVert w^\perp\rVert ,

where :math:`\perp` marks what is left behind the basis (Cauchy-Schwarz). Chapter *Selection at scale*.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gfs_tutorial.selection.activations import RecomputedActivations, StoredActivations
from gfs_tutorial.selection.growing import GrowingRows

__all__ = ["Basis"]

DEPENDENT = {torch.float32: 1e-9, torch.float64: 1e-15}  # a squared length, of 1, that counts as none


class Basis:
    r"""An orthonormal basis, and the coordinates of all neurons' activations in it.

    Args:
        activations: Of N neurons on m rows.
        squared_lengths: (N,) float64, :math:`\lVert h_i\rVert^2`.
        rounding: Relative error of an inner product over the data.

    Attributes:
        directions: Q, (r, m).
        coordinates: (r, N), inner products of the directions with the activations.
        rest: (N,), at least :math:`\lVert h_i^\perp\rVert`.
        reads: How many directions each read of all activations brought.
    """

    def __init__(
        self,
        activations: StoredActivations | RecomputedActivations,
        squared_lengths: Tensor,
        rounding: float,
    ):
        N, m = activations.shape
        like = torch.empty(0, dtype=activations.dtype, device=activations.device)
        self.activations, self._floor = activations, rounding * squared_lengths  # (N,)
        self._left = squared_lengths.clone()  # (N,), squared
        self._directions, self._coordinates = GrowingRows(m, like), GrowingRows(N, like)
        self.rest = squared_lengths.sqrt()
        self.reads: list[int] = []

    @property
    def directions(self) -> Tensor:
        return self._directions.rows

    @property
    def coordinates(self) -> Tensor:
        return self._coordinates.rows

    def off(self, vectors: Tensor) -> Tensor:
        """What is left of ``vectors`` (p, m) behind the basis, (p, m)."""
        return vectors - (vectors @ self.directions.T) @ self.directions

    def extend(self, vectors: Tensor) -> None:
        """Take the span of ``vectors`` (p, m) into the basis: one read of all activations."""
        new = self._orthonormal(vectors)
        if len(new) == 0:
            return
        found = self.activations.products(new)  # (p, N)
        self._directions.add(new)
        self._coordinates.add(found)
        self._left -= found.double().square_().sum(0)
        self.rest = (self._left.clamp(min=0) + self._floor).sqrt_()
        self.reads.append(len(new))

    def _orthonormal(self, vectors: Tensor) -> Tensor:
        """Orthonormal directions of the span of ``vectors`` (p, m) behind the basis, (q, m), q at most p."""
        lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)  # (p, 1)
        vectors = vectors[lengths[:, 0] > 0] / lengths[lengths[:, 0] > 0]
        for _ in range(2):  # twice is enough: the first time, rounding leaves some of the basis behind
            vectors = self.off(vectors)
            values, axes = torch.linalg.eigh((vectors @ vectors.T).double())  # (p,), (p, p)
            kept = values > DEPENDENT[vectors.dtype]
            vectors = (axes[:, kept] / values[kept].sqrt()).T.to(vectors.dtype) @ vectors
        return vectors
