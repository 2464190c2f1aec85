"""Attacks: the norms against closed forms, the promises of size and pixel box, and no trace on the classifier."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from helpers import attack as example
from helpers.models import small
from pellucid.attacks import BoundedAttack, Epsilon, fgsm, pgd
from pellucid.attacks.epsilon import lengths, project, random_within, scale_to, steepest
from pellucid.attacks.under_attack import answers_under_attack, task_loss
from pellucid.types import InputError
from pellucid.utils.settings import validate

NORMS = ("linf", "l2", "rms")
SIZES = {"linf": 0.03, "l2": 0.7, "rms": 0.02}


def length_of(perturbation, norm):
    """The three norms once more, with numpy and one image at a time."""
    flat = np.asarray(perturbation, dtype=np.float64).reshape(len(perturbation), -1)
    euclidean = np.array([math.sqrt(sum(v * v for v in row)) for row in flat])
    return {
        "linf": np.abs(flat).max(1),
        "l2": euclidean,
        "rms": euclidean / math.sqrt(flat.shape[1]),
    }[norm]


@pytest.fixture
def classifier():
    """A small network in training mode with batch norms that are not the identity and gradients of its own."""
    net = small().train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    return net


@pytest.fixture
def images():
    made = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    made[0] = (made[0] > 0.5).float()  # on the border of the pixel box everywhere
    return made


TARGETS = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 0.0]])


class Linear(nn.Module):
    """One logit w·x + b, so that the best perturbation is known."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x):
        return (x * self.weight).flatten(1).sum(1, keepdim=True) - 1


@pytest.mark.parametrize("values", [{}, {"linf": 0.1, "l2": 1.0}, {"linf": 0.1, "l2": 0.1, "rms": 0.1}])
def test_a_size_names_exactly_one_norm(values):
    with pytest.raises(InputError, match="exactly one norm"):
        validate(Epsilon, values, "size")


@pytest.mark.parametrize("value", [0, -0.1])
@pytest.mark.parametrize("norm", NORMS)
def test_a_size_is_positive(norm, value):
    with pytest.raises(InputError, match=f"{norm}.*greater than 0.*found {value}"):
        validate(Epsilon, {norm: value}, "size")


@pytest.mark.parametrize("norm", NORMS)
def test_norm_and_value_are_those_given(norm):
    size = Epsilon(**{norm: 0.25})
    assert (size.norm, size.value) == (norm, 0.25)
    assert "0.25" in str(size)


@pytest.mark.parametrize("norm", NORMS)
def test_lengths_and_scaling(norm):
    delta = torch.randn(5, 3, 6, 4, generator=torch.Generator().manual_seed(2))
    np.testing.assert_allclose(lengths(delta, norm), length_of(delta, norm), rtol=1e-5)
    scaled = scale_to(delta, 0.3, norm)
    np.testing.assert_allclose(length_of(scaled, norm), 0.3, rtol=1e-5)
    cosine = F.cosine_similarity(scaled.flatten(1), delta.flatten(1))
    torch.testing.assert_close(cosine, torch.ones(5))
    assert (scale_to(torch.zeros(2, 1, 3, 3), 0.3, norm) == 0).all()


def test_rms_is_the_euclidean_length_over_the_root_of_the_number_of_values():
    delta = torch.rand(2, 3, 5, 7)
    torch.testing.assert_close(lengths(delta, "l2"), lengths(delta, "rms") * math.sqrt(3 * 5 * 7))


@pytest.mark.parametrize("norm", NORMS)
def test_projection_is_the_nearest_point_of_the_ball(norm):
    generator = torch.Generator().manual_seed(3)
    delta = torch.randn(6, 1, 3, 3, generator=generator) * torch.tensor([0.01, 0.1, 1, 1, 3, 9]).view(-1, 1, 1, 1)
    size = SIZES[norm]
    found = project(delta, size, norm)
    assert (length_of(found, norm) <= size * (1 + 1e-5)).all()
    for i in range(6):
        flat = delta[i].flatten().double().numpy()
        norm_of = length_of(delta[i : i + 1], norm)[0]
        if norm == "linf":
            expected = np.array([max(-size, min(size, v)) for v in flat])
        else:
            expected = flat if norm_of <= size else flat * size / norm_of
        np.testing.assert_allclose(found[i].flatten(), expected, rtol=1e-5, atol=1e-8)
    for other in random_within(delta, size, norm, generator).split(1):  # no other point of the ball is nearer
        assert ((found - delta).flatten(1).norm(dim=1) <= (other - delta).flatten(1).norm(dim=1) + 1e-6).all()


