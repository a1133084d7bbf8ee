"""The settings of a pruning run, checked, and what they say about sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from gfs_tutorial import checks
from gfs_tutorial.cnn.allocation import allocate, uniform_counts
from gfs_tutorial.cnn.cost import MacModel, count_parameters
from gfs_tutorial.cnn.ranking import METHODS
from gfs_tutorial.cnn.rebuild import INPUTS
from gfs_tutorial.cnn.unit_selection import SCALINGS

__all__ = ["Options", "floor_for"]

ALLOCATIONS = ("error", "uniform")
SMALL = 1_000_000  # parameters below which a unit keeps a tenth of its candidates in any case


def floor_for(model: object, floor: float | None) -> float:
    """The share of its candidates that a unit keeps in any case: as given, else by the size of the model."""
    if floor is not None:
        return checks.number("floor", floor)
    return 0.1 if isinstance(model, nn.Module) and count_parameters(model) < SMALL else 0.04


@dataclass(frozen=True)
class Options:
    """Arguments of :func:`~gfs_tutorial.cnn.prune`, which explains them; all are plain values.

    Raises:
        ValueError: an argument does not fit, by itself or beside another.
    """

    floor: float
    macs: float | None = None
    ratio: float | None = None
    counts: dict[str, int] | None = None
    method: str = "ols"
    own_scores: bool = False  # of importance, in place of the method
    allocation: str = "error"
    refit: bool = True
    inputs: str = "pruned"
    recalibrate: bool = False
    scaling: str = "mean"
    with_replacement: bool = False
    multiple: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        checks.positive_int("multiple", self.multiple)
        checks.integer_at_least("seed", self.seed, 0)
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
