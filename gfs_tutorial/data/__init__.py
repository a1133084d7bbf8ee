"""Data sets, with an embedded sample for machines without a network."""

from gfs_tutorial.data.mnist import Digits, load_mnist
from gfs_tutorial.data.subsets import balanced_subset

__all__ = ["Digits", "balanced_subset", "load_mnist"]
