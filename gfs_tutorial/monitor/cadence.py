"""When the monitor looks: on a grid of iterations, as often as a stated share of the training allows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from gfs_tutorial import checks

__all__ = ["counted_cost", "grid"]

FIRST, RATIO = 10, 1.4  # the grid: 10, 14, 20, 28, 40, 56, 79, ...
# Beside its multiply-adds, a step of the selection reads activations that a matrix product would use many
# times, and both a step and an update have a fixed cost. In multiply-adds of a matrix product on a CPU.
READ, STEP, UPDATE = 6, 1e6, 8e6


def grid(checkpoints: Iterable[int] | None) -> Iterator[float]:
    """The iterations in ``checkpoints``, or those of the geometric grid; then infinity."""
    if checkpoints is not None:
        yield from sorted({checks.integer_at_least("checkpoints", t, 0) for t in checkpoints})
        yield math.inf
        return
    t = FIRST
    while True:
        yield t
        t = math.ceil(RATIO * t)


def counted_cost(
    rows: int, in_features: int, out_features: int, width: int, size: int, batch_size: int
) -> float:
    """What one check costs on a CPU, in training iterations, counted from the shapes alone.

    The same on every machine, and therefore rough: what it came to is measured too.

    Args:
        rows: M, of the monitor's batch; half of them go through the whole network.
        in_features, out_features, width: d, C and N of the network.
        size: k, picks.
        batch_size: B, rows of a training batch.
    """
    half = -(-rows // 2)
    forward = half * width * (in_features + 3 * out_features) + rows * min(size, width) * in_features
    selection = size * (READ * half * width + STEP)
    update = (2 * batch_size + READ) * width * in_features + UPDATE
    return (forward + selection) / update
