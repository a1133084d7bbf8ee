r"""Allocation: how many channels each unit keeps, so that a budget of MACs buys the least error.

Each unit has a curve, the error :math:`e(k)` that it causes where it keeps :math:`k` candidates. The lower
convex hull of each curve splits into straight pieces; pieces are bought in the order of error saved per MAC
until the budget is spent, which is the best that one can do up to a part of one piece. Chapter *Channels*.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from gfs_tutorial import checks
from gfs_tutorial.cnn.cost import MacModel
from gfs_tutorial.cnn.units import Unit

__all__ = ["Variant", "allocate", "block_errors", "error_curve", "lower_hull", "uniform_counts"]

TINY = 1e-12
CHUNK = 16  # images a forward pass while blocks run again: their inner activations stay in memory
REPLAYED = ("out", "norm", "depthwise", "grouped")  # roles whose outputs do not change with the unit


def error_curve(pursuit: Tensor, sizes: Tensor, measured: Tensor) -> Tensor:
    """Block errors at every size, from a few measured ones: log against the log of the pursuit's error.

    Beyond the measured sizes the two are taken to be proportional.

    Args:
        pursuit: (size,) error of the selection after each pick; the last one keeps every candidate.
        sizes: (n,) int64, ascending sizes that were measured.
        measured: (n,) block errors there.

    Returns:
        (size,) float64, non-increasing, the last one 0.
    """
    p = pursuit.double().clamp_min(TINY).log()  # (size,)
    known, e = p[sizes - 1], measured.double().clamp_min(TINY).log()  # (n,)
    known, e = known.flip(0), e.flip(0)  # ascending in p
    right = torch.searchsorted(known, p).clamp(1, max(1, len(known) - 1))
    if len(known) == 1:
        curve = e[0] + p - known[0]
    else:
        span = (known[right] - known[right - 1]).clamp_min(TINY)
        share = ((p - known[right - 1]) / span).clamp(0, 1)
        curve = e[right - 1] + share * (e[right] - e[right - 1])
        curve += p - p.clamp(known[0], known[-1])
    curve = curve.exp().cummin(0).values
    curve[-1] = 0.0
    return curve


def lower_hull(x: list[int], y: list[float]) -> list[int]:
    """Positions of the corners of the lower convex hull of points with ascending ``x``."""
    corners: list[int] = []
    for i in range(len(x)):
        while len(corners) > 1:
            a, b = corners[-2:]
            if (y[b] - y[a]) * (x[i] - x[a]) < (y[i] - y[a]) * (x[b] - x[a]):
                break
            corners.pop()
        corners.append(i)
    return corners


def allocate(
    curves: Mapping[str, Tensor], costs: MacModel, macs: float, *, floor: float = 0.04, multiple: int = 1
) -> dict[str, int]:
    """Candidates that each unit keeps under a budget.

    Args:
        curves: Name of a unit to its error at each size, (size,), as from :func:`error_curve`.
        costs: What sizes cost.
        macs: The budget, as a fraction of the dense model's MACs.
        floor: Share of its candidates that a unit keeps in any case.
        multiple: Sizes are multiples of this, or all.

    Returns:
        Name of a unit to its number of candidates. The model costs at most the budget.

    Raises:
        ValueError: even the floors exceed the budget; the message says what is reachable.
    """
    steps = {name: _sizes(len(curve), floor, multiple) for name, curve in curves.items()}
    kept = {name: sizes[0] for name, sizes in steps.items()}
    budget = _budget(macs, costs, kept)
    for _, name, start, stop in _pieces(curves, steps, costs):
        if kept[name] != start:
            continue  # the money ran out inside an earlier piece of this unit
        within = [k for k in steps[name] if start < k <= stop]
        kept[name] = _largest(within, start, lambda k, name=name: costs.total({**kept, name: k}) <= budget)
    return kept


def uniform_counts(costs: MacModel, macs: float, *, floor: float = 0.04, multiple: int = 1) -> dict[str, int]:
    """The same share of every unit, the largest under the budget; arguments and errors as in
    :func:`allocate`."""
    steps = {name: _sizes(unit.size, floor, multiple) for name, unit in costs.units.items()}

    def at(share: float) -> dict[str, int]:
        return {n: max(k for k in s if k <= max(s[0], share * s[-1] + 1e-9)) for n, s in steps.items()}

    budget = _budget(macs, costs, at(0.0))
    shares = sorted({k / s[-1] for s in steps.values() for k in s})
    return at(_largest(shares, 0.0, lambda share: costs.total(at(share)) <= budget))


def _budget(macs: float, costs: MacModel, least: dict[str, int]) -> float:
    if not 0 < macs <= 1:
        raise ValueError(f"macs must be a fraction of the dense MACs in (0, 1], got {macs}")
    budget, reachable = macs * costs.dense * (1 + 1e-9), costs.total(least)
    if reachable > budget:
        share = math.ceil(1000 * reachable / costs.dense) / 1000
        raise ValueError(
            f"macs is {macs} but pruning every unit to its floor still leaves {share:.3f} of the dense "
            f"{costs.dense:,} MACs: ask for at least that, or lower floor"
        )
    return budget


def _sizes(size: int, floor: float, multiple: int) -> list[int]:
    """Sizes a unit may have, ascending."""
    checks.positive_int("multiple", multiple)
    if not 0 <= floor <= 1:
        raise ValueError(f"floor must lie in [0, 1], got {floor}")
    least = max(1, math.ceil(floor * size - 1e-9))
    return [k for k in range(least, size) if k % multiple == 0] + [size]


def _pieces(curves: Mapping[str, Tensor], steps: dict[str, list[int]], costs: MacModel) -> list[tuple]:
    """Pieces of all hulls, (minus the error saved per MAC, unit, from, to), best first."""
    pieces = []
    for name, sizes in steps.items():
        per_candidate = (costs.dense - costs.total({name: 0})) / len(curves[name])
        errors = curves[name][torch.tensor(sizes) - 1].tolist()
        corners = lower_hull(sizes, errors)
        for a, b in itertools.pairwise(corners):
            saved = (errors[a] - errors[b]) / (per_candidate * (sizes[b] - sizes[a]))
            pieces.append((-saved, name, sizes[a], sizes[b]))
    return sorted(pieces)


def _largest(ascending: list, otherwise, fits):
    """The last of ``ascending`` values that ``fits``, by bisection."""
    low, high = 0, len(ascending)  # the answer is at low - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if fits(ascending[middle]) else (low, middle)
    return ascending[low - 1] if low else otherwise


@dataclass(frozen=True)
class Variant:
    """A consumer after pruning its unit alone.

    Attributes:
        weight: Of the consumer, with zeros at channels removed.
        constant: (outputs,) what it adds, its bias included.
        kept: (size,) bool, candidates that stay.
    """

    weight: Tensor
    constant: Tensor
    kept: Tensor


@torch.no_grad()
def block_errors(
    model: nn.Module,
    units: Sequence[Unit],
    variants: Mapping[str, Sequence[Variant]],
    images: Tensor,
    norms: Mapping[str, str],
    progress: bool = False,
) -> dict[str, Tensor]:
    r"""Relative squared error of each block's output where one of its units is pruned,
    :math:`\lVert y' - y\rVert^2 / \lVert y - \bar y\rVert^2`, the mean per channel.

    One pass of the dense model; each block runs again for each variant, from the consumer on.

    Args:
        model: The dense model in eval mode; left as it was.
        units: Its units.
        variants: Name of a unit to what to try.
        images: (m, channels, height, width).
        norms: Consumer to the batch norm behind it, read where a unit has no block.
        progress: Whether to show a progress bar.

    Returns:
        Name of a unit to an error per variant, (n,) float64.
    """
    again: list[str] = []  # the block that runs again, if one does: then no probe records
    probes = [_Probe(model, unit, variants[unit.name], norms.get(unit.consumer), again) for unit in units]
    try:
        for chunk in tqdm(images.split(CHUNK), "block errors", disable=not progress):
            model(chunk)
    finally:
        for probe in probes:
            probe.close()
    return {probe.unit.name: probe.relative_errors() for probe in probes}


def _where_it_shows(model: nn.Module, unit: Unit) -> str:
    """The unit's block; where it has none, the block that its consumer opens, else the consumer."""
    parent = unit.consumer.rpartition(".")[0]
    containers = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
    if unit.block != unit.consumer or not parent or isinstance(model.get_submodule(parent), containers):
        return unit.block
    return parent


