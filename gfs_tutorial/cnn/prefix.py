r"""What consumers read in a network whose first units are pruned, and what they had best answer there.

A unit pruned on the dense network's activations meets others after the units in front of it have shrunk. So
units are pruned in the order in which they run, each consumer fitted on what the pruned network feeds it. Its
target is the dense network's answer and, where a residual sum follows, what the stream beside it has lost:

.. math:: Z' = Z + (s - s') / \gamma,

with the dense stream :math:`s`, the pruned network's :math:`s'` and the scale :math:`\gamma` of the batch
norm between the consumer and the sum (He, Zhang and Sun, 2017, section 3.3). Chapter *Channels*.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from tqdm.auto import tqdm

from gfs_tutorial import checks
from gfs_tutorial.cnn.images import in_chunks
from gfs_tutorial.cnn.layers import layer_of, norm_of
from gfs_tutorial.cnn.moments import Moments
from gfs_tutorial.cnn.resume import ResumedPasses
from gfs_tutorial.cnn.rows import call_of, draw_positions, input_rows, output_rows
from gfs_tutorial.cnn.units import Unit

__all__ = ["DenseAnswers"]

ADDITIONS = (torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__)
SILENT = 1e-3  # of the largest scale of a norm: channels below it cannot make up for anything


class StreamWatch(TorchFunctionMode):
    """Follows what some layers answer to the residual sum that it goes into, if it does.

    A batch norm may stand in between; after anything else the answer is no longer followed.

    Args:
        model: The network.
        names: Of the layers.
        answered: Receives a layer's name, its call as in :class:`~gfs_tutorial.cnn.rows.Watch` and its
            output.
        summed: Receives a layer's name and what is added to its answer.
    """

    def __init__(self, model: nn.Module, names: Iterable[str], answered: Callable, summed: Callable):
        super().__init__()
        self.layers = {id(layer_of(model, name).weight): name for name in names}
        self.answered, self.summed = answered, summed
        self.followed: list[tuple[Tensor, str]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        met = [(tensor, name) for tensor, name in self.followed if any(tensor is a for a in args)]
        if func in ADDITIONS and not kwargs:
            for tensor, name in met:  # before the operation, which may be in place
                other = args[1] if args[0] is tensor else args[0]
                if isinstance(other, Tensor) and other.shape == tensor.shape:
                    self.summed(name, other)
        output = func(*args, **(kwargs or {}))
        if met and isinstance(output, Tensor):
            self.followed = [pair for pair in self.followed if all(pair[0] is not t for t, _ in met)]
            if func in (F.batch_norm, torch.batch_norm):
                self.followed += [(output, name) for _, name in met]
        if func in (F.conv2d, F.linear) and len(args) > 1 and id(args[1]) in self.layers:
            name = self.layers[id(args[1])]
            self.followed.append((output, name))
            self.answered(name, call_of(args), output)
        return output


@dataclass
class _Rows:
    """Of one layer in the dense network, at the sampled positions of all images."""

    at: Tensor  # (m, p), the positions
    answers: Tensor  # (m, p, outputs)
    stream: Tensor | None  # (m, p, outputs), what is added to the answer; None where nothing is


class Answers(Protocol):
    """What the dense network answers, kept for a network that is pruned."""

    def moments(self, pruned: nn.Module, unit: Unit) -> dict[str, Moments]:
        """Of a unit's consumer and gates, on what the pruned network feeds them."""
        ...


