"""Where selection reads the hidden activations from: memory, or the network, computed anew at each pass."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from gfs_tutorial.networks import ACTIVATIONS, TwoLayerNet

__all__ = ["RecomputedActivations", "StoredActivations", "activations_of"]

CHUNK = 2**17  # activations widened to float64 at once: 1 MiB, which stays in the cache
LEAST = 8  # neurons widened at once, in any case
SLAB = 500  # neurons multiplied at once
IN_PLACE = 2**22  # activations that the nonlinearity is applied to at once
SHARE = 0.7  # of the free memory that the activations may take
RUN = 16  # consecutive rows that a sample takes together: a cache line


class StoredActivations:
    """Activations in memory.

    Args:
        hidden: (N, m), one neuron a row, contiguous; float32 or float64.
    """

    block = 16  # columns that one read of the activations serves at little more than the cost of one

    def __init__(self, hidden: Tensor):
        self.hidden = hidden
        self.shape, self.dtype, self.device = hidden.shape, hidden.dtype, hidden.device

    def rows(self, neurons: Tensor) -> Tensor:
        """Activations of some ``neurons`` (n,), (n, m)."""
        return self.hidden[neurons]

    def products(self, neurons: list[int]) -> Tensor:
        """Inner products of the activations of all neurons with those of some, (n, N)."""
        N, m = self.shape
        if len(neurons) == 1:
            return torch.mv(self.hidden, self.hidden[neurons[0]])[None]
        block = self.hidden[neurons].T  # (m, n)
        whole = N - N % SLAB
        # Slabs, for the matrix products of CPU libraries are slow where one side is so much the longer.
        slabs = self.hidden[:whole].view(-1, SLAB, m)  # (N / SLAB, SLAB, m)
        found = torch.bmm(slabs, block.expand(len(slabs), *block.shape)).flatten(0, 1)  # (whole, n)
        return torch.cat([found, torch.mm(self.hidden[whole:], block)]).T.contiguous()

    def sample(self, count: int) -> Tensor:
        """Activations on about ``count`` rows of the data, spread evenly, (N, n)."""
        N, m = self.shape
        if count >= m:
            return self.hidden
        run = min(RUN, count)
        return self.hidden.unfold(1, run, m // (count // run)).reshape(N, -1)

    def tiles(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """All activations in float64, tile by tile: which neurons, which rows of the data, (n, r)."""
        N, m = self.shape
        high = max(LEAST, CHUNK // m)
        wide = self.hidden.new_empty(min(high, N), m, dtype=torch.float64)  # fresh memory is slow
        for start in range(0, N, high):
            part = slice(start, min(start + high, N))
            yield part, slice(None), wide[: part.stop - start].copy_(self.hidden[part])


class RecomputedActivations:
    """Activations that do not fit in memory: each pass over the data computes them anew.

    Args:
        net: The network.
        X: (m, d) features.
        memory: Bytes that one chunk of activations may take.
    """

    block = 64  # the forward pass costs far more than the columns

    def __init__(self, net: TwoLayerNet, X: Tensor, memory: int):
        self.net, self.X = net, X
        self.shape, self.dtype, self.device = torch.Size((net.width, len(X))), X.dtype, X.device
        # A chunk in its own dtype, once more before the nonlinearity, and widened to float64.
        self.chunk = max(1, int(memory // (net.width * (2 * X.element_size() + 8))))

    def rows(self, neurons: Tensor) -> Tensor:
        """Activations of some ``neurons`` (n,), (n, m)."""
        net = self.net
        bias = net.input_biases[neurons, None]  # (n, 1)
        return ACTIVATIONS[net.activation](torch.addmm(bias, net.input_weights[neurons], self.X.T))

    def products(self, neurons: list[int]) -> Tensor:
        """Inner products of the activations of all neurons with those of some, (n, N)."""
        found = self.X.new_zeros(len(neurons), self.shape[0])
        for start in range(0, len(self.X), self.chunk):
            H = self.net.hidden(self.X[start : start + self.chunk]).T  # (N, r)
            found += torch.mm(H, H[neurons].T).T
        return found

    def sample(self, count: int) -> Tensor:
        """Activations on about ``count`` rows of the data, spread evenly, (N, n)."""
        step = -(-len(self.X) // min(count, self.chunk))
        return self.net.hidden(self.X[::step]).T

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
