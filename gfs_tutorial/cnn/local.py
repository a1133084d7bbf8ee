r"""Local imitation: greedy forward selection on what the consumer answers, in place of the whole net's loss.

The consumer's output is the sum of one contribution :math:`c_i` a candidate. With their Gram matrix
:math:`M_{ij} = \langle c_i, c_j\rangle`, target :math:`t = \sum_i c_i` and picks summing to :math:`z`,

.. math:: \lVert s_k (z + c_i) - t\rVert^2 = s_k^2 (M_{ii} + 2 (Mz)_i) - 2 s_k (M1)_i + \text{const},

where :math:`s_k = N/k` (``"mean"``, the papers' convex weights) or 1 (``"unit"``): one row of M a step.
Chapter *Channels*.
"""

from __future__ import annotations

import torch
from torch import Tensor
from tqdm.auto import tqdm

from gfs_tutorial import checks
from gfs_tutorial.cnn.moments import Moments
from gfs_tutorial.cnn.unit_selection import SCALINGS, UnitSelection
from gfs_tutorial.cnn.units import Unit

__all__ = ["contribution_gram", "select_local"]


def select_local(
    unit: Unit,
    moments: Moments,
    weight: Tensor,
    size: int | None = None,
    *,
    scaling: str = "mean",
    with_replacement: bool = False,
    distinct: int | None = None,
    centred: bool = False,
    progress: bool = False,
) -> UnitSelection:
    """Pick candidates one by one, each the one that brings the consumer's output closest to the dense one.

    Args:
        unit: The unit.
        moments: Of its consumer's inputs.
        weight: Of the consumer, (outputs, inputs[, height, width]).
        size: Number of picks; ``None``: ``unit.size``.
        scaling: ``"mean"`` or ``"unit"``, as in :class:`UnitSelection`.
        with_replacement: Whether a candidate may be picked again.
        distinct: Stop as soon as so many different candidates are picked; ``None`` goes on to ``size``.
        centred: Leave the means out, which a refit puts into the bias.
        progress: Whether to show a progress bar.

    Returns:
        A :class:`UnitSelection`; its errors are squared distances from the dense output, relative to the
        dense output's square.

    Raises:
        ValueError: an unknown scaling, moments or a weight that do not fit, or more picks than candidates
            without replacement.
    """
    checks.one_of("scaling", scaling, SCALINGS)
    size = unit.size if size is None else checks.positive_int("size", size)
    if size > unit.size and not with_replacement:
        raise ValueError(f"size is {size} but {unit.name} has only {unit.size} candidates")
    distinct = size if distinct is None else checks.positive_int("distinct", distinct)
    gram = contribution_gram(unit, moments, weight, centred=centred)  # (N, N)
    bar = tqdm(disable=not progress, total=size, desc=unit.name, unit="pick", leave=False)
    picks, errors = _greedy(gram, size, scaling, with_replacement, distinct, bar)
    return UnitSelection(unit, picks.cpu(), errors.cpu(), scaling)


def contribution_gram(unit: Unit, moments: Moments, weight: Tensor, *, centred: bool = False) -> Tensor:
    """Inner products of the candidates' contributions to the consumer's output, (size, size) float64."""
    W = weight.detach().double().flatten(1)  # (outputs, features)
    if W.shape[1] != len(moments.input_sum) or W.shape[1] % unit.size:
        raise ValueError(
            f"weight has {W.shape[1]} features and moments {len(moments.input_sum)}: both must be those of "
            f"{unit.consumer}, with {unit.size} candidates"
        )
    K = moments.K  # (features, features)
    if not centred:
        K.addr_(moments.input_mean, moments.input_mean, alpha=moments.count)
    rows = W.shape[1] // unit.size
    return K.mul_(W.T @ W).view(unit.size, rows, unit.size, rows).sum((1, 3))


def _greedy(
    gram: Tensor, size: int, scaling: str, with_replacement: bool, distinct: int, bar: tqdm
) -> tuple[Tensor, Tensor]:
    N, target, energy = len(gram), gram.sum(1), gram.sum()  # <c_i, t> and |t|^2
    inner, norms = torch.zeros_like(target), gram.diagonal()  # <c_i, z>, |c_i|^2
    banned = torch.zeros_like(target)
    picks, errors = [], []
    square = reach = 0.0  # |z|^2 and <z, t>
    with bar:
        for k in range(1, size + 1):
            scale = N / k if scaling == "mean" else 1.0
            scores = scale * (norms / 2 + inner) - target + banned
            pick = int(scores.argmin())
            square += float(norms[pick] + 2 * inner[pick])
            reach += float(target[pick])
            inner += gram[pick]
            if not with_replacement:
                banned[pick] = torch.inf
            picks.append(pick)
            errors.append((scale * (scale * square - 2 * reach) + float(energy)) / (float(energy) or 1.0))
            bar.update()
            if len(set(picks)) == distinct:
                break
    return torch.tensor(picks), torch.tensor(errors, dtype=torch.float64).clamp_min(0)
