r"""What a bound is made of, beside what was achieved."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BoundComponents"]


@dataclass(frozen=True)
class BoundComponents:
    r"""The certificate of one size, taken apart (chapter *Subnetworks as points of a convex hull*).

    Attributes:
        k: Number of picks.
        loss: :math:`\ell(u_k)`, what the selection achieved.
        bound: The certificate in its tightest form; ``loss`` is never above it.
        anchor: Name of the point of the hull that gives the least closed form at this k.
        radius: :math:`R_p` of that point: the share of the bound that no further pick takes away.
        variance: :math:`V_p` of that point.
        fluctuation: :math:`\sqrt{V_p / k}`: the share that further picks take away. The closed form of the
            bound is half the square of radius + fluctuation.
        looseness: bound / loss, at least 1; infinite where the loss is 0.
    """

    k: int
    loss: float
    bound: float
    anchor: str
    radius: float
    variance: float
    fluctuation: float
    looseness: float
