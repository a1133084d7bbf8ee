"""Counted operations and the time that they should take."""

import pytest
import torch
from torch import nn

from gfs_tutorial.cnn.cost import count_macs
from gfs_tutorial.cnn.models import build
from gfs_tutorial.cnn.roofline import Gpu, Work, count_work

GPU = Gpu("made up", flops=1e12, bandwidth=1e9, flops_reached=0.5, bandwidth_reached=0.1)


def test_a_convolution_by_hand():
    """8 to 4 channels, 3x3, on 6x6 pixels: reads an image and its weights, writes the output."""
    model = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.Conv2d(8, 4, 3, padding=1, bias=False))
    work = count_work(model, 6, train=False, batch=2, width=2)
    pointwise = (2 * 36 * 3 * 8, 2 * (3 * 36 + 8 * 36) + 3 * 8)  # half of the weights: two images share them
    spatial = (2 * 36 * 9 * 8 * 4, 2 * (8 * 36 + 4 * 36) + 9 * 8 * 4)
    assert work.operations == [pointwise, spatial]
    assert (work.flops, work.bytes) == (pointwise[0] + spatial[0], pointwise[1] + spatial[1])


def test_flops_are_twice_the_macs_and_training_takes_nearly_three_times_as_many():
    model = build("resnet20", seed=0)
    macs = count_macs(model, torch.zeros(1, 3, 32, 32))
    forward, training = (count_work(model, 32, train=train) for train in (False, True))
    assert forward.flops == 2 * macs
    assert 2.9 < training.flops / forward.flops <= 3
    assert training.bytes > 2 * forward.bytes
    assert next(model.parameters()).device.type == "cpu"


def test_gradients_of_a_depthwise_convolution_cost_what_its_forward_pass_does():
    model = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.Conv2d(8, 8, 3, groups=8, bias=False))
    pointwise, depthwise = 2 * 36 * 24, 2 * 16 * 72
    assert count_work(model, 6, train=False).flops == pointwise + depthwise
    assert count_work(model, 6, train=True).flops == 2 * pointwise + 3 * depthwise  # images need no gradient


def test_each_operation_takes_the_longer_of_its_two_times():
    assert Work([(10**12, 0), (0, 10**8), (10**11, 10**8)]).seconds(GPU) == pytest.approx(2 + 1 + 1)
