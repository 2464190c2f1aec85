"""Convolutions and norms of a frozen network: values and both derivatives against torch's own, whatever the shape."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pellucid.evaluation.manipulation.frozen_layers import FrozenLayers

SHAPES = [
    {},
    {"stride": 2, "padding": 1},
    {"stride": (1, 2), "padding": (2, 0), "bias": False},
    {"groups": 4, "padding": 1},
    {"groups": 2, "dilation": 2, "padding": 2, "stride": 2},
    {"padding": "same"},
    {"padding": 1, "padding_mode": "circular"},
]


def derivatives(network, images):
    """The output, the slope of a function that bends, and the slope of what that slope comes to."""
    points = images.clone().requires_grad_(True)
    output = network(points)
    (slope,) = torch.autograd.grad(output.pow(3).sum(), points, create_graph=True)
    (second,) = torch.autograd.grad((slope * torch.linspace(-1, 1, slope.numel()).view_as(slope)).sum(), points)
    return output.detach(), slope.detach(), second


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("trained", [False, True])
def test_values_and_derivatives_are_torchs(shape, trained):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.Conv2d(4, 8, 3, **shape).double().requires_grad_(trained)
        images = torch.rand(2, 4, 9, 8, dtype=torch.float64)
    expected = derivatives(layer, images)
    with FrozenLayers():
        result = derivatives(layer, images)
    for one, other in zip(result, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_a_norms_values_and_derivatives_are_torchs(affine, trained, training):
    generator = torch.Generator().manual_seed(0)
    layer = nn.BatchNorm2d(3, affine=affine, momentum=0.0).double().requires_grad_(trained).train(training)
    for name, tensor in layer.state_dict().items():
        if name != "num_batches_tracked":
            tensor.copy_(torch.rand(3, generator=generator) + 0.5)
    images = torch.rand(2, 3, 5, 4, generator=generator, dtype=torch.float64)
    expected = derivatives(layer, images)
    with FrozenLayers():
        result = derivatives(layer, images)
    for one, other in zip(result, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_one_image_without_a_batch_and_arguments_by_name():
    images, weight = torch.rand(4, 6, 6, dtype=torch.float64), torch.rand(2, 4, 3, 3, dtype=torch.float64)
    for points in (images, images[None]):
        expected = derivatives(lambda x: F.conv2d(x, weight, stride=[2]), points)
        with FrozenLayers():
            result = derivatives(lambda x: F.conv2d(input=x, weight=weight, stride=[2]), points)
        for one, other in zip(result, expected, strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("layer", [nn.Conv2d(2, 3, 3), nn.BatchNorm2d(2).eval()])
def test_weights_that_are_trained_get_their_gradient(layer):
    images = torch.rand(1, 2, 5, 5, requires_grad=True)
    with FrozenLayers():
        (slope,) = torch.autograd.grad(layer(images).pow(3).sum(), images, create_graph=True)
        slope.square().sum().backward()
    assert float(layer.weight.grad.abs().max()) > 0


def test_under_autocast_the_precision_is_that_of_autocast():
    layer, images = nn.Conv2d(2, 3, 3).requires_grad_(False), torch.rand(1, 2, 5, 5)
    with FrozenLayers(), torch.autocast("cpu", torch.bfloat16):
        assert layer(images).dtype == torch.bfloat16
        assert nn.BatchNorm2d(2).eval().requires_grad_(False)(images.bfloat16()).dtype == torch.bfloat16


def test_frozen_layerss_take_no_gradient_of_the_weights():
    """What it is for: torch's own double backward computes one for every channel."""
    layer, images = nn.Conv2d(16, 16, 3, groups=16).requires_grad_(False), torch.rand(1, 16, 6, 6)

    def convolutions(network):
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            derivatives(network, images)
        return sum(event.name == "aten::convolution" for event in profile.events())

    with FrozenLayers():
        few = convolutions(layer)
    assert few < 8 < convolutions(layer)
