r"""The score form of greedy forward selection: no pass over the activations for a neuron picked before.

Expanding the square of the candidate's loss leaves, up to terms that all candidates share,

.. math:: k^2\,\ell\bigl((z_{k-1} + \Phi_i)/k\bigr) = \tfrac12 n_i + s_i - k\,c_i + \text{const},

with :math:`n_i = \lVert\Phi_i\rVert^2`, :math:`c_i = \langle\Phi_i, y\rangle` computed once and
:math:`s_i = \langle\Phi_i, z_{k-1}\rangle` updated by one column of the Gram matrix a step (chapter
*Greedy forward selection*). Columns come in blocks that a draft of the coming steps proposes (chapter
*Selection at scale*).
"""

from __future__ import annotations

import torch
from torch import Tensor

from gfs_tutorial import checks
from gfs_tutorial.selection.activations import CHUNK, RecomputedActivations, StoredActivations
from gfs_tutorial.selection.draft import Draft
from gfs_tutorial.selection.lowest import lowest_and_near

__all__ = ["NeuronScores"]

# Half scores this close to the best, relative to a typical squared norm, are compared again in float64.
GUARD = {torch.float32: 1e-3, torch.float64: 1e-9}
TIE = 1e-13  # scores that differ by less than this, relative to their terms, count as equal


class NeuronScores:
    """Running scores of all neurons, for one selection.

    Args:
        activations: Of N neurons on m rows, float32 or float64.
        output_weights: (N, C).
        targets: (m, C).
        size: Number of picks to come.
        with_replacement: Whether a neuron may be picked again.

    Attributes:
        dense_loss: L, loss of the mean of all neurons.
        variance: V, mean squared distance of the neurons from that mean.

    Raises:
        ValueError: activations so large that their squares overflow.
    """

    def __init__(
        self,
        activations: StoredActivations | RecomputedActivations,
        output_weights: Tensor,
        targets: Tensor,
        size: int,
        with_replacement: bool,
    ):
        self.activations, self.output_weights = activations, output_weights
        self.m = activations.shape[1]
        self.targets = targets.double()  # (m, C)
        self.size, self.with_replacement = size, with_replacement
        self.norms, self.alignments, mean = self._statistics()
        checks.finite("the neurons' squared norms", self.norms)
        self.dense_loss = float((mean - self.targets).square().sum() / (2 * self.m))
        self.variance = max(0.0, float(self.norms.mean() - mean.square().sum() / self.m))
        alive = self.norms[self.norms > 0]  # (n,); neither dead neurons nor a giant say what is typical
        self.guard = GUARD[activations.dtype] * float(alive.median()) if len(alive) else 0.0
        self.running = self.norms / 2  # n/2 + s, infinite for a neuron that may not be picked, (N,)
        self.scores = torch.empty_like(self.running)
        self.total = torch.zeros_like(self.targets)  # z, sum of the picked neurons but for those that wait
        self.waiting: list[int] = []
        self.products: dict[int, Tensor] = {}  # neuron -> h_i . h_neuron / m for all i, (N,)
        self.draft = Draft(activations, output_weights)
        self.reads: list[tuple[int, ...]] = []  # neurons whose products were computed together

    def _statistics(self) -> tuple[Tensor, Tensor, Tensor]:
        r"""Norms n (N,), alignments c (N,) and the dense output (m, C), all in float64."""
        B, mean = self.output_weights.double(), torch.zeros_like(self.targets)  # (N, C), (m, C)
        norms, alignments = torch.zeros_like(B[:, 0]), torch.zeros_like(B[:, 0])  # (N,)
        for neurons, rows, H in self.activations.tiles():  # H (n, r)
            norms[neurons] += torch.linalg.vector_norm(H, dim=1).square_()
            alignments[neurons] += (H @ self.targets[rows]).mul_(B[neurons]).sum(1)
            mean[rows].addmm_(H.T, B[neurons])
        norms.mul_(B.square().sum(1)).div_(self.m)
        return norms, alignments.div_(self.m), mean.div_(len(B))

    def best(self, k: int) -> int:
        """The neuron that makes the loss of step ``k``, from 1, least; the lowest index where several tie."""
        torch.sub(self.running, self.alignments, alpha=k, out=self.scores)  # (N,)
        guard = max(1.0, k / 1000) * self.guard
        first, near = lowest_and_near(self.scores, guard)
        if not near:
            return first
        return self._best_among((self.scores <= self.scores[first] + guard).nonzero()[:, 0], k)

    def _best_among(self, near: Tensor, k: int) -> int:
        """Compare the neurons ``near`` (n,) again, their s recomputed in float64 from z."""
        total, inner = self._sum_of_picked(), []
        for part in near.split(max(1, CHUNK // self.m)):
            H, B = self.activations.rows(part).double(), self.output_weights[part].double()  # (n, m), (n, C)
            inner.append((H @ total * B).sum(1) / self.m)
        n, aligned = self.norms[near], k * self.alignments[near]  # (n,)
        scores = n / 2 + torch.cat(inner) - aligned  # (n,)
        # The terms that rounding acts on: the product with z is a sum of larger ones.
        terms = n + n.sqrt() * (total.square().sum() / self.m).sqrt() + aligned.abs()  # (n,)
        return int(near[(scores <= scores.min() + TIE * terms.max()).nonzero()[0, 0]])

    def _sum_of_picked(self) -> Tensor:
        """z, (m, C) float64."""
        if self.waiting:
            picked = torch.tensor(self.waiting, device=self.total.device)
            for part in picked.split(max(1, CHUNK // self.m)):
                H, B = self.activations.rows(part), self.output_weights[part]  # (n, m), (n, C)
                self.total.addmm_(H.T.double(), B.double())
            self.waiting = []
        return self.total

    def add(self, neuron: int, k: int) -> None:
        r"""Take ``neuron`` as the pick of step ``k``: s grows by :math:`(b_i \cdot b_q)(h_i \cdot h_q)/m`."""
        if neuron not in self.products:
            block = self.draft.next_neurons(self, neuron, k)
            self.products.update(zip(block, self.activations.products(block) / self.m))
            self.reads.append(tuple(block))
        self.running += self.products[neuron] * torch.mv(self.output_weights, self.output_weights[neuron])
        self.waiting.append(neuron)
        if not self.with_replacement:
            self.running[neuron] = torch.inf

    def losses(self, picks: Tensor) -> Tensor:
        """Loss after each of ``picks`` (size,), from its definition, (size,) float64."""
        distinct, place = picks.unique(return_inverse=True)  # (n,), (size,)
        kept = self.activations.rows(distinct)  # (n, m)
        sizes = torch.arange(1, len(picks) + 1, device=picks.device)  # (size,)
        B = self.output_weights[picks].double()  # (size, C)
        squared_errors = self.norms.new_zeros(len(picks))
        rows = max(1, CHUNK // B.numel())
        for start in range(0, self.m, rows):
            part = slice(start, start + rows)
            H = kept[:, part].double()[place]  # (size, n)
            walk = (H[:, :, None] * B[:, None]).cumsum_(0)  # z after each pick, (size, n, C)
            errors = walk.div_(sizes[:, None, None]).sub_(self.targets[part])
            squared_errors += errors.square_().sum((1, 2))
        return squared_errors / (2 * self.m)
