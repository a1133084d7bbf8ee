"""Greedy forward selection (GFS): which k neurons stand in for all N."""

from gfs_tutorial.selection.greedy import greedy_forward_selection, select_neurons
from gfs_tutorial.selection.path import NeuronPath, SelectionPath, WeightedPath

__all__ = ["NeuronPath", "SelectionPath", "WeightedPath", "greedy_forward_selection", "select_neurons"]
