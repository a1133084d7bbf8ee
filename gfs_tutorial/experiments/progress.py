"""How far a sweep has come: a line a cell on a terminal, a bar in a notebook, with the time left."""

from __future__ import annotations

import sys

from tqdm.auto import tqdm

from gfs_tutorial.experiments.store import Cell

__all__ = ["Progress", "duration"]


def duration(seconds: float) -> str:
    """Seconds in words: ``48 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def in_notebook() -> bool:
    """Whether this Python answers a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config


class Progress:
    """Reports each finished cell, and estimates the time left from the cost of what was done.

    Args:
        title: Of the bar.
        total: How many cells there are.
        done: How many of them were finished before.
        left: What the others cost together, in any unit.
        show: Whether to report at all.
        bar: A bar, for notebooks, in place of lines; ``None`` looks where it runs.
    """

    def __init__(
        self, title: str, total: int, *, done: int, left: float, show: bool = True, bar: bool | None = None
    ):
        self.total, self.done, self.left = total, done, left
        self.spent = self.seconds = 0.0
        self.lines = show and not (in_notebook() if bar is None else bar)
        hidden = {"disable": True} if self.lines or not show else {}  # else TQDM_DISABLE may hide it
        self.bar = tqdm(desc=title, unit="cell", total=total, initial=done, **hidden)
        if self.lines and done:
            print(f"{done} of {total} cells are finished already", flush=True)

    def finished(self, cell: Cell, cost: float, seconds: float) -> None:
        """Report that ``cell`` took so long."""
        self.done, self.left = self.done + 1, self.left - cost
        self.spent, self.seconds = self.spent + cost, self.seconds + seconds
        left = duration(max(0.0, self.left) * self.seconds / self.spent)
        self.bar.set_postfix_str(f"{left} left", refresh=False)
        self.bar.update()
        if self.lines:
            words = "  ".join(
                f"{key} {value:,}" if isinstance(value, int) else str(value) for key, value in cell.items()
            )
            count = f"[{self.done:{len(str(self.total))}d}/{self.total}]"
            print(f"{count}  {words}: {duration(seconds)}, about {left} left", flush=True)

    def close(self) -> None:
        self.bar.close()
