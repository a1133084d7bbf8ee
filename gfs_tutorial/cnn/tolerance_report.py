"""What a run by the papers' tolerance rule did."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["PrunedUnit", "ToleranceReport"]


@dataclass(frozen=True)
class PrunedUnit:
    """What became of one unit.

    Attributes:
        name: Of the unit.
        size: Candidates that there were.
        kept: Candidates that are left.
        accuracy: With those, before any training.
        loss: Of the last pick, on its mini-batch.
        reached: Whether the accuracy came within the tolerance; if not the unit is whole.
    """

    name: str
    size: int
    kept: int
    accuracy: float
    loss: float
    reached: bool


@dataclass(frozen=True)
class ToleranceReport:
    """What :func:`~gfs_tutorial.cnn.tolerance.prune_with_tolerance` did.

    Attributes:
        initial, target, final: Accuracy of the dense model, the least that was accepted, that of the result.
        macs_before, macs_after: Multiply-accumulates an image.
        units: In the order in which they were pruned.
        kept: Name of each unit to its candidates that are left, (n,) int64: for
            :func:`~gfs_tutorial.cnn.storage.save_pruned`.
    """

    initial: float
    target: float
    final: float
    macs_before: int
    macs_after: int
    units: tuple[PrunedUnit, ...]
    kept: dict[str, Tensor]
