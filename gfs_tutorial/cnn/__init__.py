"""Greedy forward selection of channels for real CNNs: find units, choose channels, remove them, refit.

Chapter *Channels*.
"""

from gfs_tutorial.cnn.comparison import compare_rules
from gfs_tutorial.cnn.cost import MacModel, count_macs, count_parameters
from gfs_tutorial.cnn.export import export_onnx
from gfs_tutorial.cnn.local import select_local
from gfs_tutorial.cnn.loss import select_by_loss
from gfs_tutorial.cnn.prune import prune
from gfs_tutorial.cnn.pursuit import pursue
from gfs_tutorial.cnn.recalibration import recalibrate_norms
from gfs_tutorial.cnn.report import PruneReport
from gfs_tutorial.cnn.rivals import RIVALS, global_candidates, rival_scores
from gfs_tutorial.cnn.storage import load_pruned, save_pruned
from gfs_tutorial.cnn.surgery import masked, slice_units
from gfs_tutorial.cnn.tolerance import prune_with_tolerance
from gfs_tutorial.cnn.unit_selection import UnitSelection
from gfs_tutorial.cnn.units import Part, Unit, find_units

__all__ = [
    "MacModel",
    "Part",
    "PruneReport",
    "RIVALS",
    "Unit",
    "UnitSelection",
    "compare_rules",
    "count_macs",
    "count_parameters",
    "export_onnx",
    "find_units",
    "global_candidates",
    "load_pruned",
    "masked",
    "prune",
    "prune_with_tolerance",
    "pursue",
    "recalibrate_norms",
    "rival_scores",
    "save_pruned",
    "select_by_loss",
    "select_local",
    "slice_units",
]
