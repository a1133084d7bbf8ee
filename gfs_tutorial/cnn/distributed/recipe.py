"""The settings of a training run on a data set that does not fit into memory."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from gfs_tutorial import checks
from gfs_tutorial.cnn.training_checks import check_settings

__all__ = ["Recipe"]

FREE = ("accumulate", "workers")  # may change when a run goes on


@dataclass(frozen=True)
class Recipe:
    """What :func:`~gfs_tutorial.cnn.distributed.train` does, but for the network and the images.

    Attributes:
        steps: Updates of the weights.
        batch_size: Images a step, of all processes together.
        lr: The largest learning rate of the schedule, :func:`~gfs_tutorial.cnn.training.one_cycle`.
        weight_decay: Of weight matrices and kernels.
        label_smoothing: Share of the target that is spread over all classes.
        distance: From a teacher's logits, ``"squared"`` or ``"kl"``; without a teacher it plays no part.
        optimizer: ``"sgd"`` (Nesterov momentum 0.9) or ``"adam"``.
        norms: ``"frozen"``: batch norms keep their statistics, as after a refit; the result then does not
            depend on how many processes there are. ``"local"``: each process normalises over its own images,
            and rank 0's statistics count.
        accumulate: Mini-batches whose gradients make up a step, so that a large batch fits into memory.
        precision: ``"auto"``, ``"bfloat16"`` (forward passes in mixed precision) or ``"float32"``.
        seed: Of the order of the images, their transforms and dropout.
        workers: Processes that load images, for each process that trains; 0 loads in between.

    Raises:
        TypeError, ValueError: a setting is out of range.
    """

    steps: int
    batch_size: int = 256
    lr: float = 0.1
    weight_decay: float = 5e-5
    label_smoothing: float = 0.0
    distance: str = "squared"
    optimizer: str = "sgd"
    norms: str = "frozen"
    accumulate: int = 1
    precision: str = "auto"
    seed: int = 0
    workers: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate"):
            checks.positive_int(name, getattr(self, name))
        for name in ("seed", "workers"):
            checks.integer_at_least(name, getattr(self, name), 0)
        checks.one_of("norms", self.norms, ("frozen", "local"))
        check_settings(
            self.lr,
            self.weight_decay,
            self.label_smoothing,
            False,
            self.distance,
            self.optimizer,
            self.precision,
        )

    def binding(self) -> dict[str, Any]:
        """The settings that a run must keep when it goes on from a checkpoint."""
        return {name: value for name, value in asdict(self).items() if name not in FREE}
