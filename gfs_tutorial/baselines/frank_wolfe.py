r"""The Frank-Wolfe algorithm with line search: step towards one neuron, as far as it pays."""

from __future__ import annotations

import torch
from torch import Tensor
from tqdm.auto import tqdm

from gfs_tutorial.baselines.neurons import Neurons
from gfs_tutorial.networks import TwoLayerNet
from gfs_tutorial.selection import WeightedPath

__all__ = ["frank_wolfe"]


def frank_wolfe(
    net: TwoLayerNet | Tensor, X: Tensor, y: Tensor, size: int, *, progress: bool = False
) -> WeightedPath:
    r"""Minimise the loss over the convex hull of the neurons, one neuron a step.

    From the best single neuron on,

    .. math:: q_k = \arg\min_i \langle\Phi_i, u_{k-1} - y\rangle, \qquad
        u_k = (1 - \gamma_k) u_{k-1} + \gamma_k \Phi_{q_k},

    with the step :math:`\gamma_k \in [0, 1]` that makes the loss least. Frank and Wolfe (1956); Jaggi
    (2013), the variant with line search. Greedy forward selection takes :math:`\gamma_k = 1/k`, and
    picks by the loss after that step instead of by the slope.

    Args:
        net, X, y: The network and the data, or bare tensors: as in
            :class:`~gfs_tutorial.baselines.Neurons`.
        size: Number of picks; a neuron may be picked again.
        progress: Whether to show a progress bar.

    Returns:
        A path of convex weights.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message).
    """
    neurons = Neurons(net, X, y)
    size = neurons.size_of_path(size, repeats=True)
    n, c = neurons.norms, neurons.alignments
    picks = [int((n / 2 - c).argmin())]
    w = torch.zeros_like(c)  # (N,)
    w[picks[0]] = 1
    weights, s = [w], neurons.gram[picks[0]]  # s = <Phi_i, u>, (N,)
    for _ in tqdm(range(1, size), desc="Frank-Wolfe", unit="neuron", disable=not progress, leave=False):
        q = int((s - c).argmin())
        length = float(w @ s - 2 * s[q] + n[q])  # squared, of Phi_q - u
        slope = float(w @ s - w @ c - s[q] + c[q])  # <u - y, u - Phi_q>
        step = min(max(slope / length, 0.0), 1.0) if length > 0 else 0.0
        w, s = (1 - step) * w, (1 - step) * s + step * neurons.gram[q]
        w[q] += step
        picks.append(q)
        weights.append(w)
    return neurons.weighted_path(picks, torch.stack(weights))
