"""DeLong's, McNemar's and Holm's tests against brute force, published procedure and simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binom, kstest, norm
from sklearn.metrics import roc_auc_score

from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.metrics.classification import auroc
from pellucid.evaluation.metrics.paired_tests import delong, holm, mcnemar
from pellucid.types import InputError


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_delong_is_its_definition_pair_by_pair(rng):
    """The variance from the kernel of every pair of a positive and a negative, as in the paper."""
    truth = rng.random(40) < 0.4
    scores = np.round(rng.normal(size=(2, 40)) + truth, 1)  # with ties
    kernels = [(s[truth][:, None] > s[~truth][None]) + 0.5 * (s[truth][:, None] == s[~truth][None]) for s in scores]
    areas = [k.mean() for k in kernels]
    difference = kernels[0] - kernels[1]
    positives, negatives = difference.shape
    variance = difference.mean(1).var(ddof=1) / positives + difference.mean(0).var(ddof=1) / negatives
    test = delong(*scores, truth)
    assert areas == pytest.approx([roc_auc_score(truth, s) for s in scores])
    assert test.difference == pytest.approx(areas[0] - areas[1])
    assert test.p == pytest.approx(2 * norm.sf(abs(test.difference) / np.sqrt(variance)))
    assert test.n == 40
    assert delong(scores[0], scores[0], truth).p == 1.0
    assert "fewer than two" in delong([1, 2, 3], [1, 2, 3], [1, 0, 0]).reason


def test_where_both_are_as_good_p_is_spread_evenly(rng):
    values = []
    for _ in range(150):
        truth = rng.random(120) < 0.5
        values.append(delong(*(rng.normal(size=120) + truth for _ in range(2)), truth).p)
    assert kstest(values, "uniform").pvalue > 0.01


def test_delong_of_folds_is_the_mean_of_what_each_fold_says(rng):
    """The scores of a fold's networks are on a scale of their own; its patients are in no other fold."""
    truth, folds = (rng.random(90) < 0.4).astype(float), np.repeat([0, 1, 2], 30)
    patients = np.arange(90) // 2
    scores = rng.normal(size=(2, 90)) + truth
    alone = [delong(*scores[:, folds == f], truth[folds == f], patients[folds == f]) for f in range(3)]
    errors = [abs(test.difference) / norm.isf(test.p / 2) for test in alone]
    together = delong(*(scores + 5 * folds), truth, patients, folds)
    difference = np.mean([test.difference for test in alone])
    assert together.difference == pytest.approx(difference)
    assert together.p == pytest.approx(2 * norm.sf(abs(difference) / (np.linalg.norm(errors) / 3)))
    assert together.n == 90
    assert "several folds" in delong(*scores, truth, np.arange(90) % 45, folds).reason
    truth[folds == 2] = 0  # this fold has no area, so the mean is over the others
    assert delong(*scores, truth, patients, folds).difference == pytest.approx(
        np.mean([test.difference for test in alone[:2]])
    )


def test_mcnemar_is_the_sum_of_the_binomial_tails(rng):
    first, second = (rng.random((2, 60)) < [[0.8], [0.6]]).astype(float)
    better, worse = ((first > second).sum(), (second > first).sum())
    tail = 2 * binom.cdf(min(better, worse), better + worse, 0.5)
    test = mcnemar(first, second)
    assert test.p == pytest.approx(min(1, tail))
    assert test.difference == pytest.approx(first.mean() - second.mean())
    first[0] = np.nan
    assert mcnemar(first, second).n == 59
    assert mcnemar([1, 0], [1, 0]).p == 1.0


def test_mcnemar_turns_whole_patients(rng):
    patients = np.array([0, 0, 0, 1, 1, 2, 3, 3, 4, 5, 5, 5])
    first, second = (rng.integers(0, 2, (12, 3)).astype(float) for _ in range(2))
    first[0, 0] = np.nan  # a label that is not known
    test = mcnemar(first, second, patients)
    sums = np.array([np.nansum((first - second)[patients == p]) for p in range(6)])
    ways = np.array(list(itertools.product([-1, 1], repeat=6))) @ sums
    assert test.p == pytest.approx((np.abs(ways) >= abs(sums.sum())).mean())
    assert test.difference == pytest.approx(sums.sum() / 35)
    copied = mcnemar(np.repeat(first[:, 1], 4), np.repeat(second[:, 1], 4), np.repeat(np.arange(12), 4))
    assert copied.p == pytest.approx(mcnemar(first[:, 1], second[:, 1]).p)  # four copies of an image say no more


def test_holm_rejects_what_its_step_down_rejects(rng):
    """For every level: the smallest p against level / m, the next against level / (m − 1), until one is not below."""
    for p_values, level in itertools.product(rng.random((20, 5)) ** 3, (0.01, 0.05, 0.2)):
        rejected = set()
        for rank, i in enumerate(np.argsort(p_values)):
            if p_values[i] > level / (5 - rank):
                break
            rejected.add(int(i))
        assert {i for i, p in enumerate(holm(p_values)) if p <= level} == rejected
    assert np.isnan(holm([np.nan, 0.02])[0])
    assert holm([np.nan, 0.02])[1] == 0.02


def test_scores_without_spread_have_no_p_value():
    one, other = np.array([1.0] * 7 + [0.0] * 3), np.array([0.0] * 7 + [1.0] * 3)  # all ranked right, all wrong
    apart = delong(one, other, np.array([1] * 7 + [0] * 3))
    assert apart.difference == 1
    assert np.isnan(apart.p)
    assert "no spread" in apart.reason


def test_delong_of_several_networks_a_side_is_that_of_the_mean_of_their_kernels(rng):
    truth = rng.random(50) < 0.4
    first, second = rng.normal(size=(3, 50)) + truth, rng.normal(size=(2, 50)) + truth
    kernels = [np.mean([s[truth][:, None] > s[~truth][None] for s in side], axis=0) for side in (first, second)]
    difference = kernels[0] - kernels[1]
    variance = difference.mean(1).var(ddof=1) / truth.sum() + difference.mean(0).var(ddof=1) / (~truth).sum()
    test = delong(first, second, truth)
    assert test.difference == pytest.approx(difference.mean())
    assert test.p == pytest.approx(2 * norm.sf(abs(difference.mean()) / np.sqrt(variance)))


def test_images_of_a_patient_count_together(rng):
    """Against the bootstrap over patients; an image counted as a patient each would halve the error here."""
    patients = np.repeat(np.arange(60), 4)
    truth = np.repeat(rng.random(60) < 0.5, 4).astype(float)
    truth[::7] = 1 - truth[::7]  # some patients have images of both kinds
    own = np.repeat(rng.normal(size=(2, 60)), 4, axis=1)
    scores = own + 0.3 * rng.normal(size=(2, 240)) + truth
    draws = Bootstrap(patients.tolist(), 2000)
    areas = [auroc(s, truth, draws) for s in scores]
    error = (areas[0].samples - areas[1].samples).std()
    test, alone = delong(*scores, truth, patients), delong(*scores, truth)

    def error_of(one):
        return abs(one.difference) / norm.isf(one.p / 2)

    assert error_of(test) == pytest.approx(error, rel=0.1)
    assert error_of(alone) < 0.7 * error
    assert delong(*scores, truth, np.arange(240)).p == pytest.approx(alone.p)
    with pytest.raises(InputError, match="of the same images"):
        delong(*scores, truth, patients[:5])
