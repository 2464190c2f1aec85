"""A package that adds a model, a dataset, an explanation and an attack to Pellucid."""

from dataclasses import replace

from torch import nn

from pellucid.attacks.minimal import AttackEntry
from pellucid.data.readers.phantom.reader import PHANTOM_CARD, open_phantom
from pellucid.data.registry import DatasetEntry
from pellucid.explainers.explanation import Explanation, resolve_targets
from pellucid.explainers.registry import ExplainerEntry
from pellucid.models.registry import ModelEntry

CARD = replace(PHANTOM_CARD, name="few", title="A few phantoms")


class OneLayer(nn.Sequential):
    channels = 8

    def __init__(self, in_channels):
        super().__init__(nn.Conv2d(in_channels, 8, 8, stride=8), nn.ReLU())


def open_few(*, seed, options):
    few = {"train": 40, "validation": 40, "test": 40, "size": 32, **(options or {})}
    return {name: replace(part, card=CARD) for name, part in open_phantom(seed=seed, options=few).items()}


def darkness(classifier, images, targets):
    dark, chosen = 1 - images.mean(1), resolve_targets(classifier, images, targets)
    maps = dark if chosen is not None else dark[:, None].repeat(1, len(classifier.classes), 1, 1)
    return Explanation(maps, "heatmap", "darkness", chosen, gradient_evaluations=0, forward_passes=0)


def towards_gray(search, *, steps=8):
    for step in range(1, steps + 1):
        search.evaluate((0.5 - search.images) * step / steps, gradient=False)
    return search.best - search.images


model = ModelEntry("one-layer", "one convolution, from another package", OneLayer, {}, size=32)
dataset = DatasetEntry("few", "pellucid_example", "open_few", layout_name="")
explainer = ExplainerEntry("darkness", "Darkness", darkness)
attack = AttackEntry("towards-gray", towards_gray)
