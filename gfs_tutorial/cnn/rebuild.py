"""The small network: choose on all images, refit the consumers, slice."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from gfs_tutorial.cnn.calibration import Calibration
from gfs_tutorial.cnn.checkpoint import Checkpoint
from gfs_tutorial.cnn.layers import layer_of, norm_of
from gfs_tutorial.cnn.moments import Moments
from gfs_tutorial.cnn.prefix import Answers
from gfs_tutorial.cnn.ranking import Ranking
from gfs_tutorial.cnn.refit import install, refit_weights
from gfs_tutorial.cnn.surgery import remove_channels
from gfs_tutorial.cnn.units import Unit

__all__ = ["INPUTS", "rebuild"]

STRENGTHS = {"dense": 1e-3, "pruned": 1e-2}  # shrinkage of consumers
INPUTS = tuple(STRENGTHS)

GATES = 0.1  # shrinkage of squeeze-and-excitation's first layer: one position an image, so few rows


def rebuild(
    calibration: Calibration,
    ranking: Ranking,
    sizes: Mapping[str, int],
    checkpoint: Checkpoint,
    *,
    refit: bool,
    inputs: str,
    split: bool,
    progress: bool = False,
) -> tuple[nn.Module, dict[str, Tensor]]:
    """The network with fewer channels, and the candidates kept of each unit.

    Args:
        calibration: The dense network and its images.
        ranking: Which candidates stay.
        sizes: Name of a unit to how many; a unit that keeps all of them is left alone.
        checkpoint: Keeps what became of each unit.
        refit: Whether consumers are fitted to the dense answers; if not, the weights of picks are folded in.
        inputs: ``"pruned"``: units are chosen and refitted one after another, on what the pruned network in
            front feeds them (:mod:`~gfs_tutorial.cnn.prefix`); ``"dense"``, and without a refit: on what the
            dense network does.
        split: As in :meth:`Calibration.all_moments`.
        progress: Whether to show a progress bar.
    """
    small, kept = copy.deepcopy(calibration.original).eval(), {}
    pruned = [unit for unit in calibration.units if sizes[unit.name] < unit.size]

    @functools.cache
    def answers() -> Answers:
        left = [unit for unit in pruned if _name(unit) not in checkpoint.found]
        return calibration.dense_answers(left)

    for unit in tqdm(pruned, "layers", unit="layer", disable=not progress):

        def find(unit: Unit = unit, small: nn.Module = small) -> dict[str, Any]:
            behind = inputs == "pruned" and refit
            moments = answers().moments(small, unit) if behind else calibration.all_moments(split=split)
            strength = STRENGTHS[inputs]
            return _find(calibration.original, unit, moments, ranking, sizes[unit.name], refit, strength)

        found = checkpoint.once(_name(unit), find)
        kept[unit.name] = found["kept"]
        _shrink(small, unit, found, calibration.norms)
    everything = {unit.name: torch.arange(unit.size) for unit in calibration.units}
    return small, everything | kept


def _name(unit: Unit) -> str:
    return f"result of {unit.name}"


def _find(
    model: nn.Module,
    unit: Unit,
    moments: Mapping[str, Moments],
    ranking: Ranking,
    size: int,
    refit: bool,
    strength: float,
) -> dict[str, Any]:
    """Candidates kept, their weights, and the layers that a refit changes: weight and constant of each."""
    chosen = ranking.choose(unit, moments[unit.consumer], size)
    k, layers = len(chosen.picks), {}
    kept = chosen.kept(k)
    if refit:
        for name in (unit.consumer, *unit.gates):
            old, shrinkage = layer_of(model, name).weight, GATES if name in unit.gates else strength
            fitted = refit_weights(unit, moments[name], old, kept, shrinkage)
            layers[name] = tuple(tensor.cpu() for tensor in fitted)
    return {"kept": kept, "weights": None if refit else chosen.weights(k), "layers": layers}


def _shrink(small: nn.Module, unit: Unit, found: Mapping[str, Any], norms: Mapping[str, str]) -> None:
    """Give the network what was found of a unit: new weights, fewer channels."""
    for name, (weight, constant) in found["layers"].items():
        norm = norms.get(name)
        install(layer_of(small, name), weight, constant, norm_of(small, norm) if norm else None)
    remove_channels(small, unit, found["kept"], found["weights"])
