"""Differences of networks and of recipes: against definitions written out, against resampling, and simulated."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest, norm, ttest_ind, ttest_rel
from scipy.stats import t as students_t

import intervals
import recipe_inference
import skewed_trainings
from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.metrics.differences import (
    ALIKE,
    ONE_TRAINING,
    Difference,
    Inference,
    RecipeVariance,
    paired_difference,
    recipe_variance,
    tail_by_parts,
)
from pellucid.evaluation.metrics.intervals import Interval
from pellucid.evaluation.metrics.paired_tests import holm
from pellucid.evaluation.metrics.statistics import Replicates, mean_over_images
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
    for error in (found.networks.below, found.networks.above):
        assert error == pytest.approx(per_image.std() / math.sqrt(80), rel=0.1)
        assert error < 0.2 * a[0].samples.std()  # what is hard for both cancels
    assert found.networks.trainings == ()
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
    known = recipe_variance([np.array([r.value for r in recipe]) for recipe in (a, b)], covariance)
    assert known.error**2 == pytest.approx(variance)
    assert paired_difference(a, b).recipes.below == pytest.approx(known.error, rel=0.1)


@pytest.mark.parametrize("counts", [(4, 4), (3, 7)])
def test_where_patients_do_not_matter_it_is_banerjees_test_and_of_pairs_the_paired_one(counts):
    """The interval is t_a² s_a² / S_a + t_b² s_b² / S_b, which of Welch's contains; of pairs it is Student's."""
    rng = np.random.default_rng(1)
    a, b = (rng.normal(size=n) * scale for n, scale in zip(counts, (1.0, 3.0), strict=True))
    nothing = np.zeros((sum(counts), sum(counts)))
    apart = inference(a.mean() - b.mean(), recipe_variance((a, b), nothing))
    reach = math.sqrt(sum(students_t.ppf(0.975, len(x) - 1) ** 2 * x.var(ddof=1) / len(x) for x in (a, b)))
    assert (apart.low, apart.high) == pytest.approx((apart.value - reach, apart.value + reach))
    welch = ttest_ind(a, b, equal_var=False)
    assert apart.p >= welch.pvalue
    assert apart.low < welch.confidence_interval().low
    if counts[0] == counts[1]:
        paired = inference((a - b).mean(), recipe_variance((a - b,), nothing[: counts[0], : counts[0]]))
        assert paired.p == pytest.approx(ttest_rel(a, b).pvalue)
        assert (paired.low, paired.high) == pytest.approx(tuple(ttest_rel(a, b).confidence_interval()))


def inference(value, variance):
    spreads = [float(square) for square in variance.spreads]
    return Inference.even(float(value), float(variance.error), list(zip(spreads, variance.spreads_df, strict=True)))


def test_trainings_that_began_as_one_network_are_compared_pair_by_pair():
    rng = np.random.default_rng(2)
    a, numbers = networks(rng, 5, moved=1.0)
    draws = Bootstrap(range(80), 400)
    b = [mean_over_images(x + 0.05 + 0.01 * rng.normal(), draws) for x in numbers]
    alone, together = paired_difference(b, a), paired_difference(b, a, shared=True)
    assert together.value == pytest.approx(alone.value)
    assert together.recipes.below < 0.1 * alone.recipes.below
    assert together.recipes.p < 0.05 < alone.recipes.p
    with pytest.raises(InputError, match="come in pairs; found 5 and 4"):
        paired_difference(a, b[:4], shared=True)


def test_of_one_training_nothing_is_said_of_the_recipe():
    rng = np.random.default_rng(4)
    (a, _), (b, _) = networks(rng, 3), networks(rng, 1)
    found = paired_difference(a, b)
    assert found.recipes.reason == ONE_TRAINING
    assert math.isnan(found.recipes.low)
    empty = dict.fromkeys(("low", "high", "p", "error_below", "error_above"))
    empty |= {"trainings_squared": [], "trainings_df": [], "reason": ""}
    assert found.to_json()["recipes"] | {"reason": ""} == empty
    assert found.networks.is_known


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


@pytest.mark.parametrize("second", ["1", "0"])
def test_how_uneven_trainings_err_is_counted_by_the_packages_own_steps(second):
    """A few studies of the simulation through `Inference`, whose p value decides; both recipes have the same mean."""
    _, *recipes = next(one for one in skewed_trainings.settings() if one[0] == second)
    assert recipes[0].mean == pytest.approx(recipes[1].mean)
    draws = recipes[0].draw(np.random.default_rng(1).standard_normal(200_000), np.ones(200_000))
    assert (draws.mean(), draws.std()) == pytest.approx((recipes[0].mean, recipes[0].deviation), abs=0.001)
    value, spread = skewed_trainings.differences(tuple(recipes), 5, 0.004, (300, 1), 0.0, 1)
    said = skewed_trainings.different(value, spread, 5, 0.004, 1)[:, 0]
    assert 0 < said.sum() < 60
    for number in range(300):
        squares = [float(square[number, 0]) / 5 for square in spread]
        one = Inference.even(float(value[number, 0]), math.sqrt(0.004**2 + sum(squares)), [(s, 4) for s in squares])
        assert (one.p <= 0.05) == said[number]


@pytest.mark.parametrize("aim", ["differs", "no worse"])
@pytest.mark.parametrize("better", [1, -1])
def test_a_primary_comparison_without_an_interval_has_no_p_of_either_side_and_corrects_no_other(aim, better):
    known, bar = Inference.even(0.02, 0.01), Bar(better, 0.01, aim)
    for value in (0.0, 0.02, math.nan):
        unknown = Inference(value, math.nan, math.nan, "undefined")
        family = judge_family([Difference(o.value, 9, o, o).to_json() for o in (unknown, known)], [bar] * 2, "primary")
        alone = judge_family([Difference(known.value, 9, known, known).to_json()], [bar], "primary")
        for question in ("networks", "recipes"):
            first, second = (one[question] for one in family)
            assert [first[name] for name in ("p", "p_no_worse", "p_worse", "p_corrected", "p_worse_corrected")] == [
                None
            ] * 5
            assert first["verdict"] == ""
            assert second == alone[0][question]
            assert (first["tests"], second["tests"]) == (1, 1)
    alike = Inference(0.0, math.nan, math.nan, ALIKE)
    assert [alike.p, alike.p_doubled(-0.01), alike.p_doubled(0.01)] == [1.0, 1.0, 1.0]  # compared, and nothing shown


def test_undefined_trainings_are_left_out_and_an_undefined_difference_says_why():
    rng = np.random.default_rng(6)
    (a, _), (b, _) = networks(rng, 3), networks(rng, 3)
    nothing = mean_over_images(np.full(80, np.nan), Bootstrap(range(80), 400), reason="no heat")
    less = paired_difference([*a[:2], nothing], b)
    assert less.value == pytest.approx(paired_difference(a[:2], b).value)
    assert less.recipes.below == pytest.approx(paired_difference(a[:2], b).recipes.below)
    assert "1 of 3" in less.reason
    whole = paired_difference([nothing, nothing], b)
    assert math.isnan(whole.value)
    assert "no heat" in whole.recipes.reason
    assert "defined in one" in paired_difference([a[0], nothing], b).recipes.reason


UNEVEN = [
    (0.3, 0.1, 0.2, None, ((0.006, 2), (0.003, 4))),
    (0.3, 0.1, 0.2, None, ((0.01, 1),)),
    (-0.2, 0.3, 0.05),
    (0.01, 0.1, 0.0),
    (0.0, 0.0, 0.1),
    (0.0, 0.1, 0.1, None, ((0.002, 9), (0.0, 2))),
]


@pytest.mark.parametrize("one", [Inference(*numbers) for numbers in UNEVEN])
def test_p_values_are_those_whose_interval_just_reaches(one):
    """Found by bisection over the level, to either side, and of one-sided tests as of two-sided ones."""
    assert (one.p <= 0.05) == (one.low > 0 or one.high < 0)
    assert Inference.from_json(one.value, one.to_json()) == one
    for bar in (0.0, one.value - 0.07, one.value + 0.04):
        inside, outside = 0.0, 1.0
        for _ in range(60):
            level = (inside + outside) / 2
            low, high = one.interval(level)
            inside, outside = (inside, level) if low <= bar <= high else (level, outside)
        two_sided = 1 - outside
        assert one.p_above(bar) == pytest.approx(two_sided / 2 if one.value > bar else 1 - two_sided / 2, abs=1e-9)
        if bar == 0.0:
            assert one.p == pytest.approx(two_sided, abs=1e-9)
    assert one.p_above(one.low) == pytest.approx(0.025) or one.below == 0
    assert one.turned().p == one.p
    assert (one.turned().low, one.turned().high) == (-one.high, -one.low)


def rights(count, of, draws, first=0):
    """A share whose images from `first` on are right."""
    outcomes = np.zeros(of)
    outcomes[first : first + count] = 1
    return mean_over_images(outcomes, draws, within=(0.0, 1.0))


def test_the_interval_is_zou_and_donners_of_the_two_single_ones():
    """Their formula, written out, with Clopper and Pearson's intervals and the resamples' correlation."""
    draws = Bootstrap(range(60), 2000)
    one, other = rights(59, 60, draws), rights(50, 60, draws, first=6)
    exact = [binomtest(k, 60).proportion_ci(method="exact") for k in (59, 50)]
    together = np.corrcoef(one.samples, other.samples)[0, 1]
    low, high = (59 / 60 - exact[0].low, exact[0].high - 59 / 60)
    less_low, less_high = (50 / 60 - exact[1].low, exact[1].high - 50 / 60)
    below = math.sqrt(low**2 + less_high**2 - 2 * together * low * less_high)
    above = math.sqrt(high**2 + less_low**2 - 2 * together * high * less_low)
    answer, turned = paired_difference([one], [other]), paired_difference([other], [one])
    assert answer.networks.low == pytest.approx(9 / 60 - below)
    assert answer.networks.high == pytest.approx(9 / 60 + above)
    assert (turned.networks.low, turned.networks.high) == pytest.approx((-answer.networks.high, -answer.networks.low))
    assert turned.networks.p == pytest.approx(answer.networks.p)


def test_a_published_example_with_two_samples():
    """Newcombe (1998, method 10), 56 of 70 less 48 of 80, of which Zou and Donner (2008) say that it is theirs."""
    first, second = (
        Replicates(k / n, np.zeros(1), n, interval=Interval(*binomtest(k, n).proportion_ci(method="wilson")))
        for k, n in ((56, 70), (48, 80))
    )
    assert (first - second).interval == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_perfect_figures_differ_by_as_much_as_few_patients_leave_open():
    """Nothing moves in any resample, and yet 1 of 24 patients might have been wrong of either."""
    draws = Bootstrap(range(24), 200)
    perfect, wrong = rights(24, 24, draws), rights(0, 24, draws)
    equal, far = paired_difference([perfect], [perfect]).networks, paired_difference([perfect], [wrong]).networks
    reach = 1 - 0.025 ** (1 / 24)
    assert (equal.low, equal.high, equal.p) == pytest.approx((-reach, reach, 1.0))
    assert (far.low, far.high) == pytest.approx((1 - math.sqrt(2) * reach, 1.0))
    assert far.p < 1e-6


def test_perfect_classes_differ_each_for_itself_and_perfect_networks_of_a_recipe_together():
    draws, rng = Bootstrap(range(24), 200), np.random.default_rng(9)
    perfect, other = rights(24, 24, draws), mean_over_images(rng.random(24), draws, within=(0.0, 1.0))
    reach = 1 - 0.025 ** (1 / 24)
    classes = Replicates.mean([perfect, perfect, other], of="classes")
    apart = math.hypot(math.sqrt(2) * reach, other.value - other.interval.low)
    assert classes.value - classes.interval.low == pytest.approx(apart / 3)
    trainings = paired_difference([perfect] * 3, [other] * 3)
    assert trainings.value - trainings.networks.low == pytest.approx(
        math.hypot(reach, other.interval.high - other.value)
    )


def test_figures_without_an_interval_of_their_own_have_the_resamples_error():
    rng = np.random.default_rng(8)
    samples = rng.normal(size=(2, 500))
    a, b = (Replicates(float(i), draws, 40) for i, draws in enumerate(samples))
    found = paired_difference([a], [b]).networks
    assert found.below == found.above == pytest.approx((samples[0] - samples[1]).std(ddof=1))


def test_of_recipes_the_patients_part_reaches_as_far_as_that_of_the_networks():
    """Two trainings that are the same network leave the patients alone; trainings that scatter add to both sides."""
    draws = Bootstrap(range(60), 400)
    one, other = rights(59, 60, draws), rights(50, 60, draws, first=6)
    same = paired_difference([one, one, one], [other, other, other])
    assert (same.recipes.below, same.recipes.above) == pytest.approx((same.networks.below, same.networks.above))
    assert same.networks.above < 0.9 * same.networks.below or same.networks.below < 0.9 * same.networks.above
    moved = paired_difference([one + 0.1, one, one + (-0.1)], [other, other, other])
    for side in ("below", "above"):
        assert getattr(moved.recipes, side) ** 2 == pytest.approx(getattr(moved.networks, side) ** 2 + 0.01 / 3)


def test_of_recipes_the_patients_part_is_the_share_that_different_networks_have_in_common():
    """Networks that err on other images, trainings that scatter: each side's square, put together by hand."""
    draws, moves = Bootstrap(range(60), 400), (0.1, 0.0, -0.1)
    a = [rights(57, 60, draws, first=k) + move for k, move in zip((0, 1, 2), moves, strict=True)]
    b = [rights(40, 60, draws, first=20 - 8 * k) + move for k, move in zip((0, 1, 2), moves, strict=True)]
    covariance = np.cov(np.stack([r.samples for r in (*a, *b)]))
    pairs = list(itertools.permutations(range(3), 2))
    within = np.mean([covariance[i, j] for i, j in pairs]) + np.mean([covariance[3 + i, 3 + j] for i, j in pairs])
    common = within - 2 * np.mean([covariance[i, 3 + j] for i in range(3) for j in range(3)])
    whole = np.var(sum(r.samples for r in a) / 3 - sum(r.samples for r in b) / 3, ddof=1)
    assert 0.2 < common / whole < 0.9
    spread = sum(np.var([r.value for r in recipe], ddof=1) / 3 for recipe in (a, b))
    answer = paired_difference(a, b)
    for side in ("below", "above"):
        networks = getattr(answer.networks, side)
        assert getattr(answer.recipes, side) ** 2 == pytest.approx(common / whole * networks**2 + spread)
        assert getattr(answer.recipes, side) > networks


