"""Greedy forward selection on many processes, started by ``torchrun``; chapter *Selection at scale*."""

from gfs_tutorial.distributed.collectives import Collectives
from gfs_tutorial.distributed.communicator import Communicator
from gfs_tutorial.distributed.data_sharded import select_data_sharded
from gfs_tutorial.distributed.launch import process_group
from gfs_tutorial.distributed.networks import (
    greedy_forward_selection_distributed,
    greedy_forward_selection_two_round,
    share_of,
)
from gfs_tutorial.distributed.neuron_sharded import select_neurons_sharded
from gfs_tutorial.distributed.simulation import SimulatedCommunicator, simulate
from gfs_tutorial.distributed.traffic import Estimate, Ledger, estimate, sent_by_all
from gfs_tutorial.distributed.two_round import TwoRoundPath, select_two_round

__all__ = [
    "Collectives",
    "Communicator",
    "Estimate",
    "Ledger",
    "SimulatedCommunicator",
    "TwoRoundPath",
    "estimate",
    "greedy_forward_selection_distributed",
    "greedy_forward_selection_two_round",
    "process_group",
    "select_data_sharded",
    "select_neurons_sharded",
    "select_two_round",
    "sent_by_all",
    "share_of",
    "simulate",
]