class _Probe:
    """Runs one block again with each variant of a consumer, right after the block has run."""

    def __init__(
        self, model: nn.Module, unit: Unit, variants: Sequence[Variant], norm: str | None, again: list
    ):
        self.unit, self.variants, self.again = unit, variants, again
        block = _where_it_shows(model, unit)
        self.block, self.consumer = model.get_submodule(block), model.get_submodule(unit.consumer)
        self.norm = model.get_submodule(norm) if norm and block == unit.consumer else None
        self.gates = [model.get_submodule(name) for name in unit.gates]
        replayed = [p.name for p in unit.parts if p.role in REPLAYED and p.name.startswith(block + ".")]
        self.recorded: dict[nn.Module, Tensor] = {}
        self.read: Tensor | None = None  # what the consumer read in the dense model
        self.hooks = [model.get_submodule(n).register_forward_hook(self._record) for n in replayed]
        self.hooks.append(self.consumer.register_forward_pre_hook(self._record_input))
        self.hooks.append(self.block.register_forward_hook(self._measure, with_kwargs=True))
        self.errors = torch.zeros(len(variants), dtype=torch.float64)
        self.count, self.sum, self.energy = 0, 0.0, 0.0

    def close(self) -> None:
        for hook in self.hooks:
            hook.remove()

    def _record(self, part: nn.Module, _, output: Tensor) -> None:
        if not self.again:  # without gates the values do not matter: one image for the shape
            self.recorded[part] = output.clone() if self.gates else output[:1].clone()

    def _record_input(self, _, inputs: tuple[Tensor, ...]) -> None:
        if not self.again:
            self.read = inputs[0]

    def _measure(self, block: nn.Module, args: tuple, kwargs: dict, output: Tensor) -> None:
        if self.again:
            return
        self.again.append(self.unit.block)
        try:
            dense = self._finish(output)
            for i, variant in enumerate(self.variants):
                with self._installed(variant):
                    pruned = self._finish(block.forward(*args, **kwargs))
                self.errors[i] += (pruned - dense).square().sum().double().cpu()
        finally:
            self.again.clear()
            self.recorded.clear()
            self.read = None
        rows = dense.transpose(1, -1).reshape(-1, dense.shape[1]).double()  # (rows, channels)
        self.count, self.sum = self.count + len(rows), self.sum + rows.sum(0)
        self.energy += float(rows.square().sum())

    def _finish(self, output: Tensor) -> Tensor:
        return output if self.norm is None else self.norm.forward(output)

    @contextlib.contextmanager
    def _installed(self, variant: Variant) -> Iterator[None]:
        """The consumer with its new weights, and the layers before it answering what they did."""
        consumer, weight, run = self.consumer, self.consumer.weight.data, self.consumer.forward
        shift = variant.constant.to(weight) - (0 if consumer.bias is None else consumer.bias)
        if weight.ndim == 4:
            shift = shift[:, None, None]
        patched = {module: lambda *_, y=y, **__: y.clone() for module, y in self.recorded.items()}
        patched[consumer] = lambda x: run(x if self.gates else self.read) + shift
        channels = variant.kept.repeat_interleave(self.unit.width).to(weight)
        for gate in self.gates:
            patched[gate] = lambda x, run=gate.forward: run(x * _along_channels(channels, x))
        try:
            consumer.weight.data = variant.weight
            for module, forward in patched.items():
                module.forward = forward
            yield
        finally:
            consumer.weight.data = weight
            for module in patched:
                module.__dict__.pop("forward", None)

    def relative_errors(self) -> Tensor:
        """(variants,) float64."""
        if not self.count:
            raise ValueError(f"block {self.unit.block} did not run on the images")
        spread = self.energy - float(torch.as_tensor(self.sum).square().sum()) / self.count
        return self.errors / max(spread, TINY)


def _along_channels(factors: Tensor, x: Tensor) -> Tensor:
    return factors[:, None, None] if x.ndim == 4 else factors
