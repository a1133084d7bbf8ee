"""Training and pruning of CNNs on one process or on those of ``torchrun``; chapter *Running at scale*."""

from gfs_tutorial.cnn.distributed.evaluation import Accuracies, evaluate_dataset
from gfs_tutorial.cnn.distributed.preemption import PreemptedError
from gfs_tutorial.cnn.distributed.prune import prune_shared, prune_to_budgets
from gfs_tutorial.cnn.distributed.recipe import Recipe
from gfs_tutorial.cnn.distributed.train import train

__all__ = [
    "Accuracies",
    "PreemptedError",
    "Recipe",
    "evaluate_dataset",
    "prune_shared",
    "prune_to_budgets",
    "train",
]
