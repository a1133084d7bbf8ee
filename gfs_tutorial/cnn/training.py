"""Training of image classifiers: one short recipe, for pre-training and for fine-tuning after pruning."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm.auto import tqdm

from gfs_tutorial import checks
from gfs_tutorial.cnn.augmentation import augment_batch, normalize
from gfs_tutorial.cnn.layout import training_layout
from gfs_tutorial.cnn.training_checks import (
    PRECISIONS,
    check_fit,
    check_images,
    check_model,
    check_settings,
    count_steps,
)
from gfs_tutorial.training import TrainingDivergedError, half_squared_error

__all__ = [
    "CHECK_EVERY",
    "FitHistory",
    "check_losses",
    "distance_between",
    "evaluate",
    "fit",
    "native_precision",
    "normalize",
    "one_cycle",
    "optimizer_for",
    "train_mode",
]

WARM_UP = 0.2  # share of the steps on which the learning rate rises
CHECK_EVERY = 25  # steps between looks at the recorded losses: a look waits for the GPU
HOPELESS = 20.0  # a loss this many times the first one (or 1) will not come back


@dataclass
class FitHistory:
    """What :func:`fit` saw.

    Attributes:
        losses: (steps,) float64, loss of the mini-batch before each update.
        seconds: Wall-clock time of all of it.
        precision: ``"bfloat16"`` or ``"float32"``, as the model computed.
    """

    losses: Tensor
    seconds: float
    precision: str


def fit(
    model: nn.Module,
    X: Tensor,
    y: Tensor | None = None,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int = 128,
    lr: float = 0.2,
    weight_decay: float = 5e-4,
    augment: bool | str = True,
    label_smoothing: float = 0.0,
    teacher: nn.Module | None = None,
    distance: str = "squared",
    optimizer: str = "sgd",
    freeze_norm: bool = False,
    precision: str = "auto",
    generator: torch.Generator | None = None,
    progress: bool = True,
) -> FitHistory:
    r"""Train ``model`` in place on labels, or on what a ``teacher`` answers to the same images.

    Nesterov momentum (0.9), or Adam, on a one-cycle schedule: the learning rate rises linearly to ``lr``
    over the first fifth of the steps and falls along a cosine to zero. Weight decay spares norms and biases.
    Convolutions run in bfloat16 where the hardware does so natively, on channels-last memory on a GPU.

    Args:
        model: The network; trained in place, on its own device; on a GPU it ends in channels-last layout.
        X: (m, 3, H, W) uint8 images, on any device.
        y: (m,) int64 labels; not needed beside a teacher, and not looked at.
        mean, std: Of each channel, in units of full brightness: images are normalised on the fly.
        epochs, steps: How long, one of the two. A pass goes through a fresh permutation; rows that do not
            fill a last batch wait for the next pass.
        batch_size: Images a step, at most m.
        lr: The largest learning rate; for Adam some 1e-3.
        weight_decay: Of the weight matrices.
        augment: ``True``: random crops and flips; ``"crop"``: no flips (digits); ``False``: neither.
        label_smoothing: Share of the target that is spread over all classes.
        teacher: A network whose logits are the target; switched to eval mode meanwhile.
        distance: From the teacher's logits: ``"squared"``, half the squared distance, or ``"kl"``.
        optimizer: ``"sgd"`` or ``"adam"``.
        freeze_norm: Keep batch norms in eval mode, as after a refit to their old statistics.
        precision: ``"auto"``, ``"bfloat16"`` or ``"float32"``.
        generator: Source of permutations, crops and flips (on the CPU); ``None`` takes torch's global one.
        progress: Whether to show a progress bar.

    Returns:
        A :class:`FitHistory`. The model is back in the mode that it came in, also after an interrupt.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message).
        TrainingDivergedError: the loss became NaN, infinite, or twenty times the first one (or 1).
    """
    device = check_fit(model, X, y, teacher, batch_size, generator)
    steps = count_steps(epochs, steps, len(X), batch_size)
    check_settings(lr, weight_decay, label_smoothing, augment, distance, optimizer, precision)
    precision = native_precision(device) if precision == "auto" else precision
    layout = training_layout(device)
    updates = optimizer_for(model.to(memory_format=layout), optimizer, lr, weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(updates, lambda step: one_cycle(step, steps))
    losses = torch.zeros(steps, device=device)
    batches, start = _batches(len(X), batch_size, generator), time.perf_counter()
    last_class = int(y.max()) if y is not None and teacher is None else 0

    def loss_of(images: Tensor, labels: Tensor | None) -> Tensor:
        logits = model(images).float()  # (batch_size, C)
        if labels is not None:
            if logits.shape[1] <= last_class:
                raise ValueError(f"y holds class {last_class} but the model has {logits.shape[1]} outputs")
            return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
        assert teacher is not None  # check_fit wants one of the two
        with torch.no_grad():
            answers = teacher(images).float()  # (batch_size, C)
        return distance_between(logits, answers, distance)

    with train_mode(model, teacher, freeze_norm):
        bar = tqdm(range(steps), desc="fit", unit="step", disable=not progress, leave=False)
        for step in bar:
            rows = next(batches).to(X.device)  # (batch_size,)
            images = X[rows].to(device)  # (batch_size, 3, H, W)
            if augment:
                images = augment_batch(images, generator, flip=augment is True)
            labels = y[rows].to(device) if y is not None and teacher is None else None
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                x = normalize(images, mean, std).contiguous(memory_format=layout)  # (batch_size, 3, H, W)
                loss = loss_of(x, labels)
            updates.zero_grad()
            loss.backward()
            updates.step()
            schedule.step()
            losses[step] = loss.detach()
            if (step + 1) % CHECK_EVERY == 0 or step + 1 == steps:
                bar.set_postfix(loss=f"{check_losses(losses, step + 1):.3f}", refresh=False)
    return FitHistory(losses.cpu().double(), time.perf_counter() - start, precision)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    X: Tensor,
    y: Tensor,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    batch_size: int = 500,
    precision: str = "auto",
) -> float:
    """Top-1 accuracy, a number between 0 and 1, of ``model`` in eval mode.

    Args:
        model: The network; its mode and its memory layout stay as they are.
        X: (m, 3, H, W) uint8 images, on any device.
        y: (m,) int64 labels.
        mean, std, precision: As in :func:`fit`.
        batch_size: Images a forward pass.

    Raises:
        TypeError, ValueError: an argument does not fit (its name is in the message).
    """
    device = check_model(model)
    check_images(X, y)
    checks.positive_int("batch_size", batch_size)
    checks.one_of("precision", precision, PRECISIONS)
    precision = native_precision(device) if precision == "auto" else precision
    correct = torch.zeros((), dtype=torch.int64, device=device)
    with _eval_mode(model), torch.autocast(device.type, torch.bfloat16, precision == "bfloat16"):
        for images, labels in zip(X.split(batch_size), y.split(batch_size)):
            logits = model(normalize(images.to(device), mean, std))  # (batch, C)
            correct += (logits.argmax(1) == labels.to(device)).sum()
    return int(correct) / len(y)


def one_cycle(step: int, steps: int) -> float:
    """Factor of the learning rate: up along a line over the first fifth, then down along a cosine."""
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def native_precision(device: torch.device) -> str:
    """``"bfloat16"`` where the device multiplies such numbers itself, ``"float32"`` elsewhere."""
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        # torch answers this under a private name only, and older versions not at all.
        ask = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        native = device.type == "cpu" and ask is not None and ask()
    return "bfloat16" if native else "float32"


def distance_between(logits: Tensor, answers: Tensor, distance: str) -> Tensor:
    """Half the squared distance, or the Kullback-Leibler divergence, of logits (m, C) from a teacher's."""
    if distance == "squared":
        return half_squared_error(logits, answers)
    return F.kl_div(logits.log_softmax(1), answers.log_softmax(1), reduction="batchmean", log_target=True)


