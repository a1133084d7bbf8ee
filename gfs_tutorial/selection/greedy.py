"""Exact greedy forward selection, with and without replacement."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from tqdm.auto import tqdm

from gfs_tutorial import checks
from gfs_tutorial.networks import TwoLayerNet
from gfs_tutorial.selection.path import SelectionPath
from gfs_tutorial.selection.scores import NeuronScores

__all__ = ["greedy_forward_selection", "select_neurons"]

CHUNK = 2**24  # activations computed at once


def greedy_forward_selection(
    net: TwoLayerNet,
    X: Tensor,
    y: Tensor,
    size: int,
    *,
    with_replacement: bool = True,
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
        progress: Whether to show a progress bar.

    Returns:
        A :class:`SelectionPath`.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message); ``size`` is below 1,
            or above N without replacement.
    """
    if not isinstance(net, TwoLayerNet):
        raise TypeError(f"net must be a TwoLayerNet, got {type(net).__name__}: use select_neurons for others")
    X, y = checks.features_and_targets(X, y, net.out_features)
    net.check_input(X)
    _check_size(size, net.width, with_replacement)
    checks.finite("net", torch.nn.utils.parameters_to_vector(net.parameters()).detach())
    hidden = _activations(net, X)  # (N, m)
    path = _select(hidden, net.output_weights.detach(), y, size, with_replacement, progress)
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
        hidden: (m, N), activation of each neuron on each row of the data.
        output_weights: (N, C).
        targets: (m, C), or (m,) where C = 1.
        size, with_replacement, progress: As in :func:`greedy_forward_selection`.

    Returns:
        A :class:`SelectionPath` without subnetworks.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message).
    """
    checks.float_matrix("hidden", hidden, "(m, N)")
    checks.float_matrix("output_weights", output_weights, "(N, C)")
    if checks.is_tensor("targets", targets).ndim == 1:
        targets = targets[:, None]
    checks.float_matrix("targets", targets, "(m,) or (m, C)")
    (m, N), C = hidden.shape, output_weights.shape[1]
    if len(output_weights) != N or targets.shape != (m, C):
        raise ValueError(
            f"hidden is (m, N) = {(m, N)}, so output_weights must be ({N}, C) and targets ({m}, C); got "
            f"{tuple(output_weights.shape)} and {tuple(targets.shape)}"
        )
    if not hidden.dtype == output_weights.dtype == targets.dtype:
        raise TypeError(
            f"hidden, output_weights and targets must share a dtype, got {hidden.dtype}, "
            f"{output_weights.dtype} and {targets.dtype}"
        )
    if not hidden.device == output_weights.device == targets.device:
        raise ValueError(
            f"hidden, output_weights and targets must share a device, got {hidden.device}, "
            f"{output_weights.device} and {targets.device}: move them"
        )
    _check_size(size, N, with_replacement)
    return _select(hidden.detach().T, output_weights.detach(), targets, size, with_replacement, progress)


def _check_size(size: int, num_neurons: int, with_replacement: bool) -> None:
    checks.positive_int("size", size)
    if not with_replacement and size > num_neurons:
        raise ValueError(
            f"size is {size} but there are only {num_neurons} neurons to pick from without replacement: "
            "lower size, or set with_replacement=True"
        )


@torch.no_grad()
def _activations(net: TwoLayerNet, X: Tensor) -> Tensor:
    """Hidden activations of all rows, (N, m), computed in chunks so that little is held twice."""
    hidden = X.new_empty(net.width, len(X))
    rows = max(1, CHUNK // net.width)
    for start in range(0, len(X), rows):
        hidden[:, start : start + rows] = net.hidden(X[start : start + rows]).T
    return hidden


@torch.no_grad()
def _select(
    hidden: Tensor, output_weights: Tensor, targets: Tensor, size: int, with_replacement: bool, progress: bool
) -> SelectionPath:
    """The loop, on hidden (N, m), output_weights (N, C), targets (m, C)."""
    if hidden.dtype not in (torch.float32, torch.float64):  # half precision: exact in float32
        hidden, output_weights, targets = hidden.float(), output_weights.float(), targets.float()
    scores = NeuronScores(hidden.contiguous(), output_weights.contiguous(), targets)
    banned = None if with_replacement else torch.zeros_like(scores.norms)  # (N,)
    picks = []
    for k in tqdm(range(1, size + 1), desc="GFS", unit="neuron", disable=not progress, leave=False):
        q = scores.best(k, banned)
        scores.add(q)
        picks.append(q)
        if banned is not None:
            banned[q] = math.inf
    indices = torch.tensor(picks)
    return SelectionPath(
        indices=indices,
        losses=scores.losses(indices.to(hidden.device)).cpu(),
        num_neurons=len(hidden),
        dense_loss=scores.dense_loss,
        variance=scores.variance,
        with_replacement=with_replacement,
    )
