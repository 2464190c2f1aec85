"""The annotation term: closed forms, brute force, and images without marks, which it leaves alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from helpers.models import small
from pellucid.data.augment import Augmentation, AugmentOptions
from pellucid.training import Objective
from pellucid.training.distributed import BatchRandom, Processes
from pellucid.training.objectives import annotation_step
from pellucid.training.objectives.annotation_term import AnnotationSettings, cam_term, gradient_term, penalty_mask
from pellucid.training.objectives.losses import LabelCounts, label_counts
from pellucid.training.recipe import ObjectiveSettings
from pellucid.types import Batch, InputError, Marks

MANY = torch.tensor([[1.0, 0, math.nan], [0, 1, 1], [1, 0, 0], [1, 1, 0]])
ONE = torch.tensor([2, 0, 1, 1])
IMAGES = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.double)
CLASSES = torch.tensor([[1, 2], [-1, -1], [0, -1], [-1, -1]])  # two classes of one image, one of another


def marks(kind="irrelevant", classes=CLASSES, size=6):
    """Two columns of each image marked in its first slot, two rows in its second."""
    drawn = torch.zeros(len(classes), classes.shape[1], size, size, dtype=torch.double)
    drawn[:, 0, :, :2] = 1
    drawn[:, 1:, 1:3] = 1
    drawn *= (classes >= 0)[:, :, None, None]
    none = torch.zeros_like(drawn)
    return Marks(classes, drawn, none) if kind == "relevant" else Marks(classes, none, drawn)


class Linear(nn.Module):
    """Its input gradient is its weights."""

    def __init__(self, task, size=6):
        super().__init__()
        torch.manual_seed(1)
        self.task, self.classes = task, tuple("abc")
        self.layer = nn.Linear(size * size, 3).double()

    def forward(self, x):
        return self.layer(x.double().flatten(1))


class Curved(Linear):
    """Smooth and curved, without batch norm."""

    def __init__(self, task):
        super().__init__(task)
        self.layer = nn.Sequential(
            nn.Unflatten(1, (1, 6, 6)), nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 3)
        ).double()


def term(net, images, found, **settings):
    images = images.clone().requires_grad_()
    return gradient_term(images, net(images), found, AnnotationSettings(**settings), task=net.task)


def number(*arguments, **settings):
    return float(term(*arguments, **settings).detach())


PLACES = ((0, 0), (0, 1), (2, 0))  # image and slot of what is marked
FACTOR = {"share": 1, "relative": 3}  # a third of each image is marked


@pytest.mark.parametrize("measure", ["relative", "share", "absolute"])
@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_on_a_linear_network_it_is_the_weights_at_the_marks(task, measure):
    net = Linear(task)
    expected = 0.0
    weights = net.layer.weight.detach().view(3, 6, 6)
    probabilities = net(IMAGES).softmax(1).detach()
    for image, slot, c in ((0, 0, 1), (0, 1, 2), (2, 0, 0)):
        slope = weights[c]
        if task == "multiclass":  # of the log-probability
            slope = slope - torch.einsum("k,khw->hw", probabilities[image], weights)
        inside = slope[:, :2] if slot == 0 else slope[1:3]
        amount = float(inside.square().sum())
        expected += amount if measure == "absolute" else FACTOR[measure] * amount / float(slope.square().sum())
    assert number(net, IMAGES, marks(), measure=measure) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("measure", ["relative", "share", "absolute"])
@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_its_parameter_gradient_is_exact(task, measure):
    """By central differences of a value that is itself taken from whole Jacobians, not by the code under test."""
    net = Curved(task)
    found = marks()

    def brute():
        def output(x):
            return net(x[None])[0] if task == "multilabel" else net(x[None])[0].log_softmax(0)

        jacobians = torch.func.vmap(torch.func.jacrev(output))(IMAGES)[:, :, 0].detach()
        value = 0.0
        for image, slot, c in ((0, 0, 1), (0, 1, 2), (2, 0, 0)):
            squares = jacobians[image, c].square()
            amount = float((squares * found.irrelevant[image, slot]).sum())
            value += amount if measure == "absolute" else FACTOR[measure] * amount / float(squares.sum())
        return value

    value = term(net, IMAGES, found, measure=measure)
    assert float(value.detach()) == pytest.approx(brute(), rel=1e-6)
    # float32 inside, so the differences are of float64 networks and the tolerance is that of float32
    gradients = torch.autograd.grad(value, list(net.parameters()), allow_unused=True)
    step, checked = 1e-5, 0
    for parameter, gradient in zip(net.parameters(), gradients, strict=True):
        flat = parameter.data.view(-1)
        for i in range(0, len(flat), 7):
            at = float(flat[i])
            flat[i] = at + step
            above = brute()
            flat[i] = at - step
            below = brute()
            flat[i] = at
            slope = 0.0 if gradient is None else float(gradient.view(-1)[i])
            assert slope == pytest.approx((above - below) / (2 * step), rel=1e-3, abs=1e-5)
            checked += abs(slope) > 1e-4
    assert checked > 10


@pytest.mark.parametrize("measure", ["relative", "share"])
def test_everything_irrelevant_is_one_and_nothing_irrelevant_is_none(measure):
    net = Curved("multilabel")
    for irrelevant, relevant, expected in ((1, 0, 1), (0, 0, 0), (0, 1, 0)):
        planes = [torch.full((4, 2, 6, 6), float(v)) * (CLASSES >= 0)[:, :, None, None] for v in (relevant, irrelevant)]
        found = number(net, IMAGES, Marks(CLASSES, *planes), measure=measure)
        assert found == pytest.approx(3 * expected, abs=1e-6)  # of three marked classes


def test_outside_of_relevant_regions_counts_as_said():
    net = Linear("multilabel")
    shares = [number(net, IMAGES[[i]], Marks(*(m[[i]][:, [t]] for m in marks())), measure="share") for i, t in PLACES]
    for outside in (1.0, 0.25, 0.0):
        found = number(net, IMAGES, marks("relevant"), outside=outside, measure="share")
        assert found == pytest.approx(outside * (3 - sum(shares)), rel=1e-6)
        found = number(net, IMAGES, marks("relevant"), outside=outside, measure="relative")
        assert found == pytest.approx(-outside * sum(math.log(share) for share in shares), rel=0.01)
    drawn = marks().irrelevant
    wrong = penalty_mask(Marks(CLASSES, drawn, drawn.flip(2)), 0.5)
    assert set(wrong[0, 1].unique().tolist()) == {0.0, 0.5, 1.0}
    assert torch.equal(
        wrong[0, 1] == 1, drawn.flip(2)[0, 1] == 1
    )  # what is irrelevant stays so, whatever else is drawn
    assert float(wrong[1].abs().max()) == 0


@pytest.mark.parametrize("measure", ["relative", "share"])
def test_it_knows_neither_the_image_size_nor_the_length_of_the_gradient(measure):
    net, large = Linear("multilabel"), Linear("multilabel", 12)
    big = IMAGES.repeat_interleave(2, 2).repeat_interleave(2, 3)
    doubled = Marks(CLASSES, *(m.repeat_interleave(2, 2).repeat_interleave(2, 3) for m in marks()[1:]))
    with torch.no_grad():
        weights = net.layer.weight.view(3, 6, 6).repeat_interleave(2, 1).repeat_interleave(2, 2)
        large.layer.weight.copy_(3 * weights.flatten(1))
    found = [number(n, x, m, measure=measure) for n, x, m in ((large, big, doubled), (net, IMAGES, marks()))]
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    absolute = [number(n, x, m, measure="absolute") for n, x, m in ((large, big, doubled), (net, IMAGES, marks()))]
    assert absolute[0] == pytest.approx(36 * absolute[1], rel=1e-6)


def test_a_gradient_that_is_zero_everywhere_has_no_share_and_no_nan():
    net = Linear("multilabel")
    with torch.no_grad():
        net.layer.weight.zero_()
    value = term(net, IMAGES, marks())
    assert float(value.detach()) == 0
    (slope,) = torch.autograd.grad(value, net.layer.weight)
    assert bool(slope.isfinite().all())


def test_the_heat_of_a_map_at_wrong_places_by_hand():
    feature_map = torch.tensor([[[[1.0, 2], [3, 4]], [[1, 0], [0, 5]]]])  # (1, 2, 2, 2)
    head = nn.Linear(2, 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 2.0]]))
    # class 0: 0 2 / 3 −1, whose last is spoken against; class 1: 2 0 / 0 10
    irrelevant = torch.zeros(1, 2, 4, 4)
    irrelevant[0, :, :2] = 1  # the upper half of an image twice as large
    irrelevant[0, :, 2:, :1] = 1  # and half of the cell below on the left
    found = Marks(torch.tensor([[0, 1]]), torch.zeros_like(irrelevant), irrelevant)
    upper, lower = 3.5, 2  # of 5 and 12; the marks cover 2.5 of 4 cells
    for measure, expected in (
        ("share", upper / 5 + lower / 12),
        ("relative", 4 / 2.5 * (upper / 5 + lower / 12)),
        ("absolute", (upper + lower) / 4),
    ):
        value = cam_term(feature_map, head, found, AnnotationSettings(explanation="cam", measure=measure))
        assert float(value.detach()) == pytest.approx(expected)


def whole(task, explanation, **values):
    net = small(1, task=task).train()
    targets = MANY if task == "multilabel" else ONE
    settings = {"annotations": {"explanation": explanation}} if explanation else {}
    return Objective(net, ObjectiveSettings.model_validate(settings | values), targets)


PIXELS = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(3))
WAYS = ["gradient", "cam", "adversarial"]
OVER = {
    "plain": {},
    "mix": {"mix": 0.5},
    "min-max": {"mix": 0.0},
    "trades": {"form": "trades"},
    "penalty": {"gradient_penalty": {"method": "exact", "weight": 1.0}},
    "difference": {"mix": 0.5, "gradient_penalty": {"weight": 1.0}},
}


@pytest.mark.slow
@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("way", WAYS)
def test_without_marks_every_objective_is_the_same_to_the_bit(way, over, task):
    found = []
    for explanation in (way, None):
        one = whole(task, explanation, **OVER[over])
        torch.manual_seed(5)
        total, parts = one(Batch(PIXELS, MANY if task == "multilabel" else ONE, torch.arange(4)), random=BatchRandom(2))
        total.backward()
        found.append((total.detach(), {n: p.grad for n, p in one.named_parameters()}))
        assert ("annotation_term" in parts) == (explanation is not None)
        assert float(parts.get("annotation_term", 0)) == 0
    assert torch.equal(found[0][0], found[1][0])
    for name, gradient in found[0][1].items():
        assert torch.equal(gradient, found[1][1][name]), name


@pytest.mark.slow
@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("way", WAYS)
def test_on_top_of_any_objective_it_is_added_with_its_weight(way, over, task):
    targets = MANY if task == "multilabel" else ONE
    batch = Batch(PIXELS, targets, torch.arange(4), marks(size=32)._replace(classes=CLASSES))
    batch = batch._replace(marks=Marks(CLASSES, *(m.float() for m in batch.marks[1:])))
    found = []
    for weight in (0.0, 2.5):
        one = whole(task, None, **OVER[over], annotations={"explanation": way, "weight": weight})
        torch.manual_seed(5)
        total, parts = one(batch, random=BatchRandom(2))
        total.backward()
        assert all(bool(p.grad.isfinite().all()) for p in one.parameters())
        found.append((float(total.detach()), float(parts["annotation_term"])))
    assert found[0][1] == found[1][1] > 0
    assert found[1][0] == pytest.approx(found[0][0] + 2.5 * found[0][1], rel=1e-5)


def test_an_image_that_is_not_marked_gets_no_gradient_from_the_term():
    net = Curved("multilabel")
    images = IMAGES.clone().requires_grad_()
    value = gradient_term(images, net(images), marks(), AnnotationSettings(), task="multilabel")
    (slope,) = torch.autograd.grad(value, images)
    assert slope.flatten(1).abs().amax(1).gt(0).tolist() == [True, False, True, False]


@pytest.mark.parametrize("way", WAYS)
def test_two_processes_have_the_mean_of_the_joint_batch(way):
    targets = MANY.nan_to_num(0.0)  # as many known labels in each half
    found = Marks(CLASSES, *(m.float() for m in marks(size=32)[1:]))
    settings = {
        "annotations": {"explanation": way, "attack": {"method": "pgd", "size": {"linf": 0.01}, "random_start": False}}
    }
    one = whole("multilabel", None, **settings).eval()  # running statistics: no image depends on another
    _, joint = one(Batch(PIXELS, targets, torch.arange(4), found), random=BatchRandom(1))
    for order in ([0, 1, 2, 3], [0, 2, 1, 3]):  # marks in both processes, and in one alone
        values = []
        for rank in range(2):
            rows = torch.tensor(order)[2 * rank : 2 * rank + 2]
            part = Batch(PIXELS[rows], targets[rows], rows, Marks(*(m[rows] for m in found)))
            if not bool((part.marks.classes >= 0).any()):
                part = part._replace(marks=None)
            counts = LabelCounts(*(c / 2 for c in label_counts(targets)))
            one.processes = Processes(rank, 2, lambda v: torch.full_like(v, 1.5))  # three marks over two
            _, parts = one(part, counts, BatchRandom(1, one.processes))
            values.append(float(parts["annotation_term"]))
        assert sum(values) / 2 == pytest.approx(float(joint["annotation_term"]), rel=1e-4)


def test_the_further_image_is_the_explanation_at_wrong_places_alone(monkeypatch):
    asked, fed = [], []

    def fake(classifier, images, targets, settings, **_):
        asked.append(targets)
        return images + 0.1

    monkeypatch.setattr(annotation_step, "perturb", fake)
    one = whole("multilabel", "adversarial").eval()
    found = Marks(CLASSES, *(m.float() for m in marks(size=32)[1:]))
    one.classifier.register_forward_hook(lambda _, given, out: fed.append((given[0].detach(), out.detach())))
    _, parts = one(Batch(PIXELS, MANY, torch.arange(4), found), random=BatchRandom(1))
    unknown = math.nan  # the marked label alone is moved against, in the marked images alone
    expected = [[[unknown, 0, unknown], [1, unknown, unknown]], [[unknown] * 3]]
    for targets, known in zip(asked, expected, strict=True):
        np.testing.assert_array_equal(targets, known)
    moved = torch.stack([x - PIXELS for x, _ in fed[1:]], 1)[:, :, 0]
    torch.testing.assert_close(moved, 0.1 * found.irrelevant)
    known = ~MANY.isnan()
    expected = 0.0
    for image, slot in ((0, 0), (0, 1), (2, 0)):
        logits = fed[1 + slot][1][image]
        losses = nn.functional.binary_cross_entropy_with_logits(logits, MANY[image].nan_to_num(0), reduction="none")
        expected += 4 * float((losses * known[image]).sum()) / float(known.sum())  # as one image of a batch of four
    assert float(parts["annotation_term"]) == pytest.approx(expected / 3, rel=1e-5)


def test_under_bfloat16_it_is_nearly_the_same():
    found = Marks(CLASSES, *(m.float() for m in marks(size=32)[1:]))
    values = []
    for half in (False, True):
        one = whole("multilabel", "gradient")
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            total, parts = one(Batch(PIXELS, MANY, torch.arange(4), found), random=BatchRandom(1))
        total.backward()
        assert parts["annotation_term"].dtype == torch.float32
        values.append(float(parts["annotation_term"]))
    assert values[0] != values[1] == pytest.approx(values[0], rel=0.1)


def test_marks_move_with_their_images_and_these_are_the_same_to_the_bit():
    options = AugmentOptions(
        pad=2, flip=0.5, rotation=20, translation=0.1, scale=0.1, crop=0.2, brightness=0.1, contrast=0.1
    )
    images = torch.zeros(6, 1, 32, 32)
    images[:, :, 8:20, 6:16] = 1
    regions = torch.cat([images, 1 - images], 1)
    torch.manual_seed(0)
    alone = Augmentation(options)(images)
    torch.manual_seed(0)
    moved, along = Augmentation(options).with_regions(images, regions)
    assert torch.equal(alone, moved)
    bright, marked = moved[:, 0] > 0.5, along[:, 0] > 0.5
    assert float((bright == marked).float().mean()) > 0.97  # contrast and brightness move the edge a little
    assert float((along[:, 0] != regions[:, 0]).float().mean()) > 0.1
    assert float((along.sum(1) - 1).clamp_min(0).max()) < 1e-5  # nothing is both
    assert 0 <= float(along.min()) <= float(along.max()) <= 1


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match="class activation maps"):
        Objective(Linear("multilabel"), ObjectiveSettings(annotations=AnnotationSettings(explanation="cam")), MANY)
    with pytest.raises(ValueError, match="measure belongs to"):
        AnnotationSettings(explanation="adversarial", measure="share")
    assert np.isfinite(AnnotationSettings().weight)
