"""Rankings: which candidates of a unit come first, by whichever rule the caller chose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from gfs_tutorial import checks
from gfs_tutorial.cnn.layers import layer_of
from gfs_tutorial.cnn.local import select_local
from gfs_tutorial.cnn.loss import select_by_loss
from gfs_tutorial.cnn.mini_batches import checked_batch
from gfs_tutorial.cnn.moments import Moments
from gfs_tutorial.cnn.pursuit import pursue
from gfs_tutorial.cnn.unit_selection import UnitSelection
from gfs_tutorial.cnn.units import Unit

__all__ = ["METHODS", "Ranking", "rank_by_scores"]

METHODS = ("ols", "local", "loss")
PICKS = 4  # with replacement: at most so many times the unit's size


@dataclass(frozen=True)
class Ranking:
    """A rule and its settings.

    Attributes:
        model: The dense network.
        batches: For ``"loss"``: mini-batches, with labels if it is to look at them.
        method: One of ``METHODS``.
        scores: Name of a unit to (size,) scores, which take the place of the method.
        scaling, with_replacement: Of ``"local"`` and ``"loss"``.
        centred: Whether a refit will take care of means, so that ``"local"`` leaves them out.
        progress: Whether ``"loss"`` shows a bar.
    """

    model: nn.Module
    batches: Sequence[Any]
    method: str
    scores: Mapping[str, Tensor] | None
    scaling: str
    with_replacement: bool
    centred: bool
    progress: bool

    def __post_init__(self) -> None:
        if self.method == "loss" and self.scores is None:  # a bad label shows here, before any work is done
            for batch in self.batches:
                checked_batch(batch, next(self.model.parameters()), self._labels)

    @property
    def _labels(self) -> bool:
        return all(isinstance(batch, (tuple, list)) and len(batch) > 1 for batch in self.batches)

    def order(self, unit: Unit, moments: Moments) -> UnitSelection:
        """Every candidate once, with the errors that a refit leaves after each.

        The loss takes too long for that and is stood in for by matching pursuit.
        """
        if self.scores is not None:
            return rank_by_scores(unit, _scores_of(unit, self.scores), moments)
        if self.method == "local":
            return pursue(unit, moments, order=self._local(unit, moments, unit.size, False).picks)
        return pursue(unit, moments)

    def choose(self, unit: Unit, moments: Moments, size: int) -> UnitSelection:
        """The picks that leave ``size`` candidates; with replacement perhaps fewer.

        It ends after :data:`PICKS` times the unit's size, and with ``"unit"`` weights, which grow with every
        pick, where the error was least.
        """
        chosen = self._choose(unit, moments, size)
        if self.with_replacement and self.scaling == "unit":
            k = int(chosen.errors.argmin()) + 1
            chosen = replace(chosen, picks=chosen.picks[:k], errors=chosen.errors[:k])
        return chosen

    def _choose(self, unit: Unit, moments: Moments, size: int) -> UnitSelection:
        if self.scores is not None:
            return rank_by_scores(unit, _scores_of(unit, self.scores), moments, size)
        if self.method == "ols":
            return pursue(unit, moments, size)
        if self.method == "local":
            return self._local(unit, moments, size, self.with_replacement)
        return select_by_loss(
            self.model,
            unit,
            self.batches,
            labels=self._labels,
            scaling=self.scaling,
            progress=self.progress,
            **_until(unit, size, self.with_replacement),
        )

    def _local(self, unit: Unit, moments: Moments, size: int, with_replacement: bool) -> UnitSelection:
        weight = layer_of(self.model, unit.consumer).weight
        until = _until(unit, size, with_replacement)
        return select_local(unit, moments, weight, scaling=self.scaling, centred=self.centred, **until)


def _scores_of(unit: Unit, scores: Mapping[str, Tensor]) -> Tensor:
    if unit.name not in scores:
        raise ValueError(f"importance has no scores of {unit.name}")
    return scores[unit.name]


def _until(unit: Unit, size: int, with_replacement: bool) -> dict[str, Any]:
    """Options of a selection that ends with ``size`` different candidates."""
    if not with_replacement:
        return {"size": size}
    return {"size": PICKS * unit.size, "distinct": size, "with_replacement": True}


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