def test_over_other_trainings_and_patients_nothing_is_surer_than_over_other_patients():
    """Networks that each err on other images have little in common, and trainings that hardly scatter add nothing."""
    draws = Bootstrap(range(60), 400)
    a = [rights(58, 60, draws, first=k) for k in range(3)]
    b = [rights(50, 60, draws, first=k) for k in (0, 5, 10)]
    for first, second in ((a, b), (b, a)):
        answer = paired_difference(first, second)
        assert answer.recipes.below >= answer.networks.below
        assert answer.recipes.above >= answer.networks.above
        assert answer.recipes.low <= answer.networks.low
        assert answer.recipes.high >= answer.networks.high


@pytest.mark.parametrize("df", [(2, 2), (4, 9), (1, 7)])
@pytest.mark.parametrize("shares", [(0.0, 0.0), (0.5, 0.2), (1.0, 0.0), (0.3, 0.7)])
def test_every_part_of_the_error_reaches_as_far_as_its_own_degrees_of_freedom(df, shares):
    """The distance that a level reaches is written out; of one part alone p is the normal's or Student's."""
    error = 0.02
    spreads = [share * error**2 for share in shares]
    for p in (0.2, 0.01, 1e-5):
        reach = norm.isf(p) ** 2 * (error**2 - sum(spreads))
        reach += sum(students_t.isf(p, own) ** 2 * spread for own, spread in zip(df, spreads, strict=True))
        found = tail_by_parts(np.array(math.sqrt(reach)), np.array(error), [np.array(s) for s in spreads], df)
        assert float(found) == pytest.approx(p, rel=1e-8)
        one = Inference.even(math.sqrt(reach), error, list(zip(spreads, df, strict=True)))
        assert one.p == pytest.approx(2 * p)
        assert one.interval(1 - 2 * p)[0] == pytest.approx(0.0, abs=1e-9)
        assert one.turned().p == one.p
        assert Inference.from_json(one.value, one.to_json()) == one


