"""What pruning did, for people and programs."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

__all__ = ["PruneReport"]


@dataclass(frozen=True)
class PruneReport:
    """What :func:`~gfs_tutorial.cnn.prune` did.

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
