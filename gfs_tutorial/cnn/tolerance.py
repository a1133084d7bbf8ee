"""The papers' budget rule: every unit gives up channels until the network's accuracy starts to suffer.

Unit by unit, in the order in which they run, candidates are picked by the loss of the whole network until
the accuracy is back within a tolerance of the initial one. Then the unit is sliced, its scale N/n folded
into the consumer, and the network may be trained a little before the next unit.

The authors' code measures that accuracy on augmented training images, those that it selects on among them,
and only where the mini-batch happens to look good. Here it is measured every few picks, on images that are
held aside from selection. Chapter *Channels*.
"""

from __future__ import annotations

import copy
import math
import numbers
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from gfs_tutorial import checks
from gfs_tutorial.cnn.checkpoint import Checkpoint, fingerprint
from gfs_tutorial.cnn.cost import count_macs
from gfs_tutorial.cnn.forward_checks import check_accepts
from gfs_tutorial.cnn.held_aside import accuracy, hold_aside
from gfs_tutorial.cnn.loss import picks_by_loss
from gfs_tutorial.cnn.mini_batches import mini_batches
from gfs_tutorial.cnn.surgery import masked, remove_channels, slice_units
from gfs_tutorial.cnn.tolerance_report import PrunedUnit, ToleranceReport
from gfs_tutorial.cnn.training_checks import check_model
from gfs_tutorial.cnn.unit_selection import SCALINGS, UnitSelection
from gfs_tutorial.cnn.units import Unit, find_units

__all__ = ["PrunedUnit", "ToleranceReport", "prune_with_tolerance"]

LOOKS = 32  # about how often the accuracy is measured on the way to the whole unit


