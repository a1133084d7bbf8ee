r"""Pruning of a whole network: rank the channels, share out a budget, remove, refit.

1. Split the calibration images, which need no labels, 60 to 40.
2. On the larger part, rank each unit's channels (orthogonal matching pursuit, or another rule).
3. On the other part, measure what five sizes of each unit do to its block's output; interpolate.
4. Buy error back where it costs the fewest MACs, up to the budget.
5. On all images, unit by unit: rank again, remove the channels, and refit the consumer to the dense net's
   answers, on what the network pruned so far feeds it.

Chapter *Channels*.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from gfs_tutorial import checks
from gfs_tutorial.cnn.calibration import Calibration
from gfs_tutorial.cnn.checkpoint import Checkpoint, fingerprint
from gfs_tutorial.cnn.cost import count_macs, count_parameters
from gfs_tutorial.cnn.curves import measure_curves
from gfs_tutorial.cnn.images import gather_images
from gfs_tutorial.cnn.options import Options, floor_for
from gfs_tutorial.cnn.ranking import Ranking
from gfs_tutorial.cnn.rebuild import rebuild
from gfs_tutorial.cnn.recalibration import recalibrate_norms
from gfs_tutorial.cnn.report import PruneReport
from gfs_tutorial.cnn.units import Unit

__all__ = ["PruneReport", "prune"]


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
    inputs: str = "pruned",
    recalibrate: bool = False,
    scaling: str = "mean",
    with_replacement: bool = False,
    multiple: int = 1,
    floor: float | None = None,
    seed: int = 0,
    checkpoint: str | Path | None = None,
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
            :func:`~gfs_tutorial.cnn.rivals.rival_scores` returns) or a function of the unit, which is called
            once for each.
        allocation: ``"error"``: where an error saved costs the fewest MACs; ``"uniform"``: the same share
            of every unit.
        refit: Fit each consumer to the dense outputs by least squares.
        inputs: What consumers are chosen and refitted on: ``"pruned"``, one unit after another on what the
            pruned network in front feeds them, making up for what the residual stream has lost
            (:mod:`~gfs_tutorial.cnn.prefix`); or ``"dense"``, all of them on what the dense network does,
            which is quicker and a little worse. Without a refit it is ``"dense"`` in any case. Up to 1 GiB of
            activations stays in memory for ``"pruned"`` (:mod:`~gfs_tutorial.cnn.resume`).
        recalibrate: Measure batch norms anew at the end; helps without a refit, harms with one.
        scaling: ``"mean"`` or ``"unit"`` weights of kept channels in ``"local"`` and ``"loss"``; folded into
            the consumer where there is no refit.
        with_replacement: Whether ``"local"`` and ``"loss"`` may pick a channel again, which then weighs more.
            They pick until as many different ones are there as the budget allows, but at most four times as
            often as the unit has channels, and with ``"unit"`` weights up to the least error; so a unit may
            end smaller. Sizes are shared out as without.
        multiple: Sizes are multiples of this, or all.
        floor: Share of its candidates that a unit keeps in any case; ``None``: .04, or .1 for networks below
            a million parameters.
        seed: Of the split and of the sampled positions.
        checkpoint: A file, written after each layer's ranking, after the measurement of errors and after each
            layer's refit. If it is there the run goes on from it, and on the same machine and number of
            threads ends with the same model, to the bit, as if it had never stopped. Model, images and
            settings must be the same. It stays at the end.
        progress: Whether to show progress bars: for each pass over the layers or over the images, and for
            the candidates that ``"loss"`` tries in a layer.

    Returns:
        The small model, in eval mode and without hooks, and a :class:`PruneReport`.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message), no unit, a budget
            that cannot be met, or a checkpoint of another run.
    """
    start = time.perf_counter()
    options = Options(
        macs=None if macs is None else checks.number("macs", macs),
        ratio=None if ratio is None else checks.number("ratio", ratio),
        counts=None if counts is None else _whole(counts),
        method=method,
        own_scores=importance is not None,
        allocation=allocation,
        refit=refit,
        inputs=inputs,
        recalibrate=recalibrate,
        scaling=scaling,
        with_replacement=with_replacement,
        multiple=multiple,
        floor=floor_for(model, floor),
        seed=seed,
    )
    listed = list(batches) if isinstance(batches, Iterable) and not isinstance(batches, Tensor) else batches
    images = gather_images(listed)
    batches = cast("list[Any]", listed)  # gather_images takes no single tensor
    images = images.to(next(model.parameters(), images).device) if isinstance(model, nn.Module) else images
    dense = Calibration(model, images, seed=seed, progress=progress)
    scores = _scores(importance, dense.units)
    settings = asdict(options)
    if checkpoint is not None:
        settings |= _fingerprints(model, images, batches if method == "loss" else [], scores or {})
    stored = Checkpoint(checkpoint, "prune 1", settings)
    ranking = Ranking(model, batches, method, scores, scaling, with_replacement, refit, progress)
    sizes, errors = options.sizes(
        dense.costs, lambda: measure_curves(dense, ranking, stored, progress=progress)
    )
    small, kept = rebuild(
        dense, ranking, sizes, stored, refit=refit, inputs=inputs, split=bool(errors), progress=progress
    )
    if recalibrate:
        recalibrate_norms(small, [images], progress=progress)
    return small, _report(dense, small, kept, errors, start)


def _whole(counts: Mapping[str, int]) -> dict[str, int]:
    if not isinstance(counts, Mapping):
        raise TypeError(f"counts must map names of units to numbers, got {type(counts).__name__}")
    return {name: checks.positive_int(f"counts of {name}", count) for name, count in counts.items()}


def _report(
    dense: Calibration,
    small: nn.Module,
    kept: dict[str, Tensor],
    errors: Mapping[str, Tensor],
    start: float,
) -> PruneReport:
    return PruneReport(
        (dense.costs.dense, count_macs(small, dense.images[:1])),
        (count_parameters(dense.original), count_parameters(small)),
        {unit.name: (len(kept[unit.name]), unit.size) for unit in dense.units},
        {name: float(curve[len(kept[name]) - 1]) for name, curve in errors.items()},
        kept,
        time.perf_counter() - start,
    )


def _scores(importance: Any, units: Iterable[Unit]) -> dict[str, Tensor] | None:
    """Name of a unit to what the caller's ranking says of it, where it says anything."""
    if importance is None:
        return None
    if callable(importance):
        found = {unit.name: importance(unit) for unit in units}
    elif isinstance(importance, Mapping):
        found = {unit.name: importance[unit.name] for unit in units if unit.name in importance}
    else:
        raise TypeError(f"importance must give scores to a unit, got {type(importance).__name__}")
    return {name: checks.is_tensor(f"importance of {name}", values) for name, values in found.items()}


def _fingerprints(
    model: nn.Module, images: Tensor, batches: Sequence[Any], scores: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Of all tensors on which a run depends; batches and labels count where there is a loss to look at."""
    pairs = {f"batch {i}": b for i, b in enumerate(batches) if isinstance(b, (tuple, list)) and len(b) > 1}
    return {
        "weights": fingerprint(model.state_dict()),
        "images": fingerprint({"images": images}),
        "batches": [len(gather_images([batch])) for batch in batches],
        "labels": fingerprint({name: pair[1] for name, pair in pairs.items() if isinstance(pair[1], Tensor)}),
        "importance": fingerprint(scores),
    }
