"""The mean over noise: against closed forms and brute force, the same in every call, and open to an attack."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import norm
from torch import nn

from helpers import attack as example
from pellucid.attacks import Misclassified, label_flipped, minimal
from pellucid.models.smoothing import SmoothedClassifier
from pellucid.types import Classifier, InputError, InputSpec

SPEC = InputSpec.square(1, 8)


class Probit(nn.Module):
    """Two classes, the second of probability Φ(w·x + b): its mean under noise is known."""

    task, classes, input_spec = "multiclass", ("a", "b"), SPEC

    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), bias

    def forward(self, images):
        value = images.flatten(1) @ self.weight + self.bias
        return torch.stack([torch.special.log_ndtr(-value), torch.special.log_ndtr(value)], 1)


def probit(seed=0, length=3.0):
    weight = torch.randn(64, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Probit(length * weight / weight.norm(), 0.4)


@pytest.mark.parametrize("sigma", [0.1, 0.5])
def test_the_mean_of_a_probit_is_a_probit(sigma):
    """E Φ(u + σ‖w‖ε) = Φ(u / √(1 + σ²‖w‖²)), and so is the gradient known."""
    net = probit()
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    images.requires_grad_(True)
    smoothed = SmoothedClassifier(net, sigma, 8_000, rows=4_000)
    logits = smoothed(images)
    scale = math.sqrt(1 + (sigma * 3.0) ** 2)
    value = ((images.flatten(1) @ net.weight + net.bias) / scale).detach()
    expected = torch.from_numpy(norm.cdf(value.numpy()))
    assert torch.allclose(logits[:, 1].exp(), expected, atol=0.015)
    assert torch.allclose(logits.exp().sum(1), torch.ones(4, dtype=torch.float64))
    (slope,) = torch.autograd.grad(logits[:, 1].exp().sum(), images)
    known = torch.from_numpy(norm.pdf(value.numpy()))[:, None] * net.weight.detach() / scale
    cosine = torch.cosine_similarity(slope.flatten(1), known, dim=1)
    assert bool((cosine > 0.999).all())
    assert torch.allclose(slope.flatten(1).norm(dim=1), known.norm(dim=1), rtol=0.05)


def test_several_labels_give_the_log_odds_of_their_mean_sigmoid():
    net, images = example.network(task="multilabel"), example.pictures(3)
    smoothed = SmoothedClassifier(net, 0.2, 7, seed=3)
    noise = smoothed.noise(images)
    mean = torch.stack([net(images + draw).sigmoid() for draw in noise]).mean(0)
    assert torch.allclose(smoothed(images).sigmoid(), mean, atol=1e-6)
    assert noise.std() == pytest.approx(0.2, rel=0.05)


def test_several_classes_give_the_log_of_their_mean_probability():
    net, images = example.network(), example.pictures(3)
    smoothed = SmoothedClassifier(net, 0.2, 7, seed=3)
    mean = torch.stack([net(images + draw).softmax(1) for draw in smoothed.noise(images)]).mean(0)
    assert torch.allclose(smoothed(images).exp(), mean, atol=1e-6)


def test_thresholds_put_each_decision_at_a_half():
    """A network that says of every image exactly what the threshold is answers a half; NaN counts as a half."""
    cuts = [0.1, 0.9, 0.5, math.nan]
    net = example.network(task="multilabel").requires_grad_(False)
    net.module[-1].weight.zero_()
    net.module[-1].bias.copy_(torch.tensor([0.1, 0.9, 0.5, 0.5]).logit())
    smoothed = SmoothedClassifier(net, 0.2, 5, thresholds=cuts)
    assert torch.allclose(smoothed(example.pictures(2)), torch.zeros(2, 4), atol=1e-6)


def test_an_image_gets_the_same_draws_whatever_is_beside_it():
    net, images = example.network(), example.pictures(6)
    smoothed = SmoothedClassifier(net, 0.3, 9)
    whole = smoothed(images)
    torch.rand(5)  # chance elsewhere changes nothing
    assert torch.equal(smoothed(images), whole)
    assert torch.allclose(smoothed(images[[4, 1]]), whole[[4, 1]], atol=1e-6)
    assert not torch.allclose(SmoothedClassifier(net, 0.3, 9, seed=1)(images), whole, atol=1e-3)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_a_few_rows_at_a_time_give_the_same_logits_and_gradients(task):
    net, images = example.network(task=task, dtype=torch.float64), example.pictures(3, dtype=torch.float64)
    found = []
    for rows in (2, 1000):
        smoothed = SmoothedClassifier(net, 0.2, 5, rows=rows)
        own = images.clone().requires_grad_(True)
        logits = smoothed(own)
        (slope,) = torch.autograd.grad(logits[:, 1].sum(), own)
        found.append((logits.detach(), slope))
    assert torch.allclose(found[0][0], found[1][0])
    assert torch.allclose(found[0][1], found[1][1])
    assert float(found[0][1].abs().sum()) > 0


def test_beyond_its_rows_the_network_runs_twice_for_a_gradient_and_never_on_more():
    sizes = []

    class Noted(Probit):
        def forward(self, images):
            sizes.append(len(images))
            return super().forward(images)

    net = Noted(probit().weight.detach(), 0.0)
    images = torch.rand(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    SmoothedClassifier(net, 0.1, 5, rows=4)(images).sum().backward()
    assert sorted(sizes) == [2, 2, 4, 4, 4, 4]
    sizes.clear()
    SmoothedClassifier(net, 0.1, 5, rows=10)(images).sum().backward()
    assert sizes == [10]


def test_an_attack_meets_its_criterion_and_leaves_no_trace():
    net, images = example.network(), example.pictures(4)
    smoothed = SmoothedClassifier(net, 0.1, 8)
    assert isinstance(smoothed, Classifier)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    labels = smoothed(images).argmax(1)
    result = minimal(smoothed, images, Misclassified(labels))
    assert bool(result.found.all())
    assert not bool((smoothed(result.perturbed).argmax(1) == labels).any())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


def test_labels_of_a_smoothed_classifier_can_be_flipped():
    net, images = example.network(task="multilabel"), example.pictures(3)
    smoothed = SmoothedClassifier(net, 0.1, 8, thresholds=[0.3] * 4)
    indices = torch.tensor([0, 1, 2])
    present = smoothed(images).gather(1, indices[:, None])[:, 0] >= 0
    result = minimal(smoothed, images, label_flipped(indices, present, [0.5] * 4))
    assert bool(result.found.all())
    after = smoothed(result.perturbed).gather(1, indices[:, None])[:, 0] >= 0
    assert torch.equal(after, ~present)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"sigma": -0.25}, r"above 0; found -0\.25"),
        ({"sigma": 0.0}, r"above 0; found 0\.0"),
        ({"sigma": math.nan}, "above 0; found nan"),
        ({"sigma": math.inf}, "above 0; found inf"),
        ({"samples": 0}, "found 0 and 64"),
        ({"rows": 0}, "found 16 and 0"),
        ({"thresholds": [0.5] * 4}, "found 4 for a multiclass classifier"),
    ],
)
def test_bad_input_is_named(arguments, told):
    with pytest.raises(InputError, match=told):
        SmoothedClassifier(example.network(), **{"sigma": 0.1, **arguments})
