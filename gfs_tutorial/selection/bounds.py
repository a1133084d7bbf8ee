r"""Exact selection that computes what could win, and bounds the rest.

With :math:`w_{k-1} = z_{k-1} - k\,y` the score of a neuron is :math:`\tfrac12 n_i + \langle\Phi_i,
w_{k-1}\rangle`. In a :class:`~gfs_tutorial.selection.basis.Basis` most of the inner product is known, and
Cauchy-Schwarz bounds the rest by :math:`\lVert h_i^\perp\rVert\,\lVert w^\perp b_i\rVert`. A neuron whose
least possible score is above the best one's greatest cannot be picked. The few others are computed. Chapter
*Selection at scale*.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gfs_tutorial.selection.activations import RecomputedActivations, StoredActivations, whole_blocks
from gfs_tutorial.selection.basis import Basis
from gfs_tutorial.selection.pending import PendingPicks
from gfs_tutorial.selection.statistics import Statistics
from gfs_tutorial.selection.walk import Walk

__all__ = ["BoundedScores", "pays"]

SMALLEST = 2**24  # activations below which a column of the Gram matrix costs less than the bounds
SHORTEST = 2**12  # rows of the data below which it does
PATIENCE = 2  # candidates computed, over N, before the basis is extended: the costs are then about alike
POOL = 512  # neurons whose principal directions begin the basis, at most
SAMPLE = 2**12  # rows of the data that show the principal directions
SHARE = 10  # of them to each direction
BEST = 4  # candidates computed first: the best of them rules out others


def pays(activations: StoredActivations | RecomputedActivations) -> bool:
    """Whether the bounds cost less than they save."""
    N, m = activations.shape
    return isinstance(activations, RecomputedActivations) or (N * m >= SMALLEST and m >= SHORTEST)


class BoundedScores:
    """Scores of all neurons between bounds, for one selection.

    Args:
        activations: Of N neurons on m rows, float32 or float64.
        output_weights: (N, C).
        targets: (m, C).
        with_replacement: Whether a neuron may be picked again.

    Attributes:
        statistics: Of all neurons.
        reads: How many directions each read of all activations brought.
        candidates: How many neurons were computed at each step, for they could not be ruled out; 1 where
            the bounds alone decided.

    Raises:
        ValueError: activations so large that their squares overflow.
    """

    def __init__(
        self,
        activations: StoredActivations | RecomputedActivations,
        output_weights: Tensor,
        targets: Tensor,
        with_replacement: bool,
    ):
        self.activations, self.output_weights = activations, output_weights
        self.m, self.B = activations.shape[1], output_weights.double()  # (N, C)
        self.with_replacement = with_replacement
        self.statistics = Statistics.of(activations, output_weights, targets, alignments=False)
        norms, squares = self.statistics.norms, self.B.square().sum(1)  # (N,)
        self.sizes = norms.sqrt()
        # Sums of m products in whatever order a library takes them: far from the worst case, and from none.
        self.rounding = torch.finfo(activations.dtype).eps * (64 + self.m / 64)
        self.walk = Walk(activations, output_weights, targets, norms)
        self.target_size = float(self.walk.targets.norm()) / self.m**0.5
        self.open = torch.zeros_like(norms)  # infinite for a neuron that may not be picked, (N,)
        self.squared_errors: list[Tensor] = []
        self.candidates: list[int] = []
        lengths = torch.where(squares > 0, self.m * norms / squares.clamp(min=1e-300), 0.0)  # (N,)
        self.basis = Basis(activations, lengths, self.rounding)
        self._extend(torch.cat([targets.T.to(activations.dtype), self._principal()]))

    @property
    def reads(self) -> list[int]:
        return self.basis.reads

    def _principal(self) -> Tensor:
        """Principal directions of some neurons' feature vectors, to begin with, (r, m)."""
        N = len(self.B)
        count = max(1, min(POOL, N // 16, self.activations.affordable))
        some = torch.arange(0, N, N // count, device=self.B.device)[:count]
        rows = self.activations.rows(some) * self.output_weights[some].norm(dim=1, keepdim=True)  # (n, m)
        sample = rows[:, :: max(1, self.m // SAMPLE)]  # (n, s): any directions will do, these are good ones
        axes = torch.linalg.eigh((sample @ sample.T).double()).eigenvectors  # (n, n), ascending
        room = whole_blocks(count // SHARE + self.B.shape[1]) - self.B.shape[1]  # the targets are taken, too
        return axes[:, -room:].T.to(rows.dtype) @ rows

    def _extend(self, vectors: Tensor) -> None:
        """Take ``vectors`` (p, m) into the basis and start anew from there."""
        self.basis.extend(vectors)
        self.pending = PendingPicks(self.basis, self.B, self.rounding)
        self.spent, Q = 0, self.basis.directions
        self.along_targets = (Q @ self.walk.targets.to(Q.dtype)).double()  # (r, C)
        residual = self.walk.residual().to(Q.dtype)  # (m, C)
        self.along = (Q @ residual).double()  # (r, C), the residual in the basis
        self.slack = float(self.basis.off(residual.T).norm()) / self.m**0.5  # what rounding left behind

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Least and greatest score that each neuron can have at the next step, (N,) float64 both."""
        along = self.along.to(self.basis.coordinates.dtype)
        inner = (along.T @ self.basis.coordinates).T.double()  # (N, C), from what is known
        scores = self.statistics.norms / 2 + (inner * self.B).sum(1) / self.m + self.open
        radius = self.basis.rest * self._reach() / self.m
        reach = float(self.along.norm()) / self.m**0.5
        radius += self.rounding * (self.statistics.norms + self.sizes * reach) + self.sizes * self.slack
        return scores - radius, scores + radius

    def _reach(self) -> Tensor:
        r""":math:`\lVert w^\perp b_i\rVert` of each neuron, (N,)."""
        if len(self.pending) == 0:
            return torch.zeros_like(self.sizes)
        return ((self.B @ self.pending.squared_reach()) * self.B).sum(1).clamp_(min=0).sqrt_()

    def best(self, k: int) -> int:
        """The neuron that makes the loss of step ``k``, from 1, least; the lowest index where several tie."""
        residual = self.walk.residual()  # (m, C)
        near = self._near(residual)
        if len(self.pending) and self.spent + len(near) > PATIENCE * len(self.B):
            self._extend(torch.cat([self.pending.rows, self._likely(near, residual)]))
            near = self._near(residual)
        self.candidates.append(len(near))
        if len(near) == 1:
            return int(near)
        self.spent += len(near)
        scores, error = self._computed(near, residual)  # (n,)
        near = near[scores - error <= (scores + error).min()]
        return int(near) if len(near) == 1 else self.walk.best_among(near)

    def _likely(self, near: Tensor, residual: Tensor) -> Tensor:
        """Activations of as many neurons that may soon be picked as the next read takes for free, (p, m)."""
        free = whole_blocks(len(self.pending)) - len(self.pending)
        others = near[~torch.isin(near, torch.tensor(list(self.pending.counts), device=near.device))]
        scores, _ = self._computed(others, residual)
        best = others[scores.topk(min(free, len(others)), largest=False).indices]
        return self.activations.rows(best)

    def _near(self, residual: Tensor) -> Tensor:
        """Neurons that could be the best, (n,) in ascending order."""
        least, greatest = self.bounds()
        limit = greatest.min()
        near = (least <= limit).nonzero()[:, 0]
        if len(near) > 2 * BEST:
            first = near[greatest[near].topk(BEST, largest=False).indices.sort().values]
            scores, error = self._computed(first, residual)
            near = near[least[near] <= torch.minimum(limit, (scores + error).min())]
        return near

    def _computed(self, neurons: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of ``neurons`` (n,) from their activations, and the error of rounding, (n,) float64 both."""
        matrix = residual.to(self.activations.dtype)  # (m, C)
        inner = self.activations.products_of(neurons, matrix).double()  # (n, C)
        norms = self.statistics.norms[neurons]
        scores = norms / 2 + (inner * self.B[neurons]).sum(1) / self.m
        reach = residual.norm() / self.m**0.5
        return scores, self.rounding * (norms + self.sizes[neurons] * reach)

    def add(self, neuron: int) -> None:
        """Take ``neuron`` as the next pick."""
        row = self.activations.rows(torch.tensor([neuron], device=self.B.device))[0]  # (m,)
        self.pending.add(neuron, row)
        b = self.B[neuron]  # (C,)
        self.along += self.basis.coordinates[:, neuron, None].double() * b - self.along_targets
        self.slack += self.rounding * (float(self.sizes[neuron]) + self.target_size) / 16
        self.walk.add(neuron)
        error = self.walk.position() / self.walk.length - self.walk.targets  # (m, C)
        self.squared_errors.append(error.square_().sum())
        if not self.with_replacement:
            self.open[neuron] = torch.inf

    def losses(self, picks: Tensor) -> Tensor:
        """Loss after each pick, (size,) float64."""
        return torch.stack(self.squared_errors) / (2 * self.m)
