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
import hashlib
import math
import numbers
import pickle
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from gfs_tutorial import checks
from gfs_tutorial.cnn.cost import count_macs
from gfs_tutorial.cnn.loss import picks_by_loss
from gfs_tutorial.cnn.mini_batches import mini_batches
from gfs_tutorial.cnn.replay import evaluation_mode
from gfs_tutorial.cnn.storage import save_tensors
from gfs_tutorial.cnn.surgery import masked, slice_units
from gfs_tutorial.cnn.training import check_model
from gfs_tutorial.cnn.unit_selection import SCALINGS, UnitSelection
from gfs_tutorial.cnn.units import Unit, find_units

__all__ = ["PrunedUnit", "ToleranceReport", "prune_with_tolerance"]

FORMAT = "gfs-tutorial tolerance 1"
HELD_ASIDE = 5  # one mini-batch in so many measures accuracy and is not selected on
LOOKS = 32  # about how often the accuracy is measured on the way to the whole unit


@dataclass(frozen=True)
class PrunedUnit:
    """What became of one unit.

    Attributes:
        name: Of the unit.
        size: Candidates that there were.
        kept: Candidates that are left.
        accuracy: With those, before any training.
        loss: Of the last pick, on its mini-batch.
        reached: Whether the accuracy came within the tolerance; if not the unit is whole.
    """

    name: str
    size: int
    kept: int
    accuracy: float
    loss: float
    reached: bool


@dataclass(frozen=True)
class ToleranceReport:
    """What :func:`prune_with_tolerance` did.

    Attributes:
        initial, target, final: Accuracy of the dense model, the least that was accepted, that of the result.
        macs_before, macs_after: Multiply-accumulates an image.
        units: In the order in which they were pruned.
        kept: Name of each unit to its candidates that are left, (n,) int64: for :func:`storage.save_pruned`.
    """

    initial: float
    target: float
    final: float
    macs_before: int
    macs_after: int
    units: tuple[PrunedUnit, ...]
    kept: dict[str, Tensor]


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
    settings = {
        "tolerance": float(tolerance),
        "candidates": candidates,
        "scaling": scaling,
        "seed": checks.integer_at_least("seed", seed, 0),
        "weights": _fingerprint(model),
    }
    batches, evaluate = _hold_aside(batches, model, evaluate)
    example = next(mini_batches(batches, model))[0][:2]  # (2, C, H, W)
    units = find_units(model, example)
    if checkpoint is not None and Path(checkpoint).exists():
        state = _resume(model, units, settings, Path(checkpoint))
    else:
        state = _State(copy.deepcopy(model).eval(), _accuracy(evaluate, model), settings["tolerance"], [], {})
    if math.isnan(state.initial):
        raise ValueError("the accuracy of the model is NaN before anything is pruned")
    for index in range(len(state.rows), len(units)):
        generator = torch.Generator().manual_seed(settings["seed"] + index)
        _prune_unit(state, units[index], batches, evaluate, settings, generator, progress)
        if train_between is not None:
            _train(state.small, train_between, settings["seed"] + index)
        if checkpoint is not None:
            _save(state, settings, Path(checkpoint))
    costs = count_macs(model, example), count_macs(state.small, example)
    accuracies = state.initial, state.target, _accuracy(evaluate, state.small)
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
    picks, losses, accuracy = [], [], -math.inf
    with tqdm(total=unit.size, desc=unit.name, unit="pick", disable=not progress, leave=False) as bar:
        for pick, loss in steps:
            picks.append(pick)
            losses.append(loss)
            bar.update()
            if len(picks) % every and len(picks) < unit.size:
                continue
            selection = UnitSelection(unit, torch.tensor(picks), torch.tensor(losses).double(), scaling)
            with masked(state.small, [unit], {unit.name: selection.mask(len(picks))}):
                accuracy = _accuracy(evaluate, state.small)
            bar.set_postfix(accuracy=f"{accuracy:.4g}", target=f"{state.target:.4g}")
            if accuracy >= state.target:
                break
    kept, weights = selection.kept(len(picks)), selection.weights(len(picks))
    state.small = slice_units(state.small, [unit], {unit.name: kept}, {unit.name: weights})
    state.kept[unit.name] = kept
    reached = accuracy >= state.target
    state.rows.append(PrunedUnit(unit.name, unit.size, len(kept), accuracy, losses[-1], reached))


def _train(small: nn.Module, train_between: Callable[[nn.Module], Any], seed: int) -> None:
    """Call the user's training with random numbers that do not depend on what came before."""
    device = next(small.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        train_between(small)
    small.eval()


def _accuracy(evaluate: Callable[[nn.Module], float], model: nn.Module) -> float:
    with torch.no_grad(), evaluation_mode(model):
        value = evaluate(model)
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"evaluate must return a number, got {value!r}") from error


def _hold_aside(
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
    return select, lambda net: _top1(net, aside)


def _top1(model: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> float:
    correct = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in batches)
    return correct / sum(len(labels) for _, labels in batches)


def _fingerprint(model: nn.Module) -> str:
    """The same for the same weights and buffers, on every machine."""
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _save(state: _State, settings: dict[str, Any], path: Path) -> None:
    content = {
        "format": FORMAT,
        "settings": settings,
        "initial": state.initial,
        "rows": [asdict(row) for row in state.rows],
        "kept": state.kept,
        "weights": state.small.state_dict(),
    }
    save_tensors(path, content)


def _resume(model: nn.Module, units: list[Unit], settings: dict[str, Any], path: Path) -> _State:
    """The state in a checkpoint of the run that began with ``model``."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"checkpoint {path} is no file of prune_with_tolerance: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"checkpoint {path} is no file of prune_with_tolerance")
    differing = [key for key, value in settings.items() if content["settings"].get(key) != value]
    rows = [PrunedUnit(**row) for row in content["rows"]]
    if [row.name for row in rows] != [unit.name for unit in units[: len(rows)]]:
        differing.append("units")
    if differing:
        raise ValueError(f"checkpoint {path} is of a run with other {', '.join(differing)}: remove it")
    small = slice_units(model, units, content["kept"])
    small.load_state_dict(content["weights"])
    return _State(small.eval(), content["initial"], settings["tolerance"], rows, content["kept"])


def _check(model, tolerance, evaluate, train_between, candidates, scaling) -> None:
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
