r"""Pruning of a whole network: rank the channels, share out a budget, remove, refit.

1. Split the calibration images, which need no labels, 60 to 40.
2. On the larger part, rank each unit's channels (orthogonal matching pursuit, or another rule).
3. On the other part, measure what five sizes of each unit do to its block's output; interpolate.
4. Buy error back where it costs the fewest MACs, up to the budget.
5. On all images, rank again, remove the channels, and refit each consumer to the dense net's answers.

Chapter *Channels*.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from gfs_tutorial import checks
from gfs_tutorial.cnn.allocation import Variant, allocate, block_errors, error_curve, uniform_counts
from gfs_tutorial.cnn.cost import MacModel, count_macs, count_parameters
from gfs_tutorial.cnn.local import select_local
from gfs_tutorial.cnn.moments import Moments, consumer_moments, gather_images
from gfs_tutorial.cnn.pursuit import pursue
from gfs_tutorial.cnn.recalibration import recalibrate_norms
from gfs_tutorial.cnn.refit import following_norms, install, refit_weights
from gfs_tutorial.cnn.surgery import slice_units
from gfs_tutorial.cnn.unit_selection import SCALINGS, UnitSelection
from gfs_tutorial.cnn.units import Unit, find_units

__all__ = ["PruneReport", "prune", "rank_by_scores"]

METHODS = ("ols", "local", "loss")
ALLOCATIONS = ("error", "uniform")
RATIOS = (0.15, 0.3, 0.5, 0.7, 0.85)  # sizes at which block errors are measured
HELD_OUT = 100  # images on which they are
GATES = 0.1  # shrinkage of squeeze-and-excitation's first layer
SMALL = 1_000_000  # parameters below which a unit keeps a tenth of its candidates in any case


@dataclass(frozen=True)
class PruneReport:
    """What :func:`prune` did.

    Attributes:
        macs: Multiply-accumulates an image, before and after.
        parameters: Before and after.
        channels: Name of a unit to the candidates kept and to its size.
        errors: Name of a unit to the relative error of its block's output that the allocation expected; empty
            where nothing was measured.
        kept: Name of a unit to the candidates kept, ascending int64: ``slice_units`` and the weights of the
            small model rebuild it.
        seconds: Wall-clock time.
    """

    macs: tuple[int, int]
    parameters: tuple[int, int]
    channels: dict[str, tuple[int, int]]
    errors: dict[str, float]
    kept: dict[str, Tensor] = field(repr=False)
    seconds: float

    def __str__(self) -> str:
        width = max(map(len, self.channels))
        lines = [f"{'unit':<{width}}  {'kept':>5} of {'size':>5}  {'block error':>11}"]
        for name, (kept, size) in self.channels.items():
            error = f"{self.errors[name]:11.4f}" if name in self.errors else f"{'-':>11}"
            lines.append(f"{name:<{width}}  {kept:5d} of {size:5d}  {error}")
        for what, (before, after) in (("MACs", self.macs), ("parameters", self.parameters)):
            lines.append(f"{what}: {before:,} -> {after:,} ({after / before:.1%})")
        return "\n".join([*lines, f"{self.seconds:.1f} seconds"])


def prune(
    model: nn.Module,
    batches: Iterable,
    *,
    macs: float | None = 0.5,
    ratio: float | None = None,
    counts: Mapping[str, int] | None = None,
    method: str = "ols",
    importance: Callable[[Unit], Tensor] | Mapping[str, Tensor] | None = None,
    allocation: str = "error",
    refit: bool = True,
    recalibrate: bool = False,
    scaling: str = "mean",
    multiple: int = 1,
    floor: float | None = None,
    seed: int = 0,
    progress: bool = False,
) -> tuple[nn.Module, PruneReport]:
    """A smaller copy of a convolutional network that answers nearly the same.

    Args:
        model: Any network with prunable units (:func:`~gfs_tutorial.cnn.units.find_units`). Not changed.
        batches: Calibration images of the kind that the model will see, of mixed classes, some 256: a data
            loader or a list of batches, with labels or without (only ``method="loss"`` looks at them). They
            stay in memory meanwhile.
        macs: Fraction of the MACs to keep at most; ``None`` where ``ratio`` or ``counts`` is given.
        ratio: The share of its candidates that every unit keeps.
        counts: Name of a unit to the number of candidates to keep; others stay whole.
        method: Rule that ranks channels: ``"ols"`` (:mod:`~gfs_tutorial.cnn.pursuit`), ``"local"``
            (:mod:`~gfs_tutorial.cnn.local`) or ``"loss"`` (:mod:`~gfs_tutorial.cnn.loss`, the papers'; slow;
            its sizes are shared out as for ``"ols"``).
        importance: A ranking of your own in place of ``method``: scores (size,) for each unit, the higher the
            more important, as a mapping from names of units (what
            :func:`~gfs_tutorial.cnn.rivals.rival_scores` returns) or a function of the unit.
        allocation: ``"error"``: where an error saved costs the fewest MACs; ``"uniform"``: the same share
            of every unit.
        refit: Fit each consumer to the dense outputs by least squares.
        recalibrate: Measure batch norms anew at the end; helps without a refit, harms with one.
        scaling: ``"mean"`` or ``"unit"`` weights of kept channels in ``"local"`` and ``"loss"``; folded into
            the consumer where there is no refit.
        multiple: Sizes are multiples of this, or all.
        floor: Share of its candidates that a unit keeps in any case; ``None``: .04, or .1 for networks below
            a million parameters.
        seed: Of the split and of the sampled positions.
        progress: Whether to show progress bars.

    Returns:
        The small model, in eval mode and without hooks, and a :class:`PruneReport`.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message), no unit, or a budget
            that cannot be met.
    """
    start = time.perf_counter()
    _check(macs, ratio, counts, method, importance, allocation, scaling, floor)
    checks.positive_int("multiple", multiple)
    batches = list(batches) if isinstance(batches, Iterable) and not isinstance(batches, Tensor) else batches
    images = gather_images(batches)
    images = images.to(next(model.parameters(), images).device) if isinstance(model, nn.Module) else images
    work = _Work(model, images, batches, method, importance, scaling, refit, seed, progress)
    floor = floor if floor is not None else (0.1 if count_parameters(model) < SMALL else 0.04)
    sizes, errors = _sizes(work, macs, ratio, counts, allocation, floor, multiple)
    small, kept = work.rebuild(sizes)
    if recalibrate:
        recalibrate_norms(small, [images], progress=progress)
    report = PruneReport(
        (work.costs.dense, count_macs(small, images[:1])),
        (count_parameters(model), count_parameters(small)),
        {unit.name: (sizes[unit.name], unit.size) for unit in work.units},
        {name: float(curve[sizes[name] - 1]) for name, curve in errors.items()},
        kept,
        time.perf_counter() - start,
    )
    return small, report


def rank_by_scores(unit: Unit, scores: Tensor, moments: Moments, size: int | None = None) -> UnitSelection:
    """Rank candidates by a score each, the highest first, as a selection like any other.

    Args:
        unit: The unit.
        scores: (size,), finite; the lowest index first where several tie.
        moments: Of its consumer: the errors are those after a refit, as in
            :func:`~gfs_tutorial.cnn.pursuit.pursue`.
        size: Number of picks; ``None``: all.

    Raises:
        ValueError: ``scores`` has another shape or is not finite.
    """
    checks.is_tensor("scores", scores)
    if scores.shape != (unit.size,):
        raise ValueError(f"scores of {unit.name} must have shape ({unit.size},), got {tuple(scores.shape)}")
    order = checks.finite("scores", scores).argsort(descending=True, stable=True)
    return pursue(unit, moments, order=order[:size].cpu())


def _check(macs, ratio, counts, method, importance, allocation, scaling, floor) -> None:
    checks.one_of("method", method, METHODS)
    checks.one_of("allocation", allocation, ALLOCATIONS)
    checks.one_of("scaling", scaling, SCALINGS)
    if importance is not None and not (callable(importance) or isinstance(importance, Mapping)):
        raise TypeError(f"importance must give scores to a unit, got {type(importance).__name__}")
    if ratio is not None and counts is not None:
        raise ValueError("give one of ratio and counts, not both")
    if ratio is None and counts is None and macs is None:
        raise ValueError("give one of macs, ratio and counts")
    if ratio is not None and not 0 < ratio <= 1:
        raise ValueError(f"ratio must lie in (0, 1], got {ratio}")
    if floor is not None and not 0 <= floor <= 1:
        raise ValueError(f"floor must lie in [0, 1], got {floor}")


def _sizes(
    work, macs, ratio, counts, allocation, floor, multiple
) -> tuple[dict[str, int], dict[str, Tensor]]:
    """Candidates that each unit keeps, and the error curves if there are any."""
    everything = {unit.name: unit.size for unit in work.units}
    if counts is not None:
        return everything | _checked_counts(counts, everything), {}
    if ratio is not None:
        whole = {name: max(1, round(ratio * size / multiple)) for name, size in everything.items()}
        return {name: min(everything[name], multiple * k) for name, k in whole.items()}, {}
    if allocation == "uniform" or macs == 1:
        return uniform_counts(work.costs, macs, floor=floor, multiple=multiple), {}
    options = {"floor": floor, "multiple": multiple}
    uniform_counts(work.costs, macs, **options)  # a budget out of reach shows before anything is measured
    curves = work.curves()
    return allocate(curves, work.costs, macs, **options), curves


def _checked_counts(counts: Mapping[str, int], everything: dict[str, int]) -> dict[str, int]:
    for name, count in counts.items():
        if name not in everything:
            raise ValueError(f"counts names {name!r}, which is no unit; units are {', '.join(everything)}")
        if checks.positive_int(f"counts of {name}", count) > everything[name]:
            raise ValueError(f"counts of {name} is {count} but it has {everything[name]} candidates")
    return dict(counts)


class _Work:
    """The dense model, its images and what was measured on them."""

    def __init__(self, model, images, batches, method, importance, scaling, refit, seed, progress):
        self.images, self.batches, self.progress = images, batches, progress
        self.seed = checks.integer_at_least("seed", seed, 0)
        self.method, self.importance, self.scaling, self.refit = method, importance, scaling, refit
        self.units = find_units(model, images[:1])
        self.costs = MacModel(model, self.units, images[:1])
        self.original = model
        self.model = copy.deepcopy(model).eval().to(memory_format=torch.channels_last)
        self.norms = following_norms(self.model, [unit.consumer for unit in self.units], images[:1])
        self.measured: list[dict[str, Moments]] = []
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(images), generator=generator)
        self.fit_rows, self.held_rows = order.tensor_split([max(1, round(0.6 * len(images)))])
        if not len(self.held_rows):
            self.held_rows = self.fit_rows

    def moments(self, rows: Tensor) -> dict[str, Moments]:
        like = self.measured[0] if self.measured else None
        names = [name for unit in self.units for name in (unit.consumer, *unit.gates)]
        images = self.images[rows].contiguous(memory_format=torch.channels_last)
        args = {"like": like, "seed": self.seed + len(self.measured), "progress": self.progress}
        self.measured.append(consumer_moments(self.model, names, images, **args))
        return self.measured[-1]

    def all_moments(self) -> dict[str, Moments]:
        """Moments on all images; those of the fit part are used again."""
        if not self.measured:
            return self.moments(torch.arange(len(self.images)))
        fit, held = self.measured[0], self.moments(self.held_rows)
        return {name: fit[name] + held[name] for name in fit}

    def rank(self, unit: Unit, moments: Moments, size: int, curve: bool = False) -> UnitSelection:
        """Candidates of a unit in order; for a curve, with the errors that a refit leaves."""
        if self.importance is not None:
            scored = self.importance(unit) if callable(self.importance) else self.importance.get(unit.name)
            if scored is None:
                raise ValueError(f"importance has no scores of {unit.name}")
            return rank_by_scores(unit, scored, moments, size)
        if self.method == "ols" or (self.method == "loss" and curve):
            return pursue(unit, moments, size)
        if self.method == "loss":
            from gfs_tutorial.cnn.loss import select_by_loss

            labels = all(isinstance(batch, (tuple, list)) and len(batch) > 1 for batch in self.batches)
            options = {"scaling": self.scaling, "labels": labels, "progress": self.progress}
            return select_by_loss(self.original, unit, self.batches, size, **options)
        weight = self.model.get_submodule(unit.consumer).weight
        found = select_local(unit, moments, weight, size, scaling=self.scaling, centred=self.refit)
        return pursue(unit, moments, order=found.picks) if curve else found

    def curves(self) -> dict[str, Tensor]:
        """Error of each unit's block at every size."""
        fit, sizes, variants, rankings = self.moments(self.fit_rows), {}, {}, {}
        for unit in tqdm(self.units, "rankings", disable=not self.progress):
            ranking = rankings[unit.name] = self.rank(unit, fit[unit.consumer], unit.size, curve=True)
            sizes[unit.name] = sorted({max(1, round(ratio * unit.size)) for ratio in RATIOS})
            kept = [ranking.kept(k) for k in sizes[unit.name]]
            variants[unit.name] = [self._variant(unit, fit[unit.consumer], chosen) for chosen in kept]
        images = self.images[self.held_rows[:HELD_OUT]].contiguous(memory_format=torch.channels_last)
        measured = block_errors(self.model, self.units, variants, images, self.norms, self.progress)
        return {
            name: error_curve(ranking.errors, torch.tensor(sizes[name]), measured[name])
            for name, ranking in rankings.items()
        }

    def _variant(self, unit: Unit, moments: Moments, kept: Tensor) -> Variant:
        weight, constant = refit_weights(unit, moments, self.model.get_submodule(unit.consumer).weight, kept)
        mask = torch.zeros(unit.size, dtype=torch.bool).index_fill_(0, kept, True)
        return Variant(weight, constant, mask.to(weight.device))

    def rebuild(self, sizes: Mapping[str, int]) -> tuple[nn.Module, dict[str, Tensor]]:
        """The small model, and the candidates kept."""
        full, kept, weights = copy.deepcopy(self.original).eval(), {}, {}
        pruned = [unit for unit in self.units if sizes[unit.name] < unit.size]
        moments = self.all_moments() if pruned else {}
        for unit in tqdm(pruned, "refits", disable=not self.progress):
            ranking = self.rank(unit, moments[unit.consumer], sizes[unit.name])
            kept[unit.name] = ranking.kept(sizes[unit.name])
            consumer = full.get_submodule(unit.consumer)
            if self.refit:
                new, constant = refit_weights(unit, moments[unit.consumer], consumer.weight, kept[unit.name])
                norm = self.norms.get(unit.consumer)
                install(consumer, new, constant, norm and full.get_submodule(norm))
                for name in unit.gates:  # one position an image: few rows, so shrink more
                    gate = full.get_submodule(name)
                    install(gate, *refit_weights(unit, moments[name], gate.weight, kept[unit.name], GATES))
            elif self.method != "ols" and self.importance is None:
                weights[unit.name] = ranking.weights(sizes[unit.name])
        small = slice_units(full, self.units, kept, weights)
        everything = {unit.name: torch.arange(unit.size) for unit in self.units}
        return small, everything | kept