def test_far_out_p_has_a_floor_and_of_nothing_there_is_none():
    """Quantiles of Student's t are right as far out as they are asked for: there and back."""
    one, nothing = np.array(1.0), np.array(0.0)
    for df in (1, 3, 9, 40, 99):
        far = tail_by_parts(np.array([1e3, 1e6, np.inf]), np.ones(3), [np.zeros(3), np.zeros(3)], [df, df])
        assert far == pytest.approx(norm.sf(20), rel=1e-6)
        t = students_t.ppf(norm.sf(np.array([5.0, 12.0, 19.9])), df)
        assert np.log(students_t.cdf(t, df)) == pytest.approx(norm.logsf([5.0, 12.0, 19.9]), rel=1e-9)
        assert float(tail_by_parts(-t[1], one, [one], [df])) == pytest.approx(norm.sf(12), rel=1e-7)
    for where in ((np.nan, one, nothing), (one, np.nan, nothing), (one, one, np.nan)):
        distance, error, spread = (np.array(value) for value in where)
        assert np.isnan(tail_by_parts(distance, error, [spread, nothing], [2, 2]))
    assert float(tail_by_parts(nothing, one, [nothing], [9])) == 0.5


@pytest.mark.parametrize(("seeds", "spreads"), [((3, 3), (1.0, 0.0)), ((2, 10), (1.0, 0.3)), ((5, 3), (0.5, 1.0))])
@pytest.mark.parametrize("patients", [0.0, 1.0])
def test_of_equal_recipes_p_is_below_any_level_at_most_so_often(seeds, spreads, patients):
    """Normal figures, drawn; the theorem of Banerjee (1961) for any spreads and numbers, far out too."""
    rng, studies = np.random.default_rng(16), 40_000
    figures = [5 * spread * rng.normal(size=(studies, n)) for n, spread in zip(seeds, spreads, strict=True)]
    value = patients * rng.normal(size=studies) + figures[0].mean(1) - figures[1].mean(1)
    variance = recipe_variance(figures, np.full((sum(seeds), sum(seeds)), 0.0))
    error = np.sqrt(patients**2 + variance.trainings)
    p = 2 * tail_by_parts(np.abs(value), error, variance.spreads, variance.spreads_df)
    for level in (0.05, 0.05 / 27):
        assert (p <= level).mean() <= within(studies, 0.0, level)[1]
    if patients or min(spreads) > 0:  # of one part alone Satterthwaite's degrees of freedom are right
        guessed = recipe_inference.satterthwaite(RecipeVariance(np.float64(patients**2), *variance[1:]))
        found = 2 * students_t.sf(np.abs(value) / error, guessed) <= 0.05 / 27
        assert found.mean() > within(studies, 0.0, 0.05 / 27)[1]


