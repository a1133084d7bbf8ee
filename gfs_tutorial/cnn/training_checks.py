"""Checks of what training and evaluation are given, before any work is done."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from gfs_tutorial import checks

__all__ = [
    "PRECISIONS",
    "check_fit",
    "check_images",
    "check_model",
    "check_settings",
    "check_weights",
    "count_steps",
]

PRECISIONS = ("auto", "bfloat16", "float32")


def check_model(model: nn.Module, name: str = "model") -> torch.device:
    """The device of ``model``; raises where it is no module or has no parameters, or no weights yet."""
    check_weights(model, name)
    first = next(model.parameters(), None)
    if first is None:
        raise ValueError(f"{name} has no parameters")
    return first.device


def check_weights(model: nn.Module, name: str = "model") -> None:
    """Raise where ``model`` is no module, or has parameters without values."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"{name} must be a torch.nn.Module, got {type(model).__name__}")
    if any(parameter.is_meta for parameter in model.parameters()):
        raise ValueError(f"{name} lies on the meta device and has no weights: load them first")
    if any(is_lazy(parameter) for parameter in model.parameters()):
        raise ValueError(f"{name} has lazy layers without weights: run it on an image first")


def check_images(X: Tensor, y: Tensor | None = None) -> None:
    """Raise where ``X`` is not (m, 3, H, W) uint8, or ``y`` is neither ``None`` nor (m,) int64."""
    if checks.is_tensor("X", X).dtype != torch.uint8:
        raise TypeError(f"X must hold uint8 pixels of 0 to 255, got {X.dtype}: normalisation is done here")
    if X.ndim != 4 or X.shape[1] != 3 or len(X) == 0:
        raise ValueError(f"X must have shape (m, 3, H, W) and not be empty, got {tuple(X.shape)}")
    if y is None:
        return
    if checks.is_tensor("y", y).dtype != torch.int64:
        raise TypeError(f"y must hold int64 class numbers, got {y.dtype}: convert with .long()")
    if y.shape != X.shape[:1]:
        raise ValueError(f"y must have shape ({len(X)},) as there are {len(X)} images, got {tuple(y.shape)}")
    if int(y.min()) < 0:
        raise ValueError(f"y must hold class numbers from 0, got {int(y.min())}")


def count_steps(epochs: int | None, steps: int | None, m: int, batch_size: int) -> int:
    """Steps of a run over m images, from one of ``epochs`` and ``steps``."""
    if steps is not None and epochs is None:
        return checks.positive_int("steps", steps)
    if epochs is not None and steps is None:
        return checks.positive_int("epochs", epochs) * (m // batch_size)
    raise ValueError(f"give one of epochs and steps, got epochs={epochs} and steps={steps}")


def check_fit(
    model: nn.Module,
    X: Tensor,
    y: Tensor | None,
    teacher: nn.Module | None,
    batch_size: int,
    generator: torch.Generator | None,
) -> torch.device:
    """The device of all; raises where model, images, labels, teacher and sizes do not fit together."""
    device = check_model(model)
    if teacher is not None:
        if check_model(teacher, "teacher") != device:
            raise ValueError("model and teacher are on different devices: move one of them")
        if teacher is model:
            raise ValueError("teacher is the model itself: pass a copy (copy.deepcopy) taken before training")
    check_images(X, y if teacher is None else None)
    if teacher is None and y is None:
        raise ValueError("y is missing: give labels or a teacher")
    if checks.positive_int("batch_size", batch_size) > len(X):
        raise ValueError(f"batch_size is {batch_size} but X has only {len(X)} images: lower it")
    checks.generator(generator)
    return device


def check_settings(
    lr: float,
    weight_decay: float,
    label_smoothing: float,
    augment: bool | str,
    distance: str,
    optimizer: str,
    precision: str,
) -> None:
    """Raise where a setting of :func:`gfs_tutorial.cnn.training.fit` is out of range."""
    checks.not_negative("lr", lr)
    checks.not_negative("weight_decay", weight_decay)
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must lie in [0, 1), got {label_smoothing}")
    if not isinstance(augment, bool) and augment != "crop":
        raise ValueError(f'augment must be True, False or "crop", got {augment!r}')
    checks.one_of("distance", distance, ("squared", "kl"))
    checks.one_of("optimizer", optimizer, ("sgd", "adam"))
    checks.one_of("precision", precision, PRECISIONS)
