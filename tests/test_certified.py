"""Certificates against classifiers whose smoothed boundary is known, confidence bounds against their definition."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import binom

from helpers.certified import PIXELS, SIDE, SIGMA, Linear, at_distances, distances, measure, toy, two_classes
from pellucid.evaluation import Bootstrap
from pellucid.evaluation.robustness.certified import Smoothing, certify, lower_bound, predicted, seed_of, votes
from pellucid.evaluation.robustness.certified_attack import EVALUATIONS, FACTORS, attack_smoothed
from pellucid.evaluation.robustness.certified_summary import bracket_of, certified_summary, curves_of
from pellucid.evaluation.robustness.robustness_target import robustness_target_of
from pellucid.models.inference import as_pixels
from pellucid.types import InputError


def certificate(net, image, smoothing, name=""):
    selection, estimation = (
        votes(net, image, smoothing.sigma, n, seed=seed_of(smoothing.seed, name, use))
        for use, n in (("selection", smoothing.selection), ("estimation", smoothing.samples))
    )
    return certify(selection[0], estimation[0], smoothing.sigma, smoothing.alpha)


def test_a_linear_classifiers_certificate_stays_below_its_known_radius_and_comes_near():
    net = two_classes()
    values = [-0.6, -0.3, -0.1, -0.02, 0.05, 0.2, 0.4, 0.5]
    images = at_distances(net, values)
    true = distances(net, images)
    assert torch.allclose(true, torch.tensor(values).abs().double(), atol=1e-5)
    found = {}
    for samples in (100, 1000, 20_000):
        smoothing = Smoothing(SIGMA, samples=samples)
        own = [certificate(net, image, smoothing, name=i) for i, image in enumerate(images)]
        assert all(c.answer == int(v > 0) for c, v in zip(own, values, strict=True) if abs(v) >= 0.1)
        found[samples] = torch.tensor([c.l2 for c in own], dtype=torch.float64)
        assert bool((found[samples] <= true).all())
    assert float(found[20_000].sum()) > float(found[1000].sum()) > float(found[100].sum())
    inner = true < 2.5 * SIGMA  # beyond it 20,000 draws hardly ever disagree
    assert torch.allclose(found[20_000][inner], true[inner], atol=0.12 * SIGMA)


def test_near_the_boundary_it_abstains():
    net = two_classes()
    image = at_distances(net, [1e-4])[0]
    smoothing = Smoothing(SIGMA)
    found = certificate(net, image, smoothing)
    assert found.abstained
    assert found.l2 == 0
    assert predicted(votes(net, image, SIGMA, 1000, seed=1)[0], 0.001) is None


@pytest.mark.parametrize(("k", "n", "alpha"), [(1, 5, 0.05), (60, 100, 0.001), (999, 1000, 0.001), (1000, 1000, 0.01)])
def test_the_bound_is_the_probability_at_which_so_many_successes_become_unlikely(k, n, alpha):
    bound = lower_bound(k, n, alpha)
    assert binom.sf(k - 1, n, bound) == pytest.approx(alpha, rel=1e-6)
    assert lower_bound(0, n, alpha) == 0


@pytest.mark.parametrize("p", [0.55, 0.8, 0.97])
def test_certificates_are_wrong_as_seldom_as_they_say(p):
    """Two classes, many experiments: σΦ⁻¹(p) is the truth; too large a radius at most in a share alpha."""
    alpha, n, repeats = 0.1, 200, 4000
    rng = np.random.default_rng(0)
    true = SIGMA * torch.special.ndtri(torch.tensor(p, dtype=torch.float64))
    drawn = rng.binomial(n, p, repeats)
    chosen = rng.binomial(50, p, repeats)
    radius = {
        (a, b): certify(torch.tensor([50 - a, a]), torch.tensor([n - b, b]), SIGMA, alpha)
        for a, b in set(zip((chosen > 25) * 50, drawn, strict=True))
    }
    found = [radius[a, b] for a, b in zip((chosen > 25) * 50, drawn, strict=True)]
    wrong = np.mean([not c.abstained and (c.answer == 0 or c.l2 > true) for c in found])
    assert wrong <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / repeats)
    assert wrong > alpha / 4  # and is no looser than it must be


def test_predictions_are_wrong_as_seldom_as_they_say():
    """Where the true answer has a bare majority, another one is returned in at most a share alpha."""
    drawn = np.random.default_rng(1).binomial(100, 0.5, 4000)
    answers = {k: predicted(torch.tensor([k, 100 - k]), 0.1) for k in set(drawn.tolist())}
    wrong = np.mean([answers[k] == 1 for k in drawn.tolist()])
    assert 0.01 < wrong <= 0.1


def test_the_third_class_takes_no_part_in_the_test_of_the_first_two():
    assert predicted(torch.tensor([40, 5, 55]), 0.05) is None  # 55 of 95
    assert predicted(torch.tensor([10, 35, 55]), 0.05) == 2  # 55 of 90
    found = certify(torch.tensor([1, 3, 2]), torch.tensor([300, 450, 250]), SIGMA, 0.001)
    assert (found.answer, found.abstained) == (1, True)  # the most votes, but no majority


def test_votes_do_not_depend_on_how_many_go_through_the_network_at_once():
    net = two_classes()
    image = at_distances(net, [0.1])[0]
    whole = votes(net, image, SIGMA, 150, seed=3)
    assert whole.shape == (1, 2)
    assert int(whole.sum()) == 150
    assert torch.equal(votes(net, image, SIGMA, 150, seed=3, rows=7), whole)
    assert not torch.equal(votes(net, image, SIGMA, 150, seed=4), whole)
    assert net.training
    assert all(p.requires_grad for p in net.parameters())


def three_labels(thresholds):
    """One label per row of W, decided where its logit passes the threshold's; unit rows, so logits are distances."""
    generator = torch.Generator().manual_seed(2)
    rows = torch.linalg.qr(torch.randn(PIXELS, 3, generator=generator)).Q.T
    cut = torch.tensor(thresholds).logit()
    return Linear(20 * rows, cut - 20 * rows.sum(1) * 0.5, "multilabel"), rows