@pytest.mark.parametrize(("seeds", "spreads", "ratio"), [((3, 3), (1.0, 0.0), 10.0), ((2, 5), (1.0, 1.0), 1.0)])
def test_what_is_computed_of_one_comparison_is_what_is_drawn(seeds, spreads, ratio):
    """The integral of benchmarks/recipe_inference.py against 40,000 studies: equal recipes, and ones that differ."""
    rng, studies = np.random.default_rng(17), 40_000
    shares = np.array([spread**2 / n for spread, n in zip(spreads, seeds, strict=True)])
    added = ratio * shares / shares.sum()
    figures = [math.sqrt(v * n) * rng.normal(size=(studies, n)) for v, n in zip(added, seeds, strict=True)]
    value = rng.normal(size=studies) + figures[0].mean(1) - figures[1].mean(1)
    variance = recipe_variance(figures, np.zeros((sum(seeds), sum(seeds))))
    error = np.sqrt(1 + variance.trainings)
    computed = next(iter(recipe_inference.tails_of(seeds, spreads, ratio)))
    for shift, column in ((0, "any of equal ones, by parts"), (2, "2 errors, by parts"), (3, "3 errors, by parts")):
        distance = np.abs(value + shift * math.sqrt(1 + ratio))
        drawn = (2 * tail_by_parts(distance, error, variance.spreads, variance.spreads_df) <= 0.05).mean()
        share = float(computed[column])
        assert within(studies, share - 1e-3, share + 1e-3)[0] <= drawn <= within(studies, share - 1e-3, share + 1e-3)[1]


