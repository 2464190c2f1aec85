"""Attacks of a given size: against closed forms, across scales of the logits, and where gradients are masked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize
from torch import nn

from pellucid.attacks import BoundedAttack, Epsilon, Misclassified, label_flipped, within
from pellucid.attacks.bounded.apgd import apgd
from pellucid.attacks.bounded.fab import fab
from pellucid.attacks.bounded.hyperplane import onto_hyperplane
from pellucid.attacks.bounded.objectives import cross_entropy, likeliest, towards, towards_by_range
from pellucid.attacks.bounded.search import BoundedSearch
from pellucid.attacks.bounded.square import square
from pellucid.models.classifier import frozen
from pellucid.types import InputError

SHORT = {"margin": {}, "autoattack": {"steps": 20, "queries": 10}}


def linear(classes: int) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(12, classes)
    layer.weight.data.normal_(generator=generator)
    layer.bias.data.zero_()
    return nn.Sequential(nn.Flatten(), layer)


def convolutional(classes: int = 5) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 9, classes))


def grey(count: int, *, side: int = 2, seed: int = 1) -> torch.Tensor:
    """Images far from the border of the pixel box."""
    return 0.4 + 0.2 * torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def closed_form(net: nn.Module, images: torch.Tensor, labels: torch.Tensor, norm: str) -> np.ndarray:
    """The distance (N,) to the nearest wrong class of a linear classifier: the margin over the dual norm, in numpy."""
    logits, weight = net(images).detach().double().numpy(), net[1].weight.detach().double().numpy()
    distances = []
    for row, label in zip(logits, labels.tolist(), strict=True):
        others = [k for k in range(len(row)) if k != label]
        dual = {k: np.linalg.norm(weight[label] - weight[k], 1 if norm == "linf" else 2) for k in others}
        distances.append(min((row[label] - row[k]) / dual[k] for k in others))
    return np.array(distances)


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("method", ["margin", "autoattack"])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_of_a_linear_classifier_exactly_what_lies_within_the_size_falls(classes, method, norm):
    net, images = linear(classes), grey(24)
    labels = net(images).argmax(1)
    labels[0] = (labels[0] + 1) % classes  # wrong from the start
    distance = closed_form(net, images, labels, norm)
    size = float(np.median(distance)) * 1.001
    result = within(net, images, Misclassified(labels), Epsilon(**{norm: size}), method=method, **SHORT[method])
    near = np.abs(distance / size - 1) < 0.005
    assert near.sum() < 4
    assert (result.fallen.numpy() == (distance < size))[~near].all()
    assert result.broken_by[0] == "start"
    assert result.gradient_evaluations[0] == 0
    assert result.radius[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("part", ["apgd-ce", "apgd-t", "fab-t"])
def test_each_part_of_autoattack_finds_what_a_linear_classifier_has(part, norm):
    net, images = linear(10), grey(24)
    labels = net(images).argmax(1)
    distance = closed_form(net, images, labels, norm)
    size = float(np.median(distance)) * 1.001
    search = BoundedSearch(net, images, Misclassified(labels), Epsilon(**{norm: size}))
    with frozen(net):
        if part == "apgd-ce":
            apgd(search, search.standing, cross_entropy(search), steps=100, start=search.random_start(search.standing))
        for rank in range(9) if part != "apgd-ce" else ():
            targets, rows = likeliest(search, search.clean, rank), search.standing
            if part == "fab-t":
                fab(search, rows, towards(search, targets), steps=20)
            else:
                apgd(search, rows, towards_by_range(search, targets), steps=20, start=search.random_start(rows))
    falls, missed = distance < size, (distance < 0.95 * size) & ~search.fallen.numpy()
    assert not (search.fallen.numpy() & (distance > 1.005 * size)).any()
    assert falls.sum() > 8
    assert missed.sum() <= (2 if part == "apgd-ce" else 0)  # the nearest class need not be the one cross entropy climbs


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("method", ["margin", "autoattack"])
def test_labels_fall_one_by_one_at_their_thresholds(method, norm):
    net, images = linear(3), grey(24)
    net.task = "multilabel"
    thresholds = torch.tensor([0.5, 0.3, 0.8])
    label = torch.arange(24) % 3
    present = net(images).sigmoid().gather(1, label[:, None]).squeeze(1) >= thresholds[label]
    criterion = label_flipped(label, present, thresholds)
    logit = net(images).detach().gather(1, label[:, None]).squeeze(1).double().numpy()
    gap = np.abs(logit - torch.logit(thresholds.double())[label].numpy())
    dual = np.linalg.norm(net[1].weight.detach().numpy(), 1 if norm == "linf" else 2, axis=1)[label.numpy()]
    distance = gap / dual
    size = float(np.median(distance)) * 1.001
    fallen = within(net, images, criterion, Epsilon(**{norm: size}), method=method, **SHORT[method]).fallen.numpy()
    clear = np.abs(distance / size - 1) > 0.005
    assert (fallen == (distance < size))[clear].all()


class Scaled(nn.Module):
    def __init__(self, net: nn.Module, by: float) -> None:
        super().__init__()
        self.net, self.by = net, by

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images) * self.by


@pytest.mark.parametrize("size", [Epsilon(linf=0.02), Epsilon(l2=0.12)])
def test_the_scale_of_the_logits_changes_nothing(size):
    net, images = convolutional(), torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = net(images).argmax(1)
    results = [
        within(
            Scaled(net, by), images, Misclassified(labels), size, steps=8, targeted_steps=6, last_steps=6, queries=20
        )
        for by in (1.0, 2.0**-10, 2.0**10)
    ]
    assert 0 < int(results[0].fallen.sum()) < 16
    for other in results[1:]:
        assert torch.equal(other.perturbed, results[0].perturbed)
        assert other.broken_by == results[0].broken_by


class Stepped(nn.Module):
    """Is the left half brighter than the right? By their means in whole hundredths: there is no gradient anywhere."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        left, right = images[..., :6].mean((1, 2, 3)), images[..., 6:].mean((1, 2, 3))
        step = ((left - right) * 100).round() + 0 * images.sum((1, 2, 3))
        return torch.stack([step, -step], 1)


