"""When pre-training is enough: a loss, an accuracy, or no more gain."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass

from gfs_tutorial import checks
from gfs_tutorial.monitor.record import MonitorRecord

__all__ = ["Criteria"]


@dataclass(frozen=True)
class Criteria:
    """What to wait for; where several are given, the first that is met is enough.

    Attributes:
        loss: The subnetwork's loss is at most this.
        accuracy: The subnetwork's accuracy is at least this, between 0 and 1.
        patience: A pair (window, gain): over the last ``window`` iterations the subnetwork's best loss has
            fallen by less than the share ``gain`` of itself.

    Raises:
        TypeError, ValueError: a criterion that cannot be (its name is in the message).
    """

    loss: float | None = None
    accuracy: float | None = None
    patience: tuple[int, float] | None = None

    def __post_init__(self) -> None:
        if self.loss is not None:
            _number("loss", self.loss, 0, math.inf)
        if self.accuracy is not None:
            _number("accuracy", self.accuracy, 0, 1)
        if self.patience is not None:
            if not isinstance(self.patience, (tuple, list)) or len(self.patience) != 2:
                raise TypeError(f"patience must be a pair (window, gain), got {self.patience!r}")
            checks.positive_int("the window of patience", self.patience[0])
            _number("the gain of patience", self.patience[1], 0, 1)

    def met(self, records: Sequence[MonitorRecord]) -> str | None:
        """Why the last of ``records`` (in the order of their iterations) is enough; ``None`` if it is not."""
        last = records[-1]
        if self.loss is not None and last.subnetwork_loss <= self.loss:
            return f"the subnetwork's loss, {last.subnetwork_loss:.4g}, is at most {self.loss:g}"
        if self.accuracy is not None and last.subnetwork_accuracy >= self.accuracy:
            return (
                f"the subnetwork's accuracy, {last.subnetwork_accuracy:.1%}, is at least {self.accuracy:.1%}"
            )
        if self.patience is not None:
            window, gain = self.patience
            past = [r.subnetwork_loss for r in records if r.iteration <= last.iteration - window]
            best = min(record.subnetwork_loss for record in records)
            if past and best > (1 - gain) * min(past):
                return f"the last {window} iterations lowered the subnetwork's loss by less than {gain:.0%}"
        return None

    def first_met(self, records: Sequence[MonitorRecord]) -> int | None:
        """The iteration of the first record that is enough, looking back over a whole run; or ``None``."""
        for n, record in enumerate(records, start=1):
            if self.met(records[:n]) is not None:
                return record.iteration
        return None


def _number(name: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r} ({type(value).__name__})")
    if not low <= value <= high or math.isinf(value):
        raise ValueError(f"{name} must be finite, at least {low} and at most {high}, got {value}")
