"""Mini-batches held aside from selection: what accuracy is measured on where the caller has nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from gfs_tutorial.cnn.mini_batches import mini_batches
from gfs_tutorial.cnn.replay import evaluation_mode

__all__ = ["accuracy", "hold_aside"]

HELD_ASIDE = 5  # one mini-batch in so many measures accuracy and is not selected on


def accuracy(evaluate: Callable[[nn.Module], float], model: nn.Module) -> float:
    """What ``evaluate`` says of a model in evaluation mode, as a number; else a ``TypeError``."""
    with torch.no_grad(), evaluation_mode(model):
        value = evaluate(model)
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"evaluate must return a number, got {value!r}") from error


def hold_aside(
    batches: Iterable[Any], model: nn.Module, evaluate: Callable[[nn.Module], float] | None
) -> tuple[Iterable[Any], Callable[[nn.Module], float]]:
    """Mini-batches to select on, and a measure of accuracy that sees none of them."""
    mini_batches(batches, model)  # an error where it is nothing to iterate over
    if evaluate is not None:
        if iter(batches) is batches:
            raise TypeError(
                "batches must be a list or a data loader, not an iterator: each unit starts afresh"
            )
        return batches, evaluate
    batches = list(batches)
    if len(batches) == 1:
        raise ValueError("batches is one mini-batch: give at least two, or evaluate, to hold images aside")
    stream = mini_batches(batches, model)
    checked = [next(stream) for _ in range(max(1, len(batches)))]  # an error where there is none
    aside = checked[HELD_ASIDE - 1 :: HELD_ASIDE] or checked[-1:]
    select = [batch for batch in checked if not any(batch is other for other in aside)]
    labelled = cast("list[tuple[Tensor, Tensor]]", aside)  # mini_batches lets none through without labels
    return select, lambda net: _top1(net, labelled)


def _top1(model: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> float:
    correct = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in batches)
    return correct / sum(len(labels) for _, labels in batches)
