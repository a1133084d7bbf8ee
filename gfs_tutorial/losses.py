r"""The losses of the book, by name: what :func:`gfs_tutorial.train_sgd` minimises.

Chapter *A two-layer net and SGD*.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

__all__ = ["LOSSES", "half_squared_error", "logistic_loss"]


def half_squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    r"""The loss of the book, :math:`\ell = \frac{1}{2m} \sum_j \lVert f(x_j) - y_j \rVert^2`.

    Args:
        prediction: (m, C).
        target: (m, C); never (m,), which would broadcast against (m, 1).
    """
    _same_shape(prediction, target)
    return (prediction - target).square().sum() / (2 * len(target))


def logistic_loss(prediction: Tensor, target: Tensor) -> Tensor:
    r"""The logistic loss, :math:`\ell = \frac1m \sum_j \sum_c \log(1 + e^{-y_{jc} f_c(x_j)})`.

    The cross-entropy of a sigmoid on the outputs, which the authors' two-layer code trains with.

    Args:
        prediction: (m, C), before the sigmoid.
        target: (m, C) of -1 and +1, which :func:`check_signs` checks.
    """
    _same_shape(prediction, target)
    return F.softplus(-target * prediction).sum() / len(target)


def check_signs(name: str, targets: Tensor) -> Tensor:
    """Return ``targets`` if all are -1 or +1, else raise ``ValueError``: the logistic loss needs them."""
    if not bool((targets.abs() == 1).all()):
        raise ValueError(
            f"{name} must hold only -1 and +1 for the logistic loss: use 2 * {name} - 1 for 0, 1"
        )
    return targets


def _same_shape(prediction: Tensor, target: Tensor) -> None:
    if prediction.shape != target.shape:
        raise ValueError(f"prediction is {tuple(prediction.shape)} but target is {tuple(target.shape)}")


LOSSES = {"squared": half_squared_error, "logistic": logistic_loss}
