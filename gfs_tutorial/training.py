"""Mini-batch SGD for the two-layer network, with the state kept at chosen iterations.

Chapter *A two-layer net and SGD*.
"""

from __future__ import annotations

import copy
import numbers
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm.auto import tqdm

from gfs_tutorial import checks
from gfs_tutorial.losses import LOSSES, check_signs, half_squared_error
from gfs_tutorial.networks import TwoLayerNet

if TYPE_CHECKING:
    from gfs_tutorial.monitor import PretrainingMonitor

__all__ = ["TrainingDivergedError", "TrainingHistory", "half_squared_error", "train_sgd"]

DIVERGED = 1e3  # a batch loss this many times the first one (or that of the answer 0) will not come back
CHECK_EVERY = 25  # iterations between looks at the recorded losses: a look waits for the GPU


class TrainingDivergedError(RuntimeError):
    """The loss grew without bound. The message says at which iteration and what to lower."""


@dataclass
class TrainingHistory:
    """What :func:`train_sgd` saw.

    Attributes:
        net: The trained network (the very one that was passed in).
        losses: (iterations,) float64, loss of the mini-batch before each update; shorter if a monitor
            stopped the training.
        states: Iteration t to the network's state dict after t updates.
    """

    net: TwoLayerNet
    losses: Tensor
    states: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    def at(self, iteration: int) -> TwoLayerNet:
        """A copy of the network as it was after ``iteration`` updates.

        Raises:
            ValueError: no state was kept at that iteration.
        """
        if iteration not in self.states:
            kept = ", ".join(map(str, self.states)) or "none"
            raise ValueError(f"no checkpoint at iteration {iteration}: those kept are {kept}")
        net = copy.deepcopy(self.net)
        net.load_state_dict(self.states[iteration])
        return net


def train_sgd(
    net: TwoLayerNet,
    X: Tensor,
    y: Tensor,
    *,
    iterations: int,
    batch_size: int,
    lr: float | tuple[float, float],
    loss: str = "squared",
    checkpoints: Sequence[int] = (),
    generator: torch.Generator | None = None,
    monitor: PretrainingMonitor | None = None,
    progress: bool = True,
) -> TrainingHistory:
    r"""Train ``net`` in place by mini-batch SGD.

    Every neuron moves by its own gradient, independent of N: the output is an average, so its gradient
    carries 1/N, and the mean-field step multiplies it by N (chapter
    *A two-layer net and SGD*):

    .. math:: a_i \leftarrow a_i - N\,\eta_a \nabla_{a_i} \ell, \qquad
        b_i \leftarrow b_i - N\,\eta_b \nabla_{b_i} \ell

    Args:
        net: The network; trained in place.
        X: (m, d) features.
        y: (m,) or (m, C) targets, same dtype as ``X``.
        iterations: Number of updates.
        batch_size: Rows a batch, at most m. Each pass goes through a fresh permutation, and rows that
            do not fill a last batch wait for the next pass.
        lr: :math:`\eta`, one for both layers or the pair :math:`(\eta_a, \eta_b)` for the weights into
            the neurons and out of them. ``(0.01, 1.0)`` suits tanh on standardised digits.
        loss: ``"squared"``, the half squared error of the book, or ``"logistic"``, for targets of -1 and +1:
            the cross-entropy of a sigmoid on the outputs.
        checkpoints: Iterations after which to keep the state; 0 is the untrained network.
        generator: Source of the permutations (on the CPU); ``None`` takes torch's global one.
        monitor: Watches the network, and may stop the training early: a
            :class:`gfs_tutorial.PretrainingMonitor`.
        progress: Whether to show a progress bar.

    Returns:
        A :class:`TrainingHistory`; of a training that was stopped, up to there.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message).
        TrainingDivergedError: the loss became NaN, infinite, or a thousand times the first one.
    """
    if not isinstance(net, TwoLayerNet):
        raise TypeError(f"net must be a TwoLayerNet, got {type(net).__name__}")
    X, y = checks.features_and_targets(X, y, net.out_features)
    net.check_input(X)
    checks.generator(generator)
    iterations = checks.positive_int("iterations", iterations)
    loss_of = LOSSES[checks.one_of("loss", loss, tuple(LOSSES))]
    if loss == "logistic":
        check_signs("y", y)
    keep = _checkpoint_set(checkpoints, iterations)
    if checks.positive_int("batch_size", batch_size) > len(X):
        raise ValueError(f"batch_size is {batch_size} but X has only {len(X)} rows: lower it")
    optimizer = _mean_field_sgd(net, lr)
    history = TrainingHistory(net, torch.zeros(iterations, dtype=torch.float64, device=X.device))
    if monitor is not None:
        if not hasattr(monitor, "update"):
            raise TypeError(f"monitor must be a PretrainingMonitor or None, got {type(monitor).__name__}")
        monitor.start(net, batch_size=batch_size)
    ceiling = DIVERGED * max(float(y.square().sum() / (2 * len(y))), torch.finfo(y.dtype).tiny)

    batches = _batches(len(X), batch_size, generator)
    for t in tqdm(range(iterations + 1), desc="SGD", unit="it", disable=not progress, leave=False):
        if t in keep:
            history.states[t] = {name: value.detach().clone() for name, value in net.state_dict().items()}
        due = monitor if monitor is not None and monitor.due(t) else None
        if t % CHECK_EVERY == 0 or t == iterations or due is not None:
            ceiling = max(ceiling, DIVERGED * float(history.losses[0]))
            _raise_if_diverged(history.losses, max(0, t - CHECK_EVERY), t, ceiling)
        if (due is not None and due.update(net, t)) or t == iterations:
            break
        rows = next(batches).to(X.device)  # (batch_size,)
        batch_loss = loss_of(net(X[rows]), y[rows])
        optimizer.zero_grad()
        batch_loss.backward()
        optimizer.step()
        history.losses[t] = batch_loss.detach()
    history.losses = history.losses[:t].cpu()
    return history


