r"""Greedy forward selection on the logistic loss, which does not expand into scores.

The squared loss needs one matrix-vector product a step; here every candidate's loss is computed from its
definition, all candidates at once: N m logarithms a step. For small scales.

Chapter *The MNIST experiment*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from gfs_tutorial import checks, theory
from gfs_tutorial.losses import check_signs
from gfs_tutorial.selection.path import SelectionPath

__all__ = ["LogisticPath", "select_neurons_logistic"]

CHUNK = 2**18  # candidates' outputs held at once: they stay in the cache
TIE = 1e-12  # losses that differ by less, relative to the least, count as equal in float64
SMOOTHNESS = 0.25  # the second derivative of log(1 + exp(-u)) is at most 1/4


@dataclass(frozen=True)
class LogisticPath(SelectionPath):
    """A :class:`SelectionPath` whose ``losses`` and ``dense_loss`` are logistic."""

    def bound(self, k: int, anchors: Sequence[theory.Anchor] = ()) -> float:
        r"""An upper bound on ``losses[k - 1]`` for selection with replacement, :math:`L + V H_k / 8k`.

        The best candidate is at most as bad as the average one; the loss is convex, and smooth with 1/4:
        :math:`k\,\ell(u_k) \le (k - 1)\,\ell(u_{k-1}) + L + V / 8k`. :math:`H_k` is the harmonic number.

        Args:
            k: Number of picks.
            anchors: None: they tighten the bound on the squared loss.

        Raises:
            ValueError: ``k`` is not between 1 and the length of the path, there are anchors, or the path is
                without replacement.
        """
        if anchors:
            raise ValueError("anchors tighten the bound on the squared loss alone: leave them out")
        if not self.with_replacement:
            raise ValueError("there is no such bound without replacement: select with_replacement=True")
        harmonic = float((1 / torch.arange(1, self._check(k) + 1, dtype=torch.float64)).sum())
        return self.dense_loss + SMOOTHNESS * self.variance * harmonic / (2 * k)

    def bound_components(self, k: int, anchors: Sequence[theory.Anchor] = ()) -> theory.BoundComponents:
        """There are none: a ``ValueError``."""
        raise ValueError("the bound on the logistic loss has no radius and fluctuation to be made of")


@torch.no_grad()
def select_neurons_logistic(
    hidden: Tensor,
    output_weights: Tensor,
    targets: Tensor,
    size: int,
    *,
    with_replacement: bool = True,
    progress: bool = False,
) -> LogisticPath:
    r"""Greedy forward selection on :math:`\ell(u) = \frac1m\sum_j\sum_c\log(1 + e^{-y_{jc}u_c(x_j)})`.

    Args:
        hidden: (m, N), activation of each neuron on each row of the data; float32 or float64.
        output_weights: (N, C).
        targets: (m, C) of -1 and +1, or (m,) where C = 1.
        size: Number of picks.
        with_replacement: As in :func:`gfs_tutorial.greedy_forward_selection`.
        progress: Whether to show a progress bar.

    Returns:
        A :class:`LogisticPath` without subnetworks.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message).
    """
    hidden, output_weights, targets = checks.neurons(hidden, output_weights, targets)
    check_signs("targets", targets)
    m, N = hidden.shape
    if checks.positive_int("size", size) > N and not with_replacement:
        raise ValueError(f"size is {size} but there are only {N} neurons without replacement: lower size")

    features = (hidden.T[:, :, None] * output_weights[:, None, :] * targets).flatten(1)  # y Φ, (N, m C)
    margin = features.mean(0, dtype=torch.float64)  # y f of the dense network, (m C,)
    total, picks, losses = torch.zeros_like(margin), [], []
    banned: set[int] = set()
    for k in tqdm(range(1, size + 1), desc="GFS", unit="neuron", disable=not progress, leave=False):
        q = _best(features, total, k, banned)
        total += features[q].double()
        picks.append(q)
        losses.append(F.softplus(-total / k).sum() / m)
        if not with_replacement:
            banned.add(q)
    spread = float(features.square().sum(dtype=torch.float64) / N - margin.square().sum()) / m
    return LogisticPath(
        indices=torch.tensor(picks),
        losses=torch.stack(losses).cpu(),
        num_neurons=N,
        dense_loss=float(F.softplus(-margin).sum() / m),
        variance=max(0.0, spread),
        with_replacement=with_replacement,
    )


def _best(features: Tensor, total: Tensor, k: int, banned: set[int]) -> int:
    """The candidate of least loss at step ``k``; the lowest index where several tie."""
    running = total.to(features.dtype)  # (m C,)
    losses = []
    for part in features.split(max(1, CHUNK // features.shape[1])):
        losses.append(F.softplus((part + running).div_(-k)).sum(1, dtype=torch.float64))  # (n,)
    summed = torch.cat(losses)  # (N,)
    if banned:
        summed[list(banned)] = torch.inf
    return int((summed <= summed.min() * (1 + TIE)).nonzero()[0, 0])
