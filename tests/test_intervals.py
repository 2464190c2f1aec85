"""Intervals against scipy's, published examples, brute force and simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import stdtr
from scipy.stats import binom, binomtest, t

from pellucid.evaluation.metrics import plain
from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.metrics.classification import auroc, average_precision, classification_table
from pellucid.evaluation.metrics.intervals import (
    area_variance,
    auroc_influence,
    average_precision_influence,
    ratio_intervals,
)
from pellucid.evaluation.metrics.operating_points import operating_points
from pellucid.evaluation.metrics.statistics import Replicates, mean_over_images, ratio

SHARE = (0.0, 1.0)


@pytest.mark.parametrize(("right", "n"), [(0, 9), (1, 20), (7, 8), (53, 60), (299, 300)])
def test_the_interval_of_a_share_of_patients_is_exact(right, n):
    interval = mean_over_images(np.arange(n) < right, Bootstrap(range(n), 1), within=SHARE).interval
    assert interval == pytest.approx(binomtest(right, n).proportion_ci(method="exact"))


@pytest.mark.parametrize("per_patient", [1, 3])
@pytest.mark.parametrize("n", [8, 12, 24, 60])
def test_the_interval_of_a_share_holds_at_least_95_in_100_whatever_the_share(n, per_patient):
    """Every outcome, with its binomial probability, at the shares just outside every end: least is at one of them."""
    outcomes = np.repeat((np.arange(n)[:, None] < np.arange(n + 1)).astype(float), per_patient, axis=0)
    patients = np.repeat(np.arange(n), per_patient)
    ends, _ = ratio_intervals(outcomes, np.ones((len(patients), 1)), patients, SHARE)
    shares = np.concatenate([ends[:, 0] - 1e-9, ends[:, 1] + 1e-9, np.linspace(0.001, 0.999, 999)])
    shares = shares[(shares > 0) & (shares < 1), None]
    holds = (ends[:, 0] <= shares) & (shares <= ends[:, 1])
    assert (holds * binom.pmf(np.arange(n + 1), n, shares)).sum(1).min() >= 0.95


def test_a_mean_of_shares_of_images_is_no_narrower_than_wilsons_or_the_exact_one():
    """One half among 60 maps that hit or miss: a pointing game with two hottest pixels."""
    values = np.append(np.ones(59), 0.5)
    interval = mean_over_images(values, Bootstrap(range(60), 1), within=SHARE).interval
    level = 2 * stdtr(math.inf, t.ppf(0.975, 59)) - 1  # the normal level of the same quantile
    rough = binomtest(59, 60).proportion_ci(float(level), method="wilson")
    assert interval.high > rough.high  # of half an error the exact end is nearer to 1
    assert rough.low < interval.low < 59.5 / 60


def test_images_of_a_patient_that_are_all_alike_count_once():
    right = np.arange(40) < 34
    once = mean_over_images(right, Bootstrap(range(40), 1), within=SHARE).interval
    thrice = mean_over_images(
        np.repeat(right, 3), Bootstrap(np.repeat(range(40), 3).tolist(), 1), within=SHARE
    ).interval
    assert thrice == pytest.approx(once, abs=0.002)  # the spread over patients is an estimate there: n − 1 for n
    perfect = mean_over_images(np.ones(120), Bootstrap(np.repeat(range(40), 3).tolist(), 1), within=SHARE).interval
    assert perfect == pytest.approx(mean_over_images(np.ones(40), Bootstrap(range(40), 1), within=SHARE).interval)


def test_a_mean_of_any_numbers_has_students_interval_and_one_from_0_the_same_on_the_logarithm():
    values = np.random.default_rng(0).gamma(2.0, size=12)
    error = values.std(ddof=1) / math.sqrt(12)
    draws = Bootstrap(range(12), 1)
    expected = t.interval(0.95, 11, values.mean(), error)
    assert mean_over_images(values, draws).interval == pytest.approx(expected)
    low, high = mean_over_images(values, draws, within=(0, math.inf)).interval
    assert low * high == pytest.approx(values.mean() ** 2)
    assert math.log(high / low) / 2 == pytest.approx(t.ppf(0.975, 11) * error / values.mean())


def test_values_that_are_all_the_same_have_a_width_where_they_are_bounded_and_no_interval_elsewhere():
    draws = Bootstrap(range(20))
    low, high = mean_over_images(np.full(20, 0.3), draws, within=SHARE).interval
    unseen = 1 - 0.025 ** (1 / 20)  # a share of patients of whom none shows up, at 0 or at 1
    assert (low, high) == pytest.approx((0.3 * (1 - unseen), 0.3 + 0.7 * unseen))
    for within in ((-math.inf, math.inf), (0, math.inf)):
        found = mean_over_images(np.full(20, 0.3), draws, within=within).estimate()
        assert math.isnan(found.low)
        assert found.reason == "all values are the same, so there is no interval"


def test_columns_are_what_each_is_alone():
    rng = np.random.default_rng(1)
    top, patients = rng.random((30, 4)), rng.integers(0, 9, 30)
    bottom = 1 + rng.random((30, 4))
    ends, counts = ratio_intervals(top, bottom, patients, SHARE)
    assert counts.tolist() == [9] * 4
    for k in range(4):
        alone = ratio(top[:, k], bottom[:, k], Bootstrap(patients.tolist(), 1), within=SHARE).interval
        assert tuple(ends[k]) == pytest.approx(alone)


def test_the_influence_on_an_auroc_is_delongs_variance_by_brute_force():
    rng = np.random.default_rng(2)
    scores, positive = rng.integers(0, 8, 40).astype(float), np.arange(40) < 13
    wins = (scores[positive][:, None] > scores[~positive]) + 0.5 * (scores[positive][:, None] == scores[~positive])
    area, influence = auroc_influence(scores, positive, ~positive)
    assert area == pytest.approx(wins.mean())
    placements = ((wins.mean(1) - area) ** 2).sum() / 13**2 + ((wins.mean(0) - area) ** 2).sum() / 27**2
    assert (influence**2).sum() == pytest.approx(placements)


def test_influences_are_what_taking_a_little_of_an_image_away_does():
    rng = np.random.default_rng(3)
    scores, positive = rng.integers(0, 12, 50).astype(float), rng.random(50) < 0.3
    from sklearn.metrics import average_precision_score, roc_auc_score

    for measure, metric in ((auroc_influence, roc_auc_score), (average_precision_influence, average_precision_score)):
        value, influence = measure(scores, positive, ~positive)
        assert value == pytest.approx(metric(positive, scores))
        for i in range(0, 50, 7):
            less = np.ones(50)
            less[i] -= 1e-6
            change = (value - metric(positive, scores, sample_weight=less)) / 1e-6
            assert influence[i] == pytest.approx(change, abs=1e-4)


@pytest.mark.parametrize(("area", "m", "n", "error"), [(0.893, 51, 58, 0.032), (0.5, 10, 10, 0.1323)])
def test_the_variance_of_an_area_is_hanley_and_mcneils(area, m, n, error):
    """Their example (1982): 51 abnormal and 58 normal scans, W = .893, error .032; and Wilcoxon's at 1/2."""
    assert math.sqrt(area_variance(area, m, n)) == pytest.approx(error, abs=0.0006)
    assert area_variance(area, m, n) == area_variance(area, n, m)


