r"""How much pre-training is enough, :math:`t^*(m)`, and which law it follows as the data set grows.

Chapter *The MNIST experiment*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Law", "Threshold", "first_reached", "fit_laws", "law_table", "reached_by_all", "thresholds"]

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Threshold:
    """When one run reached a level: m images, its seed, and t*, which is ``None`` if it never did."""

    m: int
    seed: int
    t: float | None


def first_reached(rows: Iterable[Row], key: str, level: float) -> float | None:
    """The first iteration t at which ``key`` is at most ``level`` (at least, for accuracies).

    Between the checkpoint that reaches the level and the one before, t is interpolated: the entry (its
    logarithm, for losses) as a straight line over log(1 + t).

    Args:
        rows: Rows of one run, one for each t.
        key: Which entry to watch.
        level: The value to reach.

    Returns:
        t, or ``None`` if it is never reached.

    Raises:
        ValueError: there are no rows, or ``key`` is not an entry of them.
    """
    rows = sorted(rows, key=lambda row: row["t"])
    if not rows or key not in rows[0]:
        raise ValueError(f"key must be an entry of the rows, got {key!r}; rows: {len(rows)}")
    accuracy = key.endswith("accuracy")
    sign = -1 if accuracy else 1
    place = next((i for i, row in enumerate(rows) if sign * row[key] <= sign * level), None)
    if not place:  # reached at once, or never
        return None if place is None else float(rows[0]["t"])
    scale = (lambda value: value) if accuracy else np.log
    before, after = (scale(row[key]) for row in rows[place - 1 : place + 1])
    start, end = (np.log1p(row["t"]) for row in rows[place - 1 : place + 1])
    return float(np.expm1(start + (end - start) * (scale(level) - before) / (after - before)))


def thresholds(rows: Sequence[Row], key: str, level: float | Callable[[list[Row]], float]) -> list[Threshold]:
    """:func:`first_reached` of every run, in the order of m and seed.

    Args:
        rows: Rows of one N and one k.
        key: Which entry to watch.
        level: The value to reach, or a function that finds it from the rows of a run.
    """
    runs: dict[tuple[int, int], list[Row]] = {}
    for row in rows:
        runs.setdefault((int(row["m"]), int(row["seed"])), []).append(row)
    return [
        Threshold(m, seed, first_reached(run, key, level(run) if callable(level) else level))
        for (m, seed), run in sorted(runs.items())
    ]


def reached_by_all(found: Sequence[Threshold]) -> list[Threshold]:
    """The thresholds of those m at which every seed reaches the level, and none at once.

    A law is fitted to these only: a run that never arrives has no time to fit, nor has one that begins there.
    """
    missed = {run.m for run in found if not run.t}
    return [run for run in found if run.m not in missed]


@dataclass(frozen=True)
class Law:
    """A law fitted to thresholds.

    Attributes:
        name: ``"constant"``, ``"logarithm"`` or ``"power"``.
        parameters: a, or a and b.
        aic: Akaike's information criterion; lower is better, by 2 is noticeable, by 10 is decisive.
        cv_error: Leaving out one m at a time: root mean square of the log of predicted over seen t*.
    """

    name: str
    parameters: tuple[float, ...]
    aic: float
    cv_error: float

    def __call__(self, m: float | np.ndarray) -> np.ndarray:
        """t* of data sets of ``m`` images."""
        return FORMULAS[self.name](np.asarray(m, dtype=float), *self.parameters)


TINY = 1e-9  # a logarithm that has fallen below zero: keeps its own logarithm finite while fitting
FORMULAS: dict[str, Callable[..., np.ndarray]] = {
    "constant": lambda m, a: a + 0 * m,
    "logarithm": lambda m, a, b: np.maximum(a + b * np.log(m), TINY),
    "power": lambda m, a, b: a * m**b,
}


def fit_laws(sizes: Sequence[float], times: Sequence[float]) -> dict[str, Law]:
    r"""Fit :math:`t^* = a`, :math:`t^* = a + b \log m` and :math:`t^* = a\,m^b` to the same points.

    Least squares on :math:`\log t^*`: seeds differ by factors, not by iterations. The three are compared by
    Akaike's criterion, :math:`n \log(\mathrm{RSS}/n) + 2(p + 1)` for p parameters and n points, and by
    leaving out one m at a time.

    Args:
        sizes: m of each point, (n,); at least four values of m differ.
        times: t* of each point, (n,), positive.

    Raises:
        ValueError: fewer than four values of m, or a time that is not positive.
    """
    m, t = np.asarray(sizes, dtype=float), np.asarray(times, dtype=float)  # (n,) each
    if m.shape != t.shape or len(np.unique(m)) < 4:
        raise ValueError(
            "sizes and times must be of one length with at least four different sizes, got "
            f"{m.shape} and {t.shape} with {len(np.unique(m))}"
        )
    if not (t > 0).all():
        raise ValueError(f"times must be positive, the least is {t.min()}: leave out what is reached at once")
    return {name: _fit_and_judge(name, m, t) for name in FORMULAS}


def _fit_and_judge(name: str, sizes: np.ndarray, times: np.ndarray) -> Law:
    parameters = _fit(name, sizes, times)
    residuals = np.log(FORMULAS[name](sizes, *parameters) / times)  # (n,)
    n, spread = len(sizes), max(float(np.square(residuals).mean()), np.finfo(float).tiny)
    left_out = np.empty(n)
    for m in np.unique(sizes):
        out = sizes == m
        left_out[out] = np.log(FORMULAS[name](m, *_fit(name, sizes[~out], times[~out])) / times[out])
    aic = n * np.log(spread) + 2 * (len(parameters) + 1)
    return Law(name, tuple(map(float, parameters)), float(aic), float(np.sqrt(np.square(left_out).mean())))


def _fit(name: str, sizes: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The parameters of least squares on log t*."""
    if name == "constant":
        return np.exp(np.log(times).mean(keepdims=True))
    if name == "power":
        slope, intercept = np.polyfit(np.log(sizes), np.log(times), 1)
        return np.array([np.exp(intercept), slope])
    from scipy.optimize import curve_fit  # here, so that importing the package stays quick

    def logarithm_of_law(m: np.ndarray, a: float, b: float) -> np.ndarray:
        return np.log(FORMULAS["logarithm"](m, a, b))

    slope, intercept = np.polyfit(np.log(sizes), times, 1, w=1 / times)
    least = intercept + slope * np.log(sizes).min()
    start = (intercept + max(0.0, 0.1 * times.min() - least), slope)  # positive at every m
    return curve_fit(logarithm_of_law, sizes, np.log(times), p0=start, maxfev=10_000)[0]


