"""Candidates of a step shared out over processes: each computes the losses of some, all learn all of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gfs_tutorial.cnn.loss_scorers import Scorer
from gfs_tutorial.cnn.mini_batches import Batch
from gfs_tutorial.cnn.units import Unit
from gfs_tutorial.distributed import Collectives
from gfs_tutorial.distributed.agreement import agree, checksum

__all__ = ["SharedScorer", "agreed_seed"]


def agreed_seed(model: nn.Module, unit: Unit, seed: int, communicator: Collectives) -> int:
    """Rank 0's seed, on all processes.

    Raises:
        ValueError: the processes have different models or units.
    """

    def check() -> dict[str, int]:
        weights = checksum(*(tensor.float() for tensor in model.state_dict().values()))
        return {"model (checksum)": weights, "unit (size)": unit.size}

    agree(communicator, f"a selection by the loss, unit {unit.name}", check)
    return int(communicator.broadcast(torch.tensor([seed]), "seed", source=0))


class SharedScorer:
    """A scorer on several processes; :meth:`losses` is a collective and returns what one process computes.

    Args:
        scorer: This process's own.
        communicator: Of the processes.
    """

    def __init__(self, scorer: Scorer, communicator: Collectives):
        self.scorer, self.communicator, self.dtype = scorer, communicator, scorer.dtype

    def losses(
        self,
        batch: Batch,
        counts: Tensor,
        scale: float,
        tried: Tensor,
        after_each: Callable[[], object] = lambda: None,
    ) -> Tensor:
        """As :meth:`Scorer.losses`, (tried,) float64; each process tries every ``world``-th candidate.

        Raises:
            ValueError: the processes see different mini-batches.
        """
        rank, world = self.communicator.rank, self.communicator.world
        mine, most = tried[rank::world], -(-len(tried) // world)
        own = torch.full((1 + most,), torch.nan, dtype=torch.float64)
        own[0] = checksum(*(tensor for tensor in batch if tensor is not None))
        if len(mine):
            own[1 : 1 + len(mine)] = self.scorer.losses(batch, counts, scale, mine, after_each)
        table = self.communicator.all_gather(own, "losses")  # (R, 1 + most)
        if table[:, 0].unique().numel() > 1:
            raise ValueError("batches differ between the processes: give all of them the same, in one order")
        return table[:, 1:].T.flatten()[: len(tried)].contiguous()
