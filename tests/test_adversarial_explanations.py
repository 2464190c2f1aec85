"""Adversarial explanations: size, box and direction kept, the paper's algorithm transcribed, and better than it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import brentq

from helpers.models import draw_convolutions, draw_norms, small
from pellucid.explainers import HEATMAPS, adversarial, explain
from pellucid.explainers.ascent import stretch
from pellucid.models.sources.woods2019 import read_woods2019
from pellucid.types import InputError

CLASSES = ("a", "b", "c", "d")


def network(task="multiclass", channels=1, size=32):
    """A small network whose blocks do something, in training mode."""
    made = draw_norms(draw_convolutions(small(channels=channels, task=task, size=size, classes=CLASSES))).train()
    with torch.no_grad():
        made.head.weight.mul_(3)
    return made


@pytest.fixture(scope="module")
def images():
    made = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    made[0] = (made[0] > 0.5).float()  # on the border of the pixel box everywhere
    return made


def log_probability(model, images, targets):
    """In float64, from the logits."""
    was = model.training
    with torch.no_grad():
        logits = model.eval()(images).double()
    model.train(was)
    own = logits.gather(1, targets[:, None]).squeeze(1)
    return own - logits.logsumexp(1) if model.task == "multiclass" else F.logsigmoid(own)


def rms(difference):
    return difference.double().flatten(1).square().mean(1).sqrt()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize("optimiser", ["tight", "woods2019"])
@pytest.mark.parametrize(("direction", "sign"), [("raise", 1), ("lower", -1)])
def test_it_moves_the_class_the_way_asked_for(task, optimiser, direction, sign, images):
    model, targets = network(task), torch.tensor([0, 2, 3])
    found = adversarial(model, images, targets, rho=0.05, direction=direction, optimiser=optimiser)
    before, after = log_probability(model, images, targets), log_probability(model, found.maps, targets)
    assert (sign * (after - before) > 0.01).all()
    torch.testing.assert_close(found.confidence_before, before.exp(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.confidence, after.exp(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.rms, rms(found.maps - images), rtol=1e-6, atol=1e-9)
    assert (found.kind, found.name, found.direction, found.optimiser) == ("image", "adversarial", direction, optimiser)
    if task == "multiclass":
        torch.testing.assert_close(found.probabilities.sum(1), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("rho", [0.003, 0.1, 0.4])
def test_tight_has_exactly_the_size_inside_the_box(rho, images):
    found = adversarial(network(), images, 1, rho=rho)
    torch.testing.assert_close(rms(found.maps - images), torch.full((3,), rho).double(), rtol=1e-5, atol=0)
    assert float(found.maps.min()) >= 0
    assert float(found.maps.max()) <= 1
    assert found.gradient_evaluations <= 17


def test_where_the_box_has_no_more_room_the_size_is_told_as_it_is():
    gray = torch.full((1, 1, 32, 32), 0.5)
    found = adversarial(network(), gray, 1, rho=0.8)
    assert float(found.rms) <= 0.5 + 1e-6
    assert float(found.rms) > 0.49


@pytest.mark.parametrize("size", [0.02, 0.2, 0.45])
def test_stretching_is_one_scale_cut_to_the_box(size):
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(5, 3, 8, 8, generator=generator)
    direction = torch.randn(5, 3, 8, 8, generator=generator) ** 3
    found = stretch(direction, image, size)
    for x, d, moved in zip(image.double().numpy(), direction.double().numpy(), found.double().numpy(), strict=True):

        def cut(s, x=x, d=d):
            return np.clip(x + s * d, 0, 1) - x

        scale = brentq(lambda s, cut=cut: np.sqrt((cut(s) ** 2).mean()) - size, 0, 1e9)
        np.testing.assert_allclose(moved, cut(scale), atol=1e-5)


def test_stretching_finds_the_nearest_perturbation_of_that_size():
    generator = torch.Generator().manual_seed(4)
    image, direction = torch.rand(1, 1, 4, 4, generator=generator), torch.randn(1, 1, 4, 4, generator=generator)
    found = stretch(direction, image, 0.3)
    aligned = float((found * direction).sum())
    for _ in range(200):  # no other perturbation of that size inside the box goes further along the direction
        other = stretch(direction + 0.5 * torch.randn(1, 1, 4, 4, generator=generator), image, 0.3)
        assert float((other * direction).sum()) <= aligned + 1e-6


def transcription(model, image, target, rho, sign, task):
    """B.5 with g = RMS(δ) ≥ ρ, A = 5ρ, T = 35, μ = 0, one image at a time, unclipped."""
    delta = torch.zeros_like(image)
    for t in range(35):
        delta.requires_grad_(True)
        logits = model(image + delta)
        if task == "multiclass":
            loss = -sign * F.cross_entropy(logits, torch.tensor([target]))
        else:  # the label is to be present, or to be absent
            wanted = torch.full((1,), float(sign < 0), dtype=logits.dtype)
            loss = F.binary_cross_entropy_with_logits(logits[:, target], wanted)
        (gradient,) = torch.autograd.grad(loss, delta)
        delta = delta.detach()
        direction = -delta if float(delta.square().mean().sqrt()) >= rho else -gradient
        direction = direction / (1e-8 + direction.square().mean().sqrt())
        delta = delta + 5 * rho * (35 - t) / (35 * 36 / 2) * direction
    return image + delta


@pytest.mark.slow
@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize(("direction", "sign"), [("raise", -1), ("lower", 1)])
def test_woods2019_is_the_papers_algorithm(task, direction, sign, images):
    model = network(task).double().eval()
    given, targets = images.double(), [0, 2, 3]
    found = adversarial(model, given, torch.tensor(targets), rho=0.05, direction=direction, optimiser="woods2019")
    expected = torch.cat(
        [transcription(model, given[i : i + 1], c, 0.05, sign, task) for i, c in enumerate(targets)]
    ).detach()
    torch.testing.assert_close(found.maps, expected, rtol=0, atol=1e-6)
    assert found.gradient_evaluations == 35
    assert float(found.maps.max()) > 1  # unclipped, as published


def test_all_classes_at_once_are_those_one_by_one(images):
    model = network()
    every = adversarial(model, images, "all", rho=0.05)
    assert every.maps.shape == (3, 4, 1, 32, 32)
    assert every.probabilities.shape == (3, 4, 4)
    assert every.confidence.shape == every.confidence_before.shape == every.rms.shape == (3, 4)
    for c in range(4):
        one = adversarial(model, images, c, rho=0.05, batch_size=2)
        torch.testing.assert_close(every.maps[:, c], one.maps, rtol=0, atol=1e-4)
        torch.testing.assert_close(every.confidence[:, c], one.confidence, rtol=1e-3, atol=1e-5)
    assert every.gradient_evaluations == 4 * one.gradient_evaluations


def test_the_gate_of_all_methods_leads_to_it(images):
    model = network()
    given = explain("adversarial", model, images, torch.tensor([0, 1, 2]), rho=0.02, direction="lower")
    assert given.maps.shape == images.shape
    torch.testing.assert_close(given.rms, torch.full((3,), 0.02).double(), rtol=1e-5, atol=0)
    with torch.inference_mode():
        same = explain("adversarial", model, images, torch.tensor([0, 1, 2]), rho=0.02, direction="lower")
    torch.testing.assert_close(same.maps, given.maps, rtol=0, atol=0)
    assert explain("adversarial", model, images[:0], "all").maps.shape == (0, 4, 1, 32, 32)
    assert "adversarial" not in HEATMAPS


def test_a_class_that_is_certain_can_still_be_explained(images):
    """Probabilities and their gradients are exactly 0 and 1 here; the log-odds' are not."""
    model = network().double()
    with torch.no_grad():
        model.head.bias += torch.tensor([900.0, 0, 0, 0])
    for direction, sign in (("raise", 1), ("lower", -1)):
        for target in (0, 1):
            targets = torch.full((3,), target)
            found = adversarial(model, images.double(), targets, rho=0.05, direction=direction)
            with torch.no_grad():
                before, after = model.eval()(images.double()), model(found.maps)

            def odds(logits, target=target):
                return logits[:, target] - logits[:, [k for k in range(4) if k != target]].logsumexp(1)

            assert (sign * (odds(after) - odds(before)) > 0.01).all()


