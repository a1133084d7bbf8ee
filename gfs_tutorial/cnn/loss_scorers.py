"""Ways to compute the loss of the whole network with one candidate more: slowly, and by two short cuts."""

from __future__ import annotations

import abc
import copy
from collections.abc import Callable, Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gfs_tutorial.cnn.forward_checks import check_accepts
from gfs_tutorial.cnn.layers import layer_of
from gfs_tutorial.cnn.mini_batches import Batch
from gfs_tutorial.cnn.replay import Replay, evaluation_mode
from gfs_tutorial.cnn.surgery import masked
from gfs_tutorial.cnn.units import Unit
from gfs_tutorial.training import half_squared_error

__all__ = ["AdditiveScorer", "GatedScorer", "OracleScorer", "Scorer", "in_range"]

CACHE_BYTES = 1 << 30  # for what candidates add to the consumer's output, where a mini-batch comes again


class Scorer(abc.ABC):
    """Losses of a network in which a unit has the candidates picked so far and one more."""

    def __init__(self, model: nn.Module, unit: Unit):
        self.model, self.unit = model, unit
        self.batch: Batch | None = None
        self.dtype = next(model.parameters()).dtype

    @torch.no_grad()
    def losses(
        self,
        batch: Batch,
        counts: Tensor,
        scale: float,
        tried: Tensor,
        after_each: Callable[[], object] = lambda: None,
    ) -> Tensor:
        """Of each candidate to try beside those picked ``counts`` times: (tried,) float64 on the CPU."""
        with evaluation_mode(self.model):
            self.again, self.batch = batch is self.batch, batch
            if not self.again:
                images, labels = batch
                dense = self._dense(images)
                self.target = dense.double() if labels is None else in_range(labels, dense)
            losses = []
            for logits in self.answers(counts, scale, tried.tolist()):
                losses.append(_loss(logits, self.target))
                after_each()
        return torch.stack(losses).cpu()

    def _dense(self, images: Tensor) -> Tensor:
        """Record a mini-batch; where the images are at fault, and not the recording, the error says so."""
        try:
            dense = self.record(images)
        except RuntimeError:
            check_accepts("images of batches", self.model, images)
            raise
        if not isinstance(dense, Tensor) or dense.ndim != 2:
            kind = tuple(dense.shape) if isinstance(dense, Tensor) else type(dense).__name__
            raise ValueError(f"model must return logits (n, C), it returns {kind}")
        return dense

    @abc.abstractmethod
    def record(self, images: Tensor) -> Tensor:
        """Prepare for a mini-batch; returns the logits (n, C) with the whole unit."""

    @abc.abstractmethod
    def answers(self, counts: Tensor, scale: float, tried: list[int]) -> Iterator[Tensor]:
        """The logits (n, C) with each of the candidates to try."""


class OracleScorer(Scorer):
    """The whole network, masked, for each candidate."""

    def record(self, images: Tensor) -> Tensor:
        self.images = images
        return self.model(images)

    def answers(self, counts: Tensor, scale: float, tried: list[int]) -> Iterator[Tensor]:
        for candidate in tried:
            weights = scale * _one_more(counts, candidate)  # (size,)
            with masked(self.model, [self.unit], {self.unit.name: weights}):
                yield self.model(self.images)


class AdditiveScorer(Scorer):
    """The consumer's output as a sum over candidates, and the rest of the network behind it."""

    def record(self, images: Tensor) -> Tensor:
        self.consumer = layer_of(self.model, self.unit.consumer)
        self.replay = Replay(self.model, self.unit.consumer, images)
        self.parts: dict[int, Tensor] = {}
        return self.replay.result

    def answers(self, counts: Tensor, scale: float, tried: list[int]) -> Iterator[Tensor]:
        picked = counts.nonzero()[:, 0] if counts.any() else torch.zeros(1, dtype=torch.int64)
        inputs, span = self.replay.inputs, self.unit.span
        so_far = _partial(self.consumer, inputs, picked, scale * counts[picked], span)  # (n, out, H, W)
        for candidate in tried:
            yield self.replay(torch.add(so_far, self.part(candidate), alpha=scale))

    def part(self, candidate: int) -> Tensor:
        """What a candidate of weight 1 adds to the consumer's output, (n, out, H, W)."""
        if candidate in self.parts:
            return self.parts[candidate]
        one = torch.tensor([candidate])
        part = _partial(self.consumer, self.replay.inputs, one, torch.ones(1), self.unit.span, bias=False)
        if self.again and (len(self.parts) + 1) * part.nbytes <= CACHE_BYTES:
            self.parts[candidate] = part
        return part


class GatedScorer(Scorer):
    """The gate, the consumer on the candidates that are kept, and the rest of the network behind it."""

    def record(self, images: Tensor) -> Tensor:
        (gate,) = self.unit.gates
        self.gate, self.consumer = layer_of(self.model, gate), layer_of(self.model, self.unit.consumer)
        self.inner = Replay(self.model, gate, images, until=self.unit.consumer)
        self.outer = Replay(self.model, self.unit.consumer, images)
        return self.outer.result

    def answers(self, counts: Tensor, scale: float, tried: list[int]) -> Iterator[Tensor]:
        for candidate in tried:
            weights = scale * _one_more(counts, candidate)  # (size,)
            kept = weights.nonzero()[:, 0]
            gate = _partial(self.gate, self.inner.inputs, kept, torch.ones(len(kept)), self.unit.width)
            inputs = self.inner(gate)  # (n, inputs, H, W)
            yield self.outer(_partial(self.consumer, inputs, kept, weights[kept], self.unit.span))


def _one_more(counts: Tensor, candidate: int) -> Tensor:
    counts = counts.clone()
    counts[candidate] += 1
    return counts


def _partial(
    layer: nn.Conv2d | nn.Linear,
    inputs: Tensor,
    candidates: Tensor,
    weights: Tensor,
    span: int,
    *,
    bias: bool = True,
) -> Tensor:
    """What a layer answers to some candidates alone, each weighted, ``span`` channels a candidate.

    A narrower copy of the layer runs, for it may be a subclass with a padding of its own.
    """
    columns = (candidates[:, None] * span + torch.arange(span)).flatten().to(inputs.device)
    factors = weights.repeat_interleave(span).to(layer.weight)  # (columns,)
    narrow, convolution = copy.copy(layer), isinstance(layer, nn.Conv2d)
    weight = layer.weight[:, columns] * factors.view(1, -1, *[1] * (layer.weight.ndim - 2))
    own = cast("nn.Parameter | None", layer.bias)
    narrow._parameters = {"weight": nn.Parameter(weight), "bias": own if bias else None}
    setattr(narrow, "in_channels" if convolution else "in_features", len(columns))
    return narrow.forward(inputs.index_select(1 if convolution else -1, columns))


def in_range(labels: Tensor, logits: Tensor) -> Tensor:
    """``labels`` (n,) if they are classes of ``logits`` (n, C), else a ``ValueError``."""
    if int(labels.min()) < 0 or int(labels.max()) >= logits.shape[1]:
        raise ValueError(f"labels of batches must lie between 0 and {logits.shape[1] - 1}")
    return labels


def _loss(logits: Tensor, target: Tensor) -> Tensor:
    """Of logits (n, C): cross-entropy with labels (n,), or half the squared distance from others (n, C)."""
    if target.dtype == torch.int64:
        return F.cross_entropy(logits.double(), target)
    return half_squared_error(logits.double(), target)
