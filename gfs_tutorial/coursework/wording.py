"""Verdicts in words: which part of an answer is right, and the smallest instance that shows the mistake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gfs_tutorial.coursework.exercise import Exercise, Instance

__all__ = ["describe_changes", "describe_trouble", "describe_wrong"]

Parts = tuple[np.ndarray, ...]


def describe_wrong(
    exercise: Exercise,
    instance: Instance,
    answers: tuple[Parts, Parts],
    mistake: str | None,
    num_right: int,
    num_instances: int,
) -> str:
    """What a wrong answer has right, the mistake if it is known, and the instance.

    Args:
        exercise: The exercise.
        instance: The smallest instance with a wrong answer.
        answers: The student's answer to it, and the right one.
        mistake: Name of the known mistake that explains all answers, if there is one.
        num_right, num_instances: How many instances were right, of how many.
    """
    words = [f"wrong. {_tally(num_right, num_instances)}"]
    if mistake:
        words.append(f"All your answers are those of a known mistake: {mistake}.")
    words.append(f"The smallest instance that shows it:\n{show(instance)}")
    if exercise.indices:
        first, second = (tuple(part.astype(int) for part in parts) for parts in answers)
        answers = first, second
    for name, mine, theirs in zip(exercise.parts or ("answer",), *answers):
        words.append(f"  expected {name}: {number(theirs)}\n  your {name}: {number(mine)}")
    words.append(_where(exercise, *answers))
    return "\n".join(word for word in words if word)


def describe_trouble(instance: Instance, trouble: str, num_right: int, num_instances: int) -> str:
    """What went wrong before there was an answer to compare."""
    return (
        f"no answer to compare: {trouble}\n{_tally(num_right, num_instances)}\n"
        f"The smallest instance that shows it:\n{show(instance)}"
    )


def describe_changes(changed: Sequence[str], all_right: bool) -> str:
    """Which arguments were changed in place, and what to do about it."""
    return (
        f"It changes its argument{'s' if len(changed) > 1 else ''} {listed(changed)} in place, and whoever "
        "calls it finds other data afterwards: work on a copy, or write x = x + 1 in the place of x += 1."
        + (" Apart from that, all answers are right." if all_right else "")
    )


def _tally(num_right: int, num_trials: int) -> str:
    if num_right:
        return f"It runs, and {num_right} of {num_trials} instances are right."
    return f"None of {num_trials} instances is right."


def _where(exercise: Exercise, answer: Parts, right: Parts) -> str:
    """Which numbers of the answer are right."""
    if exercise.any_order:
        common = np.intersect1d(answer[0], right[0])
        return f"  {len(common)} of {right[0].size} are right, in whatever order."
    if len(right) > 1:
        good = [
            name for name, mine, theirs in zip(exercise.parts, answer, right) if _close(mine, theirs).all()
        ]
        return f"  Right: {listed(good)}." if good else ""
    if right[0].ndim != 1 or len(right[0]) < 2 or answer[0].shape != right[0].shape:
        return ""
    first = int((~_close(answer[0], right[0])).argmax())
    return f"  The first number that differs is the one at position {first}, counted from 0."


def _close(mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    return np.isclose(mine, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


def show(instance: Instance) -> str:
    """The arguments of a call, one a line."""
    return "\n".join(f"  {name} = {number(value)}" for name, value in instance.items())


def number(value: Any) -> str:
    """A number or an array, on one line where it fits."""
    if not isinstance(value, np.ndarray):
        return repr(value)
    if value.ndim == 0:
        return f"{float(value):.6g}"
    text = np.array2string(
        value, separator=", ", precision=5, suppress_small=True, threshold=60, max_line_width=100
    )
    return text if "\n" not in text else "\n    " + text.replace("\n", "\n    ")


def listed(names: Sequence[str]) -> str:
    """Names as in a sentence: a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