@pytest.mark.parametrize("optimiser", ["tight", "woods2019"])
def test_the_classifier_is_left_as_it_was(optimiser, images, monkeypatch):
    model = network()
    model.head.eval()
    model.head.bias.requires_grad_(False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    given = images.clone()

    def untouched():
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        assert all(parameter.grad is None for parameter in model.parameters())
        assert model.training
        assert not model.head.training
        assert not model.head.bias.requires_grad
        assert model.head.weight.requires_grad
        assert torch.equal(given, images)
        assert not given.requires_grad

    adversarial(model, given, 1, optimiser=optimiser)
    untouched()
    calls = []
    real = model.features

    def fail(pixels):
        calls.append(pixels)
        if len(calls) > 5:
            raise ZeroDivisionError
        return real(pixels)

    monkeypatch.setattr(model, "features", fail)
    with pytest.raises(ZeroDivisionError):
        adversarial(model, given, 1, optimiser=optimiser)
    untouched()


def test_images_need_not_be_small():
    model = network("multilabel", channels=3, size=224)
    image = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(5))
    found = adversarial(model, image, torch.tensor([2]), rho=0.02)
    torch.testing.assert_close(found.rms, torch.full((1,), 0.02).double(), rtol=1e-4, atol=0)
    assert found.confidence > found.confidence_before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["all", "standard"])