def test_each_label_is_certified_at_its_own_threshold():
    thresholds = [0.2, 0.5, 0.9]
    net, rows = three_labels(thresholds)
    signed = torch.tensor([0.3, -0.2, 0.4])
    image = (0.5 + signed @ rows).view(1, SIDE, SIDE)
    selection = votes(net, image, SIGMA, 100, seed=0, thresholds=thresholds)
    estimation = votes(net, image, SIGMA, 20_000, seed=1, thresholds=thresholds)
    assert estimation.shape == (3, 2)
    assert estimation.sum(1).tolist() == [20_000] * 3
    found = [certify(s, e, SIGMA, 0.001) for s, e in zip(selection, estimation, strict=True)]
    assert [c.answer for c in found] == [1, 0, 1]
    for one, distance in zip(found, signed.abs().tolist(), strict=True):
        assert 0.85 * distance < one.l2 <= distance


def test_a_known_radius_lies_between_certificate_and_attack():
    net = two_classes()
    values = [-0.5, -0.2, -0.05, 0.001, 0.1, 0.3, 0.35, -0.25]
    truth = np.array([0, 0, 0, 1, 1, 1, 0, 1])  # the last two are wrong
    pixels, dataset = toy(net, at_distances(net, values), truth)
    true = distances(net, as_pixels(pixels)).numpy() / math.sqrt(PIXELS)
    smoothing = Smoothing(SIGMA, samples=1000, attack=32)
    robustness_target = robustness_target_of("attack", dataset, {})
    rows = measure(net, pixels, dataset, smoothing)
    for row, known in zip(rows[:6], true[:6], strict=True):
        assert row.attack_found
        assert row.certified_rms <= known <= row.attack_rms
        assert row.attack_rms <= 1.3 * known + 0.5 * SIGMA / math.sqrt(PIXELS)
        assert row.certified_rms == pytest.approx(row.certified_l2 / math.sqrt(PIXELS))
    assert rows[3].abstained
    assert [r.attack_rms for r in rows[6:]] == [0, 0]
    assert [r.right for r in rows] == [True] * 3 + [False] + [True] * 2 + [False] * 2
    bracket = bracket_of(rows, dataset, robustness_target)
    found = certified_summary(rows, bracket, dataset, smoothing, Bootstrap(dataset.patients, 200))
    known_area = area_of(np.where(np.arange(8) < 6, true, 0), robustness_target.naive)
    assert 0 < found["certified"]["ara"] <= known_area <= found["attack"]["ara"]
    assert found["accuracy"]["value"] == 5 / 8
    assert found["abstained"]["certificate"] == 1
    assert found["alarm"]["violations"] == 0
    curves = curves_of(bracket, dataset)
    assert curves["certified"].accuracy[0] == 5 / 8
    assert curves["attack"].accuracy[0] == 6 / 8


def area_of(radii, naive):
    """∫ max(0, Acc(r) − b) dr by brute force."""
    steps = np.linspace(0, radii.max(), 200_001)
    share = np.array([(radii > r).mean() for r in np.unique(np.append(radii, 0))])
    values = share[np.searchsorted(np.unique(np.append(radii, 0)), steps, side="right") - 1]
    return float(np.clip(values - naive, 0, None).mean() * radii.max())


