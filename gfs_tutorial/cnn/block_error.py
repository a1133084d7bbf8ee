r"""What pruning one unit does to its block: the error where it shows, behind norms and the residual sum.

A consumer with new weights answers a little differently; how much of that matters shows in the output of the
block around it. The dense network runs once, and each block again for each variant. Chapter *Channels*.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from gfs_tutorial.cnn.images import in_chunks
from gfs_tutorial.cnn.layers import layer_of
from gfs_tutorial.cnn.units import Unit

__all__ = ["Variant", "block_errors"]

TINY = 1e-12
CHUNK = 16  # images a forward pass while blocks run again: their inner activations stay in memory
REPLAYED = ("out", "norm", "depthwise", "grouped")  # roles whose outputs do not change with the unit


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
        for chunk in tqdm(in_chunks(images, CHUNK), "block errors", disable=not progress):
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


def _answering(output: Tensor) -> Callable[..., Tensor]:
    """In place of a layer's own: what it answered before, whatever it reads."""
    return lambda *_, **__: output.clone()


def _scaled(run: Callable[..., Tensor], channels: Tensor) -> Callable[..., Tensor]:
    """In place of a gate's own: the same on scaled channels."""
    return lambda x: run(x * _along_channels(channels, x))


class _Probe:
    """Runs one block again with each variant of a consumer, right after the block has run."""

    def __init__(
        self, model: nn.Module, unit: Unit, variants: Sequence[Variant], norm: str | None, again: list
    ):
        self.unit, self.variants, self.again = unit, variants, again
        block = _where_it_shows(model, unit)
        self.block, self.consumer = model.get_submodule(block), layer_of(model, unit.consumer)
        self.norm = model.get_submodule(norm) if norm and block == unit.consumer else None
        self.gates = [model.get_submodule(name) for name in unit.gates]
        replayed = [p.name for p in unit.parts if p.role in REPLAYED and p.name.startswith(block + ".")]
        self.recorded: dict[nn.Module, Tensor] = {}
        self.read: Tensor | None = None  # what the consumer read in the dense model
        self.hooks = [model.get_submodule(n).register_forward_hook(self._record) for n in replayed]
        self.hooks.append(self.consumer.register_forward_pre_hook(self._record_input))
        self.hooks.append(self.block.register_forward_hook(self._measure, with_kwargs=True))
        self.errors = torch.zeros(len(variants), dtype=torch.float64)
        self.count, self.energy = 0, 0.0
        self.sum: Tensor | float = 0.0

    def close(self) -> None:
        for hook in self.hooks:
            hook.remove()

    def _record(self, part: nn.Module, _: object, output: Tensor) -> None:
        if not self.again:  # without gates the values do not matter: one image for the shape
            self.recorded[part] = output.clone() if self.gates else output[:1].clone()

    def _record_input(self, _: object, inputs: tuple[Tensor, ...]) -> None:
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
        patched = {module: _answering(y) for module, y in self.recorded.items()}
        read = None if self.gates else self.read
        patched[consumer] = lambda x: run(x if read is None else read) + shift
        channels = variant.kept.repeat_interleave(self.unit.width).to(weight)
        for gate in self.gates:
            patched[gate] = _scaled(gate.forward, channels)
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