def optimizer_for(model: nn.Module, name: str, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """SGD or Adam, with weight decay on matrices and kernels alone."""
    weights = [p for p in model.parameters() if p.requires_grad]
    if not weights:
        raise ValueError("model has no parameter to train: requires_grad is False on all of them")
    groups = [
        {"params": [p for p in weights if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if name == "adam":
        return torch.optim.AdamW(groups, lr)
    return torch.optim.SGD(groups, lr, momentum=0.9, nesterov=True)


def _batches(m: int, batch_size: int, generator: torch.Generator | None) -> Iterator[Tensor]:
    """Endless row indices, (batch_size,) each, without replacement within a pass."""
    while True:
        order = torch.randperm(m, generator=generator)
        for start in range(0, m - batch_size + 1, batch_size):
            yield order[start : start + batch_size]


@contextlib.contextmanager
def train_mode(model: nn.Module, teacher: nn.Module | None, freeze_norm: bool) -> Iterator[None]:
    """Train mode for the model, but for frozen batch norms, and eval mode for the teacher."""
    with _eval_mode(model), _eval_mode(teacher or model):
        for module in model.modules():
            module.training = not (freeze_norm and isinstance(module, _BatchNorm))
        yield


@contextlib.contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode; at the end every module is back in the mode that it came in."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def check_losses(losses: Tensor, done: int) -> float:
    """The mean of the latest losses; raises where they have gone out of bounds."""
    window = losses[max(0, done - CHECK_EVERY) : done]
    bad = ~(window <= HOPELESS * losses[0].clamp(min=1.0))  # NaN compares false
    if bool(bad.any()):
        step = done - len(window) + int(bad.nonzero()[0])
        raise TrainingDivergedError(
            f"the loss diverged: {float(losses[step]):.3g} on the batch of step {step}. Lower lr"
        )
    return float(window.mean())