@pytest.mark.parametrize("size", [Epsilon(linf=0.1), Epsilon(l2=2.0)])
def test_random_search_breaks_what_gradients_do_not_see_and_is_named(size):
    images = torch.full((12, 3, 12, 12), 0.5)
    images[::2, ..., :6] += 0.03
    images[1::2, ..., 6:] += 0.03
    labels = Stepped()(images).argmax(1)
    result = within(Stepped(), images, Misclassified(labels), size, steps=4, targeted_steps=4, last_steps=4)
    assert result.masked.sum() > 8
    assert set(result.broken_by) <= {"square", ""}
    assert (Stepped()(result.perturbed).argmax(1) != labels).tolist() == result.fallen.tolist()


@given(st.sampled_from(["linf", "l2", "rms"]), st.floats(1e-4, 0.5), st.integers(0, 2**31), st.sampled_from([1, 4, 7]))
@settings(max_examples=6, deadline=None)
def test_perturbations_stay_in_the_ball_and_in_the_pixel_box(norm, length, seed, side):
    generator = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, 4))
    images = torch.rand(6, 3, side, side, generator=generator).round(decimals=1)  # some on the border
    size = Epsilon(**{norm: length})
    for method, options in (
        ("margin", {"steps": 4, "targeted_steps": 2, "last_steps": 2, "queries": 30}),
        ("autoattack", {"steps": 3, "queries": 15}),
    ):
        labels = net(images).argmax(1)
        result = within(net, images, Misclassified(labels), size, method=method, seed=seed, **options)
        delta = (result.perturbed.double() - images.double()).flatten(1).numpy()
        longest = {"linf": np.abs(delta).max(1), "l2": np.linalg.norm(delta, axis=1)}
        longest["rms"] = longest["l2"] / np.sqrt(delta.shape[1])
        assert (longest[norm] <= length * (1 + 1e-5) + 2e-7).all()
        assert result.perturbed.min() >= 0
        assert result.perturbed.max() <= 1
        with torch.no_grad():
            changed = net(result.perturbed).argmax(1) != labels
        assert torch.equal(changed, result.fallen)
        assert torch.equal(net(result.perturbed).detach().argmax(1), result.logits.argmax(1))


def test_what_is_spent_is_what_passes_through_the_network():
    net, images = convolutional(), torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = net(images).argmax(1)
    passed = {"forward": 0, "backward": 0}

    def note(_, inputs, logits):
        passed["forward"] += len(inputs[0])
        if logits.requires_grad:
            logits.register_hook(lambda gradient: passed.update(backward=passed["backward"] + len(gradient)))

    for method, options in (("margin", {"queries": 20}), ("autoattack", {"steps": 6, "queries": 20})):
        passed.update(forward=0, backward=0)
        handle = net.register_forward_hook(note)
        result = within(net, images, Misclassified(labels), Epsilon(linf=0.01), method=method, batch_size=6, **options)
        handle.remove()
        assert int(result.gradient_evaluations.sum()) == passed["backward"] > 0
        assert int(result.forward_passes.sum()) == passed["forward"] - 1  # one image tells what the network returns