@pytest.mark.parametrize("norm", NORMS)
def test_no_direction_of_length_one_rises_faster_than_the_steepest(norm):
    generator = torch.Generator().manual_seed(4)
    gradient = torch.randn(3, 1, 4, 4, generator=generator)
    best = (gradient * steepest(gradient, norm)).flatten(1).sum(1)
    np.testing.assert_allclose(length_of(steepest(gradient, norm), norm), 1, rtol=1e-5)
    for _ in range(200):
        other = scale_to(torch.randn(3, 1, 4, 4, generator=generator), 1.0, norm)
        assert ((gradient * other).flatten(1).sum(1) <= best + 1e-5).all()


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(NORMS),
    st.floats(1e-4, 10),
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
    st.integers(0, 2**31),
)
def test_random_starts_lie_in_the_ball(norm, size, shape, seed):
    start = random_within(torch.empty(shape), size, norm, torch.Generator().manual_seed(seed))
    assert start.shape == shape
    assert (length_of(start, norm) <= size * (1 + 1e-5)).all()


@pytest.mark.parametrize("norm", NORMS)
def test_random_starts_fill_the_ball_evenly(norm):
    start = random_within(torch.empty(20000, 1, 1, 2), 1.0, norm, torch.Generator().manual_seed(0))
    share = (length_of(start, norm) <= 0.5).mean()  # a ball of half the radius in two dimensions: a quarter of it
    assert share == pytest.approx(0.25, abs=0.015)
    assert start.mean().abs() < 0.01


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("attack", [fgsm, pgd])
def test_attacks_stay_in_ball_and_pixel_box_and_raise_the_loss(classifier, images, attack, norm, random_start):
    size = Epsilon(**{norm: SIZES[norm]})
    generator = torch.Generator().manual_seed(0)
    found = attack(
        classifier, images, TARGETS, loss=task_loss, eps=size, random_start=random_start, generator=generator
    )
    assert found.shape == images.shape
    assert not found.requires_grad
    assert found.min() >= 0
    assert found.max() <= 1
    assert (length_of(found - images, norm) <= size.value * (1 + 1e-4) + 1e-7).all()
    classifier.eval()
    with torch.no_grad():
        for i in range(len(images)):
            before = task_loss(classifier(images[i : i + 1]), TARGETS[i : i + 1])
            after = task_loss(classifier(found[i : i + 1]), TARGETS[i : i + 1])
            assert after > before


def test_ten_steps_raise_the_loss_more_than_one(classifier, images):
    size = Epsilon(linf=0.05)
    classifier.eval()
    losses = [
        float(task_loss(classifier(found), TARGETS).detach())
        for found in (
            images,
            fgsm(classifier, images, TARGETS, loss=task_loss, eps=size),
            pgd(classifier, images, TARGETS, loss=task_loss, eps=size, random_start=False),
        )
    ]
    assert losses[0] < losses[1] < losses[2]


@pytest.mark.parametrize("steps", [1, 7])
@pytest.mark.parametrize("random_start", [False, True])
def test_on_a_linear_model_linf_is_the_sign_of_the_weights(steps, random_start):
    weight = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    images = torch.rand(3, 1, 8, 8)
    found = pgd(
        Linear(weight),
        images,
        torch.zeros(3, 1),  # the logit should be small, so the attack raises it
        loss=task_loss,
        eps=Epsilon(linf=0.1),
        steps=steps,
        random_start=random_start,
    )
    torch.testing.assert_close(found, (images + 0.1 * weight.sign()).clamp(0, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("norm", "factor"), [("l2", 1.0), ("rms", 8.0)])
def test_on_a_linear_model_l2_goes_along_the_weights(norm, factor):
    weight = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(6))
    images = torch.full((2, 1, 8, 8), 0.5)  # far from the border: nothing is clipped
    labels = torch.tensor([[0.0], [1.0]])
    size = Epsilon(**{norm: 0.2 / factor})
    found = pgd(Linear(weight), images, labels, loss=task_loss, eps=size, steps=5, random_start=False)
    step = 0.2 * weight / weight.norm()
    torch.testing.assert_close(found, images + torch.cat([step, -step]), rtol=0, atol=1e-6)


def test_one_sign_step_by_hand():
    weight = torch.tensor([[[[1.0, -2.0], [0.0, 3.0]]]])
    found = fgsm(
        Linear(weight), torch.full((1, 1, 2, 2), 0.5), torch.zeros(1, 1), loss=task_loss, eps=Epsilon(linf=0.1)
    )
    torch.testing.assert_close(found, torch.tensor([[[[0.6, 0.4], [0.5, 0.6]]]]))


