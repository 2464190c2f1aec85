"""The Accuracy-Robustness Area: exact, bounded where attacks failed, above the constant answer, with interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.data.dataset import Dataset, DatasetCard
from pellucid.evaluation import Bootstrap
from pellucid.evaluation.robustness.ara import (
    accuracy_curve,
    ara,
    area,
    balanced_ara,
    mean_area,
    mean_curve,
    reach,
)
from pellucid.evaluation.robustness.robustness_target import balanced, robustness_target_of
from pellucid.types import InputError

RADII = st.lists(st.one_of(st.just(0.0), st.floats(1e-4, 1.0), st.sampled_from([0.1, 0.25])), min_size=1, max_size=40)
NAIVE = st.sampled_from([0.0, 0.1, 1 / 7, 0.25, 1 / 3, 0.5, 0.9])


def by_the_formula(radii, naive):
    """mean min(r, r*) − b·r*, with r* looked for among the radii: no sorted sums."""
    count = len(radii)
    above = [r for r in {0.0, *radii} if sum(x > r for x in radii) > naive * count + 1e-9]
    # the accuracy is constant from one radius to the next: it exceeds b up to the next one
    reached = min((r for r in radii if r > max(above)), default=0.0) if above else 0.0
    return sum(min(r, reached) for r in radii) / count - naive * reached


@settings(deadline=None, max_examples=200)
@given(RADII, NAIVE)
def test_the_area_is_that_of_the_papers_formula(radii, naive):
    assert area(radii, naive) == pytest.approx(max(0.0, by_the_formula(radii, naive)), abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(RADII, NAIVE)
def test_the_area_is_what_brute_force_integration_gives(radii, naive):
    grid = (np.arange(40_000) + 0.5) / 40_000 * 1.01
    accuracy = (np.asarray(radii)[:, None] > grid).mean(0)
    expected = np.maximum(accuracy - naive, 0).mean() * 1.01
    assert area(radii, naive) == pytest.approx(expected, abs=1e-4)


@settings(deadline=None, max_examples=60)
@given(RADII, NAIVE)
def test_accuracy_falls_to_the_constant_answers_at_the_reach(radii, naive):
    end, values = reach(radii, naive), np.asarray(radii)
    assert (values > end).mean() <= naive + 1e-9
    if end > 0:
        assert (values > end * (1 - 1e-9)).mean() > naive
        assert area(radii, naive) == pytest.approx(np.minimum(values, end).mean() - naive * end)
    else:
        assert area(radii, naive) == 0


def test_the_papers_histogram_comes_near_the_exact_area():
    radii = np.random.default_rng(0).gamma(2, 0.01, 400) * (np.arange(400) > 100)
    top = radii.max()
    errors = []
    for bins in (1000, 100_000):
        counts, _ = np.histogram(radii, bins, (0, top))
        histogram = top / bins * np.maximum(0, 1 - counts.cumsum() / 400 - 0.1).sum()
        errors.append(abs(histogram - area(radii, 0.1)))
    assert errors[0] < top / 1000
    assert errors[1] < top / 100_000


def test_no_area_where_accuracy_starts_at_the_constant_answers():
    assert area([0, 0, 0, 0.7], 0.25) == 0
    assert area([0, 0, 0.7, 0.7], 0.25) == pytest.approx(0.7 * 0.25)
    assert area([0.3] * 10, 0.1) == pytest.approx(0.3 * 0.9)


@pytest.mark.parametrize(
    ("radii", "naive"), [([], 0.1), ([-1.0], 0.1), ([math.nan], 0.1), ([math.inf], 0.1), ([0.1], 1.0), ([0.1], -0.1)]
)
def test_what_is_no_radius_or_no_accuracy_is_refused(radii, naive):
    with pytest.raises(InputError):
        area(radii, naive)


def test_failed_attacks_give_a_lower_and_an_upper_bound():
    radii, found = [0.2, 0.4, math.nan, 0.0, 0.3], [True, True, False, True, True]
    got = ara(radii, found, 0.25, Bootstrap(range(5), 200))
    assert got.failed == 1
    assert got.lower.value == pytest.approx(area([0.2, 0.4, 0.0, 0.0, 0.3], 0.25))
    assert got.upper.value == pytest.approx(area([0.2, 0.4, 9.9, 0.0, 0.3], 0.25))  # anything beyond r*
    assert math.isnan(got.replicates.value)
    assert "1 of 5 attacks failed" in got.replicates.reason
    low, high = got.interval()
    assert low <= got.lower.value < got.upper.value <= high
    assert got.interval()[0] == pytest.approx(np.quantile(got.lower.samples, 0.025))


def test_too_many_failures_leave_no_upper_bound():
    got = ara([0.2, math.nan], [True, False], 0.1, Bootstrap(range(2), 200))
    assert math.isinf(got.upper.value)
    assert got.lower.value == pytest.approx(0.2 * 0.4)
    assert "no upper bound" in got.reason


def test_found_everywhere_the_bounds_are_one_value():
    radii = [0.2, 0.4, 0.0, 0.1, 0.1]
    got = ara(radii, [True] * 5, 0.25, Bootstrap(range(5), 200))
    assert got.lower.value == got.upper.value == got.replicates.value == pytest.approx(area(radii, 0.25))
    assert got.reason is None


def test_each_resample_is_the_area_of_the_images_drawn():
    rng = np.random.default_rng(1)
    radii = rng.gamma(2, 0.01, 30)
    draws = Bootstrap([f"patient {i // 2}" for i in range(30)], 50)
    got = ara(radii, np.ones(30, bool), 0.2, draws)
    for weights, sample in zip(draws.weights, got.lower.samples, strict=True):
        assert sample == pytest.approx(area(np.repeat(radii, weights.astype(int)), 0.2), abs=1e-12)
    low, high = got.interval()
    assert low < got.lower.value < high


def test_few_patients_have_no_interval():
    got = ara([0.1, 0.2], [True, True], 0.1, Bootstrap(["ann", "ann"], 100))
    assert math.isnan(got.interval()[0])
    assert got.reason == "1 patient only, and an interval needs 5"


def test_a_label_is_measured_on_balanced_accuracy():
    rng = np.random.default_rng(2)
    radii, present = rng.gamma(2, 0.01, 60), np.arange(60) % 6 == 0
    draws = Bootstrap(range(60), 40)
    got = balanced_ara(radii, np.ones(60, bool), present, draws)
    grid = np.linspace(0, radii.max(), 20_001)
    grid = (grid[1:] + grid[:-1]) / 2

    def integrated(values, positive):
        kept = ((values[positive][:, None] > grid).mean(0) + (values[~positive][:, None] > grid).mean(0)) / 2
        return np.maximum(kept - 0.5, 0).mean() * radii.max()

    assert got.lower.value == pytest.approx(integrated(radii, present), rel=1e-3)
    drawn = np.repeat(np.arange(60), draws.weights[7].astype(int))
    assert got.lower.samples[7] == pytest.approx(integrated(radii[drawn], present[drawn]), rel=1e-3)


def test_more_negatives_of_the_same_kind_change_nothing():
    """As they would change plain accuracy."""
    radii, present = np.random.default_rng(2).gamma(2, 0.01, 60), np.arange(60) < 10
    found = np.ones(110, bool)
    one = balanced_ara(radii, found[:60], present, Bootstrap(range(60), 10))
    more = np.concatenate([radii, radii[~present]])
    two = balanced_ara(more, found, np.arange(110) < 10, Bootstrap(range(110), 10))
    assert one.lower.value == pytest.approx(two.lower.value)
    assert area(radii, 0.5) != pytest.approx(area(more, 0.5), rel=1e-3)


def test_a_label_with_few_positives_has_no_area_and_says_why():
    draws = Bootstrap(range(40), 20)
    few = balanced_ara(np.full(40, 0.1), np.ones(40, bool), np.arange(40) < 4, draws)
    enough = balanced_ara(np.full(40, 0.1), np.ones(40, bool), np.arange(40) < 5, draws)
    assert math.isnan(few.replicates.value)
    assert "4 positives" in few.reason
    assert enough.replicates.value == pytest.approx(0.05)
    mean = mean_area([few, enough])
    assert mean.replicates.value == pytest.approx(0.05)
    assert "1 of 2 labels undefined" in mean.reason


@settings(deadline=None, max_examples=40)
@given(RADII.filter(lambda r: len(r) > 3), st.integers(0, 3))
def test_the_curve_is_the_share_of_images_that_need_more(radii, failed):
    found = np.arange(len(radii)) >= failed
    curve = accuracy_curve(np.where(found, radii, np.nan), found)
    assert curve.radius[0] == 0
    assert (np.diff(curve.radius) > 0).all()
    for r, low, high in zip(*curve, strict=True):
        assert low == pytest.approx((np.asarray(radii)[found] > r).sum() / len(radii))
        assert high == pytest.approx(low + failed / len(radii))


def test_a_mean_curve_holds_every_step_of_its_parts():
    one, two = accuracy_curve([0.1, 0.3], [True] * 2), accuracy_curve([0.2], [True])
    mean = mean_curve([one, two])
    assert mean.radius.tolist() == [0, 0.1, 0.2, 0.3]
    assert mean.accuracy.tolist() == [1.0, 0.75, 0.25, 0.0]


def dataset(targets, task="multiclass", classes=("a", "b", "c")):
    n = len(targets)
    card = DatasetCard("toy", "Toy", task, classes)
    names = tuple(str(i) for i in range(n))
    return Dataset(card, "test", names, names, np.asarray(targets), lambda i: np.zeros((2, 2), np.uint8))


def test_the_constant_answer_comes_from_the_whole_part_and_not_from_the_images_measured():
    whole = dataset([0] * 80 + [1] * 10 + [2] * 10)
    robustness_target = robustness_target_of("attack", whole, {})
    assert (robustness_target.criterion, robustness_target.naive) == ("misclassified", 0.8)
    assert len(robustness_target.decisions(whole.limit(5).targets)[0]) == 5  # and the question stays as it was


def test_balanced_classes_are_compared_with_random_and_others_with_the_best_constant():
    even, odd = dataset([0, 1, 2] * 20), dataset([0] * 40 + [1] * 10 + [2] * 10)
    card = {"best_constant": [0.6, 0.2, 0.2]}
    assert robustness_target_of("btr", even, {}).criterion == "worse_than_random"
    assert robustness_target_of("btr", even, {}).naive == pytest.approx(1 / 3)
    found = robustness_target_of("btr", odd, card)
    assert (found.criterion, found.naive, found.levels) == (
        "worse_than_constant",
        pytest.approx(2 / 3),
        (0.6, 0.2, 0.2),
    )
    array = {"best_constant": np.array([0.6, 0.2, 0.2])}
    assert robustness_target_of("btr", odd, array) == found
    assert robustness_target_of("attack", odd, array).criterion == "misclassified"
    two = robustness_target_of("btr", dataset([0, 1] * 20, classes=("a", "b")), {"best_constant": [0.3, 0.7]})
    assert (two.criterion, two.naive) == ("worse_than_constant", 0.5)
    with pytest.raises(InputError, match=r"none is known[^?]*model\.card = [^?]*kinds=\"attack\""):
        robustness_target_of("btr", odd, {})
    with pytest.raises(InputError, match="one for 2 classes is known"):
        robustness_target_of("btr", odd, {"best_constant": [0.5, 0.5]})
    with pytest.raises(InputError, match="b, which it was not trained on"):
        robustness_target_of("btr", odd, {"best_constant": [0.8, 0.0, 0.2]})
    with pytest.raises(InputError, match="Did you mean 'btr'"):
        robustness_target_of("bt", odd, card)


def test_a_sample_of_balanced_classes_is_balanced_and_a_lopsided_one_is_not():
    assert balanced([57, 41, 51, 49, 44, 50, 56, 48, 57, 59])  # 512 images of CIFAR-10
    assert balanced([100_000, 101_000])  # within a tenth, though no chance
    assert not balanced([3000, 1000])
    assert not balanced([4, 2, 2])  # too few to tell: not taken for balanced


def test_a_multilabel_question_skips_unknown_labels_and_says_which_it_cannot_ask():
    targets = np.zeros((20, 3), np.float32)
    targets[:8, 0], targets[:3, 1], targets[:10, 2] = 1, 1, 1
    targets[0, 0] = np.nan
    many = dataset(targets, "multilabel")
    robustness_target = robustness_target_of("attack", many, {"thresholds": [0.3, 0.5, math.nan]})
    assert robustness_target.naive == 0.5
    assert set(robustness_target.undefined(targets)) == {1, 2}
    assert "3 positives" in robustness_target.undefined(targets)[1]
    image, label = robustness_target.decisions(targets)
    assert set(label.tolist()) == {0}
    assert image.tolist() == list(range(1, 20))
    criterion = robustness_target.criterion_for(targets, image, label)
    assert criterion.levels.tolist() == [0.3] * 19
    assert criterion.rising.tolist() == [False] * 7 + [True] * 12


def test_no_interval_is_of_zero_width():
    draws = Bootstrap(range(40))
    every = np.ones(40, dtype=bool)
    for radii in (np.zeros(40), np.full(40, 0.01)):
        one = ara(radii, every, 0.1, draws)
        assert np.isnan(one.interval()).all()
        assert "no interval" in (one.reason or "")
        estimate = one.replicates.estimate()
        assert estimate.value == one.lower.value
        assert np.isnan([estimate.low, estimate.high]).all()
    assert ara(np.zeros(40), ~every, 0.1, draws).interval() == (0, np.inf)  # nothing was found
