"""Distributed greedy forward selection of a network's neurons."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gfs_tutorial import checks
from gfs_tutorial.distributed.agreement import agree, checksum
from gfs_tutorial.distributed.collectives import Collectives
from gfs_tutorial.distributed.communicator import Communicator
from gfs_tutorial.distributed.data_sharded import select_data_sharded
from gfs_tutorial.distributed.neuron_sharded import select_neurons_sharded
from gfs_tutorial.distributed.two_round import TwoRoundPath, select_two_round
from gfs_tutorial.networks import TwoLayerNet
from gfs_tutorial.selection import SelectionPath

__all__ = ["greedy_forward_selection_distributed", "greedy_forward_selection_two_round", "share_of"]


def share_of(count: int, communicator: Collectives) -> slice:
    """The rows or neurons of this process when ``count`` are dealt out in blocks of nearly equal size.

    Raises:
        ValueError: there are fewer than processes.
    """
    rank, world = communicator.rank, communicator.world
    if count < world:
        raise ValueError(f"{count} cannot be shared by {world} processes: start fewer")
    return slice(count * rank // world, count * (rank + 1) // world)


def greedy_forward_selection_distributed(
    net: TwoLayerNet,
    X: Tensor,
    y: Tensor,
    size: int,
    *,
    shard: str,
    with_replacement: bool = True,
    communicator: Collectives | None = None,
    progress: bool = False,
) -> SelectionPath:
    r"""Exact greedy forward selection on many processes; all must call it.

    The picks are those that :func:`gfs_tutorial.greedy_forward_selection` makes on one process. What is
    shared out is the large matrix of activations, N × m, and the work on it; each process holds the
    whole network. Chapter *Selection at scale*; Wolfe et al. (2024) for the idea.

    Args:
        net: The network, the same on all processes and on this one's device.
        X: (m_r, d). With ``shard="data"``, the rows of this process, at least one. With
            ``shard="neurons"`` all rows, the same on all processes.
        y: (m_r, C), or (m_r,) where C = 1.
        size: Number of picks.
        shard: ``"data"``: a step sends N numbers. ``"neurons"``: each process computes the activations
            of a block of neurons, and a step sends m + C numbers.
        with_replacement: As in :func:`gfs_tutorial.greedy_forward_selection`.
        communicator: Of the processes; ``None`` takes the default process group.
        progress: Whether rank 0 shows a progress bar.

    Returns:
        A :class:`SelectionPath`, the same on every process.

    Raises:
        RuntimeError: no process group, or another process had an error.
        TypeError, ValueError: an argument does not fit, or differs between processes.
    """
    communicator = communicator or Communicator()
    X, y = _agree_on_network(communicator, f"shard={shard!r}", net, X, y, shard)
    options: dict[str, Any] = {
        "with_replacement": with_replacement,
        "communicator": communicator,
        "progress": progress,
    }
    if shard == "data":
        weights = net.output_weights.detach()
        path = select_data_sharded(_hidden(net, X), weights, y, size, **options)
    else:
        part = _block(net, communicator)
        path = select_neurons_sharded(_hidden(part, X), part.output_weights.detach(), y, size, **options)
    return replace(path, picked_net=net.subset(path.distinct(size)))


def greedy_forward_selection_two_round(
    net: TwoLayerNet,
    X: Tensor,
    y: Tensor,
    size: int,
    *,
    first_size: int | None = None,
    with_replacement: bool = True,
    communicator: Collectives | None = None,
) -> TwoRoundPath:
    """The two-round scheme on a network, each process on a block of its neurons: :func:`select_two_round`.

    Args:
        net, X, y, size, with_replacement, communicator: As in
            :func:`greedy_forward_selection_distributed` with ``shard="neurons"``.
        first_size: As in :func:`select_two_round`.

    Raises:
        RuntimeError, TypeError, ValueError: As there.
    """
    communicator = communicator or Communicator()
    X, y = _agree_on_network(communicator, "two rounds", net, X, y, "neurons")
    part = _block(net, communicator)
    path = select_two_round(
        _hidden(part, X),
        part.output_weights.detach(),
        y,
        size,
        first_size=first_size,
        with_replacement=with_replacement,
        communicator=communicator,
    )
    return replace(path, picked_net=net.subset(path.distinct(size)))


def _agree_on_network(
    communicator: Collectives, task: str, net: TwoLayerNet, X: Tensor, y: Tensor, shard: str
) -> tuple[Tensor, Tensor]:
    """Check network and data on all processes; returns the data, y as (m, C)."""

    def check() -> dict[str, int]:
        checks.one_of("shard", shard, ("data", "neurons"))
        if not isinstance(net, TwoLayerNet):
            raise TypeError(f"net must be a TwoLayerNet, got {type(net).__name__}: select on bare tensors")
        features, _ = checks.features_and_targets(X, y, net.out_features)
        net.check_input(features)
        checks.finite("net", torch.nn.utils.parameters_to_vector(net.parameters()).detach())
        if shard == "data":
            return {"net (checksum)": checksum(*net.parameters())}
        share_of(net.width, communicator)
        return {"net (checksum)": checksum(*net.parameters()), "X (checksum)": checksum(X)}

    agree(communicator, f"a selection of a network's neurons, {task}", check)
    return checks.features_and_targets(X, y, net.out_features)


def _block(net: TwoLayerNet, communicator: Collectives) -> TwoLayerNet:
    """This process's neurons, as a network of their own."""
    part = share_of(net.width, communicator)
    return net.subset(torch.arange(part.start, part.stop))


@torch.no_grad()
def _hidden(net: TwoLayerNet, X: Tensor) -> Tensor:
    return net.hidden(X)  # (m, N)
