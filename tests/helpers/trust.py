"""Networks whose right explanation is known, and explainers that must not pass; for the tests of trust."""

from __future__ import annotations

import torch
from torch import nn

from pellucid.data.cache.fitted_images import FittedImages
from pellucid.evaluation.trust.maps import Mapper
from pellucid.evaluation.trust.samples import gather_trust_samples
from pellucid.models import wrap
from pellucid.types import InputSpec


class Template(nn.Module):
    """Logits ``W x + b`` of flattened pixels: every pixel's part in the answer is known."""

    def __init__(self, weights, bias=None):
        super().__init__()
        self.weight = nn.Parameter(weights.flatten(1).clone())
        self.bias = nn.Parameter(torch.zeros(len(weights)) if bias is None else bias)

    def forward(self, images):
        return images.flatten(1) @ self.weight.T + self.bias


def linear(weights, task="multilabel", classes=None):
    """A linear classifier of templates (K, C, H, W)."""
    classes = classes or [f"class {k}" for k in range(len(weights))]
    channels = weights.shape[1]
    spec = InputSpec.square(channels, weights.shape[2])
    return wrap(
        Template(weights), mean=[0.0] * channels, std=[1.0] * channels, task=task, classes=classes, input_spec=spec
    )


def samples_of(net, data, **options):
    """What a network is judged on, of all images of a dataset."""
    return gather_trust_samples(net, FittedImages(data, net.input_spec), **options)


def fresh_noise():
    """Another map every time."""
    return Mapper("fresh noise", lambda _, x, __, seed: _noise(x, 1000 + seed))


def fixed_noise():
    """The same noise whatever happens."""
    return Mapper("fixed noise", lambda _, x, __, ___: _noise(x, 7))


def constant():
    """A map that is the same everywhere."""
    return Mapper("constant", lambda _, x, __, ___: torch.full((len(x), *x.shape[2:]), 0.3))


def drawn(maps):
    """The maps given, whatever the network."""
    return Mapper("given", lambda _, x, __, ___: maps[: len(x)])


def _noise(images, seed):
    return torch.rand(len(images), *images.shape[2:], generator=torch.Generator().manual_seed(seed))