def law_table(rows: Sequence[Row], criteria: Sequence[tuple[str, float]]) -> str:
    """A Markdown table of laws fitted to several thresholds: what each costs beside the best, and the power.

    Args:
        rows: Rows of one N and one k.
        criteria: Entries and the levels that they should reach. A criterion that fewer than four m reach
            has no fit.
    """
    names = list(FORMULAS)
    head = [
        "first $t$ with",
        "up to $m$",
        *(f"AIC, {name}" for name in names),
        *(f"CV, {name}" for name in names),
    ]
    lines = [f"| {' | '.join([*head, 'exponent of the power'])} |", "|---" * (len(head) + 1) + "|"]
    for key, level in criteria:
        kept = reached_by_all(thresholds(rows, key, level))
        sizes = sorted({run.m for run in kept})
        if len(sizes) < 4:
            continue
        laws = fit_laws([run.m for run in kept], [run.t for run in kept if run.t is not None])
        least = min(law.aic for law in laws.values())
        cells = [
            f"{key.replace('_', ' ')} {level:g}",
            f"{sizes[-1]:,}",
            *(f"+{laws[name].aic - least:.0f}" for name in names),
            *(f"{error:.2f}" if (error := laws[name].cv_error) < 2 else "above 2" for name in names),
            f"{laws['power'].parameters[1]:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
