"""Other criteria: every importance that torch-pruning ships, on the units of this package.

A rival scores the channels of every unit. Its *standard pipeline* removes the lowest scores of the whole
network, as torch-pruning's global mode does; given to :func:`gfs_tutorial.cnn.prune`, the same scores go
through our allocation and refit.

All that torch-pruning 1.6 ships are here; its other names are aliases. Two it cannot compute for every
network, which raises ``ValueError``: FPGM where a grouped convolution reads the channels (RegNet), as it
repeats a matrix along one axis too few; OBD-C where a layer of a unit has a bias (squeeze-and-excitation,
VGG), as its Fisher matrix then has a column more than the weights, and where a convolution pads its input by
itself (EfficientNet-Lite).
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import cast

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn import functional as F
from torch_pruning.pruner import importance as shipped

from gfs_tutorial import checks
from gfs_tutorial.cnn.cost import MacModel
from gfs_tutorial.cnn.forward_checks import check_accepts
from gfs_tutorial.cnn.loss_scorers import in_range
from gfs_tutorial.cnn.mini_batches import Batch, checked_batch
from gfs_tutorial.cnn.surgery import check_unit
from gfs_tutorial.cnn.training_checks import check_model
from gfs_tutorial.cnn.units import Unit

__all__ = ["RIVALS", "global_candidates", "rival_scores"]

RIVALS: dict[str, Callable[[], shipped.Importance]] = {
    "random": shipped.RandomImportance,
    "l1": lambda: shipped.GroupMagnitudeImportance(p=1),
    "l2": lambda: shipped.GroupMagnitudeImportance(p=2),
    "bn-scale": shipped.BNScaleImportance,
    "lamp": shipped.LAMPImportance,
    "fpgm": shipped.FPGMImportance,
    "activation": shipped.ActivationImportance,
    "taylor": shipped.GroupTaylorImportance,
    "hessian": shipped.GroupHessianImportance,
    "obdc": shipped.OBDCImportance,
}
NEEDS_LABELS = ("taylor", "hessian", "obdc")


def rival_scores(
    name: str, model: nn.Module, units: Sequence[Unit], batches: Iterable, *, seed: int = 0
) -> dict[str, Tensor]:
    """Importance of every candidate of every unit, by a criterion of torch-pruning with its own settings.

    Scores of different units are comparable as far as torch-pruning's normalisation makes them so. A
    criterion that does not speak of a unit (batch-norm scales, where there is no norm) scores it evenly.

    Args:
        name: One of ``RIVALS``.
        model: The model that the units were found in; it is not changed.
        units: Its units.
        batches: (images, labels), or images where the criterion needs no labels; the first fixes the shape
            of the input, and the criteria that look at data see all.
        seed: Of the random criterion.

    Returns:
        Name of a unit to scores (size,), float64; a group of channels scores their sum.

    Raises:
        TypeError, ValueError: an unknown name, no batch, one that the model does not accept, no labels where
            the criterion needs them, or a unit that torch-pruning's code cannot score (see above).
    """
    importance = RIVALS[checks.one_of("name", name, tuple(RIVALS))]()
    check_model(model)
    for unit in units:
        check_unit(model, unit)
    data = _checked(name, model, batches)
    model = copy.deepcopy(model).eval().requires_grad_(True)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        graph = tp.DependencyGraph().build_dependency(model, data[0][0][:1], verbose=False)
        with _looked_at(model, importance, name, units, graph, data):
            return {unit.name: _unit_scores(importance, model, graph, unit) for unit in units}


def global_candidates(
    scores: Mapping[str, Tensor], costs: MacModel, macs: float, *, floor: int = 1
) -> dict[str, Tensor]:
    """The candidates that stay where the lowest scores of the whole network go until the MACs fit.

    Args:
        scores: Name of a unit to scores (size,).
        costs: Of the model.
        macs: The share of the dense MACs to keep, in (0, 1].
        floor: The least number of candidates of a unit.

    Returns:
        Name of a unit to its candidates, in ascending order.

    Raises:
        ValueError: ``macs`` is out of range, or less than what the floors cost.
    """
    if not 0 < macs <= 1:
        raise ValueError(f"macs must be a share in (0, 1], got {macs}")
    names = [name for name, values in scores.items() for _ in values]
    order = torch.cat([values.double() for values in scores.values()]).argsort(stable=True).tolist()
    low, high = 0, len(order)  # bisect the number of candidates that go
    while low < high:
        middle = (low + high) // 2
        counts = {name: len(c) for name, c in _without(scores, names, order[:middle], floor).items()}
        fits = costs.total(counts) <= macs * costs.dense
        low, high = (low, middle) if fits else (middle + 1, high)
    kept = _without(scores, names, order[:low], floor)
    total = costs.total({name: len(candidates) for name, candidates in kept.items()})
    if total > macs * costs.dense:
        raise ValueError(f"macs is {macs}, but {floor} candidate(s) a unit cost {total / costs.dense:.3f}")
    return kept


def _without(
    scores: Mapping[str, Tensor], names: list[str], gone: list[int], floor: int
) -> dict[str, Tensor]:
    """The best candidates of each unit, as many as are not among ``gone``, but at least ``floor``."""
    removed = Counter(names[i] for i in gone)
    return {
        name: values.argsort(descending=True, stable=True)[: max(floor, len(values) - removed[name])]
        .sort()
        .values
        for name, values in scores.items()
    }


def _checked(name: str, model: nn.Module, batches: Iterable) -> list[Batch]:
    """All mini-batches, on the model's device, with labels where the criterion needs them."""
    if isinstance(batches, (Tensor, str, Mapping)) or not isinstance(batches, Iterable):
        raise TypeError(f"batches must be an iterable of mini-batches, got {type(batches).__name__}")
    like, labels, data = next(model.parameters()), name in NEEDS_LABELS, []
    for batch in batches:
        if labels and not (isinstance(batch, (tuple, list)) and len(batch) == 2):
            raise ValueError(f"{name} needs labels: give batches of (images, labels)")
        data.append(checked_batch(batch, like, labels))
    if not data:
        raise ValueError("batches is empty: give at least one batch of images")
    check_accepts("images of batches", model, data[0][0][:1])
    return data


