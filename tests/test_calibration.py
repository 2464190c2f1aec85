"""Calibration, confusion and operating points against scikit-learn, brute force and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, confusion_matrix, recall_score

from pellucid.evaluation.metrics.calibration import brier_score, reliability
from pellucid.evaluation.metrics.confusion import confusion, shares_confused
from pellucid.evaluation.metrics.operating_points import Use, operating_points
from pellucid.evaluation.metrics.statistics import Bootstrap
from pellucid.types import InputError


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def by_hand(confidences, outcomes, bins):
    """Kumar et al.'s estimator bin by bin, and the plain expected calibration error."""
    parts = np.array_split(np.argsort(confidences, kind="stable"), bins)
    squared = plain = 0.0
    for rows in parts:
        sure, right, n = confidences[rows].mean(), outcomes[rows].mean(), len(rows)
        squared += n * ((sure - right) ** 2 - right * (1 - right) / (n - 1))
        plain += n * abs(sure - right)
    return math.sqrt(max(squared / len(confidences), 0)), plain / len(confidences)


def test_the_error_is_that_of_the_published_estimator(rng):
    sure = rng.uniform(0.4, 1, 300)
    right = (rng.random(300) < sure - 0.15).astype(float)
    found = reliability(sure, right, Bootstrap(range(300)), bins=15)
    error, plain = by_hand(sure, right, 15)
    assert found.error.value == pytest.approx(error)
    assert found.plug_in == pytest.approx(plain)
    assert found.overconfidence.value == pytest.approx(sure.mean() - right.mean())
    assert [r.n for r in found.outcome] == [20] * 15
    assert found.spread[0, 0] == sure.min()
    assert found.spread[-1, 1] == sure.max()


@pytest.mark.parametrize("shift", [0.0, 0.15])
def test_its_interval_holds_the_truth_and_its_bias_is_gone(shift, rng):
    """Of 60 draws from a model that is `shift` too sure; the plain error is well above it."""
    held, errors, plain = 0, [], []
    for _ in range(60):
        sure = rng.uniform(0.5, 1, 200)
        right = (rng.random(200) < sure - shift).astype(float)
        found = reliability(sure, right, Bootstrap(range(200), resamples=100))
        interval = found.error.estimate()
        held += interval.low <= shift <= interval.high
        errors.append(found.error.value**2)
        plain.append(found.plug_in)
    assert held >= 52
    assert abs(np.mean(errors) - shift**2) < 0.004
    assert np.mean(plain) > shift + 0.008


def test_labels_that_are_unknown_and_ties_take_part_as_they_should():
    sure = np.array([[0.5, 0.5], [0.5, 0.9], [0.5, 0.9]])
    right = np.array([[1.0, np.nan], [0.0, 1.0], [0.0, 1.0]])
    found = reliability(sure, right, Bootstrap("abc"))
    assert found.error.n == 5
    assert found.overconfidence.value == pytest.approx((3 * 0.5 + 1.8 - 3) / 5)
    tied = reliability(np.full(40, 0.75), np.arange(40) % 4 > 0, Bootstrap(range(40)))
    assert (len(tied.outcome), tied.error.value) == (1, 0.0)
    alone = reliability(sure[:, 0], right[:, 0], Bootstrap("aaa")).error
    assert math.isnan(alone.estimate().low)
    assert alone.lacking
    with pytest.raises(InputError, match="no image has both"):
        reliability([0.5], [np.nan], Bootstrap("a"))


def test_the_brier_score_is_scikit_learns(rng):
    probabilities = rng.dirichlet([1, 1, 1], 50)
    truth = rng.integers(0, 3, 50)
    draws = Bootstrap(range(50))
    expected = np.mean(((probabilities - np.eye(3)[truth]) ** 2).sum(1))
    assert brier_score(probabilities, truth, draws).value == pytest.approx(expected)
    labels = (rng.random((50, 2)) < 0.4).astype(float)
    labels[3, 1] = np.nan
    known = ~np.isnan(labels[:, 1])
    sums = brier_score_loss(labels[:, 0], probabilities[:, 0]) * 50
    sums += brier_score_loss(labels[known, 1], probabilities[known, 1]) * 49
    assert brier_score(probabilities[:, :2], labels, draws).value == pytest.approx(sums / 99)
    probabilities[0] = np.nan
    assert "no answer" in brier_score(probabilities, truth, draws).reason