@given(st.integers(0, 2**31), st.floats(-1.5, 1.5))
@settings(max_examples=20, deadline=None)
def test_the_projection_onto_a_hyperplane_in_the_box_is_the_shortest(seed, change):
    generator = torch.Generator().manual_seed(seed)
    point = torch.rand(1, 1, 1, 5, generator=generator).round(decimals=1)
    normal = torch.randn(1, 1, 1, 5, generator=generator)
    normal[0, 0, 0, seed % 5] = 0.0
    w, x = normal.flatten().double().numpy(), point.flatten().double().numpy()
    reach = np.abs(w * np.where(w * change > 0, 1 - x, x)).sum()
    target = float(np.clip(change, -0.98 * reach, 0.98 * reach))
    aim = torch.tensor([target])
    ours = {n: onto_hyperplane(point, normal, aim, n).flatten().double().numpy() for n in ("linf", "l2")}
    for z in ours.values():
        assert w @ z == pytest.approx(target, abs=1e-5)
        assert ((x + z >= -1e-6) & (x + z <= 1 + 1e-6)).all()
    # L∞ as a linear program in (z, t): t is the largest change
    rows = np.vstack([np.hstack([np.eye(5), -np.ones((5, 1))]), np.hstack([-np.eye(5), -np.ones((5, 1))])])
    program = linprog(
        [0] * 5 + [1], A_ub=rows, b_ub=np.zeros(10), A_eq=[[*w, 0]], b_eq=[target],
        bounds=[*((-a, 1 - a) for a in x), (0, None)],
    )  # fmt: skip
    assert np.abs(ours["linf"]).max() == pytest.approx(program.x[-1], abs=1e-5)
    squares = minimize(
        lambda z: z @ z, np.zeros(5), jac=lambda z: 2 * z, bounds=[(-a, 1 - a) for a in x],
        constraints={"type": "eq", "fun": lambda z: w @ z - target, "jac": lambda _: w}, options={"ftol": 1e-12},
    )  # fmt: skip
    assert ours["l2"] @ ours["l2"] <= squares.fun + 1e-4


class Partly(nn.Module):
    """Answers NaN on bright images."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = images.mean((1, 2, 3)) > 0.8
        return torch.stack([torch.where(bright, torch.nan, 0.0), images.sum((1, 2, 3))], 1)


@pytest.mark.parametrize("label", [0, 1])
def test_no_answer_is_refused_and_not_taken_for_a_wrong_one(label):
    images = torch.tensor([0.5, 0.9]).view(2, 1, 1, 1).expand(2, 1, 4, 4)
    with pytest.raises(InputError, match="not finite"):
        within(Partly(), images, Misclassified(torch.tensor([1, label])), Epsilon(linf=1e-3))


def test_square_needs_no_gradient_and_counts_queries():
    net, images = linear(4), grey(5)
    labels = net(images).argmax(1)
    search = BoundedSearch(net, images, Misclassified(labels), Epsilon(linf=1e-6))
    with torch.no_grad():
        square(search, search.standing, queries=9)
    assert search.gradient_evaluations.sum() == 0
    assert search.forward_passes.tolist() == [10] * 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("autoatack:linf=0.1", "unknown attack 'autoatack'. Did you mean 'autoattack'"),
        ("pgd:l3=0.1", "l3"),
        ("linf=8/0", "expected a number or a fraction"),
        ("autoattack", "an attack has a size: write autoattack:linf=8/255, or another size"),
        ("pgd:", "write pgd:linf=8/255"),
        ("0.5", "a size is NORM=LENGTH, as linf=8/255 or l2=0.5; found .0\\.5"),
        ("pgd:linf=-1", "greater than 0"),
    ],
)
def test_an_attack_that_is_none_is_refused_in_words(text, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        BoundedAttack.parse(text)


def test_an_attack_is_read_from_text_table_and_size():
    fraction = BoundedAttack.parse("autoattack:linf=8/255")
    assert (fraction.method, fraction.linf) == ("autoattack", 8 / 255)
    assert BoundedAttack.model_validate({"linf": "2/255", "method": "pgd"}).linf == 2 / 255
    assert Epsilon.parse(" linf = 8 / 255 ").linf == 8 / 255
    assert BoundedAttack.model_validate("pgd:l2=0.5") == BoundedAttack(l2=0.5, method="pgd")
    assert BoundedAttack.of(Epsilon(rms=0.01)) == BoundedAttack.parse("margin:rms=0.01")
    assert str(BoundedAttack.of("fgsm:linf=0.5")) == "FGSM L∞ 0.5"