def test_of_recipes_close_to_1_the_lower_one_is_not_called_no_worse():
    """.98 less .99, 6 of 60 positive, five trainings, just worse by the margin of .01: 1 in 40 may be called no worse.

    With the share of the patients' part alone it was 1 in 10.
    """
    pair = intervals.Pair("AUROC", 60, 6, 0.98, 0.99, 1, 5, intervals.SCATTER)
    rows = {(r["question"], r["method"]): r for r in intervals.compare(pair, 200)}
    ours, symmetric = rows["recipes", intervals.OURS], rows["recipes", intervals.SYMMETRIC]
    assert float(ours["coverage"]) >= binom.ppf(0.001, 200, 0.93) / 200 > float(symmetric["coverage"])
    assert float(ours["no worse"]) <= binom.ppf(0.999, 200, 0.025) / 200 < float(symmetric["no worse"])


def test_the_interval_of_a_difference_of_areas_holds_with_six_positives():
    """.95 less .99, 6 of 60 positive: that with the resamples' error to both sides holds in three of four samples."""
    ours, symmetric = (
        next(row for row in rows if row["method"] == method)
        for rows in [list(intervals.compare(intervals.Pair("AUROC", 60, 6, 0.95, 0.99, 1, 1), 200))]
        for method in (intervals.OURS, intervals.SYMMETRIC)
    )
    least = binom.ppf(0.001, 200, 0.93) / 200  # what a rule that holds .93 falls below once in 1,000 samples
    assert float(ours["coverage"]) >= least > float(symmetric["coverage"])