def test_sensitivity_and_specificity_are_scikit_learns_recalls(rng):
    decided, truth = ((rng.random((60, 4)) < 0.5).astype(float) for _ in range(2))
    truth[5, 2] = np.nan
    sensitivity, specificity = operating_points(decided, truth, Bootstrap(range(60)))
    for k in range(4):
        known = ~np.isnan(truth[:, k])
        assert sensitivity[k].value == pytest.approx(recall_score(truth[known, k], decided[known, k]))
        assert specificity[k].value == pytest.approx(recall_score(truth[known, k], decided[known, k], pos_label=0))
    decided[0, 0] = np.nan
    found = operating_points(decided, truth, Bootstrap(range(60)))[1 - int(truth[0, 0])][0]
    assert math.isnan(found.value)
    assert "no answer" in found.reason


def test_the_confusion_is_scikit_learns_and_its_shares_are_those_of_the_class(rng):
    decided, truth = rng.integers(0, 5, (2, 200))
    found = confusion(decided, truth, 6)
    assert (found.matrix() == confusion_matrix(truth, decided, labels=range(6))).all()
    rows = found.most_confused(3)
    counts = found.matrix() - np.diag(np.diag(found.matrix()))
    assert found.count[rows].tolist() == sorted(counts.ravel(), reverse=True)[:3]
    shares = shares_confused(found, rows, decided, truth, Bootstrap(range(200)))
    expected = [np.mean(decided[truth == found.truth[r]] == found.decided[r]) for r in rows]
    assert [s.value for s in shares] == pytest.approx(expected)


@pytest.mark.parametrize(("prevalence", "missed"), [(0.5, 1), (0.5, 10), (0.05, 1), (0.05, 30)])
def test_no_threshold_costs_less_than_that_of_bayes(prevalence, missed, rng):
    """Calibrated probabilities on half positives, used elsewhere: every other threshold costs more there."""
    probabilities = np.sort(rng.beta(0.8, 0.8, 20_000))
    use = Use({"a": prevalence}, false_negative=missed)

    def cost(threshold):
        """As expected from the probabilities themselves, so that no draw is lucky."""
        said = probabilities >= threshold
        passed_over, alarmed = (probabilities * ~said).sum() / probabilities.sum(), ((1 - probabilities) * said).sum()
        return prevalence * missed * passed_over + (1 - prevalence) * alarmed / (1 - probabilities).sum()

    least = min(map(cost, np.linspace(0.001, 0.999, 999)))
    (one,) = use.of_classes(["a"], [probabilities.mean()], exclusive=False)
    assert cost(one.threshold) <= least + 1e-9


def test_what_an_error_costs_is_what_sensitivity_and_specificity_say():
    draws = Bootstrap(range(8))
    sensitivity, specificity = operating_points([[1], [0], [0], [1], [0], [0], [0], [0]], [[1]] * 2 + [[0]] * 6, draws)
    use = Use({"a": 0.1}, false_negative=20, false_positive=2)
    expected = 0.1 * 20 * 0.5 + 0.9 * 2 * (1 / 6)
    (one,) = use.of_classes(["a"], [0.25], exclusive=False)
    assert one.cost(sensitivity[0], specificity[0]).value == pytest.approx(expected)
    assert math.isnan(use.of_classes(["a"], [0.0], exclusive=False)[0].threshold)


