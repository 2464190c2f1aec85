"""Grad-CAM++ against higher derivatives, and both Grad-CAMs at a layer that the user names."""

from __future__ import annotations

import pytest
import torch
from captum.attr import LayerGradCam
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchcam.methods import GradCAM

from pellucid.explainers import explain
from pellucid.models import wrap
from pellucid.types import InputError, InputSpec

PARTS = {"mean": [0.4] * 3, "std": [0.2] * 3, "classes": list("abc"), "input_spec": InputSpec.square(3, 12)}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 7, 3, stride=2), nn.ReLU(inplace=True))
    head = nn.Linear(7, 3)
    net = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    return wrap(net, task="multiclass", features=body, head=head, **PARTS).eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def by_higher_derivatives(model, image, c):
    """Equations 5, 10 and 19 of the paper, with the derivatives of Y = exp(logit) of each position by autograd."""
    feature_map = model.features(image).detach().double().requires_grad_(True)
    head = model.head
    logit = feature_map.mean((2, 3)) @ head.weight[c].double() + head.bias[c].double()
    (first,) = torch.autograd.grad(logit.exp().sum(), feature_map, create_graph=True)
    height, width = feature_map.shape[2:]
    weights = torch.zeros(feature_map.shape[1], dtype=torch.float64)
    for k in range(feature_map.shape[1]):
        for i in range(height):
            for j in range(width):
                (row,) = torch.autograd.grad(first[0, k, i, j], feature_map, create_graph=True)
                second = row[0, k, i, j]
                third = torch.autograd.grad(second, feature_map, retain_graph=True)[0][0, k, i, j]
                alpha = second / (2 * second + feature_map[0, k].sum() * third)
                weights[k] += (alpha * first[0, k, i, j].relu()).item()
    return (weights[:, None, None] * feature_map[0].detach()).sum(0).relu() / logit.exp().item()


def test_grad_cam_plus_plus_is_its_definition(model, images):
    found = explain("grad-cam++", model, images[:1], "all", size=4).maps[0]
    for c in range(3):
        expected = by_higher_derivatives(model, images[:1], c).detach().float()
        assert expected.shape == (4, 4)  # nothing was enlarged
        torch.testing.assert_close(found[c], expected, rtol=1e-5, atol=1e-6)


def test_a_layer_that_is_the_feature_map_gives_the_same(model, images):
    for name in ("grad-cam", "grad-cam++"):
        for targets in ("all", torch.tensor([2, 0])):
            expected = explain(name, model, images, targets)
            found = explain(name, model, images, targets, layer="0")
            torch.testing.assert_close(found.maps, expected.maps, rtol=1e-5, atol=1e-7)
            assert found.forward_passes == 1
            assert found.gradient_evaluations == (3 if isinstance(targets, str) else 1)


@pytest.mark.parametrize("name", ["cam", "grad-cam", "grad-cam++"])
def test_one_class_of_a_thousand_costs_no_map_of_the_others(name, images):
    body, head, sizes = nn.Conv2d(3, 4, 3), nn.Linear(4, 1000), []
    net = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    parts = PARTS | {"classes": [str(k) for k in range(1000)]}
    model = wrap(net, task="multiclass", features=body, head=head, **parts)

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            sizes.append(result.numel() if isinstance(result, torch.Tensor) else 0)
            return result

    with Sizes():
        explain(name, model, images, torch.tensor([7, 999]))
    assert max(sizes) <= head.weight.numel()  # maps of all classes have 1,000 × 2 × 10 × 10


def test_grad_cam_at_a_layer_is_captums_and_torchcams(model, images):
    found = explain("grad-cam", model, images, "all", layer="0.0", size=10).maps
    for c in range(3):
        theirs = LayerGradCam(model, model.module[0][0]).attribute(images, target=c, relu_attributions=True).detach()
        torch.testing.assert_close(found[:, c], theirs[:, 0], rtol=1e-5, atol=1e-7)
        with GradCAM(model, target_layer="module.0.0") as extractor:
            (theirs,) = extractor(c, model(images.clone().requires_grad_()), normalized=False)
        torch.testing.assert_close(found[:, c], theirs.detach(), rtol=1e-5, atol=1e-7)


def test_grad_cam_plus_plus_at_a_layer_is_its_formula(model, images):
    found = explain("grad-cam++", model, images, 1, layer="0.1", size=10).maps
    activations = model.module[0][:2](model.normalise(images)).detach().requires_grad_(True)
    rest = nn.Sequential(*model.module[0][2:3], nn.ReLU(), *model.module[1:])
    (g,) = torch.autograd.grad(rest(activations)[:, 1].sum(), activations)
    a, g = activations.detach().double(), g.double()
    alpha = torch.where(g == 0, 0, g**2 / (2 * g**2 + a.sum((2, 3), keepdim=True) * g**3))
    weights = (alpha * g.relu()).sum((2, 3), keepdim=True)
    torch.testing.assert_close(found, (weights * a).sum(1).relu().float(), rtol=1e-5, atol=1e-7)


def test_a_network_without_features_can_be_explained_at_a_layer(images):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 3))
    plain = wrap(net, task="multiclass", **PARTS)
    for name in ("grad-cam", "grad-cam++"):
        with pytest.raises(InputError, match="layer="):
            explain(name, plain, images, 0)
        assert explain(name, plain, images, 0, layer="1").maps.shape == (2, 12, 12)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("0.9", r"unknown layer '0.9'. Did you mean '0"),
        ("2", r"must put out a feature map.*found \(N, 7\)"),
        ("", "unknown layer ''"),
    ],
)
def test_a_layer_that_cannot_be(model, images, layer, message):
    with pytest.raises(InputError, match=message):
        explain("grad-cam", model, images, 0, layer=layer)
    assert not any(m._forward_hooks for m in model.modules())


def test_a_layer_that_runs_twice_is_refused(images):
    shared = nn.ReLU()
    net = nn.Sequential(nn.Conv2d(3, 4, 3), shared, nn.Conv2d(4, 4, 3), shared, nn.Flatten(), nn.Linear(256, 3))
    with pytest.raises(InputError, match="must run once in a forward pass; it ran 2 times"):
        explain("grad-cam", wrap(net, task="multiclass", **PARTS), images, 0, layer="1")
