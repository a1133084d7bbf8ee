"""Error curves: what each size of each unit does to its block, from five sizes that are measured."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from tqdm.auto import tqdm

from gfs_tutorial.cnn.allocation import error_curve
from gfs_tutorial.cnn.block_error import Variant, block_errors
from gfs_tutorial.cnn.calibration import Calibration
from gfs_tutorial.cnn.checkpoint import Checkpoint
from gfs_tutorial.cnn.layers import layer_of
from gfs_tutorial.cnn.ranking import Ranking
from gfs_tutorial.cnn.refit import refit_weights
from gfs_tutorial.cnn.unit_selection import UnitSelection
from gfs_tutorial.cnn.units import Unit

__all__ = ["measure_curves"]

RATIOS = (0.15, 0.3, 0.5, 0.7, 0.85)  # sizes at which block errors are measured
HELD_OUT = 100  # images on which they are


def measure_curves(
    calibration: Calibration, ranking: Ranking, checkpoint: Checkpoint, *, progress: bool = False
) -> dict[str, Tensor]:
    """Error of each unit's block at every size, (size,) float64; units are pruned one at a time.

    Args:
        calibration: The network; candidates are ranked and consumers fitted on one part of the images, errors
            are measured on the other.
        ranking: Which candidates stay.
        checkpoint: Keeps each ranking, and the errors.
        progress: Whether to show progress bars.
    """
    orders = {}
    for unit in tqdm(calibration.units, "rankings", unit="layer", disable=not progress):
        found = checkpoint.once(f"order of {unit.name}", partial(_order, calibration, ranking, unit))
        orders[unit.name] = UnitSelection(unit, found["picks"], found["errors"])
    sizes = {
        unit.name: sorted({max(1, round(ratio * unit.size)) for ratio in RATIOS})
        for unit in calibration.units
    }
    measured = checkpoint.once("block errors", lambda: _block_errors(calibration, orders, sizes, progress))
    return {
        name: error_curve(order.errors, torch.tensor(sizes[name]), measured[name])
        for name, order in orders.items()
    }


def _order(calibration: Calibration, ranking: Ranking, unit: Unit) -> dict[str, Tensor]:
    order = ranking.order(unit, calibration.fit_moments()[unit.consumer])
    return {"picks": order.picks, "errors": order.errors}


def _block_errors(
    calibration: Calibration, orders: dict[str, UnitSelection], sizes: dict[str, list[int]], progress: bool
) -> dict[str, Tensor]:
    model, variants = calibration.model, {}
    for unit in tqdm(calibration.units, "variants", unit="layer", disable=not progress):
        kept = [orders[unit.name].kept(k) for k in sizes[unit.name]]
        variants[unit.name] = [_variant(calibration, unit, candidates) for candidates in kept]
    images = calibration.part(calibration.held_rows[:HELD_OUT])
    return block_errors(model, calibration.units, variants, images, calibration.norms, progress)


def _variant(calibration: Calibration, unit: Unit, kept: Tensor) -> Variant:
    moments = calibration.fit_moments()[unit.consumer]
    old = layer_of(calibration.model, unit.consumer).weight
    weight, constant = refit_weights(unit, moments, old, kept)
    mask = torch.zeros(unit.size, dtype=torch.bool).index_fill_(0, kept, True)
    return Variant(weight, constant, mask.to(weight.device))
