"""Loss curves: of training, and of a selection with its certificate.

Chapters *A two-layer net and SGD* and *Greedy forward selection*.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes

from gfs_tutorial import theory
from gfs_tutorial.plots.style import COLORS
from gfs_tutorial.selection import SelectionPath
from gfs_tutorial.training import TrainingHistory

__all__ = ["loss_against_size", "training_curve"]


def training_curve(history: TrainingHistory, *, window: int = 20, ax: Axes | None = None) -> Axes:
    """Mini-batch losses against iterations, and their running mean over ``window`` batches.

    Args:
        history: What :func:`gfs_tutorial.train_sgd` returned.
        window: Batches in the running mean.
        ax: Axes to draw on; ``None`` makes a figure.
    """
    ax = ax or plt.subplots()[1]
    losses = history.losses
    window = min(window, len(losses))
    mean = losses.unfold(0, window, 1).mean(1)  # (iterations - window + 1,)
    ax.semilogy(losses, color=COLORS["sky"], linewidth=0.6, label="each mini-batch")
    ax.semilogy(range(window - 1, len(losses)), mean, color=COLORS["black"], label=f"mean of {window}")
    ax.set(xlabel="SGD iteration $t$", ylabel=r"loss $\ell$")
    ax.legend()
    return ax


def loss_against_size(path: SelectionPath, *, ax: Axes | None = None) -> Axes:
    """Loss of the subnetwork, its certificate and the dense loss against the number of picks, on log axes.

    Args:
        path: A selection.
        ax: Axes to draw on; ``None`` makes a figure.
    """
    ax = ax or plt.subplots()[1]
    sizes = torch.arange(1, len(path) + 1)
    bounds = theory.certificate(
        path.dense_loss,
        path.variance,
        len(path),
        with_replacement=path.with_replacement,
        width=path.num_neurons,
    )
    ax.loglog(sizes, bounds, color=COLORS["vermillion"], linestyle="--", label="certificate: never above")
    ax.loglog(sizes, path.losses, color=COLORS["blue"], label="subnetwork of $k$ neurons")
    ax.axhline(
        path.dense_loss, color=COLORS["black"], linestyle=":", label=f"all {path.num_neurons:,} neurons"
    )
    ax.set(xlabel="number of picks $k$", ylabel=r"loss $\ell$")
    ax.legend()
    return ax