@pytest.mark.slow
def test_labels_are_attacked_one_by_one_and_unknown_ones_left_out():
    net, rows = three_labels([0.5] * 3)
    sides = np.array([[1, 1, 1], [-1, 1, 1], [1, -1, 1], [-1, -1, 1]] * 3)
    signed = torch.from_numpy(sides * np.random.default_rng(3).uniform(0.1, 0.4, (12, 3))).float()
    targets = (signed > 0).float().numpy()
    targets[:, 2] = np.nan
    targets[0, 0] = 1 - targets[0, 0]
    pixels, dataset = toy(net, (0.5 + signed @ rows).view(-1, 1, SIDE, SIDE), targets)
    with torch.no_grad():  # the logits are 20 times the distance
        true = net(as_pixels(pixels)).abs().numpy() / 20 / math.sqrt(PIXELS)
    smoothing = Smoothing(SIGMA, samples=300, attack=16)
    found = measure(net, pixels, dataset, smoothing)
    assert [(r.id, r.label) for r in found] == [(name, label) for name in dataset.ids for label in "ab"]
    for row, known in zip(found, true[:, :2].ravel(), strict=True):
        if row is found[0]:
            assert not row.right
            continue
        assert row.attack_found
        assert (row.certified_rms if row.right else 0) <= known <= row.attack_rms
    robustness_target = robustness_target_of("attack", dataset, {})
    whole = certified_summary(
        found, bracket_of(found, dataset, robustness_target), dataset, smoothing, Bootstrap(dataset.patients, 100)
    )
    assert list(whole["certified"]["labels"]) == list("abc")
    assert whole["certified"]["labels"]["c"]["reason"].startswith("0 positives")
    assert 0 < whole["certified"]["ara"] < whole["attack"]["ara"]


@pytest.mark.slow
def test_what_is_never_wrong_is_not_found():
    """A network that always answers the same cannot be attacked: no radius, and no upper bound."""
    net = Linear(torch.zeros(2, PIXELS), torch.tensor([1.0, 0.0]))
    pixels, dataset = toy(net, torch.full((4, 1, SIDE, SIDE), 0.5), np.array([0, 0, 0, 1]))
    smoothing = Smoothing(SIGMA, samples=50, attack=2)
    rows = measure(net, pixels, dataset, smoothing)
    assert [r.attack_found for r in rows] == [False, False, False, True]
    assert all(math.isnan(r.attack_rms) for r in rows[:3])
    robustness_target = replace(robustness_target_of("attack", dataset, {}), naive=0.5)
    found = certified_summary(
        rows, bracket_of(rows, dataset, robustness_target), dataset, smoothing, Bootstrap(dataset.patients, 50)
    )
    assert found["attack"]["ara"] == math.inf
    assert "3 of 4 attacks found nothing" in found["attack"]["reason"]
    assert (found["attack"]["right_at_start"], found["attack"]["not_found"]) == (3, 3)


def test_four_looks_suffice_for_all_factors():
    assert len(FACTORS) == 2 ** ((EVALUATIONS - 1) // 2) - 1
    assert sorted(FACTORS) == list(FACTORS)


def test_a_confirmed_attack_is_wrong_on_draws_it_has_never_seen():
    net = two_classes()
    image = at_distances(net, [0.2])[0]
    smoothing = Smoothing(SIGMA, samples=500, attack=8)
    _, dataset = toy(net, image[None], np.array([1]))
    (found,) = attack_smoothed(
        net,
        image,
        robustness_target_of("attack", dataset, {}),
        [1],
        [-1],
        votes(net, image, SIGMA, 500, seed=0),
        smoothing,
        name="x",
    )
    assert found.found
    assert found.gradient_evaluations % smoothing.attack == 0
    assert 0 < found.gradient_evaluations <= smoothing.attack * 43
    assert found.forward_passes > found.gradient_evaluations
    assert found.radius * math.sqrt(PIXELS) >= 0.2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"sigma": -1.0}, r"above 0; found -1\.0"),
        ({"sigma": 0}, "above 0; found 0"),
        ({"alpha": 0.0}, r"inside \(0, 1\); found 0\.0"),
        ({"alpha": 1.0}, r"inside \(0, 1\); found 1\.0"),
        ({"samples": 9}, "9 samples certify nothing at alpha 0.001.*at least 10"),
        ({"selection": 0}, "found 0 and 16"),
        ({"attack": 0}, "found 100 and 0"),
    ],
)
def test_bad_settings_are_named(arguments, told):
    with pytest.raises(InputError, match=told):
        Smoothing(**{"sigma": 0.25, **arguments})


def test_the_fewest_samples_can_certify_and_one_fewer_cannot():
    assert lower_bound(10, 10, 0.001) > 0.5 >= lower_bound(9, 9, 0.001)
    Smoothing(0.25, samples=10)


def test_bad_votes_are_named():
    net = two_classes()
    image = at_distances(net, [0.1])[0]
    with pytest.raises(InputError, match="found values from"):
        votes(net, image * 255, SIGMA, 5, seed=0)
    with pytest.raises(InputError, match="at least one draw"):
        votes(net, image, SIGMA, 0, seed=0)
    with pytest.raises(InputError, match="above 0; found -1"):
        votes(net, image, -1, 5, seed=0)
    broken = Linear(torch.full((2, PIXELS), torch.nan), torch.zeros(2))
    with pytest.raises(InputError, match="not finite"):
        votes(broken, image, SIGMA, 5, seed=0)
    with pytest.raises(InputError, match=r"two sides or more; found \[3\]"):
        predicted(torch.tensor([3]), 0.1)
    with pytest.raises(InputError, match="same sides; found 3 and 2"):
        certify(torch.tensor([1, 2, 3]), torch.tensor([1, 2]), SIGMA, 0.1)
    with pytest.raises(InputError, match="expected 0 to 3 successes"):
        lower_bound(4, 3, 0.1)