def test_a_perfect_ranking_has_an_interval_with_a_width_and_few_positives_have_none():
    targets = (np.arange(60) < 6).astype(float)
    for metric in (plain.auroc, plain.average_precision):
        found = metric(targets + np.linspace(0, 0.1, 60), targets, interval=True)
        assert found.value == found.high == 1.0
        assert 0.49 < found.low < 0.75
        assert (found.n, found.positives, found.patients) == (60, 6, 60)
        assert "6 positives" in str(found)
        few = metric(targets[2:], targets[2:], interval=True)
        assert few.value == 1.0
        assert math.isnan(few.low)
        assert few.reason == "positives of 4 images only, and an interval needs 5"
    again = auroc(targets, targets, Bootstrap([i // 2 for i in range(60)])).estimate()
    assert again.reason == "positives of 3 patients only, and an interval needs 5"


def test_with_many_images_all_intervals_are_those_of_the_bootstrap():
    rng = np.random.default_rng(4)
    patients = np.repeat(np.arange(700), 2)
    targets = (rng.random(700) < 0.35).astype(float)[patients]
    scores = rng.normal(size=1400) + targets + rng.normal(size=700)[patients]
    draws = Bootstrap(patients.tolist(), 600)
    figures = [auroc(scores, targets, draws), average_precision(scores, targets, draws)]
    figures += [mean_over_images(scores > 0.5, draws, within=SHARE), mean_over_images(np.exp(scores), draws)]
    for figure in figures:
        ends = np.quantile(figure.samples, [0.025, 0.975])
        assert figure.interval == pytest.approx(tuple(ends), abs=0.12 * (ends[1] - ends[0]))


def test_the_mean_of_figures_that_go_together_is_as_uncertain_as_one_and_of_others_less():
    rng = np.random.default_rng(5)
    draws = Bootstrap(range(200), 800)
    right = rng.random((200, 4)) < 0.9
    one = [mean_over_images(right[:, k], draws, within=SHARE) for k in range(4)]
    same, apart = Replicates.mean([one[0]] * 4), Replicates.mean(one)
    assert same.interval == pytest.approx(one[0].interval)
    widths = [f.interval.high - f.interval.low for f in (same, apart)]
    assert widths[1] == pytest.approx(widths[0] / 2, rel=0.15)
    sure = mean_over_images(np.ones(200), draws, within=SHARE)  # 1 in every resample: no correlation is seen
    assert Replicates.mean([sure, sure], together=True).interval == pytest.approx(sure.interval)
    both = Replicates.mean([sure, sure])
    assert 1 - both.interval.low == pytest.approx((1 - sure.interval.low) / math.sqrt(2))
    turned = one[0] * -0.5 + 1.0
    assert turned.interval == pytest.approx((1 - 0.5 * one[0].interval.high, 1 - 0.5 * one[0].interval.low))


def test_a_mean_says_how_many_positives_stand_behind_its_weakest_class():
    rng = np.random.default_rng(6)
    targets = np.stack([np.arange(90) < 3, np.arange(90) % 3 == 0], axis=1).astype(float)
    table = classification_table(rng.normal(size=(90, 2)) + targets, targets, "ab", "multilabel", Bootstrap(range(90)))
    assert math.isnan(table["a"]["auroc"].estimate().low)
    found = table["mean"]["auroc"].estimate()
    assert (found.positives, found.patients) == (3, 90)
    alone = table["b"]["auroc"].estimate()
    assert found.high - found.low > 0.5 * (alone.high - alone.low)  # the class of three counts as the little it tells
    assert found.reason is None
    sensitivity, specificity = operating_points(targets > 0.5, targets, Bootstrap(range(90)))
    assert (sensitivity[1].positives, sensitivity[1].n, specificity[1].positives) == (30, 30, 30)
    assert sensitivity[1].estimate().high == 1.0
    assert 0.85 < sensitivity[1].estimate().low < 0.95


def test_nineteen_of_twenty_intervals_hold_the_truth_where_percentiles_do_not():
    from intervals import OLD, OURS, RANKING, Cell, simulate

    cells = {
        Cell(RANKING, "equal", 60, 6, 0.96, 1): 0.9,
        Cell("share", "right or wrong", 40, 0, 0.997, 2): 0.3,
        Cell("share", "right or wrong", 60, 0, 0.99, 4): 0.6,
    }
    for cell, most in cells.items():
        held = {row["method"]: row for row in simulate(cell, 200, 100) if row["metric"] != "average precision"}
        assert float(held[OURS]["coverage"]) >= 0.92, cell
        assert float(held[OURS]["narrowest"]) > 0.01
        assert float(held[OLD]["coverage"]) < most, cell
