"""Explanations against closed forms, captum and torchcam; and that they leave no trace on the classifier."""

from __future__ import annotations

import pytest
import torch
from captum.attr import LayerGradCam
from captum.attr import Saliency as CaptumSaliency
from torch import nn
from torchcam.methods import CAM, GradCAM

from helpers.explaining import HEATMAPS_ON_CONVOLUTIONS, ON_CONVOLUTIONS
from helpers.models import draw_convolutions, draw_norms, small
from pellucid.explainers import (
    class_activation_maps,
    explain,
    grad_cam_maps,
    saliency,
    upsample,
)
from pellucid.models import wrap
from pellucid.types import InputError, InputSpec

CLASSES = ("a", "b", "c", "d")

FEW = {
    "smoothgrad": {"samples": 3},
    "integrated-gradients": {"steps": 4},
    "occlusion": {"window": 32, "stride": 32},
    "lime": {"samples": 16, "segments": 6},
    "kernel-shap": {"samples": 16, "segments": 6},
    "rise": {"samples": 12},
}
"""What makes the methods that ask the network many times quick; their defaults are for maps to look at."""


@pytest.fixture(scope="module")
def model():
    return draw_norms(draw_convolutions(small(channels=3, size=64, classes=CLASSES)))


@pytest.fixture(scope="module")
def images():
    return torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(1))


TARGETS = torch.tensor([0, 3, 1, 2, 3])


def test_cam_averages_to_the_logit(model, images):
    maps = class_activation_maps(model, images)
    assert maps.shape == (5, 4, 8, 8)
    torch.testing.assert_close(maps.mean((2, 3)) + model.head.bias, model(images), rtol=1e-4, atol=1e-4)


def test_grad_cam_without_relu_is_cam_over_its_area(model, images):
    maps = grad_cam_maps(model, images, relu=False)
    torch.testing.assert_close(maps * 64, class_activation_maps(model, images), rtol=1e-4, atol=1e-4)
    assert (grad_cam_maps(model, images) == maps.clamp(min=0)).all()


def test_grad_cam_is_captums(model, images):
    layer = LayerGradCam(model, model.backbone.act)
    maps = grad_cam_maps(model, images, relu=False)
    for c in range(4):
        theirs = layer.attribute(images, target=c).detach()[:, 0]
        torch.testing.assert_close(maps[:, c], theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def test_activation_maps_are_torchcams(model, images):
    ours = {"cam": class_activation_maps(model, images).relu(), "grad-cam": grad_cam_maps(model, images)}
    for c in range(4):
        with GradCAM(model, target_layer="backbone.act") as extractor:
            logits = model(images.clone().requires_grad_())
            (theirs,) = extractor(c, logits, normalized=False)
        scale = 1e-4 * float(theirs.abs().max())
        torch.testing.assert_close(ours["grad-cam"][:, c], theirs.detach(), rtol=1e-4, atol=scale)
        with CAM(model, target_layer="backbone.act", fc_layer="head") as extractor, torch.no_grad():
            logits = model(images)
            (theirs,) = extractor(c, logits, normalized=False)
        scale = 1e-4 * float(theirs.abs().max())
        torch.testing.assert_close(ours["cam"][:, c], theirs.relu(), rtol=1e-4, atol=scale)


def test_grad_cam_goes_through_a_head_that_is_not_linear(images):
    torch.manual_seed(2)
    body = nn.Sequential(nn.Conv2d(3, 6, 5, stride=4), nn.ReLU())
    head = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
    net = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    parts = {"mean": [0.4] * 3, "std": [0.3] * 3, "classes": CLASSES, "input_spec": InputSpec.square(3, 64)}
    wrapped = wrap(net, task="multiclass", features=body, head=head, **parts)
    assert not wrapped.has_linear_head
    with pytest.raises(InputError, match="linear head"):
        class_activation_maps(wrapped, images)
    maps = grad_cam_maps(wrapped, images, relu=False)
    layer = LayerGradCam(wrapped, body)
    for c in range(4):
        theirs = layer.attribute(images, target=c).detach()[:, 0]
        torch.testing.assert_close(maps[:, c], theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def test_saliency_is_captums(model, images):
    maps = saliency(model, images, TARGETS)
    theirs = CaptumSaliency(model).attribute(images.clone(), target=TARGETS).amax(1)
    torch.testing.assert_close(maps, theirs, rtol=1e-4, atol=1e-6)
    everything = saliency(model, images, "all")
    torch.testing.assert_close(everything[torch.arange(5), TARGETS], maps, rtol=1e-4, atol=1e-6)


def test_saliency_is_the_slope_of_the_logit(images):
    """A linear classifier's saliency is known: the largest |weight| over std of a pixel's channels."""
    torch.manual_seed(3)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 4))
    std = [0.5, 0.25, 0.1]
    parts = {"mean": [0.0] * 3, "std": std, "classes": CLASSES, "input_spec": InputSpec.square(3, 8)}
    wrapped = wrap(net, task="multiclass", **parts)
    expected = (net[1].weight.view(4, 3, 8, 8) / torch.tensor(std).view(1, 3, 1, 1)).abs().amax(1)
    maps = saliency(wrapped, images[:, :, :8, :8], TARGETS)
    torch.testing.assert_close(maps, expected[TARGETS].detach())


