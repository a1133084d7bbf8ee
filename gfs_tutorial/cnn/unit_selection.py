"""What a selection of channels returns, whichever rule made it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gfs_tutorial import checks
from gfs_tutorial.cnn.units import Unit

__all__ = ["SCALINGS", "UnitSelection"]

SCALINGS = ("mean", "unit")


@dataclass(frozen=True)
class UnitSelection:
    r"""The candidates of one unit in the order in which they were picked. Tensors are on the CPU.

    Attributes:
        unit: Whose candidates.
        picks: (k,) int64; with replacement a candidate can stand more than once.
        errors: (k,) float64, the objective of the rule after each pick (its module says in what units).
        scaling: ``"mean"``: a candidate picked c times among k weighs :math:`N c / k`, as in the papers, so
            that the sum over the unit keeps its size; ``"unit"``: it weighs c.
    """

    unit: Unit
    picks: Tensor
    errors: Tensor
    scaling: str = "unit"

    def _prefix(self, k: int) -> Tensor:
        if checks.positive_int("k", k) > len(self.picks):
            raise ValueError(f"k is {k} but {self.unit.name} has only {len(self.picks)} picks")
        return self.picks[:k]

    def kept(self, k: int) -> Tensor:
        """The distinct candidates among the first ``k`` picks, (n,) int64, in ascending order."""
        return self._prefix(k).unique()

    def weights(self, k: int) -> Tensor:
        """The weight of each candidate of ``kept(k)``, (n,) float64."""
        _, counts = self._prefix(k).unique(return_counts=True)
        scale = self.unit.size / k if self.scaling == "mean" else 1.0
        return counts.double() * scale

    def mask(self, k: int) -> Tensor:
        """The weight of every candidate, 0 if not kept, (size,) float64: for :func:`surgery.masked`."""
        return torch.zeros(self.unit.size, dtype=torch.float64).index_put((self.kept(k),), self.weights(k))
