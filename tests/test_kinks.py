"""Which networks have kinks: by what they compute, whoever wrote it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.transformer import class_token_transformer
from pellucid.models import create_model
from pellucid.models.activations import HalfHuberReLU
from pellucid.models.kinks import kinks

IMAGE = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
WITH_KINKS = [
    nn.ReLU(),
    nn.ReLU(inplace=True),
    nn.LeakyReLU(),
    nn.PReLU(),
    nn.RReLU(),
    nn.ReLU6(),
    nn.Hardtanh(),
    nn.Hardswish(),
    nn.Hardsigmoid(),
    nn.Softshrink(),
    nn.Threshold(0.1, 0.0),
    nn.SELU(),
    nn.ELU(0.5),
    nn.MaxPool2d(2),
    nn.AdaptiveMaxPool2d(1),
]
SMOOTH = [
    HalfHuberReLU(),
    nn.GELU(),
    nn.GELU("tanh"),
    nn.SiLU(),
    nn.Mish(),
    nn.Softplus(),
    nn.ELU(),
    nn.CELU(0.5),
    nn.Tanh(),
    nn.Sigmoid(),
    nn.LogSigmoid(),
    nn.Softmax(1),
    nn.AvgPool2d(2),
    nn.BatchNorm2d(4),
    nn.GroupNorm(2, 4),
    nn.InstanceNorm2d(4),
    nn.Dropout(0.5),
    nn.Upsample(scale_factor=2, mode="bilinear"),
]


def around(layer):
    return nn.Sequential(nn.Conv2d(3, 4, 3), layer, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


def jump(layer):
    """The largest change of a layer's slope over 1e-3 along a line, in float64: not small only where it has a kink."""
    t = torch.linspace(-4.0005, 4.0005, 8_002, dtype=torch.float64)
    x = torch.stack([t, 0.3 - t, 0 * t, 1 + 0 * t], 1).view(-1, 4, 1, 1).expand(-1, -1, 2, 2) * torch.tensor(
        [[1.0, 0.5], [0.7, 0.9]], dtype=torch.float64
    )
    x = x.contiguous().requires_grad_()
    (slope,) = torch.autograd.grad(layer.double().eval()(x * 1).sum(), x)
    return float((slope[1:] - slope[:-1]).abs().max())


@pytest.mark.parametrize("layer", WITH_KINKS, ids=str)
def test_a_layer_with_kinks(layer):
    assert kinks(around(layer), IMAGE)
    assert jump(layer) > 0.01  # it does have one


@pytest.mark.parametrize("layer", SMOOTH, ids=str)
def test_a_layer_without(layer):
    assert kinks(around(layer), IMAGE) == []
    assert jump(layer) < 0.01


FUNCTIONS = {
    "functional": F.relu,
    "method": lambda x: x.relu(),
    "clamp": lambda x: x.clamp(min=0),
    "maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "where": lambda x: torch.where(x > 0, x, 0 * x),
    "mask": lambda x: x * (x > 0),  # autograd sees a product and nothing else
    "absolute": lambda x: (x + x.abs()) / 2,
    "largest": lambda x: x.amax((2, 3), keepdim=True),
    "sorted": lambda x: x.sort(1).values,
    "rounded": lambda x: x + (x.round() - x).detach() + x.round(),
    "root": lambda x: (x**2).sqrt(),
}


class Foreign(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x).mean((2, 3))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_count_as_modules_do(function):
    assert kinks(Foreign(FUNCTIONS[function]), IMAGE)
    assert kinks(Foreign(lambda x: x**2), IMAGE) == []


def test_a_function_that_nobody_knows_counts_as_one_with_kinks():
    class Own(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        def backward(ctx, gradient):
            return 2 * ctx.saved_tensors[0] * gradient

    assert kinks(Foreign(Own.apply), IMAGE) == ["Own"]
    assert kinks(Foreign(lambda x: x.detach()), IMAGE)  # nothing to differentiate


@pytest.mark.parametrize("name", ["small", "resnet44", "efficientnet-lite0", "resnet50"])
def test_networks_of_the_house(name):
    options = {"classes": ["a", "b"], "task": "multilabel", "in_channels": 3, "size": 32}
    pooled = ["MaxPool2DWithIndices"] if name == "resnet50" else []
    for activation, own in (("relu", ["Relu"]), ("relu6", ["Hardtanh"]), ("half-huber", [])):
        net = create_model(name, activation=activation, **options)
        assert kinks(net, torch.rand(1, 3, 32, 32)) == sorted(pooled + own)


def test_a_transformer_with_gelu_has_none():
    assert kinks(class_token_transformer(), torch.rand(1, 3, 32, 32)) == []


def test_a_network_is_left_as_it_is():
    net = around(nn.BatchNorm2d(4)).train()
    before, chance = {k: v.clone() for k, v in net.state_dict().items()}, torch.get_rng_state()
    kinks(nn.Sequential(net, nn.Dropout(0.5)), IMAGE)
    assert net.training
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), chance)
