"""One clear error where a model does not accept what it is given."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from gfs_tutorial import checks
from gfs_tutorial.cnn.replay import evaluation_mode

__all__ = ["accepting", "check_accepts"]


@contextlib.contextmanager
def accepting(name: str, images: Tensor) -> Iterator[None]:
    """Turn what goes wrong when a model runs on ``images`` into an error that names the argument.

    Raises:
        ValueError: instead of torch's errors, which it quotes.
    """
    try:
        yield
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        given = f"shape {tuple(images.shape)} ({images.dtype} on {images.device})"
        raise ValueError(f"model does not accept {name} of {given}: {error}") from error


@torch.no_grad()
def check_accepts(name: str, model: nn.Module, images: Tensor) -> None:
    """Raise ``ValueError`` where ``model`` in evaluation mode does not run on ``images``."""
    checks.is_tensor(name, images)
    with accepting(name, images), evaluation_mode(model):
        model(images)
