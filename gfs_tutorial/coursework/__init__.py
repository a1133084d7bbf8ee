"""Automatic checks of the book's coding exercises: a verdict in plain words, for readers and for graders.

Each check takes a function and returns a :class:`Feedback`; the page *For teachers* shows their use.

Chapter *For teachers*.
"""

from gfs_tutorial.coursework.channels import check_refit
from gfs_tutorial.coursework.elimination import check_backward_elimination
from gfs_tutorial.coursework.feedback import Feedback, WrongAnswerError
from gfs_tutorial.coursework.network import check_loss, check_mean_field_output, check_sgd_step
from gfs_tutorial.coursework.selection import check_greedy_selection, check_neuron_scores
from gfs_tutorial.coursework.theory import check_certificate, check_first_reached

__all__ = [
    "Feedback",
    "WrongAnswerError",
    "check_backward_elimination",
    "check_certificate",
    "check_first_reached",
    "check_greedy_selection",
    "check_loss",
    "check_mean_field_output",
    "check_neuron_scores",
    "check_refit",
    "check_sgd_step",
]
