r"""Moments of images on several processes: sums over images, moved to one origin and added up.

About :math:`o` in place of its own origin, with :math:`d` the difference of the two and :math:`s` the sum of
the rows of :math:`A`, the second moment is

.. math:: \sum (a + d)(a + d)^\top = A^\top A + d s^\top + s d^\top + n\, d d^\top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gfs_tutorial.cnn.moments import Moments
from gfs_tutorial.distributed import Collectives

__all__ = ["add_up", "moved"]


def moved(moments: Moments, origin: tuple[Tensor, Tensor]) -> Moments:
    """The same moments about another origin."""
    n, s, t = moments.count, moments.input_sum, moments.output_sum
    d = moments.origin[0] - origin[0].to(s)  # (features,)
    e = moments.origin[1] - origin[1].to(t)  # (outputs,)
    inputs = moments.inputs + torch.outer(d, s) + torch.outer(s, d) + n * torch.outer(d, d)
    cross = moments.cross + torch.outer(d, t) + torch.outer(s, e) + n * torch.outer(d, e)
    energy = moments.energy + float(2 * e @ t + n * e @ e)
    about = (origin[0].to(s), origin[1].to(t))
    return replace(
        moments,
        origin=about,
        input_sum=s + n * d,
        output_sum=t + n * e,
        inputs=inputs,
        cross=cross,
        energy=energy,
    )


def add_up(parts: Sequence[Moments], like: Moments, communicator: Collectives) -> Moments:
    """Moments of all parts of all processes, about the origin of rank 0's ``like``; a collective.

    Args:
        parts: This process's; there may be none.
        like: Of the same layer, for the sizes.
        communicator: Of the processes.
    """
    features, outputs = (communicator.broadcast(part, "origin", source=0) for part in like.origin)
    origin = (features, outputs)
    total = Moments.about(origin)
    for part in parts:
        total = total + moved(part, origin)
    scalars = torch.tensor([total.count, total.energy], dtype=torch.float64, device=total.inputs.device)
    count, energy = communicator.all_reduce(scalars, "moments").tolist()
    return replace(
        total,
        count=int(count),
        energy=energy,
        input_sum=communicator.all_reduce(total.input_sum, "moments"),
        output_sum=communicator.all_reduce(total.output_sum, "moments"),
        inputs=communicator.all_reduce(total.inputs, "moments"),
        cross=communicator.all_reduce(total.cross, "moments"),
    )
