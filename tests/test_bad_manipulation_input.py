"""What an attack on an explanation refuses, before any work."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from helpers.manipulation import convolutional, gray_images, linear
from pellucid.evaluation.manipulation.attack import manipulate
from pellucid.evaluation.manipulation.settings import Attack
from pellucid.evaluation.manipulation.summary import manipulation_summary, mean_over_budgets
from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.models import wrap
from pellucid.types import InputError, InputSpec


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"goal": "same-maps"}, "unknown goal 'same-maps'. Did you mean 'same-map'"),
        ({"budgets": ()}, "found none"),
        ({"budgets": (0.01, 0.01)}, "ascending"),
        ({"budgets": (0.02, 0.01)}, "found 0.02, 0.01"),
        ({"budgets": (-0.1,)}, "above 0"),
        ({"budgets": (math.nan,)}, "above 0"),
        ({"budgets": (1.5,)}, "at most 1"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"tolerance": math.nan}, "tolerance"),
        ({"keep": 1.5}, "keep is a rank correlation"),
        ({"goal": "same-map", "target_map": "centre"}, "same-map keeps the map"),
    ],
)
def test_settings(settings, message):
    with pytest.raises(InputError, match=message):
        Attack(**settings)


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (Attack("gradcam"), "no attack on the explanation 'gradcam' is known. Did you mean 'grad-cam'"),
        (Attack("occlusion"), "There are: cam, grad-cam, saliency, integrated-gradients, lime"),
        (Attack("lime", options={"sample": 8}), "lime has no option 'sample'. Did you mean 'samples'"),
        (Attack("grad-cam", options={"layer": "backbones"}), "unknown layer 'backbones'"),
        (Attack(target_map="center"), "no target map 'center'.* Did you mean 'centre'"),
    ],
)
def test_methods_and_maps(attack, message):
    with pytest.raises(InputError, match=message):
        manipulate(convolutional(), gray_images(), attack)


def test_images_and_targets():
    net, images = convolutional(), gray_images()
    with pytest.raises(InputError, match="no images"):
        manipulate(net, images[:0], Attack())
    with pytest.raises(InputError, match=r"must lie in \[0, 1\]"):
        manipulate(net, 255 * images, Attack())
    with pytest.raises(InputError, match="takes 1 channel"):
        manipulate(net, images.expand(-1, 3, -1, -1), Attack())
    with pytest.raises(InputError, match="targets must lie from 0 to 2; found 3"):
        manipulate(net, images, Attack(), targets=3)
    with pytest.raises(InputError, match="thresholds must be 3 probabilities"):
        manipulate(net, images, Attack(), thresholds=[0.5, 0.5])
    with pytest.raises(InputError, match="one image only"):
        manipulate(net, images[:1], Attack(target_map="other-image"))
    with pytest.raises(InputError, match="batch_size"):
        manipulate(net, images, Attack(), batch_size=0)


def test_networks_that_a_method_does_not_fit():
    plain = linear(torch.ones(64), 0.0, size=8)
    for method in ("cam", "grad-cam"):
        with pytest.raises(InputError, match=r"give wrap\(\) features= and head=, or attack saliency"):
            manipulate(plain, gray_images(1, 8), Attack(method))
    body = nn.Conv2d(1, 4, 3, padding=1)
    head = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    bent = wrap(
        nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head),
        mean=[0.5],
        std=[0.5],
        task="multiclass",
        classes=["a", "b"],
        input_spec=InputSpec.square(1, 8),
        features=body,
        head=head,
    )
    with pytest.raises(InputError, match=r"needs a linear head; this one is Sequential\. Attack grad-cam"):
        manipulate(bent, gray_images(1, 8), Attack("cam"))
    assert len(manipulate(bent, gray_images(1, 8), Attack(steps=1, budgets=(0.01,))).reasons) == 1


def test_a_picture_as_a_target_map(tmp_path):
    net, images = convolutional(), gray_images(1)
    path = tmp_path / "flat.png"
    Image.fromarray(np.full((5, 9), 7, np.uint8)).save(path)
    with pytest.raises(InputError, match="one brightness everywhere"):
        manipulate(net, images, Attack(target_map=str(path)))
    Image.fromarray(np.arange(45, dtype=np.uint8).reshape(5, 9)).save(path)
    found = manipulate(net, images, Attack(target_map=str(path), steps=1, budgets=(0.01,)))
    assert found.target_maps[0, 25, 3] > found.target_maps[0, 15, 3] > found.target_maps[0, 5, 3]  # brighter downwards


def test_figures_of_other_images():
    found = manipulate(convolutional(), gray_images(2), Attack(steps=1, budgets=(0.01,)))
    with pytest.raises(InputError, match="2 images were attacked"):
        manipulation_summary(found, Bootstrap(range(3)))
    with pytest.raises(InputError, match="2 budgets need curves"):
        mean_over_budgets([0.1, 0.2], [[1.0]], 1.0)
