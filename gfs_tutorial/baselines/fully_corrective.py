r"""Fully corrective selection: after every pick, the best convex weights of all neurons picked so far."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from gfs_tutorial.baselines.neurons import Neurons
from gfs_tutorial.networks import TwoLayerNet
from gfs_tutorial.selection import WeightedPath
from gfs_tutorial.theory.simplex import simplex_least_squares

__all__ = ["fully_corrective"]


def fully_corrective(
    net: TwoLayerNet | Tensor, X: Tensor, y: Tensor, size: int, *, progress: bool = False
) -> WeightedPath:
    r"""Frank-Wolfe that forgets nothing and regrets everything: all weights are chosen again at each step.

    .. math:: q_k = \arg\min_i \langle\Phi_i, u_{k-1} - y\rangle, \qquad
        u_k = \arg\min\ \ell \text{ over the convex hull of } \Phi_{q_1}, \dots, \Phi_{q_k} .

    Jaggi (2013), the fully corrective variant. When a pick repeats, the best point of the whole hull has been
    reached.

    Args:
        net, X, y: The network and the data, or bare tensors: as in
            :class:`~gfs_tutorial.baselines.Neurons`.
        size: Number of picks.
        progress: Whether to show a progress bar.

    Returns:
        A path of convex weights. A neuron whose weight becomes zero leaves the network, and may come back.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message).
    """
    neurons = Neurons(net, X, y)
    size = neurons.size_of_path(size, repeats=True)
    n, c = neurons.norms, neurons.alignments
    chosen = [int((n / 2 - c).argmin())]
    picks, w = [*chosen], torch.zeros_like(c)  # (N,)
    w[chosen] = 1
    weights, basis = [w], _Basis(neurons.labels.numpy(), size + 1)
    basis.append(neurons.features(chosen)[0].numpy())
    for _ in tqdm(range(1, size), desc="corrective", unit="neuron", disable=not progress, leave=False):
        q = int((w @ neurons.gram - c).argmin())
        picks.append(q)
        if q not in chosen:
            chosen.append(q)
            basis.append(neurons.features([q])[0].numpy())
            R = basis.triangle()  # (n + 1, n + 1): first column y, then the chosen neurons
            w = torch.zeros_like(c)
            w[chosen] = torch.from_numpy(simplex_least_squares((R[:, 1:] - R[:, :1]).T))
        weights.append(w)
    return neurons.weighted_path(picks, torch.stack(weights))


class _Basis:
    """An orthonormal basis that grows: the labels and neurons in as many coordinates as there are vectors.

    Distances are those of the mC-dimensional vectors, and the solver sees a small matrix. Gram-Schmidt runs
    twice, so that the basis stays orthogonal to rounding.
    """

    def __init__(self, first: np.ndarray, capacity: int):
        self.Q = np.zeros((len(first), capacity))
        self.R = np.zeros((capacity, capacity))
        self.count = 0
        self.append(first)

    def append(self, vector: np.ndarray) -> None:
        k, rest = self.count, vector
        for _ in range(2):
            part = self.Q[:, :k].T @ rest  # (k,)
            self.R[:k, k] += part
            rest = rest - self.Q[:, :k] @ part
        length = np.linalg.norm(rest)
        if length > 1e-14 * np.linalg.norm(vector):  # else the vector lies in the span of the others
            self.R[k, k], self.Q[:, k] = length, rest / length
        self.count += 1

    def triangle(self) -> np.ndarray:
        return self.R[: self.count, : self.count]
