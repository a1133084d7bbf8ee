"""Refits behind the pruned prefix: each consumer learns from what it will really read.

``prune(inputs="dense")`` fits every consumer on the dense network's inputs. Here the units are pruned one
after another in the order in which they run; each consumer reads what the pruned network in front of it
gives, and aims at the dense answer plus what the residual stream beside it has lost:

    target = dense consumer's output + (dense shortcut - pruned shortcut) / scale of the norm behind

It is what ``prune`` does by default, in the obvious way, with its parts apart.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from gfs_tutorial.cnn.moments import Moments
from gfs_tutorial.cnn.pursuit import pursue
from gfs_tutorial.cnn.refit import following_norms, install, refit_weights
from gfs_tutorial.cnn.rows import Watch, sampled_rows
from gfs_tutorial.cnn.surgery import slice_units
from gfs_tutorial.cnn.units import Unit

CHUNK = 50  # images a forward pass


class Reached(Exception):
    """Ends a forward pass at a consumer."""


def at_consumer(model: nn.Module, unit: Unit, images: Tensor) -> tuple[tuple, Tensor, Tensor | None]:
    """What a consumer reads (as in :class:`Watch`) and answers, and what its block reads."""
    found: dict[str, object] = {"block": None}

    def seen(_: str, call: tuple, output: Tensor) -> None:
        found.update(call=call, output=output)
        raise Reached

    block = model.get_submodule(unit.block)
    hook = block.register_forward_pre_hook(lambda _, inputs: found.update(block=inputs[0].clone()))
    try:
        with Watch(model, [unit.consumer], seen):
            model(images)
    except Reached:
        pass
    finally:
        hook.remove()
    return found["call"], found["output"], found["block"]


def shortcut(block: nn.Module, x: Tensor) -> Tensor | None:
    """What a block adds to its consumer's answer; ``None`` where it adds nothing."""
    if isinstance(block, BasicBlock):
        return x if block.downsample is None else block.downsample(x)
    if getattr(block, "id_skip", False):  # an inverted residual of EfficientNet-Lite
        args = block._block_args
        return x if args.stride == 1 and args.input_filters == args.output_filters else None
    return None


def behind_the_prefix(
    dense: nn.Module,
    pruned: nn.Module,
    unit: Unit,
    images: Tensor,
    norm: str | None,
    correct: bool,
    seed: int,
) -> Moments:
    """Moments of a consumer's inputs in the pruned network and of the target above."""
    weight, generator, moments = dense.get_submodule(unit.consumer).weight, _seeded(seed), None
    for chunk in images.split(CHUNK):
        (_, target, x), (call, _, x_pruned) = (at_consumer(m, unit, chunk) for m in (dense, pruned))
        block = dense.get_submodule(unit.block)
        added = shortcut(block, x) if correct and unit.block != unit.consumer else None
        if added is not None:
            behind = dense.get_submodule(norm)
            scale = behind.weight / (behind.running_var + behind.eps).sqrt()  # (outputs,)
            target = target + (added - shortcut(block, x_pruned)) / scale[:, None, None]
        A, Z = (rows.flatten(0, 1) for rows in sampled_rows(call, weight, target, generator))
        moments = moments or Moments.about((A.mean(0), Z.mean(0)))
        moments.add(A, Z)
    return moments


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def prefix_pass(
    model: nn.Module,
    units: list[Unit],
    images: Tensor,
    kept: Mapping[str, Tensor],
    *,
    correct: bool = True,
    reselect: bool = True,
    strength: float = 1e-2,
    seed: int = 0,
) -> nn.Module:
    """The small network, refitted unit by unit behind what is pruned already.

    Args:
        model: The dense network.
        units: Its units, in the order in which they run.
        images: Calibration images.
        kept: Name of a unit to its candidates; with ``reselect`` their number alone counts.
        correct: Whether the target makes up for the residual stream.
        reselect: Whether candidates are chosen again behind the prefix.
        strength: Of the refit.
        seed: Of the sampled positions.
    """
    dense = copy.deepcopy(model).eval()
    pruned, chosen = copy.deepcopy(dense), {}
    norms = following_norms(dense, [unit.consumer for unit in units], images[:1])
    for unit in units:
        size, norm = len(kept[unit.name]), norms.get(unit.consumer)
        moments = behind_the_prefix(dense, pruned, unit, images, norm, correct=correct, seed=seed)
        stays = pursue(unit, moments, size).kept(size) if reselect and size < unit.size else kept[unit.name]
        chosen[unit.name] = stays
        consumer = pruned.get_submodule(unit.consumer)
        install(
            consumer,
            *refit_weights(unit, moments, consumer.weight, stays, strength),
            norm and pruned.get_submodule(norm),
        )
    return slice_units(pruned, units, chosen)
