"""Attacks on explanations: closed forms on linear networks, and every claim recomputed from the perturbed images."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from helpers.attack import assert_same, snapshot
from helpers.manipulation import convolutional, gray_images, linear
from pellucid.evaluation.manipulation import explanation_attack as manipulation_climb
from pellucid.evaluation.manipulation.attack import manipulate
from pellucid.evaluation.manipulation.settings import Attack
from pellucid.evaluation.manipulation.summary import manipulation_rows, manipulation_summary, mean_over_budgets
from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.explainers import explain

LIME = {"samples": 12, "segments": 6}
WAYS = [
    ("cam", {}),
    ("grad-cam", {}),
    ("saliency", {}),
    ("integrated-gradients", {"steps": 4}),
    ("lime", LIME),
]
BUDGETS = (0.02, 0.1)


def sharp(size=8, seed=0):
    """A linear classifier, images inside the box that it calls a, and their distances from its boundary (RMS)."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(size * size, generator=generator)
    images = 0.4 + 0.2 * torch.rand(4, 1, size, size, generator=generator)
    margin = images.flatten(1) @ weight
    bias = 0.5 - float(margin.min())  # the nearest image lies half a logit inside class a
    distance = (margin + bias) / weight.norm() / math.sqrt(weight.numel())
    return linear(weight, bias, size=size), images, distance


def test_the_saliency_of_a_linear_network_cannot_be_changed():
    net, images, _ = sharp()
    found = manipulate(net, images, Attack("saliency", "same-decision", (0.01, 0.1), steps=4))
    assert found.constraint_met.all()
    assert not found.found.any()
    assert torch.equal(found.perturbed, images.expand_as(found.perturbed))  # nothing that is nothing is handed out
    for values in (*found.similarity.values(), *found.noise.values()):
        assert values.numpy() == pytest.approx(np.ones((2, 4)))
    summary = manipulation_summary(found, Bootstrap(range(4)))
    assert summary["areas"]["rank_correlation"]["value"] == pytest.approx(1)
    assert summary["areas"]["invalidated"]["value"] == 0
    assert {row["reason"] for row in manipulation_rows(found, list("abcd"))} == {
        "the map could not be changed far enough"
    }


def test_the_decision_of_a_linear_network_changes_at_its_distance_and_its_saliency_stays():
    net, images, distance = sharp()
    for row in range(4):
        at = float(distance[row])
        found = manipulate(net, images[row : row + 1], Attack("saliency", "same-map", (0.98 * at, 1.05 * at), steps=8))
        assert found.constraint_met[:, 0].tolist() == [False, True]
        assert found.found[:, 0].tolist() == [False, True]
        assert found.similarity["rank_correlation"][1].item() == pytest.approx(1)
        assert found.similarity["rank_correlation"][0].isnan()
        assert torch.equal(found.perturbed[0], images[row : row + 1])  # a failure is no perturbation
        assert 0.98 * at < float(found.rms[1]) <= 1.05 * at


@pytest.mark.slow
@pytest.mark.parametrize("goal", ["same-map", "same-decision"])
@pytest.mark.parametrize(("method", "options"), WAYS)
def test_every_claim_holds_when_recomputed(method, options, goal):
    task = "multiclass" if method in ("saliency", "grad-cam") else "multilabel"
    net, images, tolerance = convolutional(task), gray_images(), 0.04
    thresholds = None if task == "multiclass" else [0.4, 0.5, 0.6]
    targets = None if task == "multiclass" else torch.tensor([0, 1, 2])
    before_all = snapshot(net)
    attack = Attack(method, goal, BUDGETS, steps=3 if options else 5, tolerance=tolerance, keep=0.7, options=options)
    found = manipulate(net, images, attack, targets=targets, thresholds=thresholds)
    assert_same(before_all, snapshot(net))
    assert found.perturbed.shape == (2, 3, 1, 32, 32)
    assert float(found.perturbed.min()) >= 0
    assert float(found.perturbed.max()) <= 1
    logits = net(images).detach().double()
    targets = logits.argmax(1) if targets is None else targets
    some = False
    for b, budget in enumerate(BUDGETS):
        for i in range(3):
            moved, target = found.perturbed[b, i : i + 1], int(targets[i])
            size = float((moved - images[i]).double().square().mean().sqrt())
            assert size <= budget
            assert size == pytest.approx(float(found.rms[b, i]), abs=1e-9)
            now = net(moved).detach().double()[0]
            if task == "multiclass":
                changed = int(now.argmax()) != int(logits[i].argmax())
                probabilities = logits[i].softmax(0)[target], now.softmax(0)[target]
            else:
                probabilities = logits[i].sigmoid()[target], now.sigmoid()[target]
                changed = len({float(c) >= thresholds[target] for c in probabilities}) == 2
            assert float(found.probability[b, i]) == pytest.approx(float(probabilities[1]), abs=1e-6)
            near = abs(float(probabilities[1] - probabilities[0])) <= tolerance
            assert bool(found.constraint_met[b, i]) == (changed if goal == "same-map" else not changed and near)
            if not found.constraint_met[b, i]:
                assert size == 0
                continue
            maps = [explain(method, net, x, target, **options).maps[0].numpy() for x in (images[i : i + 1], moved)]
            expected = stats.spearmanr(maps[0].ravel(), maps[1].ravel()).statistic
            alike = float(found.similarity["rank_correlation"][b, i])
            assert alike == pytest.approx(expected, abs=2e-3)  # another batch rounds otherwise; ranks may swap
            assert bool(found.found[b, i]) == (alike >= 0.7 if goal == "same-map" else alike <= 0.5)
            some = some or size > 0
    assert some  # at least one attack went somewhere, or nothing was tested
    alike = found.similarity["rank_correlation"]
    both = found.constraint_met.all(0)
    worse = alike[1] >= alike[0] - 1e-6 if goal == "same-map" else alike[1] <= alike[0] + 1e-6
    assert worse[both].all()  # what a smaller budget found stays


