"""The default attack: what it finds where the answer is known, and what it spends."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from helpers import attack as example
from pellucid.attacks import (
    Misclassified,
    label_flipped,
    minimal,
    worse_than_constant,
    worse_than_random,
)
from pellucid.types import InputError

tight = sys.modules["pellucid.attacks.tight.descent"]
CUT = 1e-2  # where the box cuts perturbations off
BOTH = pytest.mark.parametrize(
    "wanted", [Misclassified, lambda labels: worse_than_random(labels, 2)], ids=["decision", "far"]
)


def linear(seed, *, edge, count=8):
    """A network of two classes, images of 8 × 8, their labels, the normal of the boundary and the margins.

    With `edge` many pixels are black or white, so that the box is in the way.
    """
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(2, 64, generator=generator, dtype=torch.float64)
    images = torch.rand(count, 1, 8, 8, generator=generator, dtype=torch.float64)
    if edge:
        images = (2 * images - 0.5).clamp(0, 1)
    net = example.Linear(weight, torch.tensor([0.2, -0.1], dtype=torch.float64))
    with torch.no_grad():
        logits = net(images)
    labels = logits.argmax(1)
    margin = logits.gather(1, labels[:, None])[:, 0] - logits.gather(1, 1 - labels[:, None])[:, 0]
    return net, images, labels, weight[labels] - weight[1 - labels], margin


def nearest_in_box(images, normal, margin):
    """L2 distance to {margin + normal·δ ≤ 0} within [0, 1]: δ = clip(x − λ normal) − x, λ by bisection."""
    flat = images.flatten(1)
    low, high = torch.zeros(len(flat), 1, dtype=flat.dtype), torch.full((len(flat), 1), 1e3, dtype=flat.dtype)
    for _ in range(100):
        middle = (low + high) / 2
        moved = (flat - middle * normal).clamp(0, 1) - flat
        beyond = (margin + (moved * normal).sum(1) <= 0)[:, None]
        low, high = torch.where(beyond, low, middle), torch.where(beyond, middle, high)
    moved = (flat - high * normal).clamp(0, 1) - flat
    assert (margin + (moved * normal).sum(1)).abs().max() < 1e-6  # there is one, and this is it
    return moved.norm(dim=1)


@BOTH
def test_a_plane_is_reached_to_a_thousandth_and_the_search_then_ends(wanted):
    net, images, labels, normal, margin = linear(0, edge=False)
    result = minimal(net, images, wanted(labels), box=False)
    expected = margin / normal.norm(dim=1) / 8
    assert result.found.all()
    assert (result.radius >= expected * (1 - 1e-9)).all()
    torch.testing.assert_close(result.radius, expected, rtol=1e-3, atol=0)
    assert (result.gradient_evaluations < (43 if wanted is Misclassified else 60)).all()


@BOTH
@pytest.mark.parametrize("seed", range(3))
def test_a_plane_is_reached_within_the_pixel_box(wanted, seed):
    net, images, labels, normal, margin = linear(seed, edge=True)
    expected = nearest_in_box(images, normal, margin) / 8
    assert (expected > 1.01 * margin / normal.norm(dim=1) / 8).any()  # the box is in the way
    result = minimal(net, images, wanted(labels))
    assert result.found.all()
    assert (result.radius >= expected * (1 - 1e-9)).all()
    torch.testing.assert_close(result.radius, expected, rtol=CUT, atol=0)
    assert result.radius.mean() <= 1.001 * expected.mean()


@pytest.mark.parametrize("box", [True, False])
def test_a_single_label_s_plane_is_reached(box):
    net, images, *_ = linear(1, edge=True)
    single = example.Linear(net.weight.detach()[:1], net.bias.detach()[:1], "multilabel")
    with torch.no_grad():
        logits = single(images)[:, 0]
    first = torch.zeros(len(images), dtype=torch.int64)
    result = minimal(single, images, label_flipped(first, logits >= 0, [0.5]), box=box)
    normal = torch.where(logits >= 0, 1.0, -1.0)[:, None] * single.weight.detach()
    expected = nearest_in_box(images, normal, logits.abs()) if box else logits.abs() / normal.norm(dim=1)
    assert result.found.all()
    torch.testing.assert_close(result.radius, expected / 8, rtol=CUT if box else 1e-3, atol=0)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_an_image_on_the_boundary_itself_is_found(task):
    """A tie is decided for the first class, and a label at its threshold is present: neither is met at the start."""
    weight = torch.stack([torch.zeros(64), torch.randn(64, generator=torch.Generator().manual_seed(3))])
    images = torch.full((1, 1, 8, 8), 0.5)
    net = example.Linear(weight, torch.stack([torch.tensor(0.0), -weight[1].sum() / 2]), task)
    with torch.no_grad():
        net.bias[1] -= net(images)[0, 1]
        assert net(images).tolist() == [[0.0, 0.0]]
    one = torch.tensor([1])
    criterion = Misclassified(1 - one) if task == "multiclass" else label_flipped(one, one > 0, [0.5, 0.5])
    result = minimal(net, images, criterion)
    assert result.found.all()
    assert 0 < float(result.radius) < 1e-4


class Shell(nn.Module):
    """Flat within a ball around the middle, where the first class is ahead by 1; rises in all directions beyond."""

    task = "multiclass"

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, images):
        other = (2 * ((images - 0.5).flatten(1).norm(dim=1) - self.inner)).relu()
        return torch.stack([torch.ones_like(other), other], 1)


@BOTH
@pytest.mark.parametrize("inner", [0.3, 1.0])
def test_a_flat_neighbourhood_is_left_in_a_random_direction(inner, wanted):
    """The gradient is zero at the image; whatever the direction, the boundary is at the same distance."""
    images = torch.full((4, 3, 8, 8), 0.5)
    result = minimal(Shell(inner), images, wanted(torch.zeros(4, dtype=torch.int64)), seed=5)
    assert result.found.all()
    torch.testing.assert_close(result.radius * 192**0.5, torch.full((4,), inner + 0.5).double(), rtol=1e-2, atol=0)


class Ledge(nn.Module):
    """The probability of the first class falls steeply, then hardly at all, and to a half only after `multi_start`."""

    task = "multiclass"

    def __init__(self, far):
        super().__init__()
        self.multi_start = far

    def forward(self, images):
        along = 64 * (images - 0.5).flatten(1).mean(1)
        other = 0.5 * (500 * along).tanh() + 0.001 * along + 5 * (along - self.multi_start).relu()
        return torch.stack([torch.ones_like(other), other], 1)


def test_what_no_start_reaches_is_rescued():
    images = torch.full((3, 1, 8, 8), 0.5)
    criterion = worse_than_random(torch.zeros(3, dtype=torch.int64), 2)
    near, far = (minimal(Ledge(distance), images, criterion) for distance in (0.02, 1.0))
    assert near.found.all()
    assert (near.gradient_evaluations <= 60).all()
    assert far.found.all()
    assert (far.gradient_evaluations > 60).all()
    torch.testing.assert_close(far.radius * 8, torch.full((3,), 1.1 / 8).double(), rtol=0.02, atol=0)


class Bright(nn.Module):
    """Flat wherever an image is not nearly white: no gradient and no noise leads to the second class."""

    task = "multiclass"

    def forward(self, images):
        other = (20 * (images.flatten(1).mean(1) - 0.9)).relu()
        return torch.stack([torch.ones_like(other), other], 1)


@pytest.mark.parametrize("norm", ["rms", "linf"])
def test_what_only_another_picture_meets_is_found_and_refined(norm):
    """Of all changes of the mean from 0.5 to 0.95 the same one everywhere is the smallest, in both norms."""
    images = torch.full((2, 1, 8, 8), 0.5)
    result = minimal(Bright(), images, Misclassified(torch.zeros(2, dtype=torch.int64)), norm=norm)
    assert result.found.all()
    torch.testing.assert_close(result.radius, torch.full((2,), 0.45).double(), rtol=1e-2, atol=0)


class Dead(nn.Module):
    """A hidden layer that is dead at the images and wakes far from them: no gradient, as in some certified networks."""

    task = "multiclass"

    def __init__(self, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first, self.last = (torch.randn(*shape, generator=generator) for shape in ((6, 64), (4, 6)))
        self.bias = torch.randn(4, generator=generator)

    def forward(self, images):
        hidden = (((images - 0.5).flatten(1) @ self.first.T) / 8 - 0.8).relu()
        return self.bias + 4 * hidden @ self.last.T


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_stays_unfound_that_another_method_finds_where_gradients_vanish(seed):
    net, images = Dead(seed), example.pictures(8, channels=1, seed=seed)
    images = 0.5 + 0.8 * (images - 0.5)
    with torch.no_grad():
        criterion = Misclassified(net(images).argmax(1))
    others = [minimal(net, images, criterion, method="ddn", seed=draw).found for draw in range(3)]
    assert torch.stack(others).any()
    result = minimal(net, images, criterion)
    assert not (torch.stack(others).any(0) & ~result.found).any()


def test_in_the_largest_change_a_plane_is_reached():
    """|margin| / ‖normal‖₁, and within the box the root of what each change can do, which rises piecewise linearly."""
    for edge in (False, True):
        net, images, labels, normal, margin = linear(2, edge=edge)
        result = minimal(net, images, Misclassified(labels), norm="linf", box=edge)
        if edge:
            low, high = (
                torch.zeros(len(images), 1, dtype=torch.float64),
                torch.ones(len(images), 1, dtype=torch.float64),
            )
            for _ in range(60):
                middle = (low + high) / 2
                moved = (images.flatten(1) - middle * normal.sign()).clamp(0, 1) - images.flatten(1)
                beyond = (margin + (moved * normal).sum(1) <= 0)[:, None]
                low, high = torch.where(beyond, low, middle), torch.where(beyond, middle, high)
            expected = high[:, 0]
        else:
            expected = margin / normal.abs().sum(1)
        assert result.found.all()
        assert (result.radius >= expected * (1 - 1e-9)).all()
        torch.testing.assert_close(result.radius, expected, rtol=CUT if edge else 1e-3, atol=0)
        assert result.norm == "linf"
        torch.testing.assert_close(result.radius, result.perturbation.abs().flatten(1).amax(1))


def test_an_effort_or_a_norm_that_a_method_does_not_know_is_refused():
    net, images, labels, *_ = linear(0, edge=False)
    for options, message in (
        ({"effort": 3}, "effort must be 1, 2 or 4; found 3"),
        ({"method": "fmn", "effort": 2}, "fmn has one budget only"),
        ({"method": "ddn", "norm": "linf"}, "linf is known to tight and fmn"),
    ):
        with pytest.raises(InputError, match=message):
            minimal(net, images, Misclassified(labels), **options)


CRITERIA = {  # with the budgets of efforts 1, 2 and 4; towards three classes where a probability falls
    "decision": ("multiclass", lambda f: Misclassified(f.argmax(1)), (43, 65, 129)),
    "label": ("multilabel", lambda f: label_flipped(f.argmax(1), f.amax(1) > 0, [0.5] * 4), (43, 65, 129)),
    "far": ("multiclass", lambda f: worse_than_random(f.argmax(1), 4), (60, 109, 196)),
    "far, constant": (
        "multiclass",
        lambda f: worse_than_constant(f.argmax(1), [0.25] * 4, task="multiclass"),
        (60, 109, 196),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Softplus])
@pytest.mark.parametrize("case", list(CRITERIA))
def test_the_budget_holds_and_only_what_has_converged_leaves_the_batch(case, activation, monkeypatch):
    task, make, (budget, *_) = CRITERIA[case]
    net = example.network(task=task, activation=activation, dtype=torch.float64)
    images = example.pictures(12, dtype=torch.float64)
    with torch.no_grad():
        criterion = make(net(images))
    result = minimal(net, images, criterion)
    monkeypatch.setattr(tight, "LINEAR", -1.0)
    patient = minimal(net, images, criterion)
    attacked = ~result.met_at_start
    assert attacked.any()
    assert result.found.all()
    assert (patient.gradient_evaluations[attacked] == budget).all()
    assert (result.gradient_evaluations <= budget).all()
    assert (result.forward_passes <= 2 * result.gradient_evaluations.clamp_min(1)).all()
    if case == "decision":  # where some converge; short starts and cut perturbations end before that
        assert result.gradient_evaluations.sum() < patient.gradient_evaluations.sum()
    assert (result.radius <= patient.radius * (1 + 1e-3)).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "norm"), [("decision", "rms"), ("decision", "linf"), ("far", "rms"), ("far", "linf"), ("label", "linf")]
)
def test_more_effort_keeps_to_its_budget_and_finds_smaller_perturbations(case, norm):
    task, make, budgets = CRITERIA[case]
    net, images = example.network(task=task), example.pictures(4)
    with torch.no_grad():
        criterion = make(net(images))
    results = [minimal(net, images, criterion, norm=norm, effort=effort) for effort in (1, 2, 4)]
    for result, budget in zip(results, budgets, strict=True):
        assert result.found.all()
        assert (result.gradient_evaluations <= budget).all()
    first, second, fourth = (float(result.radius.mean()) for result in results)
    assert fourth <= second * 1.002
    assert second <= first * 1.002
