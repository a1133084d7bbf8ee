"""A pruned model for other programs: ONNX."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

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
        ValueError: the batch is a single image.
    """
    if len(example_input) < 2:
        raise ValueError("example_input must have at least two images, so that the batch size stays free")
    try:
        import onnx  # noqa: F401 (only to see whether it is there)
        import onnxscript  # noqa: F401 (the same)
    except ImportError as error:
        raise ImportError(
            f"{error.name} is not installed: pip install onnx onnxscript onnxruntime"
        ) from error
    path, training = Path(path), model.training
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            program = torch.export.export(
                model.eval(), (example_input,), dynamic_shapes=({0: torch.export.Dim("batch")},)
            )
            written = Path(scratch) / path.name
            exported = torch.onnx.export(program, (example_input,), dynamo=True, verbose=False)
            assert exported is not None  # only the old exporter returns nothing
            exported.save(written)
            os.replace(written, path)
    finally:
        model.train(training)
    return path