def test_an_attack_does_more_than_noise():
    net, images = convolutional(), gray_images(4)
    for method in ("grad-cam", "saliency"):
        found = manipulate(net, images, Attack(method, "same-decision", (0.03,), steps=12))
        assert (found.similarity["rank_correlation"] < found.noise["rank_correlation"] - 0.1).all()
        assert found.found.any()


@pytest.mark.parametrize("wanted", ["corner", "other-image"])
def test_a_map_is_pulled_towards_a_chosen_one(wanted):
    net, images = convolutional(), gray_images(3)
    attack = Attack("grad-cam", "same-decision", (0.05, 0.15), target_map=wanted, steps=15)
    found = manipulate(net, images, attack, targets=1)
    near, before = found.to_target["rank_correlation"], found.target_before["rank_correlation"]
    usable = torch.tensor([r is None for r in found.reasons])
    assert usable.any()
    assert (near[1] > before + 0.2)[usable].all()
    assert (near[1] >= near[0])[usable].all()
    expected = near > found.similarity["rank_correlation"]
    assert torch.equal(found.found[:, usable], expected[:, usable])


def test_the_same_seed_gives_the_same_and_another_one_not():
    net, images = convolutional(), gray_images()
    one, again, other = (
        manipulate(net, images, Attack("saliency", steps=3, budgets=(0.02,), seed=seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one.perturbed, again.perturbed)
    assert torch.equal(one.noise["ssim"], again.noise["ssim"])
    assert not torch.equal(one.perturbed, other.perturbed)


def test_a_constant_map_has_no_figures_and_says_why():
    net = linear(torch.zeros(64), 1.0, size=8)
    images = gray_images(2, 8)
    found = manipulate(net, images, Attack("saliency", steps=2, budgets=(0.01,)))
    assert found.reasons == ["the original map is the same everywhere"] * 2
    assert not found.found.any()
    assert torch.equal(found.perturbed[0], images)
    summary = manipulation_summary(found, Bootstrap("ab"))
    area = summary["areas"]["rank_correlation"]
    assert area["value"] is None
    assert area["reason"] == "the original map is the same everywhere"
    assert summary["without_figures"] == {"the original map is the same everywhere": 2}


def test_one_pixel_and_a_constant_image():
    net = linear(torch.ones(1), -0.4, size=1)
    found = manipulate(net, torch.full((1, 1, 1, 1), 0.5), Attack("saliency", steps=2, budgets=(0.2,)))
    assert found.reasons == ["the original map is the same everywhere"]
    flat = manipulate(convolutional(), torch.full((1, 1, 32, 32), 0.3), Attack("saliency", steps=2, budgets=(0.05,)))
    assert flat.rms[0, 0] <= 0.05
    assert flat.reasons == [None]


def test_the_mean_over_budgets_is_the_area_of_trapezoids():
    area = mean_over_budgets([1.0, 3.0], [[0.5, 1.0, math.nan], [0.0, 1.0, 0.0]], at_zero=1.0)
    assert area[:2].tolist() == pytest.approx([(0.75 * 1 + 0.25 * 2) / 3, 1.0])
    assert math.isnan(area[2])


def test_the_summary_averages_over_images():
    net, images = convolutional(), gray_images(5)
    found = manipulate(net, images, Attack("grad-cam", budgets=BUDGETS, steps=4))
    summary = manipulation_summary(found, Bootstrap(range(5)))
    for name, values in found.similarity.items():
        told = [point["value"] for point in summary["curves"][name]]
        assert told == pytest.approx(values.mean(1).tolist())
        assert all(p["low"] <= p["value"] <= p["high"] and p["n"] == 5 for p in summary["curves"][name])
    rows = manipulation_rows(found, list("abcde"))
    assert len(rows) == 10
    assert summary["gradient_evaluations_per_image"] == rows[-1]["gradient_evaluations"] == 1 + 2 * 5 * 2


def test_what_judging_costs_is_counted(monkeypatch):
    """Integrated gradients of 6 points: every map that decides what is kept costs 6, beside those of the descent."""
    judged, within, verify = [], [], manipulation_climb.ExplanationAttack._verify

    def counting(name, classifier, images, targets, **options):
        found = explain(name, classifier, images, targets, **options)
        judged.append(within and len(images) * found.gradient_evaluations)
        return found

    def watched(climb, points, rows):
        within.append(True)
        verify(climb, points, rows)
        within.clear()

    net, images = convolutional(), gray_images(3)
    attack = Attack("integrated-gradients", budgets=BUDGETS, steps=2, options={"steps": 6})
    monkeypatch.setattr(manipulation_climb, "explain", counting)
    monkeypatch.setattr(manipulation_climb.ExplanationAttack, "_verify", watched)
    found = manipulate(net, images, attack)
    descent = 16 + len(BUDGETS) * 3 * (1 + 16)  # 8 points, there and back, of the reference and of each of three points
    spent = sum(count for count in judged if count)
    assert spent > 0
    assert int(found.gradient_evaluations[-1].sum()) == 3 * descent + spent