class DenseAnswers:
    """What the consumers and gates of a dense network answer, and what streams beside them.

    Rows stay in memory until their unit has been asked for, and so do activations in front of the unit asked
    for last (:mod:`~gfs_tutorial.cnn.resume`): units must be asked for in order, and what lies in front of a
    unit must not change once it has been.

    Args:
        model: The dense network, in eval mode.
        units: Its units, in the order in which they run.
        norms: Consumer to the batch norm behind it.
        images: (m, channels, height, width).
        seed: Of the sampled positions.
        passes: Of the pruned network; several objects may share them, and the memory that they may keep.
        progress: Whether to show a progress bar.
    """

    def __init__(
        self,
        model: nn.Module,
        units: Iterable[Unit],
        norms: Mapping[str, str],
        images: Tensor,
        *,
        seed: int = 0,
        passes: ResumedPasses | None = None,
        progress: bool = False,
    ):
        self.model, self.norms, self.images = model, norms, images
        self.passes = passes or ResumedPasses()
        names = [name for unit in units for name in (unit.consumer, *unit.gates)]
        generators = {name: torch.Generator().manual_seed(seed) for name in names}
        parts: dict[str, list[list]] = {name: [] for name in names}

        def answered(name: str, _: tuple, output: Tensor) -> None:
            weight = layer_of(model, name).weight
            at = draw_positions(weight, output, generators[name])
            parts[name].append([at, output_rows(weight, output, at), None])

        def summed(name: str, other: Tensor) -> None:
            weight, at = layer_of(model, name).weight, parts[name][-1][0]
            parts[name][-1][2] = output_rows(weight, other, at)

        with torch.no_grad(), StreamWatch(model, names, answered, summed):
            for chunk in tqdm(in_chunks(images), "dense answers", disable=not progress):
                model(chunk)
        self.rows = {name: _joined(columns) for name, columns in parts.items()}

    @torch.no_grad()
    def moments(self, pruned: nn.Module, unit: Unit) -> dict[str, Moments]:
        """Of a unit's consumer and gates, on what the pruned network feeds them.

        Args:
            pruned: The network with the units in front of this one pruned, and this one whole.
            unit: The unit.
        """
        names, start = (unit.consumer, *unit.gates), 0
        found: dict[str, Moments] = {}
        waiting: dict[str, tuple[Tensor, Tensor, Tensor]] = {}  # for what is added to the answer

        def answered(name: str, call: tuple, output: Tensor) -> None:
            weight, dense = layer_of(pruned, name).weight, self._chunk(name, start, len(output))
            A = input_rows(call, weight, output, dense.at)  # (n, p, features)
            if dense.stream is None:
                _count_in(found, name, A, dense.answers)
            else:
                waiting[name] = (A, dense.answers, dense.stream)
            if name == unit.consumer and not waiting:
                raise _Done

        def summed(name: str, other: Tensor) -> None:
            if name in waiting:
                A, answers, stream = waiting.pop(name)
                weight, at = layer_of(pruned, name).weight, self._chunk(name, start, len(other)).at
                lost = (stream - output_rows(weight, other, at)) * self._per_scale(name)  # (n, p, outputs)
                _count_in(found, name, A, answers + lost)
                raise _Done

        def forward(chunk: Tensor) -> None:
            with contextlib.suppress(_Done), StreamWatch(pruned, names, answered, summed):
                pruned(chunk)

        for chunk in in_chunks(self.images):
            self.passes.run((id(self), start), pruned, unit.name, functools.partial(forward, chunk))
            start += len(chunk)
        for name in names:
            checks.finite(f"what {name} reads", found[name].inputs)
            checks.finite(f"what {name} writes", found[name].cross)
            del self.rows[name]
        return found

    def _chunk(self, name: str, start: int, n: int) -> _Rows:
        rows, part = self.rows[name], slice(start, start + n)
        return _Rows(rows.at[part], rows.answers[part], None if rows.stream is None else rows.stream[part])

    def _per_scale(self, name: str) -> Tensor:
        """One over what the norm behind a layer multiplies by, (outputs,); 0 where it is next to nothing."""
        if name not in self.norms:
            return torch.ones((), device=self.images.device)
        norm = norm_of(self.model, self.norms[name])
        assert norm.running_var is not None  # a norm without would measure the images themselves
        scale = (norm.running_var + norm.eps).rsqrt()
        scale = scale if norm.weight is None else norm.weight * scale
        return torch.where(scale.abs() > SILENT * scale.abs().max(), 1 / scale, 0.0)


class _Done(Exception):
    """Ends a forward pass behind the consumer."""


def _joined(parts: list[list]) -> _Rows:
    at, answers, stream = zip(*parts)
    whole = all(part is not None for part in stream)
    return _Rows(torch.cat(at), torch.cat(answers), torch.cat(stream) if whole else None)


def _count_in(found: dict[str, Moments], name: str, A: Tensor, Z: Tensor) -> None:
    A, Z = A.flatten(0, 1), Z.flatten(0, 1)  # (rows, features), (rows, outputs)
    if name not in found:
        found[name] = Moments.about((A.mean(0), Z.mean(0)))
    found[name].add(A, Z)
