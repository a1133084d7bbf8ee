"""Pruning by greedy forward selection: the package of the GFS tutorial.

The names that others rely on stand here; the rest is one import deeper: :mod:`gfs_tutorial.baselines`,
:mod:`gfs_tutorial.theory`, :mod:`gfs_tutorial.plots`, :mod:`gfs_tutorial.experiments`.
"""

from gfs_tutorial.data import load_mnist
from gfs_tutorial.devices import pick_device
from gfs_tutorial.monitor import PretrainingMonitor
from gfs_tutorial.networks import TwoLayerNet
from gfs_tutorial.selection import SelectionPath, greedy_forward_selection, select_neurons
from gfs_tutorial.training import TrainingDivergedError, TrainingHistory, train_sgd

__version__ = "0.1.0"

__all__ = [
    "PretrainingMonitor",
    "SelectionPath",
    "TrainingDivergedError",
    "TrainingHistory",
    "TwoLayerNet",
    "greedy_forward_selection",
    "load_mnist",
    "pick_device",
    "select_neurons",
    "train_sgd",
]
