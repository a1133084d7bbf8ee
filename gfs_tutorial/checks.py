"""Argument checks of the public functions: one clear error, raised before any work is done."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sized
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "positive_int",
    "integer_at_least",
    "number",
    "path",
    "one_of",
    "float_matrix",
    "finite",
    "features_and_targets",
    "neurons",
]


def integer_at_least(name: str, value: int, low: int) -> int:
    """Return ``value`` as an ``int`` if it is a whole number of at least ``low``.

    Raises:
        TypeError: ``value`` is not a whole number.
        ValueError: ``value`` is below ``low``.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be a whole number, got {value!r} ({type(value).__name__})")
    if value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}")
    return int(value)


def positive_int(name: str, value: int) -> int:
    """Return ``value`` if it is a whole number of at least 1; errors as in :func:`integer_at_least`."""
    return integer_at_least(name, value, 1)


def number(name: str, value: float) -> float:
    """Return ``value`` as a ``float`` if it is a number, and not a yes or no, else raise ``TypeError``."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r} ({type(value).__name__})")
    return float(value)


def path(name: str, value: str | Path) -> Path:
    """Return ``value`` as a path if it is one, or a string, else raise ``TypeError``."""
    if not isinstance(value, (str, PathLike)):
        raise TypeError(f"{name} must be a path, got {value!r} ({type(value).__name__})")
    return Path(value)


def generator(value: torch.Generator | None) -> torch.Generator | None:
    """Return ``value`` if it is a random generator or ``None``, else raise ``TypeError``."""
    if value is not None and not isinstance(value, torch.Generator):
        raise TypeError(
            f"generator must be a torch.Generator or None, got {value!r}: "
            "use torch.Generator().manual_seed(seed)"
        )
    return value


def one_of(name: str, value: str, choices: tuple[str, ...]) -> str:
    """Return ``value`` if it is among ``choices``, else raise ``ValueError`` that lists them."""
    if value not in choices:
        raise ValueError(f"unknown {name} {value!r}: choose one of {', '.join(map(repr, choices))}")
    return value


def is_tensor(name: str, value: Tensor) -> Tensor:
    """Return ``value`` if it is a tensor, else raise ``TypeError``."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}: use torch.as_tensor")
    return value


def length(name: str, value: object) -> int:
    """Return the length of a data set if it has one, else raise ``TypeError``."""
    if not isinstance(value, Sized):
        raise TypeError(f"{name} must have a length, got {type(value).__name__}: use a map-style data set")
    return len(value)


def not_negative(name: str, value: float) -> float:
    """Return ``value`` if it is a finite number of at least 0, else raise ``ValueError``."""
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be finite and not negative, got {value}")
    return value


def finite(name: str, tensor: Tensor) -> Tensor:
    """Return ``tensor`` if it holds neither NaN nor infinity, else raise ``ValueError``."""
    tensor = tensor.detach()
    if tensor.is_meta:
        raise ValueError(f"{name} lies on the meta device and holds no numbers: make it on a real one")
    if math.isfinite(tensor.sum()):  # one pass, nothing allocated; a sum of finite numbers may overflow
        return tensor
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise ValueError(f"{name} holds {bad} NaN or infinite value(s): clean the data before calling")
    return tensor


def float_matrix(name: str, tensor: Tensor, axes: str) -> Tensor:
    """Return ``tensor`` if it is a finite, non-empty floating-point matrix.

    Args:
        name: Name of the argument, for the error.
        tensor: What the caller passed.
        axes: The expected shape in words, for the error, e.g. ``"(m, features)"``.

    Raises:
        TypeError: not a tensor, or not of a floating-point dtype.
        ValueError: not two-dimensional, empty, or with NaN or infinite entries.
    """
    is_tensor(name, tensor)
    if not tensor.is_floating_point():
        raise TypeError(f"{name} must have a floating-point dtype, got {tensor.dtype}: convert with .float()")
    if tensor.ndim != 2:
        raise ValueError(
            f"{name} must have shape {axes}, got {tuple(tensor.shape)} ({tensor.ndim} dimensions)"
        )
    if tensor.numel() == 0:
        raise ValueError(f"{name} is empty: its shape is {tuple(tensor.shape)}")
    return finite(name, tensor)


def features_and_targets(X: Tensor, y: Tensor, out_features: int) -> tuple[Tensor, Tensor]:
    """Check a data set and give the targets their two-dimensional form.

    Args:
        X: (m, d) floating-point features.
        y: (m, C) floating-point targets, or (m,) where C = 1.
        out_features: C, the number of outputs of the network.

    Returns:
        ``X`` and ``y`` of shapes (m, d) and (m, C).

    Raises:
        TypeError: wrong types, integer targets, or ``X`` and ``y`` of different dtypes.
        ValueError: wrong shapes, different lengths, empty data, NaN or infinite values.
    """
    float_matrix("X", X, "(m, features)")
    if isinstance(y, Tensor) and y.ndim == 1:
        y = y[:, None]  # (m,) -> (m, 1)
    float_matrix("y", y, "(m,) or (m, outputs)")
    if len(X) != len(y):
        raise ValueError(f"X and y must have the same length, got {len(X)} rows of X and {len(y)} of y")
    if y.shape[1] != out_features:
        raise ValueError(f"y has {y.shape[1]} column(s) but the network has {out_features} output(s)")
    if X.device != y.device:
        raise ValueError(f"X is on {X.device} but y is on {y.device}: move one of them")
    if X.dtype != y.dtype:
        raise TypeError(f"X and y must have the same dtype, got {X.dtype} and {y.dtype}: convert one of them")
    return X, y


def neurons(hidden: Tensor, output_weights: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Check the neurons of a network on data, given as bare tensors.

    Args:
        hidden: (m, N), activation of each neuron on each row of the data.
        output_weights: (N, C).
        targets: (m, C), or (m,) where C = 1.

    Returns:
        The three, without gradients, with ``targets`` of shape (m, C).

    Raises:
        TypeError: wrong types, or different dtypes.
        ValueError: wrong shapes, different devices, empty data, NaN or infinite values.
    """
    float_matrix("hidden", hidden, "(m, N)")
    float_matrix("output_weights", output_weights, "(N, C)")
    if is_tensor("targets", targets).ndim == 1:
        targets = targets[:, None]
    float_matrix("targets", targets, "(m,) or (m, C)")
    (m, N), C = hidden.shape, output_weights.shape[1]
    if len(output_weights) != N or targets.shape != (m, C):
        raise ValueError(
            f"hidden is (m, N) = {(m, N)}, so output_weights must be ({N}, C) and targets ({m}, C); got "
            f"{tuple(output_weights.shape)} and {tuple(targets.shape)}"
        )
    for name in ("dtype", "device"):
        kinds = [getattr(tensor, name) for tensor in (hidden, output_weights, targets)]
        if len(set(kinds)) > 1:
            error = TypeError if name == "dtype" else ValueError
            raise error(
                f"hidden, output_weights and targets must share a {name}, got {kinds[0]}, {kinds[1]} and "
                f"{kinds[2]}: convert or move them"
            )
    return hidden.detach(), output_weights.detach(), targets.detach()
