"""The check itself: run a function on hidden instances, compare with the oracle, find out what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gfs_tutorial import checks
from gfs_tutorial.coursework.calling import Trouble, as_parts, call
from gfs_tutorial.coursework.exercise import Exercise, Instance
from gfs_tutorial.coursework.feedback import Feedback
from gfs_tutorial.coursework.wording import describe_changes, describe_trouble, describe_wrong

__all__ = ["run_check"]

TOLERANCE = 1e-4  # of the largest number of the answer: what float32 keeps with some to spare

Parts = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Trial:
    """One instance and what the function made of it: an answer, or trouble."""

    instance: Instance
    right: Parts
    answer: Parts | None
    trouble: str | None
    changed: list[str]
    is_right: bool


def run_check(exercise: Exercise, function: Callable[..., Any], *, seed: int, arrays: str) -> Feedback:
    """Check ``function`` on the instances of ``seed``.

    A function that never returns is not interrupted; graders have time limits of their own.

    Args:
        exercise: What it should solve.
        function: The student's function.
        seed: Which random instances.
        arrays: Whether the function gets ``"torch"`` tensors or ``"numpy"`` arrays. It may return either,
            and lists of numbers too.

    Raises:
        TypeError: ``function`` cannot be called.
        ValueError: an unknown ``arrays``.
    """
    if not callable(function):
        raise TypeError(f"hand over the function itself, without calling it; got {type(function).__name__}")
    checks.one_of("arrays", arrays, ("torch", "numpy"))
    rng = np.random.default_rng(checks.integer_at_least("seed", seed, 0))
    trials = [_try(exercise, function, instance, arrays) for instance in exercise.instances(rng)]
    score = sum(trial.is_right and not trial.changed for trial in trials) / len(trials)
    if score == 1:
        words = f"right. All {len(trials)} instances agree with the reference."
        return Feedback(exercise.name, True, words, 1.0)
    mistakes, message = _diagnose(exercise, trials)
    return Feedback(exercise.name, False, message, score, mistakes)


def _try(exercise: Exercise, function: Callable[..., Any], instance: Instance, arrays: str) -> Trial:
    right = as_parts(exercise.oracle(**instance))
    try:
        answer, changed = call(function, exercise, instance, arrays)
    except Trouble as trouble:
        return Trial(instance, right, None, str(trouble), [], False)
    return Trial(instance, right, answer, None, changed, same_answer(exercise, answer, right))


def same_answer(exercise: Exercise, answer: Parts, right: Parts) -> bool:
    """Whether two answers agree, to rounding error."""
    for mine, theirs in zip(answer, right):
        if mine.shape != theirs.shape:
            return False
        if exercise.any_order:
            mine, theirs = np.sort(mine), np.sort(theirs)
        slack = 0 if exercise.indices else TOLERANCE * max(np.abs(theirs).max(), 1e-2)
        if not (np.abs(mine - theirs) <= slack).all():  # NaN compares false
            return False
    return True


def _diagnose(exercise: Exercise, trials: Sequence[Trial]) -> tuple[tuple[str, ...], str]:
    """The known mistakes that explain the trials, and the message."""
    num_right = sum(trial.is_right for trial in trials)
    mistakes, words = [], []
    failed = next((trial for trial in trials if not trial.is_right), None)
    if failed is not None:
        known = _known_mistake(exercise, trials)
        if known:  # show an answer rather than an exception: the mistake explains it
            mistakes.append(known)
            failed = next(trial for trial in trials if trial.answer is not None and not trial.is_right)
        if failed.trouble is not None:
            words.append(describe_trouble(failed.instance, failed.trouble, num_right, len(trials)))
        elif failed.answer is not None:
            answers = failed.answer, failed.right
            words.append(describe_wrong(exercise, failed.instance, answers, known, num_right, len(trials)))
    changed = sorted({name for trial in trials for name in trial.changed})
    if changed:
        mistakes.append("it changes its arguments")
        words.append(describe_changes(changed, num_right == len(trials)))
    return tuple(mistakes), "\n".join(words)


def _known_mistake(exercise: Exercise, trials: Sequence[Trial]) -> str | None:
    """The first mistake of the catalogue that gives the student's answer wherever there is one."""
    answered = [(trial.instance, trial.answer) for trial in trials if trial.answer is not None]
    if all(trial.is_right for trial in trials if trial.answer is not None) or 2 * len(answered) < len(trials):
        return None  # nothing wrong, or too little to tell
    for name, mistaken in exercise.mistakes.items():
        if all(_gives(exercise, mistaken, instance, answer) for instance, answer in answered):
            return name
    return None


def _gives(exercise: Exercise, mistaken: Callable[..., Any], instance: Instance, answer: Parts) -> bool:
    try:
        with np.errstate(all="ignore"):  # a mistake may divide by zero
            theirs = as_parts(mistaken(**instance))
    except (ValueError, IndexError):  # or not work at all on some instance
        return False
    return same_answer(exercise, answer, theirs)
