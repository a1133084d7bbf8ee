"""The monitor: looks at the network now and then, decides, and knows what it cost."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from gfs_tutorial import checks
from gfs_tutorial.monitor.cadence import counted_cost, grid
from gfs_tutorial.monitor.criteria import Criteria
from gfs_tutorial.monitor.record import MonitorRecord, look
from gfs_tutorial.networks import TwoLayerNet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PretrainingMonitor"]


class PretrainingMonitor:
    """Says during training when a subnetwork of ``size`` picks is good enough, and what looking cost.

    Hand it to :func:`gfs_tutorial.train_sgd`, or call it in a loop of your own::

        monitor = PretrainingMonitor(X[:1000], y[:1000], size=200, loss=0.05, stop=True)
        monitor.start(net, batch_size=100)
        for t in range(iterations):
            if monitor.update(net, t):
                break
            ...  # one update of net

    It looks at iterations of the grid 10, 14, 20, 28, ... (each 1.4 times the one before), and leaves
    out those that its budget does not allow. Chapter *When to stop pre-training*.

    Args:
        X: (M, d), a batch set aside for it: rows of the training data to follow the training loss, other
            rows to follow generalisation. Some five times ``size`` rows do. Not all of one kind at even
            positions, for every second row serves to pick neurons.
        y: (M,) or (M, C).
        size: k, picks of the subnetwork.
        loss, accuracy, patience: When it is enough, as in :class:`gfs_tutorial.monitor.Criteria`; none of
            them: only watch.
        stop: Whether ``update`` asks to stop the training then.
        share: The most that checks may cost, as a share of the training so far.
        budget: ``"work"`` counts the cost from shapes, as on a CPU: the same iterations on every machine.
            ``"clock"`` measures it, which suits GPUs, and no two runs look at quite the same iterations.
        checkpoints: Look at these iterations instead, whatever that costs.

    Attributes:
        history: A :class:`gfs_tutorial.monitor.MonitorRecord` for each check.
        enough_at: The iteration of the first check that met a criterion, or ``None``.
        reason: Which one, in words, or ``None``.
        check_seconds, training_seconds: Time in checks, and between and after them, so far.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message).
    """

    def __init__(
        self,
        X: Tensor,
        y: Tensor,
        size: int,
        *,
        loss: float | None = None,
        accuracy: float | None = None,
        patience: tuple[int, float] | None = None,
        stop: bool = False,
        share: float = 0.05,
        budget: str = "work",
        checkpoints: Iterable[int] | None = None,
    ):
        columns = y.shape[1] if isinstance(y, Tensor) and y.ndim == 2 else 1
        self.X, self.y = checks.features_and_targets(X, y, columns)
        if len(X) < 2:
            raise ValueError(f"X has {len(X)} row: the monitor picks on one half and needs two at least")
        self.size = checks.positive_int("size", size)
        self.criteria = Criteria(loss, accuracy, patience)
        self.stop = stop
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {share}")
        self.share, self.budget = share, checks.one_of("budget", budget, ("work", "clock"))
        if checkpoints is not None and not isinstance(checkpoints, Iterable):
            raise TypeError(f"checkpoints must be a sequence of iterations, got {checkpoints!r}")
        self._thrifty = checkpoints is None
        self._grid = grid(checkpoints)
        self._next = next(self._grid)
        self._cost: float | None = None  # of one check, in iterations
        self._begin: float | None = None
        self._seen = -1
        self.history: list[MonitorRecord] = []
        self.enough_at: int | None = None
        self.reason: str | None = None
        self.check_seconds = self.training_seconds = 0.0

    @property
    def overhead(self) -> float:
        """Seconds spent in checks over seconds of training, so far; 0 before any training."""
        return self.check_seconds / self.training_seconds if self.training_seconds else 0.0

    def start(self, net: TwoLayerNet, *, batch_size: int) -> None:
        """Say what is going to be trained, so that costs can be counted; ``train_sgd`` does it for you.

        Args:
            net: The network.
            batch_size: Rows of a training batch.

        Raises:
            TypeError, ValueError: the monitor's batch does not fit ``net``.
            RuntimeError: the monitor has watched another training: make a new one.
        """
        if self._begin is not None:
            raise RuntimeError("this monitor has watched a training before: make a new one for each")
        if not isinstance(net, TwoLayerNet):
            raise TypeError(f"net must be a TwoLayerNet, got {type(net).__name__}")
        net.check_input(self.X)
        checks.features_and_targets(self.X, self.y, net.out_features)
        batch_size = checks.positive_int("batch_size", batch_size)
        shapes = len(self.X), net.in_features, net.out_features, net.width
        self._cost = counted_cost(*shapes, self.size, batch_size)
        self._begin = time.perf_counter()

    def due(self, iteration: int) -> bool:
        """Whether :meth:`update` will look at the network after ``iteration`` updates."""
        if self._begin is None:
            if self._thrifty and self.budget == "work":
                raise RuntimeError("call monitor.start(net, batch_size=...) first, or choose budget='clock'")
            self._begin = time.perf_counter()
        self.training_seconds = time.perf_counter() - self._begin - self.check_seconds
        if iteration < self._next:
            return False
        if self._thrifty and not self._can_afford(iteration):
            self._move_on(iteration)
            return False
        return True

    def update(self, net: TwoLayerNet, iteration: int) -> bool:
        """Look at ``net`` if it is time. Call it before every update, and after the last if you like.

        Args:
            net: The network in training; it is left as it is.
            iteration: t, how many updates it has had. Must grow from call to call.

        Returns:
            Whether to stop: ``stop`` was asked for, and it is enough.

        Raises:
            RuntimeError: :meth:`start` has not been called, which counting the cost needs.
            ValueError: ``iteration`` does not grow, or the weights are NaN or infinite.
        """
        if checks.integer_at_least("iteration", iteration, 0) <= self._seen:
            raise ValueError(f"iteration must grow: it was {self._seen} and is now {iteration}")
        if self.due(iteration):
            begin = time.perf_counter()
            record = look(net, self.X, self.y, self.size, iteration)
            self.history.append(record)
            if self.enough_at is None:
                self.reason = self.criteria.met(self.history)
                self.enough_at = None if self.reason is None else iteration
            self._move_on(iteration)
            self.check_seconds += time.perf_counter() - begin
        self._seen = iteration
        return self.stop and self.enough_at is not None

    def plot(self, **arguments: Any) -> Axes:
        """Draw what it saw: :func:`gfs_tutorial.plots.pretraining_monitor`."""
        from gfs_tutorial.plots.monitor import pretraining_monitor  # drawing needs matplotlib, watching not

        return pretraining_monitor(self, **arguments)

    def __repr__(self) -> str:
        if self.enough_at is not None:
            verdict = f"enough at iteration {self.enough_at}: {self.reason}"
        else:
            verdict = "not enough yet" if self.criteria != Criteria() else "only watching"
        cost = f"{self.overhead:.1%} of the training time"
        return f"PretrainingMonitor, {self.size} picks, {len(self.history)} checks, {cost}; {verdict}"

    def _can_afford(self, iteration: int) -> bool:
        checks_then = len(self.history) + 1
        if self.budget == "work":
            assert self._cost is not None  # due() has looked
            return checks_then * self._cost <= self.share * iteration
        if not self.history:  # what it costs shows the first time
            return True
        return self.check_seconds * checks_then / len(self.history) <= self.share * self.training_seconds

    def _move_on(self, iteration: int) -> None:
        while self._next <= iteration:
            self._next = next(self._grid)