def test_the_joint_region_that_was_tried_is_the_range_over_its_ellipse():
    """By brute force over the ellipse; where figures are unrelated it is Zou and Donner's."""
    rng, turn = np.random.default_rng(0), np.linspace(0, 2 * np.pi, 200_001)
    for r in (-0.7, 0.0, 0.4, 0.9, 0.99, 1.0):
        low, high, less_low, less_high = rng.exponential(size=4)
        first, second = np.cos(turn), r * np.cos(turn) + math.sqrt(1 - r * r) * np.sin(turn)
        falls = np.where(second > 0, less_high, less_low) * second - np.where(first > 0, high, low) * first
        assert intervals.fall((low, high), (less_low, less_high), r) == pytest.approx(falls.max(), abs=1e-4)
    assert intervals.fall((0.3, 0.1), (0.2, 0.4), 0.0) == pytest.approx(0.5)
    assert intervals.fall((0.3, 0.1), (0.3, 0.1), 1.0) == 0.0


def test_the_interval_holds_where_a_network_loses_positives_that_its_twin_does_not():
    """.98 and .98, 40 of 300, .95 of the scores in common, a twentieth lost: the joint region holds .88."""
    pair = intervals.Pair("AUROC", 300, 40, 0.98, 0.98, 1, 1, 0.0, 0.95, 0.05)
    ours = next(row for row in intervals.compare(pair, 200) if row["method"] == intervals.OURS)
    assert float(ours["coverage"]) >= binom.ppf(0.001, 200, 0.93) / 200


