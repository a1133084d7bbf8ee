"""Rivals of greedy forward selection: other rules that pick neurons, and training without picking.

Every rule takes a network and data, or bare tensors (:class:`Neurons`), and returns a path that is read like
that of :func:`gfs_tutorial.greedy_forward_selection`. Chapter *What else could one do?*
"""

from gfs_tutorial.baselines.backward import backward_elimination
from gfs_tutorial.baselines.fine_tuning import fine_tune, reinitialise
from gfs_tutorial.baselines.frank_wolfe import frank_wolfe
from gfs_tutorial.baselines.from_scratch import train_from_scratch
from gfs_tutorial.baselines.fully_corrective import fully_corrective
from gfs_tutorial.baselines.magnitude import magnitude_selection
from gfs_tutorial.baselines.matching_pursuit import orthogonal_matching_pursuit
from gfs_tutorial.baselines.neurons import Neurons
from gfs_tutorial.baselines.random_selection import random_selection
from gfs_tutorial.baselines.refit import refit

__all__ = [
    "Neurons",
    "backward_elimination",
    "fine_tune",
    "frank_wolfe",
    "fully_corrective",
    "magnitude_selection",
    "orthogonal_matching_pursuit",
    "random_selection",
    "refit",
    "reinitialise",
    "train_from_scratch",
]
