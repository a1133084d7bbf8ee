r"""Least-squares refit: a consumer learns to answer from the channels kept what it used to answer from all.

.. math:: V = (K_S + \lambda I)^{-1} (B_S + \lambda W_S),

with the moments of :mod:`~gfs_tutorial.cnn.moments` and the old weights :math:`W`. No labels are needed.
Chapter *Channels*.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gfs_tutorial import checks
from gfs_tutorial.cnn.moments import Moments
from gfs_tutorial.cnn.units import Unit

__all__ = ["following_norms", "install", "kept_rows", "refit_weights"]


def kept_rows(unit: Unit, candidates: Tensor, features: int) -> Tensor:
    """Features of the consumer that belong to ``candidates`` (k,): (k * features / size,) int64."""
    rows = features // unit.size
    return (candidates[:, None] * rows + torch.arange(rows, device=candidates.device)).flatten()


def refit_weights(
    unit: Unit, moments: Moments, weight: Tensor, candidates: Tensor, strength: float = 1e-3
) -> tuple[Tensor, Tensor]:
    r"""The consumer's weights and constant on the candidates kept.

    Args:
        unit: The unit.
        moments: Of the consumer's inputs and target outputs.
        weight: Of the consumer, (outputs, inputs[, height, width]): what is shrunk towards.
        candidates: (k,) int64, kept.
        strength: :math:`\lambda`, relative to the mean diagonal of K on the rows kept.

    Returns:
        The weight with zeros at the channels removed, in the shape and dtype of ``weight``, and the constant
        to add, (outputs,) float64: the mean of the target less that of what the new weights answer.

    Raises:
        ValueError: ``strength`` is negative or the system is singular with ``strength = 0``.
    """
    checks.not_negative("strength", strength)
    S = kept_rows(unit, candidates.to(weight.device), len(moments.input_sum))
    old = weight.detach().double().flatten(1).T[S]  # (rows, outputs)
    sums = moments.input_sum[S]  # (rows,)
    K = moments.inputs[S][:, S].addr_(sums, sums, alpha=-1 / moments.count)
    B = moments.cross[S].addr_(sums, moments.output_sum, alpha=-1 / moments.count)
    silent = not K.diagonal().any()  # inputs that never change: the old weights are as good as any
    ridge = 1.0 if silent else strength * float(K.diagonal().mean())
    K.diagonal().add_(ridge)
    factor, failed = torch.linalg.cholesky_ex(K)
    if failed:
        raise ValueError(f"the inputs of {unit.consumer} are linearly dependent: set strength above 0")
    V = torch.cholesky_solve(B.add_(old, alpha=ridge), factor)  # (rows, outputs)
    constant = moments.output_mean - moments.input_mean[S] @ V  # (outputs,)
    new = torch.zeros_like(weight, dtype=torch.float64).flatten(1)
    new[:, S] = V.T
    return new.view_as(weight).to(weight.dtype), constant


@torch.no_grad()
def install(
    layer: nn.Conv2d | nn.Linear, weight: Tensor, constant: Tensor, norm: _BatchNorm | None = None
) -> None:
    """Give a layer its new weight, and its new constant through its bias, the norm behind it, or a new bias.

    Args:
        layer: A convolution or linear layer; changed in place.
        weight: In the shape of the old one.
        constant: (outputs,) to answer on top, where the old layer's was its bias or zero.
        norm: The batch norm that reads the layer, if any; its running mean takes the constant.
    """
    layer.weight.copy_(weight)
    if layer.bias is not None:
        layer.bias.copy_(constant)
    elif norm is not None and norm.running_mean is not None:
        norm.running_mean.sub_(constant.to(norm.running_mean))
    else:
        layer.bias = nn.Parameter(constant.to(layer.weight), layer.weight.requires_grad)


@torch.no_grad()
def following_norms(model: nn.Module, names: list[str], example_input: Tensor) -> dict[str, str]:
    """Name of the batch norm that reads the very output of each of the layers, where there is one."""
    outputs: dict[int, tuple[str, Tensor]] = {}
    norms: dict[str, str] = {}

    def wrote(output: Tensor, name: str) -> None:
        outputs[id(output)] = (name, output)  # kept alive, so that no other tensor takes its id

    def reads(inputs: tuple[Tensor, ...], name: str) -> None:
        if id(inputs[0]) in outputs:
            norms[outputs[id(inputs[0])][0]] = name

    hooks = [
        model.get_submodule(name).register_forward_hook(lambda m, i, o, name=name: wrote(o, name))
        for name in names
    ]
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            hooks.append(module.register_forward_pre_hook(lambda m, i, name=name: reads(i, name)))
    try:
        model(example_input)
    finally:
        for hook in hooks:
            hook.remove()
    return norms