def test_tight_beats_the_paper_at_the_same_size_for_half_the_cost(name, real_data):
    model, _ = read_woods2019(real_data / "weights" / f"resnet44-{name}.pt")
    records = np.fromfile(real_data / "cifar-10-batches-bin" / "test_batch.bin", dtype=np.uint8).reshape(-1, 3073)[:4]
    images = torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32).astype(np.float32) / 255)
    targets = (torch.from_numpy(records[:, 0].astype(np.int64)) + torch.arange(4)) % 10
    rho = {"all": 0.1, "standard": 0.01}[name]  # at 0.1 the standard network is certain, whoever moves the image
    ours = adversarial(model, images, targets, rho=rho)
    theirs = adversarial(model, images, targets, rho=rho, optimiser="woods2019")
    assert 2 * ours.gradient_evaluations <= theirs.gradient_evaluations
    cut = stretch(theirs.maps.clamp(0, 1) - images, images, rho)  # the paper's, at exactly rho inside the box
    scaled = (theirs.maps - images) * (rho / theirs.rms).float().view(-1, 1, 1, 1)
    mine = log_probability(model, ours.maps, targets)
    if name == "all":
        for other in (cut, scaled):
            gain = mine - log_probability(model, images + other, targets)
            assert float(gain.mean()) > 0.05
            assert float((gain > 0).double().mean()) >= 0.75
    assert float(mine.min()) > float(log_probability(model, images, targets).min())
    assert rms(ours.maps - images).numpy() == pytest.approx(np.full(4, rho), rel=1e-4)


@pytest.mark.parametrize("rho", [0, -0.1, float("nan"), float("inf"), 1.5, "0.1"])
def test_a_size_that_is_none(rho, images):
    with pytest.raises(InputError, match="rho must be above 0"):
        adversarial(network(), images, 0, rho=rho)


def test_names_that_nobody_knows(images):
    with pytest.raises(InputError, match=r"unknown direction 'rise'.*Did you mean 'raise'"):
        adversarial(network(), images, 0, direction="rise")
    with pytest.raises(InputError, match=r"unknown optimiser 'woods'.*Did you mean 'woods2019'"):
        adversarial(network(), images, 0, optimiser="woods")
    with pytest.raises(InputError, match="0 to 3; found 4 to 4"):
        adversarial(network(), images, 4)
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        adversarial(network(), images * 2, 0)


def test_a_network_that_is_not_a_number(images):
    model = network()
    with torch.no_grad():
        model.head.bias[0] = torch.nan
    with pytest.raises(InputError, match="not finite"):
        adversarial(model, images, 0)
