"""What a selection returns: the neurons in the order they were picked, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gfs_tutorial import checks, theory
from gfs_tutorial.networks import TwoLayerNet

__all__ = ["NeuronPath", "SelectionPath", "WeightedPath"]


def first_seen(picks: Tensor) -> Tensor:
    """The distinct values of ``picks`` (size,), in the order in which they first come, (n,) int64."""
    return torch.tensor(list(dict.fromkeys(picks.tolist())), dtype=torch.int64)


@dataclass(frozen=True)
class NeuronPath:
    r"""Neurons picked one by one, each pick of the same weight. All tensors are on the CPU.

    What every rule of selection returns: greedy forward selection and its rivals.

    Attributes:
        indices: (size,) int64, the neuron picked at each step.
        losses: (size,) float64, :math:`\ell(u_k) = \frac{1}{2m}\sum_j\lVert u_k(x_j) - y_j\rVert^2` after
            each step.
        num_neurons: N, how many there were to choose from.
        dense_loss: L, the loss of all N neurons together.
        picked_net: The distinct neurons of the whole path, as they were when they were selected; ``None``
            where selection saw bare tensors.
    """

    indices: Tensor
    losses: Tensor
    num_neurons: int
    dense_loss: float
    picked_net: TwoLayerNet | None = field(default=None, repr=False, kw_only=True)

    def __len__(self) -> int:
        return len(self.indices)

    def _check(self, k: int) -> int:
        if checks.positive_int("k", k) > len(self):
            raise ValueError(f"k is {k} but the path has only {len(self)} steps: select a larger size")
        return k

    def picked(self, k: int | None = None) -> Tensor:
        """The distinct neurons among the first ``k`` picks (``None``: all), in the order of their first pick.

        Returns:
            (n,) int64.
        """
        picks = self.indices if k is None else self.indices[: self._check(k)]
        return first_seen(picks)

    def distinct(self, k: int) -> Tensor:
        """The neurons of the network after ``k`` picks, (n,) int64, in the order of their first pick."""
        return self.picked(k)

    def weights(self, k: int) -> Tensor:
        """Weights of all neurons after ``k`` picks, (N,) float64: times picked, over k."""
        counts = torch.bincount(self.indices[: self._check(k)], minlength=self.num_neurons)  # (N,)
        return counts.double() / k

    def subnetwork(self, k: int) -> TwoLayerNet:
        r"""The network :math:`u_k` of the first ``k`` picks: their distinct neurons, each with its weight.

        Raises:
            ValueError: ``k`` is not between 1 and the length of the path, or the path came from bare
                tensors (as of :func:`select_neurons`), where there is no network.
        """
        chosen = self.distinct(k)  # (n,)
        if self.picked_net is None:
            raise ValueError(
                "this path was selected from bare tensors: for subnetworks select from the network, as "
                "greedy_forward_selection(net, ...) does, or use distinct(k) and weights(k)"
            )
        place = {neuron: position for position, neuron in enumerate(self.picked().tolist())}
        places = torch.tensor([place[neuron] for neuron in chosen.tolist()])  # (n,), in the picked net
        return self.picked_net.subset(places, self.weights(k)[chosen])


@dataclass(frozen=True)
class SelectionPath(NeuronPath):
    """The path of a greedy forward selection: a :class:`NeuronPath` with a certificate.

    Attributes:
        variance: V, the mean squared distance of the neurons' feature vectors from their mean.
        with_replacement: Whether a neuron may be picked again.
        reads: How many inner products with every neuron's activations each read of them all brought.
        candidates: How many neurons could not be ruled out by bounds at each step, and so were computed;
            empty for small networks, which need no bounds.
    """

    variance: float
    with_replacement: bool
    reads: tuple[int, ...] = field(default=(), repr=False, kw_only=True)
    candidates: tuple[int, ...] = field(default=(), repr=False, kw_only=True)

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
        """What :meth:`bound` is made of at ``k``, beside the loss that was achieved; same arguments.

        For selection with replacement; without it, ``bound`` is larger than radius and fluctuation make it.
        """
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


@dataclass(frozen=True)
class WeightedPath(NeuronPath):
    """A path whose weights are not counts: a rule computed them afresh at every step.

    Attributes:
        step_weights: (size, n) float64, the weights after each step of the n neurons ``picked()``.
    """

    step_weights: Tensor = field(repr=False)

    def distinct(self, k: int) -> Tensor:
        """Picked neurons whose weight after ``k`` picks is not zero (the first if all are), (n,) int64."""
        row = self.step_weights[self._check(k) - 1]  # (n,)
        positions = row.nonzero()[:, 0]
        return self.picked()[positions if len(positions) else slice(1)]

    def weights(self, k: int) -> Tensor:
        """Weights of all neurons after ``k`` picks, (N,) float64; of any sign where the rule allows it."""
        full = torch.zeros(self.num_neurons, dtype=torch.float64)
        full[self.picked()] = self.step_weights[self._check(k) - 1]
        return full
