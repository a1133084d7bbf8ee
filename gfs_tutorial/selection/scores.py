r"""The score form of greedy forward selection: no pass over the activations for a neuron picked before.

Expanding the square of the candidate's loss leaves, up to terms that all candidates share,

.. math:: k^2\,\ell\bigl((z_{k-1} + \Phi_i)/k\bigr) = \tfrac12 n_i + s_i - k\,c_i + \text{const},

with :math:`n_i = \lVert\Phi_i\rVert^2`, :math:`c_i = \langle\Phi_i, y\rangle` computed once and
:math:`s_i = \langle\Phi_i, z_{k-1}\rangle` updated by one column of the Gram matrix a step (chapter
*Greedy forward selection*). Large networks have something better: :mod:`gfs_tutorial.selection.bounds`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gfs_tutorial.selection.activations import CHUNK, StoredActivations
from gfs_tutorial.selection.lowest import lowest_and_near
from gfs_tutorial.selection.statistics import Statistics
from gfs_tutorial.selection.walk import Walk

__all__ = ["NeuronScores"]

# Half scores this close to the best, relative to a typical squared norm, are compared again in float64.
GUARD = {torch.float32: 1e-3, torch.float64: 1e-9}


class NeuronScores:
    """Running scores of all neurons, for one selection.

    Args:
        activations: Of N neurons on m rows, float32 or float64.
        output_weights: (N, C).
        targets: (m, C).
        with_replacement: Whether a neuron may be picked again.

    Attributes:
        statistics: Of all neurons.
        reads: How many columns each read of all activations brought: one.

    Raises:
        ValueError: activations so large that their squares overflow.
    """

    def __init__(
        self,
        activations: StoredActivations,
        output_weights: Tensor,
        targets: Tensor,
        with_replacement: bool,
    ):
        self.activations, self.output_weights = activations, output_weights
        self.m, self.targets = activations.shape[1], targets.double()  # (m, C)
        self.with_replacement = with_replacement
        self.statistics = Statistics.of(activations, output_weights, targets, alignments=True)
        assert self.statistics.alignments is not None  # asked for
        self.alignments, norms = self.statistics.alignments, self.statistics.norms
        alive = norms[norms > 0]  # (n,); neither dead neurons nor a giant say what is typical
        self.guard = GUARD[activations.dtype] * float(alive.median()) if len(alive) else 0.0
        self.running = norms / 2  # n/2 + s, infinite for a neuron that may not be picked, (N,)
        self.scores = torch.empty_like(self.running)
        self.walk = Walk(activations, output_weights, targets, norms)
        self.columns: dict[int, Tensor] = {}  # neuron -> Phi_i . Phi_neuron for all i, (N,)
        self.candidates: list[int] = []

    @property
    def reads(self) -> list[int]:
        return [1] * len(self.columns)

    def best(self, k: int) -> int:
        """The neuron that makes the loss of step ``k``, from 1, least; the lowest index where several tie."""
        torch.sub(self.running, self.alignments, alpha=k, out=self.scores)  # (N,)
        guard = max(1.0, k / 1000) * self.guard
        first, near = lowest_and_near(self.scores, guard)
        if not near:
            return first
        return self.walk.best_among((self.scores <= self.scores[first] + guard).nonzero()[:, 0])

    def add(self, neuron: int) -> None:
        r"""Take ``neuron`` as the next pick: s grows by :math:`(b_i \cdot b_q)(h_i \cdot h_q)/m`."""
        if neuron not in self.columns:
            row = self.activations.rows(torch.tensor([neuron], device=self.targets.device))  # (1, m)
            inner = self.activations.products(row)[0] / self.m  # (N,)
            self.columns[neuron] = inner * torch.mv(self.output_weights, self.output_weights[neuron])
        self.running += self.columns[neuron]
        self.walk.add(neuron)
        if not self.with_replacement:
            self.running[neuron] = torch.inf

    def losses(self, picks: Tensor) -> Tensor:
        """Loss after each of ``picks`` (size,), from its definition, (size,) float64."""
        distinct, place = picks.unique(return_inverse=True)  # (n,), (size,)
        kept = self.activations.rows(distinct)  # (n, m)
        sizes = torch.arange(1, len(picks) + 1, device=picks.device)  # (size,)
        B = self.output_weights[picks].double()  # (size, C)
        squared_errors = self.statistics.norms.new_zeros(len(picks))
        rows = max(1, CHUNK // B.numel())
        for start in range(0, self.m, rows):
            part = slice(start, start + rows)
            H = kept[:, part].double()[place]  # (size, n)
            walk = (H[:, :, None] * B[:, None]).cumsum_(0)  # z after each pick, (size, n, C)
            errors = walk.div_(sizes[:, None, None]).sub_(self.targets[part])
            squared_errors += errors.square_().sum((1, 2))
        return squared_errors / (2 * self.m)
