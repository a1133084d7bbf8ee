"""A pruned model for other programs: ONNX."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from gfs_tutorial.cnn.forward_checks import check_accepts
from gfs_tutorial.cnn.replay import evaluation_mode
from gfs_tutorial.cnn.training_checks import check_weights

__all__ = ["export_onnx"]


def export_onnx(model: nn.Module, example_input: Tensor, path: str | Path) -> Path:
    """Write ``model`` in evaluation mode as ONNX, for batches of any size; atomically.

    Args:
        model: The model; its mode is left alone.
        example_input: (n, channels, height, width) with n at least 2, so that the exporter does not take the
            size of the batch for a constant.
        path: Where to.

    Raises:
        ImportError: onnx or onnxscript is missing; the message names the command that installs them.
        TypeError: ``model`` is no module.
        ValueError: the batch is a single image, or the model does not accept it.
    """
    check_weights(model)
    if len(example_input) < 2:
        raise ValueError("example_input must have at least two images, so that the batch size stays free")
    try:
        import onnx  # noqa: F401 (only to see whether it is there)
        import onnxscript  # noqa: F401 (the same)
    except ImportError as error:
        raise ImportError(
            f"{error.name} is not installed: pip install onnx onnxscript onnxruntime"
        ) from error
    check_accepts("example_input", model, example_input)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch, evaluation_mode(model):
        program = torch.export.export(
            model, (example_input,), dynamic_shapes=({0: torch.export.Dim("batch")},)
        )
        written = Path(scratch) / path.name
        exported = torch.onnx.export(program, (example_input,), dynamo=True, verbose=False)
        assert exported is not None  # only the old exporter returns nothing
        exported.save(written)
        os.replace(written, path)
    return path
