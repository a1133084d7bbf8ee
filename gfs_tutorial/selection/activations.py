"""Where selection reads the hidden activations from: memory, or the network, computed anew at each pass."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from gfs_tutorial.networks import ACTIVATIONS, TwoLayerNet

__all__ = ["RecomputedActivations", "StoredActivations", "activations_of", "whole_blocks"]

CHUNK = 2**17  # activations widened to float64 at once: 1 MiB, which stays in the cache
TILE = 2**11  # rows of the data widened at once
WIDTH = 16  # matrix products are quickest where the number of columns is a multiple of this
SLAB = 500  # neurons multiplied at once
IN_PLACE = 2**22  # activations that the nonlinearity is applied to at once
SHARE = 0.7  # of the free memory that the activations may take


def whole_blocks(columns: int) -> int:
    """The number of columns from ``columns`` on that a product with all activations takes no longer for."""
    return -(-columns // WIDTH) * WIDTH


class StoredActivations:
    """Activations in memory.

    Args:
        hidden: (N, m), one neuron a row, contiguous; float32 or float64.
    """

    def __init__(self, hidden: Tensor):
        self.hidden = hidden
        self.shape, self.dtype, self.device = hidden.shape, hidden.dtype, hidden.device
        self.affordable = hidden.shape[0]  # rows of H that one may hold beside it

    def rows(self, neurons: Tensor) -> Tensor:
        """Activations of some ``neurons`` (n,), (n, m)."""
        return self.hidden[neurons]

    def products(self, vectors: Tensor) -> Tensor:
        """Inner products of all neurons' activations with ``vectors`` (p, m), (p, N): one read."""
        N, m = self.shape
        if len(vectors) == 1:
            return torch.mv(self.hidden, vectors[0])[None]
        block = vectors.new_zeros(m, whole_blocks(len(vectors)))  # (m, p and up)
        block[:, : len(vectors)] = vectors.T
        whole = N - N % SLAB
        # Slabs, for the matrix products of CPU libraries are slow where one side is so much the longer.
        slabs = self.hidden[:whole].view(-1, SLAB, m)  # (N / SLAB, SLAB, m)
        found = torch.bmm(slabs, block.expand(len(slabs), *block.shape)).flatten(0, 1)  # (whole, p)
        found = torch.cat([found, torch.mm(self.hidden[whole:], block)])  # (N, p and up)
        return found[:, : len(vectors)].T.contiguous()

    def products_of(self, neurons: Tensor, matrix: Tensor) -> Tensor:
        """Products of the activations of some ``neurons`` (n,), ascending, with ``matrix`` (m, C), (n, C)."""
        if self.device.type == "cpu":
            return _sampled_products(self.hidden, neurons, matrix)
        return self.hidden[neurons] @ matrix

    def tiles(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """All activations in float64, tile by tile: which neurons, which rows of the data, (n, r)."""
        N, m = self.shape
        wide = min(m, TILE)
        high = min(N, max(1, CHUNK // wide))
        tile = self.hidden.new_empty(high, wide, dtype=torch.float64)  # fresh memory is slow
        for start in range(0, m, wide):
            rows = slice(start, min(start + wide, m))
            for first in range(0, N, high):
                neurons = slice(first, min(first + high, N))
                part = self.hidden[neurons, rows]
                yield neurons, rows, tile[: part.shape[0], : part.shape[1]].copy_(part)


def _sampled_products(hidden: Tensor, neurons: Tensor, matrix: Tensor) -> Tensor:
    """``hidden[neurons] @ matrix`` without the copy of the rows, which takes longer than their products do.

    The product of hidden (N, m) and matrix (m, C) at the places of a sparse matrix: some of its rows.
    """
    n, C = len(neurons), matrix.shape[1]
    taken = neurons.new_zeros(len(hidden) + 1)
    taken[neurons + 1] = C
    columns = torch.arange(C).repeat(n)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        places = torch.sparse_csr_tensor(
            taken.cumsum(0), columns, hidden.new_zeros(n * C), (len(hidden), C), check_invariants=False
        )
        return torch.sparse.sampled_addmm(places, hidden, matrix, beta=0.0).values().view(n, C)


class RecomputedActivations:
    """Activations that do not fit in memory: each pass over the data computes them anew.

    Args:
        net: The network.
        X: (m, d) features.
        memory: Bytes that one chunk of activations may take.
    """

    def __init__(self, net: TwoLayerNet, X: Tensor, memory: int):
        self.net, self.X = net, X
        self.shape, self.dtype, self.device = torch.Size((net.width, len(X))), X.dtype, X.device
        # A chunk in its own dtype, once more before the nonlinearity, and widened to float64.
        self.chunk = max(1, int(memory // (net.width * (2 * X.element_size() + 8))))
        self.affordable = max(1, self.chunk * net.width // len(X))  # rows of H that one may hold

    def rows(self, neurons: Tensor) -> Tensor:
        """Activations of some ``neurons`` (n,), (n, m)."""
        net = self.net
        bias = net.input_biases[neurons, None]  # (n, 1)
        return ACTIVATIONS[net.activation](torch.addmm(bias, net.input_weights[neurons], self.X.T))

    def products(self, vectors: Tensor) -> Tensor:
        """Inner products of all neurons' activations with ``vectors`` (p, m), (p, N): one pass."""
        found = vectors.new_zeros(len(vectors), self.shape[0])
        for start in range(0, len(self.X), self.chunk):
            H = self.net.hidden(self.X[start : start + self.chunk])  # (r, N)
            found += vectors[:, start : start + self.chunk] @ H
        return found

    def products_of(self, neurons: Tensor, matrix: Tensor) -> Tensor:
        """Products of the activations of some ``neurons`` (n,) with ``matrix`` (m, C), (n, C)."""
        return torch.cat([self.rows(part) @ matrix for part in neurons.split(self.affordable)])

    def tiles(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """All activations in float64, tile by tile: which neurons, which rows of the data, (n, r)."""
        for start in range(0, len(self.X), self.chunk):
            part = slice(start, start + self.chunk)
            yield slice(None), part, self.net.hidden(self.X[part]).T.double()


@torch.no_grad()
def activations_of(
    net: TwoLayerNet, X: Tensor, max_memory: float | None = None
) -> StoredActivations | RecomputedActivations:
    """Activations of a network, stored if they fit.

    Args:
        net: The network.
        X: (m, d) features.
        max_memory: Bytes that they may take; ``None``: most of what is free on the device.

    Raises:
        ValueError: not even those of one row of the data fit.
    """
    per_row = net.width * X.element_size()
    limit = SHARE * _free(X.device) if max_memory is None else max_memory
    if len(X) * per_row <= limit:
        return StoredActivations(_stored(net, X))
    least = net.width * (2 * X.element_size() + 8)
    if limit < least:
        raise ValueError(
            f"max_memory is {limit:,.0f} bytes, but the activations of {net.width:,} neurons take "
            f"{len(X) * per_row:,}, and {least:,} on a single row of X, for passes over the data: raise it"
        )
    return RecomputedActivations(net, X, int(limit))


def _stored(net: TwoLayerNet, X: Tensor) -> Tensor:
    """Hidden activations (N, m), computed where they will lie: little is held twice."""
    hidden = X.new_empty(net.width, len(X))
    torch.addmm(net.input_biases[:, None], net.input_weights, X.T, out=hidden)
    activation, high = ACTIVATIONS[net.activation], max(1, IN_PLACE // len(X))
    for part in hidden.split(high):
        part.copy_(activation(part))
    return hidden


def _free(device: torch.device) -> float:
    """Bytes of memory that may be taken on a device; infinite where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:  # Linux: what is free, and what would be given back by its caches
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return math.inf
