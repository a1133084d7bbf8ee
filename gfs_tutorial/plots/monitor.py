"""What the pre-training monitor saw.

Chapter *When to stop pre-training*.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from gfs_tutorial import checks
from gfs_tutorial.monitor import PretrainingMonitor
from gfs_tutorial.plots.style import COLORS

__all__ = ["pretraining_monitor"]


def pretraining_monitor(monitor: PretrainingMonitor, *, what: str = "loss", ax: Axes | None = None) -> Axes:
    """Subnetwork, dense network and certificate at every check, the level asked for, and when it was reached.

    Args:
        monitor: A monitor that has looked at least once.
        what: ``"loss"`` or ``"accuracy"``.
        ax: Axes to draw on; ``None`` makes a figure.
    """
    checks.one_of("what", what, ("loss", "accuracy"))
    if not monitor.history:
        raise ValueError("the monitor has not looked yet: train longer, or raise its share")
    ax = ax or plt.subplots()[1]
    times = [record.iteration for record in monitor.history]
    if what == "loss":
        bounds = [record.bound for record in monitor.history]
        ax.plot(times, bounds, color=COLORS["vermillion"], linestyle="--", label="certificate")
        ax.set_yscale("log")
    for kind, name, color, marker in (
        ("dense", "dense network", "black", "s"),
        ("subnetwork", f"subnetwork, {monitor.size} picks", "blue", "o"),
    ):
        values = [getattr(record, f"{kind}_{what}") for record in monitor.history]
        ax.plot(times, values, color=COLORS[color], marker=marker, label=name)
    level = getattr(monitor.criteria, what)
    if level is not None:
        ax.axhline(level, color=COLORS["green"], linestyle=":", label=f"asked for: {level:g}")
    if monitor.enough_at is not None:
        ax.axvline(
            monitor.enough_at,
            color=COLORS["sky"],
            linewidth=4,
            alpha=0.5,
            label=f"enough: {monitor.enough_at:,}",
        )
    ax.set_xscale("symlog", linthresh=10)
    ax.set_xticks(times, [f"{t:,}" for t in times], rotation=45 if len(times) > 8 else 0)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set(xlabel="pre-training iterations $t$", ylabel=r"loss $\ell$" if what == "loss" else "accuracy")
    ax.legend()
    return ax
