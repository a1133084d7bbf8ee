"""What a selection needs to know of all neurons beforehand, in float64, in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gfs_tutorial import checks
from gfs_tutorial.selection.activations import RecomputedActivations, StoredActivations

__all__ = ["Statistics"]


@dataclass(frozen=True)
class Statistics:
    r"""Sums over the data, over m.

    Attributes:
        norms: (N,), :math:`n_i = \lVert\Phi_i\rVert^2`.
        alignments: (N,), :math:`c_i = \langle\Phi_i, y\rangle`; ``None`` where they are not wanted.
        dense_loss: L, loss of the mean of all neurons.
        variance: V, mean squared distance of the neurons from that mean.
    """

    norms: Tensor
    alignments: Tensor | None
    dense_loss: float
    variance: float

    @classmethod
    def of(
        cls,
        activations: StoredActivations | RecomputedActivations,
        output_weights: Tensor,
        targets: Tensor,
        *,
        alignments: bool,
    ) -> Statistics:
        """One pass over ``activations``; output_weights (N, C), targets (m, C).

        Raises:
            ValueError: activations so large that their squares overflow.
        """
        B, y, m = output_weights.double(), targets.double(), len(targets)  # (N, C), (m, C)
        norms, aligned, mean = (
            torch.zeros_like(B[:, 0]),
            torch.zeros_like(B[:, 0]),
            y.new_zeros(y.shape[1], m),
        )
        transposed = B.T.contiguous()  # (C, N)
        for neurons, rows, H in activations.tiles():  # H (n, r)
            norms[neurons] += torch.linalg.vector_norm(H, dim=1).square_()
            if alignments:
                aligned[neurons] += (H @ y[rows]).mul_(B[neurons]).sum(1)
            mean[:, rows].addmm_(transposed[:, neurons], H)  # H.T @ B is slow for several outputs
        norms.mul_(B.square().sum(1)).div_(m)
        checks.finite("the neurons' squared norms", norms)
        mean = mean.T.div_(len(B))  # (m, C)
        return cls(
            norms=norms,
            alignments=aligned.div_(m) if alignments else None,
            dense_loss=float((mean - y).square().sum() / (2 * m)),
            variance=max(0.0, float(norms.mean() - mean.square().sum() / m)),
        )
