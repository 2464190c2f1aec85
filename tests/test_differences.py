"""Differences of networks and of recipes: against definitions written out, against resampling, and simulated."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from scipy.stats import ttest_ind, ttest_rel

import recipe_inference
from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.metrics.differences import ALIKE, ONE_TRAINING, Inference, paired_difference, recipe_error
from pellucid.evaluation.metrics.paired_tests import holm
from pellucid.evaluation.metrics.statistics import mean_over_images
from pellucid.evaluation.metrics.verdicts import Bar, judge_family
from pellucid.types import InputError


def networks(rng, count, *, hard=0.0, moved=0.0, images=80, level=0.0, resamples=400):
    """Figures of so many networks of a recipe, and the numbers per image that they are the means of."""
    draws = Bootstrap(range(images), resamples)
    numbers = hard + level + rng.normal(size=(count, images)) + moved * rng.normal(size=(count, 1))
    return [mean_over_images(one, draws) for one in numbers], numbers


def test_of_these_networks_the_error_is_that_of_the_difference_image_by_image():
    rng = np.random.default_rng(3)
    hard = 10 * rng.normal(size=80)
    (a, first), (b, second) = networks(rng, 2, hard=hard, level=1.0), networks(rng, 2, hard=hard)
    found = paired_difference(a, b)
    per_image = first.mean(0) - second.mean(0)
    assert found.value == pytest.approx(per_image.mean())
    assert found.networks.error == pytest.approx(per_image.std() / math.sqrt(80), rel=0.1)
    assert found.networks.df == math.inf
    assert found.networks.error < 0.2 * a[0].samples.std()  # what is hard for both cancels
    json.dumps(found.to_json(), allow_nan=False)


def test_the_recipes_error_is_obuchowski_and_rocketts():
    """With equal numbers and the mean of both spreads: 2 / r · (MS + r · max(Cov2 − Cov3, 0)), as Hillis (2014) has."""
    rng = np.random.default_rng(0)
    hard = 2 * rng.normal(size=80)
    suited = [rng.normal(size=80) for _ in range(2)]
    a, b = (networks(rng, 4, hard=hard + own, moved=0.3)[0] for own in suited)
    covariance = np.cov(np.stack([r.samples for r in (*a, *b)]))
    within = [covariance[i, j] for g in (range(4), range(4, 8)) for i, j in itertools.permutations(g, 2)]
    between = [covariance[i, j] for i in range(4) for j in range(4, 8)]
    spread = np.mean([np.var([r.value for r in recipe], ddof=1) for recipe in (a, b)])
    variance = 2 / 4 * (spread + 4 * max(np.mean(within) - np.mean(between), 0))
    found = paired_difference(a, b)
    assert found.recipes.error**2 == pytest.approx(variance)
    assert found.recipes.error > found.networks.error


@pytest.mark.parametrize("counts", [(4, 4), (3, 7)])
def test_where_patients_do_not_matter_it_is_welchs_test_and_of_pairs_the_paired_one(counts):
    rng = np.random.default_rng(1)
    a, b = (rng.normal(size=n) * scale for n, scale in zip(counts, (1.0, 3.0), strict=True))
    nothing = np.zeros((sum(counts), sum(counts)))
    error, df = recipe_error((a, b), nothing)
    assert Inference(a.mean() - b.mean(), float(error), float(df)).p == pytest.approx(
        ttest_ind(a, b, equal_var=False).pvalue
    )
    if counts[0] == counts[1]:
        error, df = recipe_error((a - b,), nothing[: counts[0], : counts[0]])
        assert Inference((a - b).mean(), float(error), float(df)).p == pytest.approx(ttest_rel(a, b).pvalue)


def test_trainings_that_began_as_one_network_are_compared_pair_by_pair():
    rng = np.random.default_rng(2)
    a, numbers = networks(rng, 5, moved=1.0)
    draws = Bootstrap(range(80), 400)
    b = [mean_over_images(x + 0.05 + 0.01 * rng.normal(), draws) for x in numbers]
    alone, together = paired_difference(b, a), paired_difference(b, a, shared=True)
    assert together.value == pytest.approx(alone.value)
    assert together.recipes.error < 0.1 * alone.recipes.error
    assert together.recipes.p < 0.05 < alone.recipes.p
    with pytest.raises(InputError, match="come in pairs; found 5 and 4"):
        paired_difference(a, b[:4], shared=True)


def test_of_one_training_nothing_is_said_of_the_recipe():
    rng = np.random.default_rng(4)
    (a, _), (b, _) = networks(rng, 3), networks(rng, 1)
    found = paired_difference(a, b)
    assert found.recipes.reason == ONE_TRAINING
    assert math.isnan(found.recipes.error)
    assert math.isnan(found.recipes.low)
    assert found.to_json()["recipes"] | {"reason": ""} == dict.fromkeys(("low", "high", "p", "error", "df")) | {
        "reason": ""
    }
    assert found.networks.error > 0


def test_what_does_not_differ_on_any_image_has_no_interval():
    rng = np.random.default_rng(5)
    a, _ = networks(rng, 1)
    found = paired_difference(a, a).networks
    assert (found.value, found.p, found.reason) == (0.0, 1.0, ALIKE)
    assert math.isnan(found.low)


def test_where_nothing_is_known_equal_figures_have_no_p_and_count_for_no_test():
    rng = np.random.default_rng(5)
    (a, _), (b, _) = networks(rng, 1), networks(rng, 1)
    few = [mean_over_images(np.array([1.0, 0.0, 1.0]), Bootstrap(range(3), 20))] * 2
    for unknown in (paired_difference(a, a), paired_difference(few, few)):
        assert (unknown.value, unknown.recipes.to_json()["p"]) == (0.0, None)
    known = paired_difference([*a, *b], [b[0] + 0.1, a[0] + 0.5])
    family = judge_family([paired_difference(a, a).to_json(), known.to_json()], [Bar(1), Bar(1)], "primary")
    assert [one["recipes"]["tests"] for one in family] == [1, 1]
    assert family[1]["recipes"]["p_corrected"] == family[1]["recipes"]["p"]


def test_undefined_trainings_are_left_out_and_an_undefined_difference_says_why():
    rng = np.random.default_rng(6)
    (a, _), (b, _) = networks(rng, 3), networks(rng, 3)
    nothing = mean_over_images(np.full(80, np.nan), Bootstrap(range(80), 400), reason="no heat")
    less = paired_difference([*a[:2], nothing], b)
    assert less.value == pytest.approx(paired_difference(a[:2], b).value)
    assert less.recipes.error == pytest.approx(paired_difference(a[:2], b).recipes.error)
    assert "1 of 3" in less.reason
    whole = paired_difference([nothing, nothing], b)
    assert math.isnan(whole.value)
    assert "no heat" in whole.recipes.reason
    assert "defined in one" in paired_difference([a[0], nothing], b).recipes.reason


def test_an_inference_reads_back_and_its_interval_and_p_agree():
    for value, error, df in ((0.3, 0.1, 4.0), (-0.2, 0.1, math.inf), (0.01, 0.1, 2.5)):
        one = Inference(value, error, df)
        assert (one.p <= 0.05) == (one.low > 0 or one.high < 0)
        assert Inference.from_json(value, one.to_json()) == one
        assert one.p_above(0.0) == pytest.approx(one.p / 2 if value > 0 else 1 - one.p / 2)
        assert Inference(value, error, df).p_above(one.low) == pytest.approx(0.025)


@pytest.mark.parametrize(("score", "seeds", "studies"), [(0, 3, 1000), (0, 5, 1000), (0, 10, 1000), (2, 3, 300)])
def test_equal_recipes_are_called_different_in_one_study_of_twenty(score, seeds, studies):
    """A small form of benchmarks/recipe_inference.py: trainings that scatter as much as the patients."""
    cell = recipe_inference.Cell(recipe_inference.SCORES[score], (seeds, seeds), 1.0, suits=True)
    p = recipe_inference.p_values(recipe_inference.simulate(cell, studies, np.random.default_rng(0)))
    share = {method: (values <= 0.05).mean() for method, values in p.items()}
    assert 0.02 <= share[recipe_inference.USED] <= 0.08
    assert share["networks held fixed"] > (0.08 if seeds < 10 else share[recipe_inference.USED])


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_of_a_family_of_equal_scores_any_is_called_different_in_one_study_of_twenty(seeds):
    """Independent scores, where Holm's correction spends all of its 5 %; without it three families of four err."""
    cell = recipe_inference.Cell(recipe_inference.SCORES[0], (seeds, seeds), 1.0, suits=True, alike=0.0)
    rng, count = np.random.default_rng(2), recipe_inference.FAMILY
    studies = [recipe_inference.simulate(cell, 50, rng, count) for _ in range(5)]
    error = np.concatenate([s.first.mean(1) - s.second.mean(1) for s in studies]).std()
    shares = []
    for better in (0, 3):  # true standard errors
        p = np.concatenate([recipe_inference.p_values(s, better * error)[recipe_inference.USED] for s in studies])
        shares.append(np.mean([min(holm(one)) <= 0.05 for one in p.reshape(-1, count)]))
    assert 0.02 <= shares[0] <= 0.08
    assert shares[1] > 0.8  # any of 27 that all differ by three
