"""Data sets, with an embedded sample for machines without a network."""

from gfs_tutorial.data.imagenet import load_imagenet_sample
from gfs_tutorial.data.images import load_cifar10
from gfs_tutorial.data.mnist import Digits, load_mnist
from gfs_tutorial.data.subsets import balanced_subset

__all__ = ["Digits", "balanced_subset", "load_cifar10", "load_imagenet_sample", "load_mnist"]
