"""What one process computes on the activations that it holds, in sums that others can be added to."""

from __future__ import annotations

import torch
from torch import Tensor

from gfs_tutorial import checks

__all__ = ["GUARD", "TIE", "Share", "check_share", "squared_errors"]

CHUNK = 2**19  # activations widened to float64 at once
# Scores this close to the best, relative to the mean squared norm, are compared again in float64.
GUARD = {torch.float32: 1e-3, torch.float64: 1e-9}
TIE = 1e-13  # scores that differ by less than this, relative to their terms, count as equal


class Share:
    r"""Some neurons on some rows. Sums run over the rows here; nothing is divided by m.

    Args:
        hidden: (m, N), activations of these neurons on these rows; half precision is widened to float32.
        output_weights: (N, C).
        targets: (m, C).
    """

    def __init__(self, hidden: Tensor, output_weights: Tensor, targets: Tensor):
        if hidden.dtype not in GUARD:
            hidden, output_weights = hidden.float(), output_weights.float()
        self.hidden = hidden.detach().T.contiguous()  # (N, m)
        self.output_weights = output_weights.detach().contiguous()  # (N, C)
        self.targets = targets.detach().double()  # (m, C)

    def moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Sums for the norms n (N,) and the alignments c (N,), and the sum of all neurons (m, C); float64."""
        B, output = self.output_weights.double(), torch.zeros_like(self.targets)  # (N, C), (m, C)
        norms, alignments = [], []
        for part in torch.arange(len(B)).split(max(1, CHUNK // len(self.targets))):
            start, end = int(part[0]), int(part[-1]) + 1
            H, b = self.hidden[start:end].double(), B[start:end]  # (n, m), (n, C)
            norms.append(H.square().sum(1) * b.square().sum(1))
            alignments.append((H @ self.targets * b).sum(1))
            output.addmm_(H.T, b)
        return torch.cat(norms), torch.cat(alignments), output

    def inner(self, neurons: Tensor, total: Tensor) -> Tensor:
        """Inner products of ``neurons`` (n,) with the prediction ``total`` (m, C), (n,) float64."""
        products = [
            (self.hidden[part].double() @ total * self.output_weights[part].double()).sum(1)
            for part in neurons.split(max(1, CHUNK // len(total)))
        ]
        return torch.cat(products) if products else total.new_zeros(0)

    def gram_column(self, activation: Tensor, output_weight: Tensor) -> Tensor:
        """Inner products of all neurons with one, of activation (m,) and output weight (C,); (N,) float64."""
        column = torch.mv(self.hidden, activation).double()  # (N,)
        return column.mul_(torch.mv(self.output_weights, output_weight))


def squared_errors(activations: Tensor, output_weights: Tensor, targets: Tensor) -> Tensor:
    """Sums of squared errors of the averages of the first 1, 2, ..., k picks.

    Args:
        activations: (k, m), of the picks in their order.
        output_weights: (k, C).
        targets: (m, C).

    Returns:
        (k,) float64.
    """
    B = output_weights.double()
    sizes = torch.arange(1, len(B) + 1, device=B.device)[:, None, None]
    errors = targets.new_zeros(len(B), dtype=torch.float64)
    rows = max(1, CHUNK // B.numel())
    for H, Y in zip(activations.split(rows, dim=1), targets.split(rows)):
        averages = (H.double()[:, :, None] * B[:, None]).cumsum(0) / sizes  # u after each pick, (k, n, C)
        errors += (averages - Y).square_().sum((1, 2))
    return errors


def check_share(hidden: Tensor, output_weights: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Check what one process passes; returns it with ``targets`` as (m, C).

    Raises:
        TypeError, ValueError: wrong types or shapes, no neurons or rows, NaN, mixed dtypes or devices.
    """
    checks.float_matrix("hidden", hidden, "(m, N)")
    checks.float_matrix("output_weights", output_weights, "(N, C)")
    if checks.is_tensor("targets", targets).ndim == 1:
        targets = targets[:, None]
    checks.float_matrix("targets", targets, "(m,) or (m, C)")
    (m, N), C = hidden.shape, output_weights.shape[1]
    if len(output_weights) != N or targets.shape != (m, C):
        raise ValueError(
            f"hidden is (m, N) = {(m, N)} on this process, so output_weights must be ({N}, C) and targets "
            f"({m}, C); got {tuple(output_weights.shape)} and {tuple(targets.shape)}"
        )
    tensors = (hidden, output_weights, targets)
    for kind, error in (("dtype", TypeError), ("device", ValueError)):
        found = [str(getattr(tensor, kind)) for tensor in tensors]
        if len(set(found)) > 1:
            raise error(f"hidden, output_weights and targets must share a {kind}, got {', '.join(found)}")
    return hidden, output_weights, targets
