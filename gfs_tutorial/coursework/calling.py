"""Calling a student's function: on copies, with every exception caught and every answer made comparable."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from gfs_tutorial.coursework.exercise import Exercise, Instance

__all__ = ["Trouble", "as_parts", "call"]


class Trouble(Exception):
    """Why an answer cannot be compared; the message is for the student."""


def call(
    function: Callable[..., Any], exercise: Exercise, instance: Instance, arrays: str
) -> tuple[tuple[np.ndarray, ...], list[str]]:
    """Call ``function`` on copies of ``instance``.

    Args:
        function: The student's function; it gets the arguments by position.
        exercise: What it should solve.
        instance: The arguments.
        arrays: ``"torch"`` hands out float32 tensors, ``"numpy"`` float64 arrays: each library's default.

    Returns:
        The answer as a tuple of float64 arrays, and the names of the arguments that were changed.

    Raises:
        Trouble: it raised, or what it returned has the wrong type or shape or is not finite.
    """
    given = {name: _hand_out(value, arrays) for name, value in instance.items()}
    copies = {name: _hand_out(value, arrays) for name, value in instance.items()}
    try:
        answer = function(*given.values())
    except (Exception, SystemExit) as error:
        raise Trouble(_what_happened(error, function)) from error
    changed = [name for name in given if not _same(given[name], copies[name])]
    return _comparable(answer, exercise, instance), changed


def _hand_out(value: Any, arrays: str) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    return torch.tensor(value, dtype=torch.float32) if arrays == "torch" else value.copy()


def _same(value: Any, copy: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return torch.equal(value, copy)
    return np.array_equal(value, copy)


def _what_happened(error: BaseException, function: Callable[..., Any]) -> str:
    """The type, message and place of an exception: the last line of it that is the student's."""
    name = type(error).__name__
    words = f"it raised {name}" + (f": {error}" if str(error) else "")
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if lines:
        source = linecache.getline(lines[-1].filename, lines[-1].lineno or 0).strip()
        words += f"\n  in line {lines[-1].lineno}" + (f": {source}" if source else "")
    return words


def _comparable(answer: Any, exercise: Exercise, instance: Instance) -> tuple[np.ndarray, ...]:
    """The answer as arrays of the right shapes."""
    right = as_parts(exercise.oracle(**instance))
    names = exercise.parts or ("it",)
    if len(right) > 1:
        if not isinstance(answer, (tuple, list)) or len(answer) != len(right):
            got = f"{len(answer)} things" if isinstance(answer, (tuple, list)) else type(answer).__name__
            raise Trouble(f"it should return {len(right)} arrays ({', '.join(names)}), not {got}")
    else:
        in_a_set = exercise.any_order and isinstance(answer, (set, frozenset))
        answer = (list(answer) if in_a_set else answer,)
    return tuple(
        _array(value, expected, name, exercise) for value, expected, name in zip(answer, right, names)
    )


def _array(value: Any, expected: np.ndarray, name: str, exercise: Exercise) -> np.ndarray:
    subject = "it returned" if name == "it" else f"as {name} it returned"
    if value is None:
        raise Trouble(f"{subject} None: is there a return statement?")
    array = _numbers(value, subject)
    # A list of neurons that is too long or too short is an answer, and the catalogue may know why.
    if array.shape != expected.shape and not (exercise.indices and array.ndim == 1):
        raise Trouble(
            f"{subject} an array of shape {array.shape}, and not of shape {expected.shape}"
            if expected.ndim
            else f"{subject} an array of shape {array.shape}, and not a single number"
        )
    if not np.isfinite(array).all():
        raise Trouble(f"{subject} {int((~np.isfinite(array)).sum())} number(s) that are NaN or infinite")
    if exercise.indices and (array != np.round(array)).any():
        raise Trouble(f"{subject} numbers that are not whole: it should return indices of neurons")
    return array


def _numbers(value: Any, subject: str) -> np.ndarray:
    """A tensor, array, number, or list of them, as a float64 array."""
    try:
        if isinstance(value, torch.Tensor):
            return value.detach().cpu().double().numpy()
        if isinstance(value, str):  # NumPy would read numbers in it
            raise TypeError
        if isinstance(value, (list, tuple)):
            value = [v.detach().cpu().numpy() if isinstance(v, torch.Tensor) else v for v in value]
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError):
        raise Trouble(
            f"{subject} something that is not an array of numbers: {type(value).__name__}"
        ) from None


def as_parts(answer: Any) -> tuple[np.ndarray, ...]:
    """An oracle's answer as a tuple of float64 arrays."""
    parts = answer if isinstance(answer, tuple) else (answer,)
    return tuple(np.asarray(part, dtype=np.float64) for part in parts)
