r"""What can be promised about greedy forward selection, and the quantities that the promises are made of.

Notation of the book: neuron i has the feature vector :math:`\Phi_i` (its scaled outputs on all m data),
the dense network is their mean :math:`\bar q`, the loss is :math:`\ell(u) = \frac12\lVert u - y\rVert^2`,
:math:`L = \ell(\bar q)` and :math:`V = \frac1N \sum_i \lVert \Phi_i - \bar q \rVert^2`. Convex weights p
(N,) name the point :math:`\Phi_p = \sum_i p_i \Phi_i` of the hull, with the radius
:math:`R_p = \lVert \Phi_p - y \rVert` and the variance
:math:`V_p = \sum_i p_i \lVert \Phi_i - \Phi_p \rVert^2`. Losses and variances are in units of
the labels squared, radii in units of the labels.

Functions that take ``features`` (N, D) hold them, and some more of that size, in memory in float64: they
are for chapters and checks, of up to some thousand neurons and rows.
"""

from gfs_tutorial.theory.anchors import Anchor, anchor, hull_radius, hull_variance
from gfs_tutorial.theory.closed_forms import (
    certificate_average,
    certificate_closed_form,
    certificate_interpolation,
)
from gfs_tutorial.theory.components import BoundComponents
from gfs_tutorial.theory.contraction import Contraction, contraction, dense_losses
from gfs_tutorial.theory.features import feature_vectors, network_features
from gfs_tutorial.theory.frontier import frontier
from gfs_tutorial.theory.inscribed import InscribedBall, ball_certificate, inscribed_ball
from gfs_tutorial.theory.membership import HullMembership, hull_membership
from gfs_tutorial.theory.minimum import HullMinimum, hull_minimum
from gfs_tutorial.theory.recursion import certificate
from gfs_tutorial.theory.slopes import Slope, log_log_slope, slope_over_seeds
from gfs_tutorial.theory.tangent_kernel import kernel_contraction, tangent_kernel
from gfs_tutorial.theory.threshold import pretraining_threshold, sufficient_dense_loss

__all__ = [
    "Anchor",
    "BoundComponents",
    "Contraction",
    "HullMembership",
    "HullMinimum",
    "InscribedBall",
    "Slope",
    "anchor",
    "ball_certificate",
    "certificate",
    "certificate_average",
    "certificate_closed_form",
    "certificate_interpolation",
    "contraction",
    "dense_losses",
    "feature_vectors",
    "frontier",
    "hull_membership",
    "hull_minimum",
    "hull_radius",
    "hull_variance",
    "inscribed_ball",
    "kernel_contraction",
    "log_log_slope",
    "network_features",
    "pretraining_threshold",
    "slope_over_seeds",
    "sufficient_dense_loss",
    "tangent_kernel",
]
