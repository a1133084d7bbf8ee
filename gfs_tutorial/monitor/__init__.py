"""A monitor that says, while the dense network trains, when a subnetwork of k neurons is good enough.

Chapter *When to stop pre-training*.
"""

from gfs_tutorial.monitor.criteria import Criteria
from gfs_tutorial.monitor.monitor import PretrainingMonitor
from gfs_tutorial.monitor.record import MonitorRecord

__all__ = ["Criteria", "MonitorRecord", "PretrainingMonitor"]