@pytest.mark.parametrize("prevalence", [{"ill": 0.1}, {"well": 0.9}, {"ill": 0.1, "well": 0.9}])
def test_two_exclusive_classes_have_one_threshold_that_of_elkan(prevalence):
    """Elkan (2001), theorems 1 and 2: at it, the probability there is FP / (FP + FN)."""
    use = Use(prevalence, false_negative=5)
    well, ill = use.of_classes(["well", "ill"], [0.35, 0.65], exclusive=True)
    assert (well.there, ill.there) == (pytest.approx(0.9), pytest.approx(0.1))
    tied = well if prevalence == {"well": 0.9} else ill
    b, b_there, p = tied.here, tied.there, tied.threshold
    assert b_there * (p - p * b) / (b - p * b + b_there * p - b * b_there) == pytest.approx(1 / 6)
    assert well.threshold == pytest.approx(1 - ill.threshold)


@pytest.mark.parametrize("missed", [1, 5])
def test_both_of_two_exclusive_classes_cost_the_same(missed):
    """By hand: of ten ill two are missed, of thirty well three are called ill."""
    truth = np.repeat([[1, 0], [0, 1]], [10, 30], axis=0)
    decided = truth.copy()
    decided[[0, 1, 37, 38, 39]] = 1 - decided[[0, 1, 37, 38, 39]]
    pairs = zip(*operating_points(decided, truth, Bootstrap(range(40))), strict=True)
    uses = Use({"ill": 0.1}, false_negative=missed).of_classes(["ill", "well"], [0.25, 0.75], exclusive=True)
    costs = [one.cost(*pair) for one, pair in zip(uses, pairs, strict=True)]
    assert [c.value for c in costs] == pytest.approx([0.1 * missed * 0.2 + 0.9 * 0.1] * 2)


def test_classes_that_are_not_named_share_what_the_others_leave():
    use, names, shares = Use({"a": 0.4}), ["a", "b", "c"], [0.1, 0.3, 0.6]
    assert [one.there for one in use.of_classes(names, shares, exclusive=True)] == pytest.approx([0.4, 0.2, 0.4])
    assert [one.there for one in use.of_classes(names, shares, exclusive=False)] == [0.4, 0.3, 0.6]
    assert [one.there for one in Use().of_classes(names, shares, exclusive=True)] == shares
    whole = Use({"a": 0.4, "b": 0.6})
    whole.check_classes(names, exclusive=True)
    assert [one.threshold for one in whole.of_classes(names, shares, exclusive=True)][2] == 1  # it does not occur there


@pytest.mark.parametrize(
    ("classes", "prevalence", "message"),
    [
        (["a", "b"], {"a": 0.9, "b": 0.9}, "must sum to 1; found a 0.9, b 0.9: 1.8"),
        (["a", "b"], {"a": 0.3, "b": 0.3}, "must sum to 1; found a 0.3, b 0.3: 0.6"),
        (["a", "b", "c"], {"a": 0.6, "b": 0.5}, "must sum to at most 1; found a 0.6, b 0.5: 1.1"),
    ],
)
def test_shares_of_exclusive_classes_that_cannot_be_are_refused(classes, prevalence, message):
    with pytest.raises(InputError, match=message):
        Use(prevalence).check_classes(classes, exclusive=True)
    Use(prevalence).check_classes(classes, exclusive=False)
    Use(dict.fromkeys("abc", 1 / 3)).check_classes(["a", "b", "c"], exclusive=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (({"a": "1.5"}, {}), "prevalence of a must lie between 0 and 1"),
        (({"a": "many"}, {}), "prevalence of a must be a number; found 'many'"),
        (({}, {"FN": "-1"}), "cost of FN must be a number above 0"),
        (({}, {"TN": "1"}), "unknown kind of error 'TN'"),
    ],
)
def test_a_use_that_is_none_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        Use.parse(*given)


def test_a_prevalence_of_no_class_is_refused():
    with pytest.raises(InputError, match="Did you mean 'Mass'"):
        Use({"Mas": 0.1}).check_classes(["Mass", "Nodule"], exclusive=False)
