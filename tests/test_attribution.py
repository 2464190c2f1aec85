"""Gradient explanations beyond saliency: against captum called directly, completeness, seeds, cost and memory."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from captum.attr import GuidedBackprop, IntegratedGradients, NoiseTunnel, Saliency
from torch import nn

from helpers.explaining import HEATMAPS_ON_CONVOLUTIONS
from helpers.models import small
from pellucid.attacks import engine
from pellucid.explainers import EXPLAINERS, explain, saliency
from pellucid.models import wrap
from pellucid.models.activations import HalfHuberReLU
from pellucid.types import InputError, InputSpec

SIZE = 13  # divides by nothing
FEW = {
    "smoothgrad": {"samples": 5},
    "integrated-gradients": {"steps": 6},
    "lime": {"samples": 20, "segments": 6},
    "kernel-shap": {"samples": 20, "segments": 6},
    "rise": {"samples": 20},
}


def network(activation=nn.ReLU, channels=3):
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(channels, 6, 3, padding=1),
        activation(),
        nn.Conv2d(6, 8, 3, stride=2),
        nn.BatchNorm2d(8),
        activation(),
    )
    body[3].running_mean.normal_(0, 0.2)
    head = nn.Linear(8, 4)
    net = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    parts = {"mean": [0.4] * channels, "std": [0.2] * channels, "classes": list("abcd")}
    wrapped = wrap(
        net, task="multiclass", input_spec=InputSpec.square(channels, SIZE), features=body, head=head, **parts
    )
    return wrapped.eval()


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


TARGETS = torch.tensor([0, 3, 1])


def test_smoothgrad_is_captums(model, images):
    found = explain("smoothgrad", model, images, TARGETS, samples=7, noise=0.1, seed=5).maps
    for i, image in enumerate(images):
        torch.manual_seed(5)
        theirs = NoiseTunnel(Saliency(model)).attribute(
            image[None].clone().requires_grad_(),
            nt_samples=7,
            nt_type="smoothgrad",
            stdevs=0.1 * float(image.max() - image.min()),
            target=int(TARGETS[i]),
            abs=False,
        )
        torch.testing.assert_close(found[i], theirs.detach().abs().amax(1)[0], rtol=1e-5, atol=1e-6)


def test_without_noise_or_range_smoothgrad_is_saliency(model, images):
    expected = saliency(model, images, TARGETS)
    torch.testing.assert_close(explain("smoothgrad", model, images, TARGETS, samples=2, noise=0).maps, expected)
    constant = torch.full_like(images, 0.3)
    found = explain("smoothgrad", model, constant, TARGETS, samples=2).maps
    torch.testing.assert_close(found, saliency(model, constant, TARGETS))


@pytest.mark.parametrize("batch_size", [None, 4])
def test_integrated_gradients_are_captums(model, images, batch_size):
    found = explain("integrated-gradients", model, images, TARGETS, steps=9, batch_size=batch_size).maps
    theirs = IntegratedGradients(model).attribute(images.clone(), target=TARGETS, n_steps=9).sum(1)
    torch.testing.assert_close(found, theirs.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("baseline", [0.0, 1.0, "mean"])
def test_integrated_gradients_are_complete(images, baseline):
    model = network(nn.Softplus)  # smooth, so that few steps are exact
    start = (
        images.mean((2, 3), keepdim=True).expand_as(images) if baseline == "mean" else torch.full_like(images, baseline)
    )
    with torch.no_grad():
        expected = model(images) - model(start)
    found = explain("integrated-gradients", model, images, "all", steps=40, baseline=baseline).maps
    torch.testing.assert_close(found.sum((2, 3)), expected, rtol=1e-4, atol=1e-4)


def test_integrated_gradients_of_the_baseline_itself_are_zero(model):
    black = torch.zeros(1, 3, SIZE, SIZE)
    assert explain("integrated-gradients", model, black, 0, steps=3).maps.abs().max() == 0


def test_guided_backprop_is_captums(model, images):
    found = explain("guided-backprop", model, images, TARGETS).maps
    theirs = GuidedBackprop(model).attribute(images.clone().requires_grad_(), target=TARGETS).abs().amax(1)
    torch.testing.assert_close(found, theirs.detach(), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(found, saliency(model, images, TARGETS))


@pytest.mark.parametrize("activation", [lambda: nn.ReLU(inplace=True), lambda: SHARED])
def test_guided_backprop_with_rectifiers_in_place_or_used_twice(model, images, activation):
    expected = explain("guided-backprop", model, images, "all").maps
    torch.testing.assert_close(explain("guided-backprop", network(activation), images, "all").maps, expected)


SHARED = nn.ReLU()


def test_guided_backprop_through_half_huber_is_its_slope_times_the_positive_gradient():
    torch.manual_seed(0)
    first, last, bend = nn.Linear(9, 5), nn.Linear(5, 2), HalfHuberReLU(0.5)
    parts = {"mean": [0.0], "std": [1.0], "classes": ["a", "b"], "input_spec": InputSpec.square(1, 3)}
    model = wrap(nn.Sequential(nn.Flatten(), first, bend, last), task="multilabel", **parts)
    image = torch.rand(1, 1, 3, 3)
    before = first(image.flatten(1)).detach()
    slope = (before / 0.5).clamp(0, 1)  # of a parabola that meets a line of slope 1 at delta
    expected = (slope * last.weight[1].relu()) @ first.weight
    assert ((slope > 0) & (slope < 1)).any()  # the bend itself takes part
    found = explain("guided-backprop", model, image, 1).maps
    torch.testing.assert_close(found, expected.detach().abs().view(1, 3, 3))


def test_guided_backprop_refuses_what_it_cannot_see_into():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(9, 2)

        def forward(self, x):
            return F.relu(self.linear(x.flatten(1)))

    parts = {"mean": [0.0], "std": [1.0], "classes": ["a", "b"], "input_spec": InputSpec.square(1, 3)}
    model = wrap(Functional(), task="multilabel", **parts)
    with pytest.raises(InputError, match=r"nn\.ReLU.*none.*saliency"):
        explain("guided-backprop", model, torch.rand(1, 1, 3, 3), 0)


@pytest.mark.parametrize("name", [name for name, entry in EXPLAINERS.items() if entry.seeded])
def test_a_seed_fixes_what_is_left_to_chance(name, model, images):
    few = FEW[name]
    torch.manual_seed(11)
    state = torch.get_rng_state()
    first = explain(name, model, images, TARGETS, seed=3, **few).maps
    assert torch.equal(torch.get_rng_state(), state)  # the global generator has not moved
    torch.manual_seed(12)
    for batch_size in (None, 1, 7):  # and the memory of the machine does not matter
        again = explain(name, model, images, TARGETS, seed=3, batch_size=batch_size, **few).maps
        torch.testing.assert_close(again, first, rtol=1e-4, atol=1e-5)
    assert torch.equal(explain(name, model, images, TARGETS, seed=3, **few).maps, first)
    assert not torch.allclose(explain(name, model, images, TARGETS, seed=4, **few).maps, first, rtol=1e-2)


@pytest.mark.parametrize("name", HEATMAPS_ON_CONVOLUTIONS)
@pytest.mark.parametrize("targets", [1, "all"])
def test_the_cost_that_is_told_is_what_was_spent(name, model, images, targets):
    spent = {"forward": 0, "backward": 0}

    def note_forward(_module, inputs):
        spent["forward"] += len(inputs[0])
        if inputs[0].requires_grad:
            inputs[0].register_hook(lambda g: spent.__setitem__("backward", spent["backward"] + len(g)))

    handle = model.module[0][0].register_forward_pre_hook(note_forward)
    try:
        found = explain(name, model, images[:1], targets, batch_size=64, **FEW.get(name, {}))
    finally:
        handle.remove()
    assert (found.forward_passes, found.gradient_evaluations) == (spent["forward"], spent["backward"])


@pytest.mark.slow
@pytest.mark.parametrize("name", HEATMAPS_ON_CONVOLUTIONS)
def test_a_small_budget_makes_small_batches(name, model, images, monkeypatch):
    few = FEW.get(name, {})
    many = images.repeat(3, 1, 1, 1)
    expected = explain(name, model, many, 1, **few).maps
    fit = engine.images_that_fit(model, images)
    assert fit > 20
    monkeypatch.setattr(engine, "CPU_BUDGET", int(engine.CPU_BUDGET * 2.5 / 1e4))
    at_once = engine.images_that_fit(model, images)
    assert 1 <= at_once <= 8
    largest = 0

    def note(_module, inputs):
        nonlocal largest
        largest = max(largest, len(inputs[0]))

    handle = model.module[0].register_forward_pre_hook(note)
    try:
        found = explain(name, model, many, 1, **few).maps
    finally:
        handle.remove()
    assert largest <= at_once
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize("name", HEATMAPS_ON_CONVOLUTIONS)
def test_gray_images_of_a_real_network(name, task):
    model = small(task=task, size=33, classes="ab", activation="half-huber")
    gray = torch.rand(1, 1, 33, 33, generator=torch.Generator().manual_seed(2))
    maps = explain(name, model, gray, "all", **FEW.get(name, {})).maps
    assert maps.shape == (1, 2, 33, 33)
    assert maps.isfinite().all()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("smoothgrad", {"samples": 0}, "samples must be at least 1; found 0"),
        ("smoothgrad", {"noise": -0.1}, "noise is a share of the image's range"),
        ("smoothgrad", {"noise": float("nan")}, "noise is a share"),
        ("integrated-gradients", {"steps": 0}, "steps must be at least 1"),
        ("integrated-gradients", {"baseline": 2.0}, r"grey in \[0, 1\]; found 2.0"),
        ("integrated-gradients", {"baseline": "black"}, "or 'mean'; found 'black'"),
        ("integrated-gradients", {"baseline": torch.zeros(5, 5)}, r"baseline must fit images .* found \(5, 5\)"),
        ("saliency", {"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_options_that_cannot_be(model, images, name, options, message):
    with pytest.raises(InputError, match=message):
        explain(name, model, images, TARGETS, **options)