@pytest.mark.parametrize("score", range(4))
def test_what_is_simulated_of_many_studies_at_once_is_what_the_package_says_of_each(score):
    cell = recipe_inference.Cell(recipe_inference.SCORES[score], (3, 5), 0.5, suits=True)
    studies = recipe_inference.simulate(cell, 6, np.random.default_rng(0), with_intervals=True)
    many = recipe_inference.used(studies)
    for number, (first, second, samples, ends) in enumerate(zip(*studies, strict=True)):
        figures = [
            Replicates(float(value), own.astype(np.float64), 94, interval=Interval(*both))
            for value, own, both in zip([*first, *second], samples, ends.tolist(), strict=True)
        ]
        one = paired_difference(figures[:3], figures[3:]).recipes
        at_once = [x[number] for x in (many.value, many.below, many.above, many.p())]
        normal = 2 * norm.sf(abs(one.value) / (one.below if one.value > 0 else one.above))
        p = one.p if normal <= 0.05 else normal
        assert at_once == pytest.approx([one.value, one.below, one.above, p], rel=1e-4)


def within(count, least, most):
    """The shares of so many studies that a rule between `least` and `most` leaves in one of 1,000 at either end."""
    return binom.ppf(0.001, count, least) / count, binom.ppf(0.999, count, most) / count


@pytest.mark.parametrize(("seeds", "studies"), [(3, 1000), (5, 1000), (10, 600)])
def test_equal_recipes_are_called_different_in_at_most_one_study_of_twenty(seeds, studies):
    """A small form of benchmarks/recipe_inference.py: trainings that scatter as much as the patients."""
    cell = recipe_inference.Cell(recipe_inference.SCORES[0], (seeds, seeds), 1.0, suits=True)
    study = recipe_inference.simulate(cell, studies, np.random.default_rng(0), with_intervals=True)
    share = (recipe_inference.used(study).p() <= 0.05).mean()
    assert share <= within(studies, 0.0, 0.05)[1]
    fixed = (recipe_inference.p_values(study)["networks held fixed"] <= 0.05).mean()
    assert fixed > (0.08 if seeds < 10 else share)


def test_of_areas_equal_recipes_are_called_different_in_at_most_one_study_of_twenty():
    """Their intervals are wider than need be, so it is fewer."""
    cell = recipe_inference.Cell(recipe_inference.SCORES[2], (3, 3), 1.0, suits=True)
    study = recipe_inference.simulate(cell, 200, np.random.default_rng(0), with_intervals=True)
    assert (recipe_inference.used(study).p() <= 0.05).mean() <= within(200, 0.0, 0.05)[1]


@pytest.mark.parametrize(
    ("seeds", "scatter", "unequal"),
    [
        ((2, 2), 4.0, 1.0),
        ((3, 3), 1.0, 1.0),
        ((3, 3), 8.0, 0.3),
        ((5, 5), 1.0, 1.0),
        ((5, 5), 8.0, 0.0),
        ((2, 10), 8.0, 1.0),
        ((10, 10), 1.0, 1.0),
    ],
)
def test_of_a_family_of_equal_scores_any_is_called_different_in_at_most_one_study_of_twenty(seeds, scatter, unequal):
    """Independent scores, where Holm's correction spends most; trainings that scatter widely, unequally, and unequal
    numbers of them.

    There Satterthwaite's degrees of freedom call some score of far more families different.
    """
    cell = recipe_inference.Cell(recipe_inference.SCORES[0], seeds, scatter, suits=True, unequal=unequal, alike=0.0)
    rng, count, parts = np.random.default_rng(2), recipe_inference.FAMILY, 2 if seeds[1] == 10 else 5
    studies = [recipe_inference.simulate(cell, 50, rng, count, with_intervals=True) for _ in range(parts)]
    answers = [recipe_inference.used(study) for study in studies]
    error = np.concatenate([one.value for one in answers]).std()

    def any_of(p):
        return np.mean([min(holm(one)) <= 0.05 for one in np.concatenate(p).reshape(-1, count)])

    most = within(50 * parts, 0.0, 0.05)[1]
    assert any_of([one.p() for one in answers]) <= most
    if scatter > 1:
        assert any_of([recipe_inference.p_values(study)["mixed"] for study in studies]) > most
    if min(seeds) > 3 and scatter == 1:
        assert any_of([one.p(3 * error) for one in answers]) > 0.8  # all differ by three true standard errors
