"""Greedy forward selection (GFS): which k neurons stand in for all N.

Chapter *Greedy forward selection*.
"""

from gfs_tutorial.selection.greedy import greedy_forward_selection, select_neurons
from gfs_tutorial.selection.logistic import LogisticPath, select_neurons_logistic
from gfs_tutorial.selection.path import NeuronPath, SelectionPath, WeightedPath

__all__ = [
    "LogisticPath",
    "NeuronPath",
    "SelectionPath",
    "WeightedPath",
    "greedy_forward_selection",
    "select_neurons",
    "select_neurons_logistic",
]
