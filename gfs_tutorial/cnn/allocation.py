r"""Allocation: how many channels each unit keeps, so that a budget of MACs buys the least error.

Each unit has a curve, the error :math:`e(k)` that it causes where it keeps :math:`k` candidates. The lower
convex hull of each curve splits into straight pieces; pieces are bought in the order of error saved per MAC
until the budget is spent, which is the best that one can do up to a part of one piece. Chapter *Channels*.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from gfs_tutorial import checks
from gfs_tutorial.cnn.cost import MacModel

__all__ = ["allocate", "error_curve", "lower_hull", "uniform_counts"]

TINY = 1e-12
Number = TypeVar("Number", int, float)


def error_curve(pursuit: Tensor, sizes: Tensor, measured: Tensor) -> Tensor:
    """Block errors at every size, from a few measured ones: log against the log of the pursuit's error.

    Beyond the measured sizes the two are taken to be proportional.

    Args:
        pursuit: (size,) error of the selection after each pick; the last one keeps every candidate.
        sizes: (n,) int64, ascending sizes that were measured.
        measured: (n,) block errors there.

    Returns:
        (size,) float64, non-increasing, the last one 0.
    """
    p = pursuit.double().clamp_min(TINY).log()  # (size,)
    known, e = p[sizes - 1], measured.double().clamp_min(TINY).log()  # (n,)
    known, e = known.flip(0), e.flip(0)  # ascending in p
    right = torch.searchsorted(known, p).clamp(1, max(1, len(known) - 1))
    if len(known) == 1:
        curve = e[0] + p - known[0]
    else:
        span = (known[right] - known[right - 1]).clamp_min(TINY)
        share = ((p - known[right - 1]) / span).clamp(0, 1)
        curve = e[right - 1] + share * (e[right] - e[right - 1])
        curve += p - p.clamp(known[0], known[-1])
    curve = curve.exp().cummin(0).values
    curve[-1] = 0.0
    return curve


def lower_hull(x: list[int], y: list[float]) -> list[int]:
    """Positions of the corners of the lower convex hull of points with ascending ``x``."""
    corners: list[int] = []
    for i in range(len(x)):
        while len(corners) > 1:
            a, b = corners[-2:]
            if (y[b] - y[a]) * (x[i] - x[a]) < (y[i] - y[a]) * (x[b] - x[a]):
                break
            corners.pop()
        corners.append(i)
    return corners


def allocate(
    curves: Mapping[str, Tensor], costs: MacModel, macs: float, *, floor: float = 0.04, multiple: int = 1
) -> dict[str, int]:
    """Candidates that each unit keeps under a budget.

    Args:
        curves: Name of a unit to its error at each size, (size,), as from :func:`error_curve`.
        costs: What sizes cost.
        macs: The budget, as a fraction of the dense model's MACs.
        floor: Share of its candidates that a unit keeps in any case.
        multiple: Sizes are multiples of this, or all.

    Returns:
        Name of a unit to its number of candidates. The model costs at most the budget.

    Raises:
        ValueError: even the floors exceed the budget; the message says what is reachable.
    """
    steps = {name: _sizes(len(curve), floor, multiple) for name, curve in curves.items()}
    kept = {name: sizes[0] for name, sizes in steps.items()}
    budget = _budget(macs, costs, kept, multiple)

    def fits(name: str, k: int) -> bool:
        return costs.total({**kept, name: k}) <= budget

    for _, name, start, stop in _pieces(curves, steps, costs):
        if kept[name] != start:
            continue  # the money ran out inside an earlier piece of this unit
        within = [k for k in steps[name] if start < k <= stop]
        kept[name] = _largest(within, start, partial(fits, name))
    return kept


def uniform_counts(costs: MacModel, macs: float, *, floor: float = 0.04, multiple: int = 1) -> dict[str, int]:
    """The same share of every unit, the largest under the budget; arguments and errors as in
    :func:`allocate`."""
    steps = {name: _sizes(unit.size, floor, multiple) for name, unit in costs.units.items()}

    def at(share: float) -> dict[str, int]:
        return {n: max(k for k in s if k <= max(s[0], share * s[-1] + 1e-9)) for n, s in steps.items()}

    budget = _budget(macs, costs, at(0.0), multiple)
    shares = sorted({k / s[-1] for s in steps.values() for k in s})
    return at(_largest(shares, 0.0, lambda share: costs.total(at(share)) <= budget))


def _budget(macs: float, costs: MacModel, least: dict[str, int], multiple: int) -> float:
    if not 0 < macs <= 1:
        raise ValueError(f"macs must be a fraction of the dense MACs in (0, 1], got {macs}")
    budget, reachable = macs * costs.dense * (1 + 1e-9), costs.total(least)
    if reachable > budget:
        share = math.ceil(1000 * reachable / costs.dense) / 1000
        raise ValueError(
            f"macs is {macs} but pruning every unit to its floor still leaves {share:.3f} of the dense "
            f"{costs.dense:,} MACs: ask for at least that, or lower floor"
            f"{' or multiple' if multiple > 1 else ''}"
        )
    return budget


def _sizes(size: int, floor: float, multiple: int) -> list[int]:
    """Sizes a unit may have, ascending."""
    checks.positive_int("multiple", multiple)
    if not 0 <= floor <= 1:
        raise ValueError(f"floor must lie in [0, 1], got {floor}")
    least = max(1, math.ceil(floor * size - 1e-9))
    return [k for k in range(least, size) if k % multiple == 0] + [size]


def _pieces(curves: Mapping[str, Tensor], steps: dict[str, list[int]], costs: MacModel) -> list[tuple]:
    """Pieces of all hulls, (minus the error saved per MAC, unit, from, to), best first."""
    pieces = []
    for name, sizes in steps.items():
        per_candidate = (costs.dense - costs.total({name: 0})) / len(curves[name])
        errors = curves[name][torch.tensor(sizes) - 1].tolist()
        corners = lower_hull(sizes, errors)
        for a, b in itertools.pairwise(corners):
            saved = (errors[a] - errors[b]) / (per_candidate * (sizes[b] - sizes[a]))
            pieces.append((-saved, name, sizes[a], sizes[b]))
    return sorted(pieces)


def _largest(ascending: Sequence[Number], otherwise: Number, fits: Callable[[Number], bool]) -> Number:
    """The last of ``ascending`` values that ``fits``, by bisection."""
    low, high = 0, len(ascending)  # the answer is at low - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if fits(ascending[middle]) else (low, middle)
    return ascending[low - 1] if low else otherwise
