"""Where to compute; chapter *A two-layer net and SGD*."""

from __future__ import annotations

import torch

__all__ = ["pick_device"]


def pick_device(*, verbose: bool = True) -> torch.device:
    """The GPU if torch sees one, else the CPU.

    The set-up cell of every notebook calls it; what a notebook moves to the device is computed there.

    Args:
        verbose: Whether to print which one it is.
    """
    gpu = torch.cuda.is_available()
    if verbose:
        print(f"Device: GPU ({torch.cuda.get_device_name()})" if gpu else "Device: CPU (torch sees no GPU)")
    return torch.device("cuda" if gpu else "cpu")