def prune_with_tolerance(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    tolerance: float = 0.02,
    evaluate: Callable[[nn.Module], float] | None = None,
    train_between: Callable[[nn.Module], Any] | None = None,
    candidates: int | None = 50,
    scaling: str = "mean",
    seed: int = 0,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> tuple[nn.Module, ToleranceReport]:
    """Prune every unit as far as the accuracy allows.

    Args:
        model: The dense network; it is not changed.
        batches: Pairs (images (n, C, H, W), labels (n,) int64) that are not augmented. Without ``evaluate``
            they are read into memory, and every fifth one, at least one, is held aside to measure accuracy.
        tolerance: Share of the initial accuracy that each unit may bring it below.
        evaluate: Gives the accuracy of a model, or anything of which more is better (such as minus a loss),
            on images that are not in ``batches``.
        train_between: Called with the smaller model after each unit, to train it in place. Torch's random
            numbers are seeded before, differently for each unit.
        candidates: How many random ones each step tries; ``None`` tries all.
        scaling: ``"mean"`` or ``"unit"``, as in :class:`UnitSelection`.
        seed: Of the candidates tried, the order of mini-batches, and the training in between.
        checkpoint: A file, written after each unit. If it is there the run goes on from it, and ends as if it
            had never stopped, provided that ``batches`` (a list, or a loader that does not shuffle),
            ``evaluate`` and ``train_between`` are the same.
        progress: Whether to show a progress bar for each unit.

    Returns:
        The smaller model, in evaluation mode, and the report.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message), or the checkpoint is of
            another run.
    """
    _check(model, tolerance, evaluate, train_between, candidates, scaling)
    settings: dict[str, Any] = {
        "tolerance": float(tolerance),
        "candidates": candidates,
        "scaling": scaling,
        "seed": checks.integer_at_least("seed", seed, 0),
        "weights": fingerprint(model.state_dict()),
    }
    batches, evaluate = hold_aside(batches, model, evaluate)
    example = next(mini_batches(batches, model))[0][:2]  # (2, C, H, W)
    check_accepts("images of batches", model, example)
    units = find_units(model, example)
    stored = Checkpoint(checkpoint, "prune_with_tolerance 2", settings)
    if stored.found:
        state = _resume(model, units, settings["tolerance"], stored)
    else:
        state = _State(copy.deepcopy(model).eval(), accuracy(evaluate, model), settings["tolerance"], [], {})
    if math.isnan(state.initial):
        raise ValueError("the accuracy of the model is NaN before anything is pruned")
    for index in range(len(state.rows), len(units)):
        generator = torch.Generator().manual_seed(settings["seed"] + index)
        _prune_unit(state, units[index], batches, evaluate, settings, generator, progress)
        if train_between is not None:
            _train(state.small, train_between, settings["seed"] + index)
        if checkpoint is not None:
            _keep(state, stored)
    costs = count_macs(model, example), count_macs(state.small, example)
    accuracies = state.initial, state.target, accuracy(evaluate, state.small)
    return state.small, ToleranceReport(*accuracies, *costs, tuple(state.rows), state.kept)


@dataclass
class _State:
    """How far the run has come."""

    small: nn.Module
    initial: float
    tolerance: float
    rows: list[PrunedUnit]
    kept: dict[str, Tensor]

    @property
    def target(self) -> float:
        return self.initial - self.tolerance * abs(self.initial)


def _prune_unit(
    state: _State,
    unit: Unit,
    batches: Iterable[Any],
    evaluate: Callable[[nn.Module], float],
    settings: dict[str, Any],
    generator: torch.Generator,
    progress: bool,
) -> None:
    """Select, slice, and note what was done."""
    if isinstance(batches, list):  # else all units would see the first few alone
        batches = [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
    scaling, every = settings["scaling"], max(1, unit.size // LOOKS)
    steps = picks_by_loss(
        state.small, unit, batches, scaling=scaling, candidates=settings["candidates"], generator=generator
    )
    picks, losses, reached = [], [], -math.inf
    with tqdm(total=unit.size, desc=unit.name, unit="pick", disable=not progress, leave=False) as bar:
        for pick, loss in steps:
            picks.append(pick)
            losses.append(loss)
            bar.update()
            if len(picks) % every and len(picks) < unit.size:
                continue
            selection = UnitSelection(unit, torch.tensor(picks), torch.tensor(losses).double(), scaling)
            with masked(state.small, [unit], {unit.name: selection.mask(len(picks))}):
                reached = accuracy(evaluate, state.small)
            bar.set_postfix(accuracy=f"{reached:.4g}", target=f"{state.target:.4g}")
            if reached >= state.target:
                break
    kept, weights = selection.kept(len(picks)), selection.weights(len(picks))
    remove_channels(state.small, unit, kept, weights)
    state.kept[unit.name] = kept
    enough = reached >= state.target
    state.rows.append(PrunedUnit(unit.name, unit.size, len(kept), reached, losses[-1], enough))


def _train(small: nn.Module, train_between: Callable[[nn.Module], Any], seed: int) -> None:
    """Call the user's training with random numbers that do not depend on what came before."""
    device = next(small.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        train_between(small)
    small.eval()


def _keep(state: _State, stored: Checkpoint) -> None:
    rows = [asdict(row) for row in state.rows]
    stored.keep(initial=state.initial, rows=rows, kept=state.kept, state=state.small.state_dict())


def _resume(model: nn.Module, units: list[Unit], tolerance: float, stored: Checkpoint) -> _State:
    """The state in a checkpoint of the run that began with ``model``."""
    found = stored.found
    rows = [PrunedUnit(**row) for row in found["rows"]]
    if [row.name for row in rows] != [unit.name for unit in units[: len(rows)]]:
        raise ValueError(f"checkpoint {stored.path} is of a run with other units: remove it")
    small = slice_units(model, units, found["kept"])
    small.load_state_dict(found["state"])
    return _State(small.eval(), found["initial"], tolerance, rows, found["kept"])


def _check(
    model: nn.Module,
    tolerance: float,
    evaluate: Callable[[nn.Module], float] | None,
    train_between: Callable[[nn.Module], Any] | None,
    candidates: int | None,
    scaling: str,
) -> None:
    check_model(model)
    if isinstance(tolerance, bool) or not isinstance(tolerance, numbers.Real):
        raise TypeError(f"tolerance must be a number, got {tolerance!r}")
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance must lie in [0, 1), got {tolerance}")
    for name, function in (("evaluate", evaluate), ("train_between", train_between)):
        if function is not None and not callable(function):
            raise TypeError(f"{name} must be a function of a model, got {type(function).__name__}")
    if candidates is not None:
        checks.positive_int("candidates", candidates)
    checks.one_of("scaling", scaling, SCALINGS)
