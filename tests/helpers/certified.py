"""Linear classifiers, whose boundary under noise is known, and how their certificates are measured: for tests."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import nn

from pellucid.data.dataset import Dataset, DatasetCard
from pellucid.evaluation.robustness.certified_rows import measure_certified
from pellucid.evaluation.robustness.robustness_target import robustness_target_of
from pellucid.types import InputSpec

SIGMA, PIXELS = 0.25, 64
SIDE = 8


class Linear(nn.Module):
    """Logits W x + b on grey images of 8 × 8: under Gaussian noise the boundary between two answers stays put."""

    input_spec = InputSpec.square(1, SIDE)

    def __init__(self, weight, bias, task="multiclass"):
        super().__init__()
        self.weight, self.bias, self.task = nn.Parameter(weight), nn.Parameter(bias), task
        self.classes = tuple("abc"[: len(bias)])

    def forward(self, images):
        return images.flatten(1) @ self.weight.T + self.bias


def two_classes(scale=4.0):
    """A network, and the distance from its boundary at which images of a brightness lie."""
    row = torch.randn(PIXELS, generator=torch.Generator().manual_seed(0))
    row = scale * row / row.norm()
    return Linear(torch.stack([torch.zeros(PIXELS), row]), torch.tensor([0.0, -0.5 * float(row.sum())]))


def distances(net, images):
    """The closed form: |w·x + b| / ‖w‖ of the difference of the two logits."""
    with torch.no_grad():
        logits = net(images)
        return ((logits[:, 1] - logits[:, 0]).abs() / (net.weight[1] - net.weight[0]).norm()).double()


def at_distances(net, values):
    """Images whose distance from the boundary of `two_classes` is known; positive on the side of b."""
    normal = (net.weight[1] / net.weight[1].norm()).detach().view(1, 1, SIDE, SIDE)
    return 0.5 + torch.tensor(values).view(-1, 1, 1, 1) * normal


def toy(net, values_or_images, targets):
    """A dataset of such images, whose pixels survive being 8 bits to within half a level."""
    pixels = (values_or_images.detach() * 255).round().clamp(0, 255).byte().numpy()
    card = DatasetCard("toy", "Toy", net.task, net.classes)
    names = tuple(f"image {i}, a toy" for i in range(len(pixels)))
    return pixels, Dataset(card, "test", names, names, targets, lambda i: pixels[i, 0])


def measure(net, pixels, dataset, smoothing, folder=None, tmp=None):
    """In `folder`, or in one that is gone afterwards."""
    robustness_target = robustness_target_of("attack", dataset, {"thresholds": [0.5] * 3})
    if folder is not None:
        return measure_certified(net, pixels, dataset, robustness_target, smoothing, folder, weights_sha256="one")
    with tempfile.TemporaryDirectory(dir=tmp) as name:
        return measure_certified(net, pixels, dataset, robustness_target, smoothing, Path(name), weights_sha256="one")
