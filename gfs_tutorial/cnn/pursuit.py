r"""Orthogonal matching pursuit over channels: greedy selection with the consumer refitted at every step.

At each step the candidate :math:`g` is added that leaves the least

.. math:: \min_V\ \lVert Z - A_S V\rVert^2 + \lambda\lVert V\rVert^2 = T - \operatorname{tr} B_S^\top
    (K_S + \lambda I)^{-1} B_S,

by a pivoted block Cholesky factorisation of :math:`K + \lambda I` that carries :math:`B` along. Pati et al.
(1993) for single columns; chapter *Channels*.
"""

from __future__ import annotations

import torch
from torch import Tensor
from tqdm.auto import tqdm

from gfs_tutorial import checks
from gfs_tutorial.cnn.moments import Moments
from gfs_tutorial.cnn.unit_selection import UnitSelection
from gfs_tutorial.cnn.units import Unit

__all__ = ["RIDGE", "BlockCholesky", "pursue"]

RIDGE = 1e-4  # of the mean diagonal of K


def pursue(
    unit: Unit,
    moments: Moments,
    size: int | None = None,
    *,
    order: Tensor | None = None,
    ridge: float = RIDGE,
    progress: bool = False,
) -> UnitSelection:
    """Rank the candidates of a unit by orthogonal matching pursuit.

    Args:
        unit: The unit.
        moments: Of its consumer's inputs and target outputs.
        size: Number of picks, at most ``unit.size``; ``None``: all.
        order: (size,) int64, candidates to pick in this order instead of the best: what a ranking found
            otherwise leaves after a refit.
        ridge: Of the fits, relative to the mean diagonal of K.
        progress: Whether to show a progress bar.

    Returns:
        A :class:`UnitSelection`. Its errors are the objective above divided by T, where T is the error of a
        constant answer, so that they fall from 1 towards 0.

    Raises:
        ValueError: ``size`` is above the unit's, the moments do not fit the unit, or ``order`` repeats a
            candidate.
    """
    size = unit.size if size is None else checks.positive_int("size", size)
    if size > unit.size:
        raise ValueError(f"size is {size} but {unit.name} has only {unit.size} candidates")
    if order is not None:
        size = len(_checked_order(unit, order))
    checks.not_negative("ridge", ridge)
    state = BlockCholesky(unit, moments, size, ridge)
    picks, gains = [], []
    for step in tqdm(range(size), unit.name, disable=not progress, leave=False):
        scores = state.gains()  # (candidates,)
        pick = int(scores.argmax()) if order is None else int(order[step])
        picks.append(pick)
        gains.append(scores[pick])
        state.add(pick)
    total = moments.T or 1.0
    errors = 1 - torch.stack(gains).cumsum(0).cpu() / total if moments.T else torch.zeros(size)
    return UnitSelection(unit, torch.tensor(picks), errors.clamp_min(0).double())


def _checked_order(unit: Unit, order: Tensor) -> Tensor:
    if order.ndim != 1 or not len(order) or order.unique().numel() < len(order):
        raise ValueError(f"order must be candidates of {unit.name}, (size,), all different")
    if int(order.min()) < 0 or int(order.max()) >= unit.size:
        raise ValueError(f"order must hold candidates of {unit.name}, between 0 and {unit.size - 1}")
    return order


def _compressed(moments: Moments) -> Tensor:
    """B, turned so that outputs that cannot differ are left out: few images behind a classifier."""
    B = moments.B  # (features, outputs)
    if moments.count >= B.shape[1]:
        return B
    _, vectors = torch.linalg.eigh(B.T @ B)  # ascending
    return B @ vectors[:, -moments.count :]


class BlockCholesky:
    """The factorisation so far. Groups of ``rows`` rows of K belong to one candidate.

    Args:
        unit, moments: As in :func:`pursue`.
        size: Number of picks to come.
        ridge: As in :func:`pursue`.

    Attributes:
        K: (features, features), with the ridge.
        B: (features, outputs), less what the picks explain.
        diagonal: (candidates, rows, rows), blocks of the diagonal of K, less what the picks explain.
        L: (features, picked rows so far and to come), the factor.
    """

    def __init__(self, unit: Unit, moments: Moments, size: int, ridge: float = RIDGE):
        rows, rest = divmod(len(moments.input_sum), unit.size)
        if rest or rows % unit.span:
            raise ValueError(
                f"moments have {len(moments.input_sum)} features, which does not fit the {unit.size} "
                f"candidates of {unit.name}"
            )
        K = self.K = moments.K  # (features, features)
        self.rows, self.filled = rows, 0
        mean = float(K.diagonal().mean())
        K.diagonal().add_(ridge * mean if mean > 0 else 1.0)  # no signal at all: any fit is as good
        self.B = _compressed(moments)
        self.L = K.new_zeros(size * rows, len(K))  # transposed: a step appends rows
        blocks = self.K.view(len(K) // rows, rows, len(K) // rows, rows)
        self.diagonal = blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1).contiguous()
        self.open = torch.ones(len(self.diagonal), dtype=torch.bool, device=K.device)

    def gains(self) -> Tensor:
        """What each candidate would take off the objective, (candidates,); -inf for those picked."""
        B = self.B.view(len(self.diagonal), self.rows, -1)  # (candidates, rows, outputs)
        if self.rows == 1:
            gains = self.B.square().sum(1) / self.diagonal[:, 0, 0]
        else:
            factor = torch.linalg.cholesky_ex(self.diagonal)[0]
            gains = torch.linalg.solve_triangular(factor, B, upper=False).square().sum((1, 2))
        return gains.masked_fill(~self.open, -torch.inf)

    def add(self, pick: int) -> None:
        """Take a candidate: append its columns to the factor and clear what it explains."""
        own = slice(pick * self.rows, (pick + 1) * self.rows)
        done = self.L[: self.filled]  # (picked rows, features)
        columns = self.K[own] - done[:, own].T @ done  # (rows, features), residual
        factor = torch.linalg.cholesky(self.diagonal[pick])
        columns = torch.linalg.solve_triangular(factor, columns, upper=False)
        target = torch.linalg.solve_triangular(factor, self.B[own], upper=False)  # (rows, outputs)
        self.L[self.filled : self.filled + self.rows] = columns
        self.filled += self.rows
        self.B.addmm_(columns.T, target, alpha=-1)
        blocks = columns.view(self.rows, len(self.diagonal), self.rows).permute(1, 2, 0)
        self.diagonal -= blocks @ blocks.mT
        self.open[pick] = False
        self.diagonal[pick] = torch.eye(self.rows, dtype=factor.dtype, device=factor.device)