def _checkpoint_set(checkpoints: Sequence[int], iterations: int) -> set[int]:
    if not isinstance(checkpoints, Iterable):
        raise TypeError(
            f"checkpoints must be a sequence of iterations, got {checkpoints!r}: write [{checkpoints!r}]"
        )
    keep = {checks.integer_at_least("checkpoints", t, 0) for t in checkpoints}
    if keep and max(keep) > iterations:
        raise ValueError(f"checkpoint {max(keep)} lies beyond the last iteration, {iterations}")
    return keep


def _mean_field_sgd(net: TwoLayerNet, lr: float | tuple[float, float]) -> torch.optim.SGD:
    """SGD whose steps are N times the learning rates, one rate a layer."""
    rates = tuple(lr) if isinstance(lr, (tuple, list)) else (lr, lr)
    if len(rates) != 2 or not all(_is_number(rate) for rate in rates):
        raise TypeError(f"lr must be a number or a pair of numbers (input layer, output layer), got {lr!r}")
    if not all(0 <= rate < float("inf") for rate in rates):
        raise ValueError(f"lr must be finite and not negative, got {lr!r}")
    lr_input, lr_output = map(float, rates)
    return torch.optim.SGD(
        [
            {"params": [net.input_weights, net.input_biases], "lr": net.width * lr_input},
            {"params": [net.output_weights], "lr": net.width * lr_output},
        ]
    )


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _batches(m: int, batch_size: int, generator: torch.Generator | None) -> Iterator[Tensor]:
    """Endless row indices, (batch_size,) each, without replacement within a pass."""
    while True:
        order = torch.randperm(m, generator=generator)
        for start in range(0, m - batch_size + 1, batch_size):
            yield order[start : start + batch_size]


def _raise_if_diverged(losses: Tensor, start: int, stop: int, ceiling: float) -> None:
    window = losses[start:stop]
    bad = ~(window < ceiling)  # NaN compares false
    if bool(bad.any()):
        t = start + int(bad.nonzero()[0])
        raise TrainingDivergedError(
            f"the loss diverged: {float(losses[t]):.3g} on the batch of iteration {t}. "
            "Lower lr (first its second entry, the output layer's), or standardise X"
        )
