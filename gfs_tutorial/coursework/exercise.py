"""What an exercise consists of: instances, the right answer, and the wrong ones that students give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Exercise", "Instance", "normal"]

# The arguments of one call, by name: float64 arrays and Python numbers.
Instance = dict[str, Any]


@dataclass(frozen=True)
class Exercise:
    """One exercise with all that its check needs.

    Attributes:
        name: What the function is called in the book.
        instances: Yields instances, the smallest first, from a random generator.
        oracle: The right answer to an instance, as an array, or a tuple of arrays.
        mistakes: A sentence that names each typical mistake, to an implementation that makes it.
        parts: What the returned arrays are called, if there are several.
        indices: Whether answers are whole numbers, compared exactly.
        any_order: Whether the order of the answer does not matter.
    """

    name: str
    instances: Callable[[np.random.Generator], Iterator[Instance]]
    oracle: Callable[..., Any]
    mistakes: Mapping[str, Callable[..., Any]] = field(repr=False)
    parts: tuple[str, ...] = ()
    indices: bool = False
    any_order: bool = False


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Normal numbers rounded to two decimals, so that what a message prints is the instance itself."""
    return np.round(rng.standard_normal(shape), 2)