@pytest.mark.parametrize("name", sorted(HEATMAPS_ON_CONVOLUTIONS))
def test_every_method_explains_some_and_all_classes(name, model, images):
    few = FEW.get(name, {})
    some = explain(name, model, images, TARGETS, **few)
    every = explain(name, model, images, "all", **few)
    assert some.maps.shape == (5, 64, 64)
    assert every.maps.shape == (5, 4, 64, 64)
    assert (some.name, some.kind) == (name, "heatmap")
    assert every.targets is None
    torch.testing.assert_close(every.maps[torch.arange(5), TARGETS], some.maps, rtol=1e-4, atol=1e-5)
    one_by_one = torch.cat([explain(name, model, images[i : i + 1], int(t), **few).maps for i, t in enumerate(TARGETS)])
    torch.testing.assert_close(one_by_one, some.maps, rtol=1e-4, atol=1e-5)
    assert explain(name, model, images, 0, size=(10, 20), **few).maps.shape == (5, 10, 20)
    assert not some.maps.requires_grad
    with torch.inference_mode():
        torch.testing.assert_close(explain(name, model, images, TARGETS, **few).maps, some.maps)
    assert explain(name, model, images[:0], TARGETS[:0]).maps.shape == (0, 64, 64)


@pytest.mark.parametrize("name", sorted(ON_CONVOLUTIONS))
def test_an_explanation_leaves_no_trace(name, model, images):
    model.train()
    model.head.eval()
    model.head.bias.requires_grad_(False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    given = images.clone()
    explain(name, model, given, TARGETS, **FEW.get(name, {}))
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training
    assert model.backbone.norm.training
    assert not model.head.training
    assert not model.head.bias.requires_grad
    assert model.head.weight.requires_grad
    assert not given.requires_grad
    assert given.grad is None
    assert torch.equal(given, images)
    model.head.bias.requires_grad_(True)
    model.eval()


def test_an_explanation_that_fails_leaves_no_trace(model, images, monkeypatch):
    model.train()
    broken = ZeroDivisionError("in the forward pass")

    def fail(*_args):
        raise broken

    monkeypatch.setattr(model, "features", fail)
    for name in ON_CONVOLUTIONS:
        with pytest.raises(ZeroDivisionError):
            explain(name, model, images, TARGETS)
        assert model.training
        assert all(parameter.requires_grad for parameter in model.parameters())
    model.eval()


def test_mistakes_are_explained(model, images):
    with pytest.raises(InputError, match="Did you mean 'grad-cam'"):
        explain("gradcam", model, images, TARGETS)
    with pytest.raises(InputError, match=r"\[0, 1\]; found values from .* to 25"):
        explain("cam", model, images * 255, TARGETS)
    with pytest.raises(InputError, match="3 channel"):
        explain("cam", model, images[:, :1], TARGETS)
    with pytest.raises(InputError, match="0 to 3; found 0 to 4"):
        explain("saliency", model, images, TARGETS + torch.tensor([0, 1, 0, 0, 0]))
    with pytest.raises(InputError, match=r"\(5,\); found shape \(4,\)"):
        explain("saliency", model, images, TARGETS[:4])
    with pytest.raises(InputError, match="whole class indices"):
        explain("saliency", model, images, TARGETS.float())
    with pytest.raises(InputError, match=r"lime has no option 'sample'\. Did you mean 'samples'"):
        explain("lime", model, images, TARGETS, sample=3)
    with pytest.raises(InputError, match="'all'"):
        explain("saliency", model, images, "every")


def test_a_network_without_feature_map_says_what_to_do(images):
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 4))
    parts = {"mean": [0.5] * 3, "std": [0.2] * 3, "classes": CLASSES, "input_spec": InputSpec.square(3, 64)}
    wrapped = wrap(net, task="multiclass", **parts)
    for name in ("cam", "grad-cam"):
        with pytest.raises(InputError, match=r"features= and head=.*saliency"):
            explain(name, wrapped, images, TARGETS)
    assert explain("saliency", wrapped, images, TARGETS).maps.shape == (5, 64, 64)


def test_upsampling_keeps_the_mean_and_the_peak():
    maps = torch.zeros(1, 2, 4, 4)
    maps[0, 0, 1, 2] = 1
    large = upsample(maps, 32)
    assert large.shape == (1, 2, 32, 32)
    assert torch.allclose(large.mean((2, 3)), maps.mean((2, 3)))
    row, column = divmod(int(large[0, 0].argmax()), 32)
    assert (row // 8, column // 8) == (1, 2)
    assert upsample(maps, 4) is maps
