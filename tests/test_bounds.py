"""Bounds of the network itself: beside matrices written out, grids of points and attacks; what they do not cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from helpers.certified import Linear, at_distances, measure, toy, two_classes
from pellucid.evaluation.robustness.bounds import Bounds, LinearBounds, certified_radii, lines_around
from pellucid.evaluation.robustness.certified_rows import measure_certified
from pellucid.evaluation.robustness.robustness_target import robustness_target_of
from pellucid.models.activations import HalfHuberReLU
from pellucid.types import InputError


class Residual(nn.Module):
    """Everything that bounds cover, in one small network of two pixels."""

    def __init__(self, activation):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(2, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.norm, self.activation, self.function = nn.BatchNorm1d(8), activation, nn.functional.relu

    def forward(self, images):
        hidden = self.activation(self.norm(self.first(images.flatten(1))))
        return self.last(hidden + self.function(self.second(hidden)))


def residual(activation, seed):
    torch.manual_seed(seed)
    network = Residual(activation)
    network.norm.running_mean.normal_()
    network.norm.running_var.uniform_(0.5, 2)
    network.eval()
    with torch.no_grad():
        network.last.bias -= network(torch.tensor([[[[0.5, 0.9]]]]))[0]  # there all answers are equally likely
    return network


def all_margins(answer, classes=3):
    eye = torch.eye(classes)
    return eye[answer] - eye[[k for k in range(classes) if k != answer]], torch.zeros(classes - 1)


@pytest.mark.parametrize("activation", [nn.ReLU(), HalfHuberReLU(0.5)], ids=["relu", "half-huber"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_point_of_the_ball_answers_otherwise_and_the_ball_is_not_much_too_small(activation, seed):
    network, pixels = residual(activation, seed), torch.tensor([[[0.3, 0.6]]])
    answer = int(network(pixels[None]).argmax())
    (radius,) = certified_radii(network, pixels, [all_margins(answer)])
    angle = torch.linspace(0, 2 * math.pi, 721)
    length = torch.linspace(0, 3, 301)
    moves = (length[:, None, None] * torch.stack([angle.cos(), angle.sin()], -1)).reshape(-1, 1, 1, 2)
    with torch.no_grad():
        changed = network(pixels[None] + moves).argmax(1) != answer
    nearest = float(moves[changed].flatten(1).norm(dim=1).min())
    assert 0.2 * nearest < radius < nearest


def test_least_values_are_those_of_the_matrices_written_out():
    torch.manual_seed(0)
    layers = [nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 3)]
    network = nn.Sequential(nn.Flatten(), layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2]).double()
    pixels, radius, weights = torch.rand(1, 2, 3, dtype=torch.float64), 0.4, torch.randn(2, 3, dtype=torch.float64)
    found = LinearBounds(network, pixels).least(radius, weights).numpy()

    (w1, b1), (w2, b2), (w3, b3) = ((m.weight.detach().numpy(), m.bias.detach().numpy()) for m in layers)
    x = pixels.flatten().numpy()

    def diagonal(low, high):  # Wong & Kolter 2018: slope u / (u - l), offset between 0 and -l u / (u - l)
        slope = np.where(low >= 0, 1.0, np.where(high <= 0, 0.0, high / (high - low)))
        return slope, np.where((low < 0) & (high > 0), -low * slope, 0.0)

    norm = np.linalg.norm(w1, axis=1)
    d1, o1 = diagonal(w1 @ x + b1 - radius * norm, w1 @ x + b1 + radius * norm)
    m2 = w2 * d1
    centre, norm = m2 @ (w1 @ x + b1) + b2, np.linalg.norm(m2 @ w1, axis=1)
    low = centre - radius * norm + np.minimum(w2, 0) @ o1
    high = centre + radius * norm + np.maximum(w2, 0) @ o1
    d2, o2 = diagonal(low, high)
    c = weights.numpy() @ w3
    m3 = (c * d2) @ w2
    expected = (m3 * d1) @ (w1 @ x + b1) + (c * d2) @ b2 + weights.numpy() @ b3
    expected -= radius * np.linalg.norm((m3 * d1) @ w1, axis=1)
    expected += np.minimum(m3, 0) @ o1 + np.minimum(c, 0) @ o2
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("delta", [0.0, 0.5])
def test_the_two_lines_hold_the_activation(delta):
    ends = torch.randn(400, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).sort(1).values
    low, high = ends.T
    lines = lines_around(low, high, delta)
    activation = nn.ReLU() if delta == 0 else HalfHuberReLU(delta)
    x = low + (high - low) * torch.linspace(0, 1, 101, dtype=torch.float64)[:, None]
    y = activation(x)
    assert bool((lines.slope * x + lines.low <= y + 1e-12).all())
    assert bool((lines.slope * x + lines.high >= y - 1e-12).all())
    touching = (lines.slope * x + lines.high - y).abs().amin(0)
    assert float(touching.max()) < 1e-12  # the chord meets the activation at an end


def test_a_linear_network_has_its_exact_distance_and_a_wrong_answer_none(tmp_path):
    net = two_classes()
    distances = np.array([0.1, -0.2, 0.3])
    pixels, dataset = toy(net, at_distances(net, list(distances)), np.array([1, 0, 0]))
    rows = measure(net, pixels, dataset, Bounds(), tmp_path)
    exact = [abs(d) for d in distances]
    for row, length in zip(rows, exact, strict=True):
        assert row.certified_l2 <= length * 1.01  # pixels are rounded to 8 bits
        assert row.certified_l2 >= length * 0.95
        assert row.p_bound == 1
        assert not row.abstained
    assert [row.right for row in rows] == [True, True, False]
    assert [row.attack_rms == 0 for row in rows] == [False, False, True]
    assert all(row.certified_rms <= row.attack_rms for row in rows if row.right)
    assert measure(net, pixels, dataset, Bounds(), tmp_path) == rows  # from certify.csv


def test_each_label_has_its_own_distance_from_its_threshold(tmp_path):
    weight = torch.randn(2, 64, generator=torch.Generator().manual_seed(1))
    net = Linear(weight, torch.zeros(2), task="multilabel")
    pixels, _ = toy(net, torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(2)), np.zeros((12, 2)))
    images = torch.from_numpy(pixels).float() / 255
    logits = net(images).detach().double() - torch.logit(torch.tensor([0.3, 0.6], dtype=torch.float64))
    net.bias.data = -logits.median(0).values.float()  # so that half of the answers are present
    logits = net(images).detach().double() - torch.logit(torch.tensor([0.3, 0.6], dtype=torch.float64))
    pixels, dataset = toy(net, images, (logits >= 0).double().numpy())
    target = robustness_target_of("attack", dataset, {"thresholds": [0.3, 0.6]})
    rows = measure_certified(net, pixels, dataset, target, Bounds(attack=False), tmp_path, weights_sha256="one")
    exact = (logits.abs() / weight.double().norm(dim=1)).flatten().tolist()
    assert len(rows) == 24
    for row, length in zip(rows, exact, strict=True):
        assert row.right
        assert row.attack_found is None
        assert 0.97 * length - 1e-4 <= row.certified_l2 <= length


@pytest.mark.parametrize("layer", [nn.MaxPool2d(2), nn.ReLU6(), nn.GELU()], ids=["pool", "relu6", "gelu"])
def test_a_network_that_bounds_do_not_cover_is_refused(layer):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), layer, nn.Flatten(), nn.LazyLinear(2))
    pixels = torch.rand(1, 6, 6)
    network(pixels[None])
    weights = torch.tensor([[8.0, -8.0]]) * (1 if network(pixels[None])[0].diff() < 0 else -1)
    with pytest.raises(InputError, match="affine between its ReLUs"):
        certified_radii(network, pixels, [(weights, torch.zeros(1))])


def test_a_network_that_is_flat_around_the_image_is_not_certified_beyond_its_bend():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 1), nn.ReLU(), nn.Linear(1, 1))
    with torch.no_grad():
        for layer, weight, bias in ((network[1], 1.0, -3.0), (network[3], -2.0, 1.0)):
            layer.weight.fill_(weight)
            layer.bias.fill_(bias)
    pixels = torch.full((1, 2, 2), 0.5)  # the ReLU is off, and every gradient is zero; it answers 1 - 2 relu(sum - 3)
    margin = [(torch.ones(1, 1), torch.zeros(1))]
    (radius,) = certified_radii(network, pixels, margin)
    assert 0.5 < radius <= 0.75  # the sum reaches 3.5 at a length of 1.5 / 2

    with torch.no_grad():
        network[3].weight.zero_()  # now it answers 1 everywhere
    (radius,) = certified_radii(network, pixels, margin)
    assert 2.0 <= radius < math.inf
