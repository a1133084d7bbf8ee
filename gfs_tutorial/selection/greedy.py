"""Exact greedy forward selection, with and without replacement."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor
from tqdm.auto import tqdm

from gfs_tutorial import checks
from gfs_tutorial.networks import TwoLayerNet
from gfs_tutorial.selection.activations import RecomputedActivations, StoredActivations, activations_of
from gfs_tutorial.selection.bounds import BoundedScores, pays
from gfs_tutorial.selection.path import SelectionPath
from gfs_tutorial.selection.scores import NeuronScores

__all__ = ["greedy_forward_selection", "select_neurons"]

EXACT = (torch.float32, torch.float64)  # half precision is selected in float32


def greedy_forward_selection(
    net: TwoLayerNet,
    X: Tensor,
    y: Tensor,
    size: int,
    *,
    with_replacement: bool = True,
    max_memory: float | None = None,
    progress: bool = False,
) -> SelectionPath:
    r"""Pick neurons of ``net`` one by one, each the one that makes the loss of their average least.

    .. math:: q_k = \arg\min_i \ell\bigl((z_{k-1} + \Phi_i)/k\bigr), \qquad z_k = z_{k-1} + \Phi_{q_k},
        \qquad u_k = z_k / k

    Ye et al. (2020); chapter *Greedy forward selection*. Exact: ties, to rounding error, go to
    the neuron with the lowest index.

    Args:
        net: The trained (or untrained) network.
        X: (m, d) features.
        y: (m,) or (m, C) targets.
        size: Number of picks.
        with_replacement: ``True``, the paper's: a neuron may be picked again and weighs count/k. ``False``,
            the authors' code: distinct neurons, each weighs 1/k.
        max_memory: Bytes that the (N, m) hidden activations may take; ``None``: most of what is free. Where
            they do not fit they are computed anew in each pass over the data: slower, the same picks.
        progress: Whether to show a progress bar.

    Returns:
        A :class:`SelectionPath`.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message); ``size`` is below 1,
            or above N without replacement; ``max_memory`` is too little for a single row of the data.
    """
    if not isinstance(net, TwoLayerNet):
        raise TypeError(f"net must be a TwoLayerNet, got {type(net).__name__}: use select_neurons for others")
    X, y = checks.features_and_targets(X, y, net.out_features)
    net.check_input(X)
    _check_size(size, net.width, with_replacement)
    checks.finite("net", torch.nn.utils.parameters_to_vector(net.parameters()).detach())
    wide, X, y = (net, X, y) if X.dtype in EXACT else (copy.deepcopy(net).float(), X.float(), y.float())
    activations = activations_of(wide, X, max_memory)
    path = select_from_activations(
        activations, wide.output_weights.detach(), y, size, with_replacement, progress
    )
    return replace(path, picked_net=net.subset(path.distinct(size)))


def select_neurons(
    hidden: Tensor,
    output_weights: Tensor,
    targets: Tensor,
    size: int,
    *,
    with_replacement: bool = True,
    progress: bool = False,
) -> SelectionPath:
    """:func:`greedy_forward_selection` on bare tensors, for networks of your own.

    Args:
        hidden: (m, N), activation of each neuron on each row of the data. They are copied unless each
            neuron's lie together in memory, as those of ``net.hidden(X)`` do.
        output_weights: (N, C).
        targets: (m, C), or (m,) where C = 1.
        size, with_replacement, progress: As in :func:`greedy_forward_selection`.

    Returns:
        A :class:`SelectionPath` without subnetworks.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message).
    """
    hidden, output_weights, targets = checks.neurons(hidden, output_weights, targets)
    _check_size(size, len(output_weights), with_replacement)
    if hidden.dtype not in EXACT:
        hidden, output_weights, targets = hidden.float(), output_weights.float(), targets.float()
    activations = StoredActivations(hidden.T.contiguous())
    return select_from_activations(activations, output_weights, targets, size, with_replacement, progress)


def _check_size(size: int, num_neurons: int, with_replacement: bool) -> None:
    checks.positive_int("size", size)
    if not with_replacement and size > num_neurons:
        raise ValueError(
            f"size is {size} but there are only {num_neurons} neurons to pick from without replacement: "
            "lower size, or set with_replacement=True"
        )


@torch.no_grad()
def select_from_activations(
    activations: StoredActivations | RecomputedActivations,
    output_weights: Tensor,
    targets: Tensor,
    size: int,
    with_replacement: bool,
    progress: bool,
) -> SelectionPath:
    """The loop, on activations of N neurons on m rows, output_weights (N, C), targets (m, C)."""
    arguments = output_weights.contiguous(), targets, with_replacement
    scores: BoundedScores | NeuronScores
    if isinstance(activations, StoredActivations) and not pays(activations):
        scores = NeuronScores(activations, *arguments)
    else:
        scores = BoundedScores(activations, *arguments)
    picks = []
    for k in tqdm(range(1, size + 1), desc="GFS", unit="neuron", disable=not progress, leave=False):
        picks.append(scores.best(k))
        scores.add(picks[-1])
    indices = torch.tensor(picks)
    return SelectionPath(
        indices=indices,
        losses=scores.losses(indices.to(activations.device)).cpu(),
        num_neurons=len(output_weights),
        dense_loss=scores.statistics.dense_loss,
        variance=scores.statistics.variance,
        with_replacement=with_replacement,
        reads=tuple(scores.reads),
        candidates=tuple(scores.candidates),
    )
