r"""A draft of the steps to come: which Gram columns selection will soon want.

One read of the activations serves many columns at little more than the cost of one, if it is known which.
So the greedy rule runs ahead on guessed columns. Its guesses decide what is computed together, never what is
picked: a wrong one costs time alone. Chapter *Selection at scale*.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gfs_tutorial.selection.activations import RecomputedActivations, StoredActivations
from gfs_tutorial.selection.lowest import lowest

if TYPE_CHECKING:
    from gfs_tutorial.selection.scores import NeuronScores

__all__ = ["Draft"]

SMALLEST = 2**24  # activations below which a column costs less than guessing
SHORTEST = 2**12  # rows of the data below which it does
ROWS = (256, 2048)  # of the sample, at least and at most
PATIENCE = 3  # steps ahead for each column that is wanted
KNOWN = 256  # columns that a guess rests on, at most
RIDGE = 1e-4  # relative to the mean diagonal


class Draft:
    """Guesses which neurons selection will pick next.

    Args:
        activations: Of all neurons.
        output_weights: (N, C).
    """

    def __init__(self, activations: StoredActivations | RecomputedActivations, output_weights: Tensor):
        N, m = activations.shape
        pays = isinstance(activations, RecomputedActivations) or (N * m >= SMALLEST and m >= SHORTEST)
        self.block = activations.block if pays else 1
        self.output_weights = output_weights
        if self.block > 1:
            self.sample = activations.sample(min(max(m // 16, ROWS[0]), ROWS[1]))  # (N, r)

    def next_neurons(self, scores: NeuronScores, neuron: int, k: int) -> list[int]:
        """``neuron``, the pick of step ``k``, and those whose columns will soon be wanted.

        Args:
            scores: Before step ``k``.
            neuron: Whose column is not known.
            k: The step.
        """
        wanted = [neuron]
        if self.block == 1:
            return wanted
        ahead, guess = scores.running.clone(), GuessedColumns(self.sample, scores.products, scores.m)
        for step in range(k, min(k + PATIENCE * self.block, scores.size)):
            products = scores.products.get(neuron)
            if products is None:
                products = guess.products(neuron)
            ahead += products * torch.mv(self.output_weights, self.output_weights[neuron])
            if not scores.with_replacement:
                ahead[neuron] = torch.inf
            neuron = lowest(torch.sub(ahead, scores.alignments, alpha=step + 1, out=scores.scores))
            if neuron not in scores.products and neuron not in wanted:
                wanted.append(neuron)
                if len(wanted) == self.block:
                    break
        return wanted


class GuessedColumns:
    r"""Inner products of all neurons' activations with one's, guessed.

    A neuron is regressed on those whose products are known: the part that they explain is exact, and only the
    rest is estimated on a sample of the rows. The error shrinks with the rest, not with the sample alone.

    Args:
        sample: (N, r), activations on some rows of the data.
        known: Neuron to the products of all neurons with it, (N,), over m.
        m: Number of rows of the data.
    """

    def __init__(self, sample: Tensor, known: dict[int, Tensor], m: int):
        self.sample, neurons = sample, list(known)[-KNOWN:]
        self.columns = None
        if neurons:
            self.columns = torch.stack([known[neuron] for neuron in neurons])  # (n, N)
            gram = self.columns[:, neurons].double()  # (n, n)
            gram.diagonal().add_(RIDGE * gram.diagonal().mean())
            self.factor = torch.linalg.cholesky(gram)
            self.known_sample = sample[neurons]  # (n, r)

    def products(self, neuron: int) -> Tensor:
        """Guess for one neuron, over m, (N,)."""
        rest, r = self.sample[neuron], self.sample.shape[1]
        if self.columns is None:
            return torch.mv(self.sample, rest).div_(r)
        right = self.columns[:, neuron, None].double()  # (n, 1)
        weights = torch.cholesky_solve(right, self.factor)[:, 0].to(rest.dtype)  # (n,)
        rest = rest - torch.mv(self.known_sample.T, weights)  # (r,)
        return torch.mv(self.sample, rest).div_(r).addmv_(self.columns.T, weights)
