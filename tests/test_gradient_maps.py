"""The differentiable maps against the explainers themselves, and the soft ReLU against softplus."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.manipulation import convolutional, gray_images
from pellucid.evaluation.manipulation.fixed_surrogate import FixedSurrogate
from pellucid.evaluation.manipulation.goals import correlation
from pellucid.evaluation.manipulation.gradient_maps import gradient_map
from pellucid.evaluation.manipulation.soft_relu import SoftReLU
from pellucid.explainers import explain, upsample
from pellucid.models.classifier import frozen

TARGETS = torch.tensor([0, 2, 1])


def differentiable(method, net, images, **options):
    with frozen(net):
        points = images.clone().requires_grad_(True)
        maps = gradient_map(method, net, images, options).maps(points, TARGETS)
        (slope,) = torch.autograd.grad(correlation(maps, torch.randn_like(maps)).sum(), points)
    assert slope.isfinite().all()
    assert (slope.flatten(1).norm(dim=1) > 0).all()
    return maps.detach()


@pytest.mark.parametrize("method", ["cam", "saliency"])
def test_exact_maps_are_the_explainers(method):
    net, images = convolutional(), gray_images()
    maps = differentiable(method, net, images)
    assert torch.allclose(upsample(maps, 32), explain(method, net, images, TARGETS).maps, atol=1e-6)


def test_grad_cam_is_the_explainers_where_it_is_positive():
    net, images = convolutional(), gray_images()
    maps = differentiable("grad-cam", net, images)
    with frozen(net):
        feature_map = net.features(images)
    with torch.no_grad():
        exact = torch.einsum("nd,ndhw->nhw", net.head.weight[TARGETS], feature_map).relu() / feature_map[0, 0].numel()
    scale = float((maps.relu() * exact).sum() / exact.square().sum())
    assert torch.allclose(maps.relu(), scale * exact, atol=1e-6)


def test_integrated_gradients_nearly_are_the_explainers():
    net, images = convolutional(), gray_images()
    maps = differentiable("integrated-gradients", net, images)
    assert (correlation(maps, explain("integrated-gradients", net, images, TARGETS).maps) > 0.97).all()


@pytest.mark.parametrize(
    ("method", "options"), [("cam", {}), ("grad-cam", {}), ("grad-cam", {"layer": "backbone"}), ("saliency", {})]
)
def test_the_logits_of_the_same_pass_are_the_networks(method, options):
    """An attack holds the decision by them, and goes by their slope."""
    net, images = convolutional(), gray_images()
    with frozen(net):
        points = images.clone().requires_grad_(True)
        logits, expected = gradient_map(method, net, images, options).forward(points, TARGETS)[1], net(points)
        slopes = [torch.autograd.grad(values[:, 1].sum(), points)[0] for values in (logits, expected)]
    assert torch.equal(logits, expected)
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("ridge", [1.0, 0.0])
def test_the_fixed_surrogate_is_lime(ridge):
    net, images = convolutional(), gray_images()
    options = {"samples": 30, "segments": 9, "seed": 3, "ridge": ridge}
    with frozen(net):
        maps = FixedSurrogate(net, images, options).maps(images.clone().requires_grad_(True), TARGETS)
    expected = explain("lime", net, images, TARGETS, **options).maps
    assert torch.allclose(maps.detach(), expected, atol=1e-5)


@pytest.mark.parametrize(
    "relu",
    [
        nn.ReLU(),
        nn.ReLU(inplace=True),
        torch.relu,
        torch.relu_,
        F.relu,
        lambda x: F.relu(input=x, inplace=True),
        lambda x: x.relu(),
        lambda x: x.relu_(),
    ],
)
def test_a_soft_relu_has_the_second_derivative_of_softplus(relu):
    x = torch.linspace(-1, 1, 9, dtype=torch.float64, requires_grad=True)
    with SoftReLU(7.0):
        y = relu(1.0 * x)
        (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), x)
    assert torch.equal(y.detach(), x.detach().clamp_min(0))
    assert torch.equal(slope.detach(), (x.detach() > 0).double())
    soft = F.softplus(x, beta=7.0)
    (first,) = torch.autograd.grad(soft.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert torch.allclose(bend, second)


def test_a_soft_relu6_is_soft_at_both_corners():
    x = torch.linspace(-1, 7, 17, dtype=torch.float64, requires_grad=True)
    with SoftReLU(7.0):
        (slope,) = torch.autograd.grad(nn.ReLU6()(x).sum(), x, create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), x)
    soft = F.softplus(x, beta=7.0) - F.softplus(x - 6, beta=7.0)
    (first,) = torch.autograd.grad(soft.sum(), x, create_graph=True)
    assert torch.equal(slope.detach(), ((x > 0) & (x < 6)).double())
    assert torch.allclose(bend, torch.autograd.grad(first.sum(), x)[0])


def test_outside_nothing_bends_and_inside_the_network_is_the_same():
    net, images = convolutional(), gray_images().requires_grad_(True)

    def slopes():
        logits = net(images)
        return logits.detach(), torch.autograd.grad(logits[:, 0].sum(), images, create_graph=True)[0]

    logits, slope = slopes()
    with SoftReLU():
        bent_logits, bent_slope = slopes()
    assert torch.equal(logits, bent_logits)
    assert torch.allclose(slope, bent_slope, atol=1e-7)
    assert float(torch.autograd.grad(bent_slope.square().sum(), images)[0].abs().max()) > 0
