"""Small networks whose explanations are attacked in tests."""

from __future__ import annotations

import torch
from torch import nn

from helpers.models import draw_convolutions, small
from pellucid.models import wrap
from pellucid.types import InputSpec


def convolutional(task="multilabel", classes=3, size=32, seed=0):
    """A random network with a linear head on grey images, and a spread of logits that decisions depend on."""
    with torch.random.fork_rng():
        return draw_convolutions(small(seed, task=task, size=size, classes=[f"c{i}" for i in range(classes)]))


def linear(weight, bias, *, size, channels=1):
    """Two classes whose margin is weight · x + bias, so that all about it is known."""
    layer = nn.Linear(weight.numel(), 2)
    with torch.no_grad():
        layer.weight.copy_(torch.stack([weight.flatten() / 2, -weight.flatten() / 2]))
        layer.bias.copy_(torch.tensor([bias / 2, -bias / 2]))
    return wrap(
        nn.Sequential(nn.Flatten(), layer),
        mean=[0.0] * channels,
        std=[1.0] * channels,
        task="multiclass",
        classes=["a", "b"],
        input_spec=InputSpec.square(channels, size),
    ).eval()


def gray_images(count=3, size=32, seed=0):
    """Random images, a part of each of them black or white: at the edge of the pixel box."""
    images = torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(seed))
    images[:, :, :2], images[:, :, -2:] = 0, 1
    return images
