"""Algorithm 1 of Woods et al. 2019, step by step beside a transcription of its pseudo-code, in its four uses."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers import attack as example
from pellucid.attacks import (
    Epsilon,
    Misclassified,
    RadiusReached,
    Targeted,
    minimal,
    within,
    woods2019,
    worse_than_random,
)
from pellucid.attacks.attack_state import AttackState
from pellucid.attacks.woods2019 import algorithm_1
from pellucid.types import InputError


def pseudo_code(network, image, label, sign, goal, length, steps, momentum, box):
    """One image (1, C, H, W): every δ at which the network is evaluated, and the smallest that met the goal.

    `goal` takes logits (K,) and the root mean square of δ.
    """
    delta, average = torch.zeros_like(image), torch.zeros_like(image)
    visited, best, best_square = [], None, math.inf
    for t in range(steps + 1):
        visited.append(delta)
        moved = (image + delta).requires_grad_(True)
        logits = network(moved)
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits, label), moved)
        square = float((delta**2).mean())
        met = goal(logits.detach()[0], math.sqrt(square))
        if met and square < best_square:
            best, best_square = delta, square
        if t == steps:
            break
        direction = -delta if met else sign * gradient
        direction = direction / (1e-8 + math.sqrt(float((direction**2).mean())))
        if momentum > 0:
            average = momentum * average + (1 - momentum) * direction
            direction = average
        delta = delta + length * (steps - t) / (steps * (steps + 1) / 2) * direction
        if box:
            delta = torch.clamp(image + delta, 0, 1) - image
    return visited, best


def wrong(label):
    return lambda logits, rms: int(logits.argmax()) != label


def no_better_than_random(label):
    return lambda logits, rms: float(logits.softmax(0)[label]) <= 1 / len(logits)


def as_long_as(radius):
    return lambda logits, rms: rms >= radius


USES = {
    # use: (criterion of labels, goal of one label, sign, length, steps, momentum)
    "training, L2": (
        lambda labels: RadiusReached(Misclassified(labels), 0.01),
        lambda label: as_long_as(0.01),
        1,
        (0.01, 7, 0.0),
    ),
    "training, L2 min": (Misclassified, wrong, 1, (0.1, 7, 0.0)),
    "attack ARA": (Misclassified, wrong, 1, (20.0, 450, 0.9)),
    "BTR ARA": (lambda labels: worse_than_random(labels, 4), no_better_than_random, 1, (20.0, 450, 0.9)),
    "explanation": (
        lambda labels: RadiusReached(Targeted(labels), 0.1),
        lambda label: as_long_as(0.1),
        -1,
        (0.5, 35, 0.0),
    ),
}


ROUNDING = 1e-6  # 450 steps on a network with kinks grow what the last bits differ by


class Recorder(AttackState):
    """Notes every perturbation that is looked at."""

    def evaluate(self, perturbation, *arguments, **options):
        self.visited = [*getattr(self, "visited", []), perturbation.clone()]
        return super().evaluate(perturbation, *arguments, **options)


@pytest.fixture(scope="module")
def scene():
    """A network in double precision, where no rounding turns a decision, images, its decisions, other classes."""
    net = example.network(dtype=torch.float64)
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    images = example.pictures(2, dtype=torch.float64)
    ranks = net(images).topk(2).indices
    return net, images, ranks[:, 0], ranks[:, 1]


@pytest.mark.slow
@pytest.mark.parametrize("box", [False, True])
@pytest.mark.parametrize("use", list(USES))
def test_it_visits_what_the_pseudo_code_visits(scene, use, box):
    net, images, predicted, second = scene
    make, goal, sign, (length, steps, momentum) = USES[use]
    labels = second if use == "explanation" else predicted
    search = Recorder(net, images, make(labels), box=box)
    last = algorithm_1(search, length=length, steps=steps, momentum=momentum)
    assert len(search.visited) == steps + 1
    outside = False
    for i, label in enumerate(labels):
        visited, best = pseudo_code(
            net, images[i : i + 1], label[None], sign, goal(int(label)), length, steps, momentum, box
        )
        for ours, theirs in zip(search.visited, visited, strict=True):
            np.testing.assert_allclose(ours[i], theirs[0], rtol=0, atol=ROUNDING)
        np.testing.assert_allclose(last[i], visited[-1][0], rtol=0, atol=ROUNDING)
        assert (best is None) == (not search.radius[i].isfinite())
        if best is not None:
            np.testing.assert_allclose(search.best[i] - images[i], best[0], rtol=0, atol=ROUNDING)
        outside |= bool(((images[i] + visited[-1][0]) < 0).any())
    assert outside != box  # the published code leaves the pixel box


@pytest.mark.slow
@pytest.mark.parametrize("use", ["attack ARA", "BTR ARA"])
def test_the_published_settings_are_the_defaults(scene, use):
    net, images, labels, _ = scene
    images, labels = images[:1], labels[:1]
    make, goal, sign, (length, steps, momentum) = USES[use]
    result = minimal(net, images, make(labels), method="woods2019")
    again = woods2019(net, images, make(labels))
    assert torch.equal(result.perturbed, again.perturbed)
    for i, label in enumerate(labels):
        best = pseudo_code(net, images[i : i + 1], label[None], sign, goal(int(label)), length, steps, momentum, False)[
            1
        ]
        assert bool(result.found[i]) == (best is not None)
        if best is not None:
            np.testing.assert_allclose(result.radius[i], float((best**2).mean().sqrt()), rtol=1e-6)
    assert result.found.any()
    assert result.gradient_evaluations.tolist() == [450]
    assert result.forward_passes.tolist() == [452]  # the first and the last look


@pytest.mark.parametrize("box", [False, True])
def test_a_radius_to_be_reached_ends_there(scene, box):
    net, images, _, second = scene
    target = RadiusReached(Targeted(second), 0.1)
    result = woods2019(net, images, target, length=0.5, steps=35, momentum=0, box=box, batch_size=1)
    assert result.found.all()
    assert result.method == "woods2019"
    assert result.gradient_evaluations.tolist() == [35] * 2
    moved = result.perturbed - images
    torch.testing.assert_close(moved.pow(2).mean((1, 2, 3)).sqrt(), result.radius)
    assert (result.radius - 0.1).abs().max() < 2 * 0.5 * 2 / 36  # within two of its first steps
    assert ((result.perturbed >= 0) & (result.perturbed <= 1)).all() == box
    before, after = (net(x).log_softmax(1).gather(1, second[:, None]) for x in (images, result.perturbed))
    assert (after > before).all()


def test_a_radius_out_of_reach_is_not_reached(scene):
    net, images, labels, _ = scene
    result = woods2019(net, images, RadiusReached(Misclassified(labels), 0.2), length=0.1, steps=7, momentum=0)
    assert not result.found.any()
    assert result.radius.isnan().all()


def test_the_smallest_perturbation_of_a_given_size_is_refused(scene):
    net, images, labels, _ = scene
    goal = RadiusReached(Misclassified(labels), 0.1)
    with pytest.raises(InputError, match=r"lacks aims, margin, multi_start, smooth_margin of .* only Algorithm 1"):
        minimal(net, images, goal)
    with pytest.raises(InputError, match=r"lacks aims, margin, multi_start, smooth_margin of .* only Algorithm 1"):
        within(net, images, goal, Epsilon(rms=0.1))


def test_the_steps_sum_to_the_length():
    """Towards a radius that is never reached, on a plane, every step goes the same way."""
    net = example.Linear(torch.tensor([[0.01] * 64, [0.0] * 64]), torch.zeros(2))
    images = torch.full((1, 1, 8, 8), 0.5)
    search = AttackState(net, images, RadiusReached(Misclassified(torch.tensor([0])), 10.0), box=False)
    run_fixed_budget = partial(algorithm_1, length=3.0, steps=11, momentum=0.0)
    torch.testing.assert_close(run_fixed_budget(search), torch.full_like(images, -3.0), rtol=1e-4, atol=0)