def test_a_step_may_be_shorter_than_the_size():
    images = torch.full((1, 1, 2, 2), 0.5)
    found = pgd(
        Linear(torch.ones(1, 1, 2, 2)),
        images,
        torch.zeros(1, 1),
        loss=task_loss,
        eps=Epsilon(linf=0.1),
        steps=3,
        step_size=0.01,
        random_start=False,
    )
    torch.testing.assert_close(found, images + 0.03)


@pytest.mark.parametrize("attack", [fgsm, pgd])
@pytest.mark.parametrize("raises", [False, True])
def test_no_trace_is_left_on_the_classifier(classifier, images, attack, raises):
    classifier.backbone.stem.weight.requires_grad_(False)  # as somebody fine-tuning the rest has it
    classifier.head.eval()
    before = example.snapshot(classifier)
    kept = images.clone()
    modes = []

    def loss(logits, targets):
        modes.append(classifier.training)
        if raises:
            raise ZeroDivisionError
        return task_loss(logits, targets)

    if raises:
        with pytest.raises(ZeroDivisionError):
            attack(classifier, images, TARGETS, loss=loss, eps=Epsilon(linf=0.01))
    else:
        attack(classifier, images, TARGETS, loss=loss, eps=Epsilon(linf=0.01))
    assert not any(modes)
    example.assert_same(before, example.snapshot(classifier))
    assert torch.equal(images, kept)
    assert not images.requires_grad


def test_attacks_work_where_gradients_are_off(classifier, images):
    with torch.no_grad():
        found = fgsm(classifier, images, TARGETS, loss=task_loss, eps=Epsilon(linf=0.01))
    assert not torch.equal(found, images)


def test_the_same_seed_gives_the_same_perturbation(classifier, images):
    def run(seed):
        generator = torch.Generator().manual_seed(seed)
        return pgd(classifier, images, TARGETS, loss=task_loss, eps=Epsilon(l2=1.0), steps=2, generator=generator)

    assert torch.equal(run(3), run(3))
    assert not torch.equal(run(3), run(4))


def test_the_global_generator_is_used_where_none_is_given(classifier, images):
    def run(seed):
        torch.manual_seed(seed)
        return fgsm(classifier, images, TARGETS, loss=task_loss, eps=Epsilon(linf=0.01), random_start=True)

    assert torch.equal(run(3), run(3))
    assert not torch.equal(run(3), run(4))


def test_unknown_labels_steer_nothing(classifier, images):
    unknown = TARGETS.clone()
    unknown[:, 1] = math.nan
    unknown[2] = math.nan

    def run(targets, loss):
        return pgd(classifier, images, targets, loss=loss, eps=Epsilon(linf=0.02), steps=3, random_start=False)

    def by_hand(logits, targets):  # only the columns and rows that are known
        rows = torch.tensor([0, 1, 3])
        columns = torch.tensor([0, 2])
        kept = logits[rows][:, columns]
        return F.binary_cross_entropy_with_logits(kept, TARGETS[rows][:, columns], reduction="sum")

    found = run(unknown, task_loss)
    torch.testing.assert_close(found, run(TARGETS, by_hand))
    assert torch.equal(found[2], images[2])  # nothing is known of it, so there is nothing to raise
    assert not torch.equal(found[0], images[0])


def test_images_that_are_no_pixels_are_refused(classifier, images):
    with pytest.raises(InputError, match="found values from 0 to 255"):
        fgsm(
            classifier,
            images * 0 + torch.tensor([0.0, 255.0]).repeat(16),
            TARGETS,
            loss=task_loss,
            eps=Epsilon(linf=1),
        )


def test_logits_under_attack_fall_with_the_size_and_repeat_with_the_seed(classifier):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 1, 32, 32), dtype=np.uint8)
    targets = rng.integers(0, 2, (6, 3)).astype(np.float32)

    def run(size, seed=0):
        attack = BoundedAttack(linf=size, method="pgd")
        return answers_under_attack(classifier, pixels, targets, attack, steps=4, seed=seed, batch_size=4).logits

    losses = [float(task_loss(torch.from_numpy(run(size)), torch.from_numpy(targets))) for size in (1e-6, 0.01, 0.05)]
    assert losses[0] < losses[1] < losses[2]
    np.testing.assert_array_equal(run(0.01), run(0.01))
    classifier.eval()
    with torch.no_grad():
        clean = classifier(torch.from_numpy(pixels).float() / 255)
    np.testing.assert_allclose(run(1e-7), clean.numpy(), atol=1e-3)
