"""What a selection returns: the neurons in the order they were picked, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gfs_tutorial import checks, theory
from gfs_tutorial.networks import TwoLayerNet

__all__ = ["SelectionPath"]


@dataclass(frozen=True)
class SelectionPath:
    r"""The path of a greedy forward selection. All tensors are on the CPU.

    Attributes:
        indices: (size,) int64, the neuron picked at each step.
        losses: (size,) float64, :math:`\ell(u_k) = \frac{1}{2m}\sum_j\lVert u_k(x_j) - y_j\rVert^2` after
            each step.
        num_neurons: N, how many there were to choose from.
        dense_loss: L, the loss of all N neurons together.
        variance: V, the mean squared distance of the neurons' feature vectors from their mean.
        with_replacement: Whether a neuron may be picked again.
        picked_net: The distinct neurons of the whole path, as they were when they were selected; ``None``
            where selection saw bare tensors.
    """

    indices: Tensor
    losses: Tensor
    num_neurons: int
    dense_loss: float
    variance: float
    with_replacement: bool
    picked_net: TwoLayerNet | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.indices)

    def _check(self, k: int) -> int:
        if checks.positive_int("k", k) > len(self):
            raise ValueError(f"k is {k} but the path has only {len(self)} steps: select a larger size")
        return k

    def distinct(self, k: int) -> Tensor:
        """The distinct neurons among the first ``k`` picks, (n,) int64, in the order of their first pick."""
        return torch.tensor(list(dict.fromkeys(self.indices[: self._check(k)].tolist())))

    def weights(self, k: int) -> Tensor:
        """Convex weights of all neurons after ``k`` picks, (N,) float64: times picked, over k."""
        counts = torch.bincount(self.indices[: self._check(k)], minlength=self.num_neurons)  # (N,)
        return counts.double() / k

    def subnetwork(self, k: int) -> TwoLayerNet:
        r"""The network :math:`u_k` of the first ``k`` picks: their distinct neurons, each with its weight.

        Raises:
            ValueError: ``k`` is not between 1 and the length of the path, or the path came from
                :func:`select_neurons`, which sees activations and no network.
        """
        chosen = self.distinct(k)  # (n,)
        if self.picked_net is None:
            raise ValueError(
                "this path was selected from bare tensors: call greedy_forward_selection(net, ...) for "
                "subnetworks, or use distinct(k) and weights(k)"
            )
        # The picked net lists all distinct neurons of the path, so those of a prefix come first.
        return self.picked_net.subset(torch.arange(len(chosen)), self.weights(k)[chosen])

    def bound(self, k: int, anchors: Sequence[theory.Anchor] = ()) -> float:
        r"""An upper bound on ``losses[k - 1]`` that needs only N, L and V: :func:`theory.certificate`.

        Args:
            k: Number of picks.
            anchors: Further points of the hull, e.g. its minimum, that may tighten the bound; for selection
                with replacement.
        """
        bounds = theory.certificate(
            self.dense_loss,
            self.variance,
            self._check(k),
            with_replacement=self.with_replacement,
            width=self.num_neurons,
            anchors=anchors,
        )
        return float(bounds[-1])

    def bound_components(self, k: int, anchors: Sequence[theory.Anchor] = ()) -> theory.BoundComponents:
        """What :meth:`bound` is made of at ``k``, beside the loss that was achieved; same arguments."""
        bound, loss = self.bound(k, anchors), float(self.losses[k - 1])
        dense = theory.Anchor("dense network", math.sqrt(2 * self.dense_loss), self.variance)
        best = min((dense, *anchors), key=lambda p: theory.certificate_closed_form(p.loss, p.variance, k))
        return theory.BoundComponents(
            k=k,
            loss=loss,
            bound=bound,
            anchor=best.name,
            radius=best.radius,
            variance=best.variance,
            fluctuation=math.sqrt(best.variance / k),
            looseness=bound / loss if loss > 0 else math.inf,
        )