def _unit_scores(
    importance: shipped.Importance, model: nn.Module, graph: tp.DependencyGraph, unit: Unit
) -> Tensor:
    producer = model.get_submodule(unit.name)
    group = graph.get_pruning_group(
        producer, tp.prune_conv_out_channels, idxs=list(range(unit.size * unit.width))
    )
    try:
        scores = importance(group)
    except (RuntimeError, IndexError) as error:
        kind = type(importance).__name__
        raise ValueError(f"torch-pruning's {kind} cannot score {unit.name}: {error}") from error
    if scores is None:
        return torch.ones(unit.size, dtype=torch.float64)
    return scores.detach().double().cpu().reshape(unit.size, -1).sum(1)  # (size,)


@contextlib.contextmanager
def _looked_at(
    model: nn.Module,
    importance: shipped.Importance,
    name: str,
    units: Sequence[Unit],
    graph: tp.DependencyGraph,
    data: list[Batch],
) -> Iterator[None]:
    """Let the criteria that look at data see it, each in the way that torch-pruning asks for."""
    if name == "activation":
        _average_activations(model, importance, [images for images, _ in data])
    elif name == "obdc":
        _watch_factors(model, importance, units)
    if name in NEEDS_LABELS:
        for images, labels in data:
            if name != "taylor":
                model.zero_grad()
            assert labels is not None  # _checked has seen to it
            logits = model(images)  # (n, C)
            # Taylor wants the sum of the gradients.
            F.cross_entropy(logits, in_range(labels, logits)).backward()
            if name == "hessian":
                importance.accumulate_grad(model)
            elif name == "obdc":
                _step(importance)
    yield


@torch.no_grad()
def _average_activations(
    model: nn.Module, importance: shipped.ActivationImportance, batches: Sequence[Tensor]
) -> None:
    """What its hooks note of all images in one pass, batch by batch: they keep the last one only."""
    noted: dict[nn.Module, Tensor] = {}
    with importance.compute_importance(model):
        for images in batches:
            model(images)
            for layer in model.modules():
                if hasattr(layer, "_importance"):  # a mean for convolutions, a sum for linear layers
                    weight = len(images) if isinstance(layer, nn.Conv2d) else 1
                    new = weight * cast(Tensor, layer._importance)
                    noted[layer] = noted[layer] + new if layer in noted else new
    total = sum(map(len, batches))
    for layer, value in noted.items():
        layer._importance = value / total if isinstance(layer, nn.Conv2d) else value


def _step(importance: shipped.OBDCImportance) -> None:
    try:
        importance.step()
    except RuntimeError as error:  # its im2col knows only the padding that is in the convolution itself
        raise ValueError(f"torch-pruning's OBDCImportance cannot watch this model: {error}") from error


def _watch_factors(model: nn.Module, importance: shipped.OBDCImportance, units: Sequence[Unit]) -> None:
    """Register the layers that OBD-C watches: it looks up all that lose inputs or outputs with a unit."""
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1:]
    importance.num_classes = last[0].out_features if last else 0
    for name in dict.fromkeys(part.name for unit in units for part in unit.parts if part.role != "norm"):
        layer = model.get_submodule(name)
        importance.modules.append(layer)
        layer.register_forward_pre_hook(importance._save_input)
        layer.register_full_backward_hook(importance._save_grad_output)
    for module in model.modules():  # such hooks and operations in place exclude each other
        if hasattr(module, "inplace"):
            module.inplace = False  # type: ignore[assignment]  # torch: all attributes tensors or modules
