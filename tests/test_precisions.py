"""Modules of half and double precision behind `wrap`: they take float32 images and give float32 logits and maps."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from pellucid.explainers import explain
from pellucid.models import wrap
from pellucid.models.inference import predict
from pellucid.types import InputSpec

DTYPES = [torch.float16, torch.bfloat16, torch.float64]


def module():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(8, 4),
    ).eval()


def wrapped(net, split=True):
    parts = {"features": net[0], "head": net[2]} if split else {}
    return wrap(net, mean=[0.5] * 3, std=[0.25] * 3, task="multiclass", classes=list("abcd"),
                input_spec=InputSpec.square(3, 16), **parts)  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_logits_are_float32_and_those_of_the_module_in_float32(dtype):
    net = module()
    classifier = wrapped(copy.deepcopy(net).to(dtype))
    images = torch.rand(3, 3, 16, 16)
    logits = classifier(images)
    assert logits.dtype == torch.float32
    tolerance = 1e-5 if dtype == torch.float64 else 3e-2
    torch.testing.assert_close(logits, wrapped(net)(images), rtol=tolerance, atol=tolerance)
    assert next(classifier.module.parameters()).dtype == dtype  # the caller's module is as it was
    pixels = (images * 255).round().to(torch.uint8).numpy()
    assert predict(classifier, pixels).dtype.name == "float32"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", ["cam", "grad-cam", "saliency", "integrated-gradients"])
def test_maps_are_float32_and_like_those_of_the_module_in_float32(method, dtype):
    net = module()
    images = torch.rand(2, 3, 16, 16)
    expected = explain(method, wrapped(net), images, [1, 2]).maps
    found = explain(method, wrapped(copy.deepcopy(net).to(dtype)), images, [1, 2]).maps
    assert found.dtype == torch.float32
    for one, other in zip(found, expected, strict=True):
        likeness = torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]
        assert likeness > (0.999999 if dtype == torch.float64 else 0.98)
