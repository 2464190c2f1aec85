"""Classification metrics against scikit-learn, resample by resample, and where they are undefined."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    roc_auc_score,
)

from pellucid.evaluation.metrics.classification import (
    accuracy,
    auroc,
    average_precision,
    balanced_accuracy,
    classification_table,
    weighted_areas,
    youden_thresholds,
)
from pellucid.evaluation.metrics.statistics import Bootstrap
from pellucid.types import InputError


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.integers(1, 12), st.integers(0, 10_000))
def test_every_resample_is_scikit_learns_with_the_draws_as_weights(count, levels, seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, count).astype(float)  # ties
    targets = (rng.random(count) < 0.4).astype(float)
    targets[:2] = 0, 1
    draws = Bootstrap(rng.integers(0, 12, count).tolist(), resamples=12, seed=seed)
    area, precision = weighted_areas(scores, targets == 1, targets == 0, draws.weights)
    for row, a, p in zip(draws.weights, area, precision, strict=True):
        if 0 in (row[targets == 1].sum(), row[targets == 0].sum()):
            assert math.isnan(a)
            assert math.isnan(p)
        else:
            assert a == pytest.approx(roc_auc_score(targets, scores, sample_weight=row))
            assert p == pytest.approx(average_precision_score(targets, scores, sample_weight=row))
    assert auroc(scores, targets, draws).value == pytest.approx(roc_auc_score(targets, scores))
    found = average_precision(scores, targets, draws).value
    assert found == pytest.approx(average_precision_score(targets, scores))


def test_small_chunks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    scores, targets = rng.normal(size=50), rng.integers(0, 2, 50)
    draws = Bootstrap(range(50), resamples=33)
    before = auroc(scores, targets, draws)
    monkeypatch.setattr("pellucid.evaluation.metrics.bootstrap.CHUNK", 200)
    assert (auroc(scores, targets, draws).samples == before.samples).all()


def test_the_interval_of_an_auroc_has_the_width_that_hanley_and_mcneil_give():
    rng = np.random.default_rng(1)
    targets = (np.arange(600) < 200).astype(float)
    scores = rng.normal(size=600) + targets
    found = auroc(scores, targets, Bootstrap(range(600), resamples=600))
    a, positives, negatives = found.value, 200, 400
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    variance = (a * (1 - a) + (positives - 1) * (q1 - a * a) + (negatives - 1) * (q2 - a * a)) / (positives * negatives)
    assert found.samples.std() == pytest.approx(math.sqrt(variance), rel=0.15)


def test_unknown_targets_take_no_part():
    scores = np.array([0.9, 0.1, 0.8, 0.3, 0.7])
    targets = np.array([1, 0, math.nan, 1, 0])
    draws = Bootstrap(range(5), resamples=30)
    found = auroc(scores, targets, draws)
    known = ~np.isnan(targets)
    assert found.value == pytest.approx(roc_auc_score(targets[known], scores[known]))
    assert found.n == 4
    changed = np.where(known, scores, -100.0)
    np.testing.assert_array_equal(auroc(changed, targets, draws).samples, found.samples)


@pytest.mark.parametrize(
    ("scores", "targets", "reason"),
    [
        ([0.1, 0.2], [0, 0], "no positives"),
        ([0.1, 0.2], [1, 1], "no negatives"),
        ([0.1, 0.2], [math.nan, math.nan], "no positives and no negatives"),
        ([0.1, math.nan], [0, 1], "no answer (NaN or infinite) on 1 of 2 images"),
    ],
)
def test_what_is_undefined_is_nan_with_a_reason(scores, targets, reason):
    for metric in (auroc, average_precision):
        found = metric(scores, targets, Bootstrap(range(2))).estimate()
        assert math.isnan(found.value)
        assert found.reason == reason
        assert found.to_json()["value"] is None


def test_positives_of_one_patient_have_a_value_but_no_interval():
    found = auroc([0.9, 0.8, 0.1, 0.2], [1, 1, 0, 0], Bootstrap(["a", "a", "b", "c"])).estimate()
    assert found.value == 1.0
    assert math.isnan(found.low)
    assert found.reason == "positives of 1 patient only, and an interval needs 5"
    assert (found.positives, found.patients) == (2, 3)


def test_targets_other_than_0_and_1_are_refused():
    with pytest.raises(InputError, match="0, 1"):
        auroc([0.1, 0.2], [0, 2], Bootstrap(range(2)))
    with pytest.raises(InputError, match="2 images"):
        auroc([0.1, 0.2, 0.3], [0, 1, 1], Bootstrap(range(2)))


def test_a_multilabel_table():
    rng = np.random.default_rng(2)
    logits = torch.tensor(rng.normal(size=(60, 3)), dtype=torch.float32)
    targets = rng.integers(0, 2, (60, 3)).astype(float)
    targets[:, 2] = 0
    targets[:10, 1] = math.nan
    table = classification_table(logits, targets, ["a", "b", "c"], "multilabel", Bootstrap(range(60), 50))
    assert list(table) == ["a", "b", "c", "mean"]
    a = roc_auc_score(targets[:, 0], logits[:, 0])
    b = roc_auc_score(targets[10:, 1], logits[10:, 1])
    assert table["mean"]["auroc"].value == pytest.approx((a + b) / 2)
    assert table["mean"]["auroc"].reason == "1 of 3 classes undefined and left out"
    assert table["c"]["auroc"].reason == "no positives"
    assert table["b"]["prevalence"].value == pytest.approx(targets[10:, 1].mean())
    assert table["b"]["prevalence"].n == 50


def test_a_multiclass_table():
    rng = np.random.default_rng(3)
    targets = rng.integers(0, 4, 80)
    logits = rng.normal(size=(80, 4)) + 1.5 * np.eye(4)[targets]
    draws = Bootstrap(range(80), 40)
    table = classification_table(logits, torch.tensor(targets), list("abcd"), "multiclass", draws)
    shares = torch.softmax(torch.tensor(logits), 1).numpy()
    assert table["mean"]["auroc"].value == pytest.approx(roc_auc_score(targets, shares, multi_class="ovr"))
    predicted = logits.argmax(1)
    assert table["mean"]["accuracy"].value == pytest.approx(accuracy_score(targets, predicted))
    wanted = balanced_accuracy_score(targets, predicted)
    assert table["mean"]["balanced_accuracy"].value == pytest.approx(wanted)
    assert table["mean"]["recall"].value == pytest.approx(wanted)
    for row, found, fair in zip(
        draws.weights,
        table["mean"]["accuracy"].samples,
        table["mean"]["balanced_accuracy"].samples,
        strict=True,
    ):
        assert found == pytest.approx(accuracy_score(targets, predicted, sample_weight=row))
        assert fair == pytest.approx(balanced_accuracy_score(targets, predicted, sample_weight=row))


def test_accuracy_without_a_known_target_and_for_a_class_that_never_occurs():
    draws = Bootstrap(range(3))
    assert accuracy([0, 1, 1], [math.nan] * 3, draws).reason == "no known target"
    assert balanced_accuracy([0, 1, 1], [math.nan] * 3, draws).reason == "no known target"
    found = balanced_accuracy([0, 1, 1], [0, 1, math.nan], draws)
    assert found.value == 1.0
    assert found.n == 2
    many = balanced_accuracy([0, 1, 1, 1], [0, 1, 1, 1], Bootstrap(range(4)))
    assert (many.n, many.patients) == (4, 4)  # of all classes, not of the most frequent one


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 25), st.integers(1, 8), st.integers(0, 10_000))
def test_youdens_threshold_is_the_best_of_all(count, levels, seed):
    rng = np.random.default_rng(seed)
    probabilities = rng.integers(0, levels, (count, 3)) / levels
    targets = rng.integers(0, 2, (count, 3)).astype(float)
    targets[rng.random((count, 3)) < 0.2] = math.nan
    for found, p, t in zip(youden_thresholds(probabilities, targets), probabilities.T, targets.T, strict=True):
        positives, negatives = p[t == 1], p[t == 0]
        if not len(positives) or not len(negatives):
            assert math.isnan(found)
            assert not (p >= found).any()  # no threshold: never predicted
            continue
        best = {float(v): (positives >= v).mean() - (negatives >= v).mean() for v in p}
        top = max(best.values())
        assert best[float(found)] == pytest.approx(top)
        assert found == max(v for v, j in best.items() if j > top - 1e-12)


def test_youdens_threshold_of_class_numbers():
    shares = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]])
    assert youden_thresholds(shares, np.array([0, 0, 1])).tolist() == [0.6, 0.7]
