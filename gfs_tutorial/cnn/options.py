"""The settings of a pruning run, checked, and what they say about sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from gfs_tutorial import checks
from gfs_tutorial.cnn.allocation import allocate, uniform_counts
from gfs_tutorial.cnn.cost import MacModel
from gfs_tutorial.cnn.ranking import METHODS
from gfs_tutorial.cnn.rebuild import INPUTS
from gfs_tutorial.cnn.unit_selection import SCALINGS

__all__ = ["Options"]

ALLOCATIONS = ("error", "uniform")


@dataclass(frozen=True)
class Options:
    """Arguments of :func:`~gfs_tutorial.cnn.prune`, which explains them; all are plain values.

    Raises:
        ValueError: an argument does not fit, by itself or beside another.
    """

    macs: float | None
    ratio: float | None
    counts: dict[str, int] | None
    method: str
    own_scores: bool  # of importance, in place of the method
    allocation: str
    refit: bool
    inputs: str
    recalibrate: bool
    scaling: str
    with_replacement: bool
    multiple: int
    floor: float
    seed: int

    def __post_init__(self) -> None:
        checks.one_of("method", self.method, METHODS)
        checks.one_of("allocation", self.allocation, ALLOCATIONS)
        checks.one_of("inputs", self.inputs, INPUTS)
        checks.one_of("scaling", self.scaling, SCALINGS)
        if self.ratio is not None and self.counts is not None:
            raise ValueError("give one of ratio and counts, not both")
        if self.ratio is None and self.counts is None and self.macs is None:
            raise ValueError("give one of macs, ratio and counts")
        if self.ratio is not None and not 0 < self.ratio <= 1:
            raise ValueError(f"ratio must lie in (0, 1], got {self.ratio}")
        if not 0 <= self.floor <= 1:
            raise ValueError(f"floor must lie in [0, 1], got {self.floor}")
        if self.with_replacement and (self.own_scores or self.method == "ols"):
            raise ValueError(
                "with_replacement needs the method 'local' or 'loss', where a channel picked twice counts "
                f"twice: {'importance ranks each once' if self.own_scores else 'ols fits weights of its own'}"
            )

    def sizes(
        self, costs: MacModel, curves: Callable[[], Mapping[str, Tensor]]
    ) -> tuple[dict[str, int], Mapping[str, Tensor]]:
        """Candidates that each unit keeps, and the error curves if the sizes were read off them.

        Args:
            costs: Of the network.
            curves: Measures the error of each unit at each size; called where it is needed.
        """
        everything = {name: unit.size for name, unit in costs.units.items()}
        if self.counts is not None:
            return everything | _checked(self.counts, everything), {}
        if self.ratio is not None:
            steps = {name: max(1, round(self.ratio * n / self.multiple)) for name, n in everything.items()}
            return {name: min(n, self.multiple * steps[name]) for name, n in everything.items()}, {}
        assert self.macs is not None  # one of the three is given
        # Before any work is done, a budget out of reach shows here.
        uniform = uniform_counts(costs, self.macs, floor=self.floor, multiple=self.multiple)
        if self.allocation == "uniform" or self.macs == 1:
            return uniform, {}
        measured = curves()
        return allocate(measured, costs, self.macs, floor=self.floor, multiple=self.multiple), measured


def _checked(counts: dict[str, int], everything: dict[str, int]) -> dict[str, int]:
    for name, count in counts.items():
        if name not in everything:
            raise ValueError(f"counts names {name!r}, which is no unit; units are {', '.join(everything)}")
        if count > everything[name]:
            raise ValueError(f"counts of {name} is {count} but it has {everything[name]} candidates")
    return counts
