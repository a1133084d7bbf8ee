"""Pruned models on disk: saved with what it takes to rebuild them, loaded without running foreign code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gfs_tutorial.cnn.surgery import slice_units
from gfs_tutorial.cnn.training_checks import check_weights
from gfs_tutorial.cnn.units import Part, Unit
from gfs_tutorial.files import atomic_write

__all__ = ["load_pruned", "load_tensors", "save_pruned", "save_tensors"]

FORMAT = "gfs-tutorial pruned model"


def save_tensors(path: str | Path, content: dict[str, Any]) -> Path:
    """``torch.save`` to ``path``, atomically: the old file stays until the new one is whole."""
    with atomic_write(path) as file:
        torch.save(content, file)
    return Path(path)


def load_tensors(path: str | Path, kind: str) -> dict[str, Any] | None:
    """What :func:`save_tensors` wrote, on the CPU; ``None`` where it is not of the ``kind`` looked for.

    Args:
        path: The file.
        kind: What its entry ``format`` must begin with.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception:  # whatever the bytes are: the unpickler stumbles over foreign ones in many ways
        return None
    return content if isinstance(content, dict) and str(content.get("format")).startswith(kind) else None


def save_pruned(
    path: str | Path,
    small: nn.Module,
    units: Sequence[Unit],
    kept: Mapping[str, Tensor],
    **notes: str | int | float,
) -> Path:
    """Save a pruned model with the units and the candidates that were kept.

    Args:
        path: Where to.
        small: The pruned model.
        units: The units of the dense model.
        kept: Name of each pruned unit to the candidates kept, as in :func:`surgery.slice_units`.
        notes: Anything plain to keep with it, e.g. ``architecture="resnet20"``.

    Raises:
        TypeError, ValueError: ``small`` is no module, or not what ``kept`` leaves.
    """
    check_weights(small, "small")
    _check_sizes(small, units, kept)
    content = {
        "format": f"{FORMAT} 1",
        "units": [asdict(unit) for unit in units],
        "kept": {name: torch.as_tensor(candidates).cpu() for name, candidates in kept.items()},
        "state": small.state_dict(),
        "notes": notes,
    }
    return save_tensors(path, content)


def load_pruned(path: str | Path, dense: nn.Module) -> tuple[nn.Module, dict[str, Any]]:
    """Load a pruned model into the shape of a dense one.

    Args:
        path: A file of :func:`save_pruned`.
        dense: A model of the dense architecture with any weights, on any device; it is not changed.

    Returns:
        The pruned model, in evaluation mode on the CPU, in the precision of ``dense``, and the notes saved
        with it.

    Raises:
        TypeError: ``dense`` is no module.
        FileNotFoundError: there is no file at ``path``.
        ValueError: the file is none of :func:`save_pruned`, or does not fit ``dense``.
    """
    path = Path(path)
    check_weights(dense, "dense")
    if not path.is_file():
        raise FileNotFoundError(f"no pruned model at {path}")
    content = load_tensors(path, FORMAT)
    if content is None:
        raise ValueError(f"{path} is truncated, or no file of save_pruned")
    try:
        small = slice_units(dense, [_unit(fields) for fields in content["units"]], content["kept"]).cpu()
        _add_biases(small, content["state"])
        small.load_state_dict(content["state"])
    except (AttributeError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path} does not fit this {type(dense).__name__}: {error}") from error
    return small.eval(), content["notes"]


def _check_sizes(small: nn.Module, units: Sequence[Unit], kept: Mapping[str, Tensor]) -> None:
    modules, known = dict(small.named_modules()), {unit.name: unit for unit in units}
    for name, candidates in kept.items():
        if name not in known:
            raise ValueError(f"kept names {name!r}, which is none of units")
        left = getattr(modules.get(name), "out_channels", None)
        if left != len(candidates) * known[name].width:
            raise ValueError(f"small has {left} channels in {name}, but kept {len(candidates)} candidates")


def _unit(fields: dict[str, Any]) -> Unit:
    return Unit(**{**fields, "parts": tuple(Part(**part) for part in fields["parts"])})


def _add_biases(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a bias to the layers that a refit gave one."""
    for key, value in state.items():
        owner, _, name = key.rpartition(".")
        if name == "bias" and model.get_submodule(owner).bias is None:
            model.get_submodule(owner).bias = nn.Parameter(torch.zeros_like(value))
