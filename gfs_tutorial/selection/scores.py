r"""The score form of greedy forward selection: one matrix-vector product a step, whatever N.

Expanding the square of the candidate's loss leaves, up to terms that all candidates share,

.. math:: k^2\,\ell\bigl((z_{k-1} + \Phi_i)/k\bigr) = \tfrac12 n_i + s_i - k\,c_i + \text{const},

with :math:`n_i = \lVert\Phi_i\rVert^2`, :math:`c_i = \langle\Phi_i, y\rangle` computed once and
:math:`s_i = \langle\Phi_i, z_{k-1}\rangle` updated by one column of the Gram matrix a step (chapter
*Greedy forward selection*).
"""

from __future__ import annotations

import torch
from torch import Tensor

from gfs_tutorial import checks

__all__ = ["NeuronScores"]

CHUNK = 2**19  # activations widened to float64 at once: 4 MiB, which stay in the cache
# Half scores this close to the best, relative to the mean squared norm, are compared again in float64.
GUARD = {torch.float32: 1e-3, torch.float64: 1e-9}
TIE = 1e-13  # scores that differ by less than this, relative to their terms, count as equal


class NeuronScores:
    """Running scores of all neurons, for one selection.

    Args:
        hidden: (N, m), activations, one neuron a row, contiguous; float32 or float64.
        output_weights: (N, C).
        targets: (m, C).

    Attributes:
        dense_loss: L, loss of the mean of all neurons.
        variance: V, mean squared distance of the neurons from that mean.

    Raises:
        ValueError: activations so large that their squares overflow.
    """

    def __init__(self, hidden: Tensor, output_weights: Tensor, targets: Tensor):
        self.hidden, self.output_weights = hidden, output_weights
        self.m = hidden.shape[1]
        self.targets = targets.double()  # (m, C)
        self.norms, self.alignments, mean = self._statistics()
        checks.finite("the neurons' squared norms", self.norms)
        self.dense_loss = float((mean - self.targets).square().sum() / (2 * self.m))
        self.variance = max(0.0, float(self.norms.mean() - mean.square().sum() / self.m))
        self.guard = GUARD[hidden.dtype] * float(self.norms.mean())
        self.tie = TIE * float(self.norms.mean() + self.alignments.abs().max())
        self.running = self.norms / 2  # n/2 + s, (N,)
        self.total = torch.zeros_like(self.targets)  # z = sum of picked neurons, (m, C)
        self.columns: dict[int, Tensor] = {}  # neuron -> its Gram column, (N,)

    def _statistics(self) -> tuple[Tensor, Tensor, Tensor]:
        r"""Norms n (N,), alignments c (N,) and the dense output (m, C), all in float64."""
        B, mean = self.output_weights.double(), torch.zeros_like(self.targets)  # (N, C), (m, C)
        norms, alignments = torch.empty_like(B[:, 0]), torch.empty_like(B[:, 0])  # (N,)
        rows = max(1, CHUNK // self.m)
        wide = self.targets.new_empty(min(rows, len(B)), self.m)  # one buffer: fresh memory is slow
        for start in range(0, len(B), rows):
            part = slice(start, start + rows)
            H = wide[: len(B[part])].copy_(self.hidden[part])  # (n, m)
            torch.linalg.vector_norm(H, dim=1, out=norms[part])
            torch.sum((H @ self.targets).mul_(B[part]), 1, out=alignments[part])
            mean.addmm_(H.T, B[part])
        norms.square_().mul_(B.square().sum(1)).div_(self.m)
        return norms, alignments.div_(self.m), mean.div_(len(B))

    def best(self, k: int, banned: Tensor | None = None) -> int:
        """The neuron that makes the loss of step ``k`` least; the lowest index where several tie.

        Args:
            k: The step, from 1.
            banned: (N,) 0 for neurons that may be picked and infinity for those that may not.
        """
        scores = torch.sub(self.running, self.alignments, alpha=k)  # (N,)
        if banned is not None:
            scores += banned
        guard = max(1.0, k / 1000) * self.guard
        lowest, neurons = scores.topk(min(2, len(scores)), largest=False)
        first, *second = lowest.tolist()
        if second and second[0] > first + guard:
            return int(neurons[0])
        return self._best_among((scores <= first + guard).nonzero()[:, 0], k)

    def _best_among(self, near: Tensor, k: int) -> int:
        """Compare the neurons ``near`` (n,) again, their s recomputed in float64 from z."""
        inner = []
        for part in near.split(max(1, CHUNK // self.m)):
            H, B = self.hidden[part].double(), self.output_weights[part].double()  # (n, m), (n, C)
            inner.append((H @ self.total * B).sum(1) / self.m)
        scores = self.norms[near] / 2 + torch.cat(inner) - k * self.alignments[near]  # (n,)
        return int(near[(scores <= scores.min() + k * self.tie).nonzero()[0, 0]])

    def add(self, neuron: int) -> None:
        """Take ``neuron`` as the next pick."""
        if neuron not in self.columns:
            self.columns[neuron] = self._gram_column(neuron)
        self.running += self.columns[neuron]
        self.total.addr_(self.hidden[neuron].double(), self.output_weights[neuron].double())

    def losses(self, picks: Tensor) -> Tensor:
        """Loss after each of ``picks`` (size,), from its definition, (size,) float64."""
        sizes = torch.arange(1, len(picks) + 1, device=picks.device)  # (size,)
        B = self.output_weights[picks].double()  # (size, C)
        squared_errors = self.norms.new_zeros(len(picks))
        rows = max(1, CHUNK // B.numel())
        for start in range(0, self.m, rows):
            part = slice(start, start + rows)
            H = self.hidden[picks, part].double()  # (size, n)
            walk = (H[:, :, None] * B[:, None]).cumsum_(0)  # z after each pick, (size, n, C)
            errors = walk.div_(sizes[:, None, None]).sub_(self.targets[part])
            squared_errors += errors.square_().sum((1, 2))
        return squared_errors / (2 * self.m)

    def _gram_column(self, neuron: int) -> Tensor:
        r"""Inner products of all neurons with one, :math:`(b_i \cdot b_q)(h_i \cdot h_q)/m`, (N,) float64."""
        column = torch.mv(self.hidden, self.hidden[neuron]).double()  # (N,)
        return column.mul_(torch.mv(self.output_weights, self.output_weights[neuron])).div_(self.m)
