"""A dense network and its calibration images: what pruning needs to know of them, measured once."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gfs_tutorial import checks
from gfs_tutorial.cnn.cost import MacModel
from gfs_tutorial.cnn.forward_checks import check_accepts
from gfs_tutorial.cnn.moments import Moments, consumer_moments
from gfs_tutorial.cnn.prefix import Answers, DenseAnswers
from gfs_tutorial.cnn.refit import following_norms
from gfs_tutorial.cnn.training_checks import check_weights
from gfs_tutorial.cnn.units import Unit, find_units

__all__ = ["Calibration", "split_rows"]

FIT_SHARE = 0.6  # of the images; block errors are measured on the others


def split_rows(images: int, seed: int) -> tuple[Tensor, Tensor]:
    """Which images serve to fit, and which to measure errors, (n,) int64 each; a single one does both."""
    order = torch.randperm(images, generator=torch.Generator().manual_seed(seed))
    fit, held = order.tensor_split([max(1, round(FIT_SHARE * images))])
    return fit, held if len(held) else fit


class Calibration:
    """The dense network on its calibration images.

    Args:
        model: The network; it is copied, not changed.
        images: (m, channels, height, width), on its device.
        seed: Of the split of the images and of the sampled positions.
        progress: Whether to show progress bars.

    Attributes:
        original: The network as it was given.
        model: A copy in eval mode.
        layout: Of the copy and of the images in memory: channels last, where the network accepts that.
        units, costs: Its units, and what they cost.
        norms: Consumer to the batch norm behind it.
        size: m.
        fit_rows, held_rows: Which images serve to fit, and which to measure errors; (n,) int64 each.
    """

    def __init__(self, model: nn.Module, images: Tensor, *, seed: int = 0, progress: bool = False):
        check_weights(model)
        self.original, self.images, self.progress = model, images, progress
        self.seed = checks.integer_at_least("seed", seed, 0)
        check_accepts("batches", model, images[:1])
        self.units = find_units(model, images[:1])
        self.costs = MacModel(model, self.units, images[:1])
        self.model = copy.deepcopy(model).eval()
        self.layout = _layout(self.model, images[:1])
        self.norms = following_norms(self.model, [unit.consumer for unit in self.units], images[:1])
        self.size = len(images)
        self.fit_rows, self.held_rows = split_rows(self.size, seed)
        self._fit: dict[str, Moments] | None = None
        self._all: dict[str, Moments] | None = None

    def part(self, rows: Tensor) -> Tensor:
        """Some of the images, in the layout of the model."""
        return self.images[rows].contiguous(memory_format=self.layout)

    def fit_moments(self) -> dict[str, Moments]:
        """Of consumers and gates on the part of the images that serves to fit."""
        if self._fit is None:
            self._fit = self._moments(self.fit_rows)
        return self._fit

    def all_moments(self, *, split: bool) -> dict[str, Moments]:
        """Of consumers and gates on all images.

        Args:
            split: Whether the fit part was measured by itself, so that its moments are used again. The
                sampled positions depend on it.
        """
        if self._all is None and split:
            fit = self.fit_moments()
            held = self._moments(self.held_rows, like=fit)
            self._all = {name: fit[name] + held[name] for name in fit}
        elif self._all is None:
            self._all = self._moments(torch.arange(self.size))
        return self._all

    def dense_answers(self, units: Sequence[Unit]) -> Answers:
        """Of some of the units, on all images."""
        images = self.part(torch.arange(self.size))
        return DenseAnswers(self.model, units, self.norms, images, seed=self.seed, progress=self.progress)

    def _moments(self, rows: Tensor, like: dict[str, Moments] | None = None) -> dict[str, Moments]:
        names = [name for unit in self.units for name in (unit.consumer, *unit.gates)]
        seed = self.seed + (like is not None)
        return consumer_moments(
            self.model, names, self.part(rows), like=like, seed=seed, progress=self.progress
        )


@torch.no_grad()
def _layout(model: nn.Module, image: Tensor) -> torch.memory_format:
    """Channels last, which is quicker, unless the model minds, as one that flattens by ``view`` does.

    The model ends in that layout.
    """
    try:
        model.to(memory_format=torch.channels_last)(image.contiguous(memory_format=torch.channels_last))
    except RuntimeError:
        model.to(memory_format=torch.contiguous_format)
        return torch.contiguous_format
    return torch.channels_last
