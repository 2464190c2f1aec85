"""Columns of metadata: what makes one a suspect, tested on answers that are drawn and so known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pellucid.evaluation.discovery.inference import permuted_within
from pellucid.evaluation.discovery.metadata import (
    groups_that_carry,
    metadata_suspects,
    named_groups,
    worth_of_column,
)
from pellucid.evaluation.discovery.samples import MarkedPairs, Samples
from pellucid.evaluation.discovery.settings import DiscoverySettings

FEW = DiscoverySettings(permutations=200)
FRAME = (4, 4)


def samples_of(labels, odds, columns, patients=None):
    """Images of one class that show nothing, with answers and columns as given."""
    n = len(labels)
    none = np.zeros(0, np.int64)
    marks = MarkedPairs(none, none, np.zeros((0, *FRAME), bool), FRAME)
    named = {
        name: (members, tuple(f"{name}{k}" for k in range(members.max() + 1))) for name, members in columns.items()
    }
    patients = np.arange(n) if patients is None else patients
    pixels, ids = np.zeros((n, 1, *FRAME), np.uint8), tuple(map(str, range(n)))
    return Samples(
        pixels, ids, labels[:, None].astype(float), odds[:, None], patients, marks, ("ill",), "multilabel", named
    )


def simulated(seed, *, prevalence, with_ill, with_well, effect, n=400):
    """A column of two groups that goes with the label, and answers that go with the label and by `effect` with it."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < prevalence) * 1.0
    members = (rng.random(n) < np.where(labels == 1, with_ill, with_well)).astype(np.int64)
    odds = 0.42 * labels + effect * members + rng.normal(0, 0.35, n)
    return samples_of(labels, odds, {"ward": members}), np.arange(n // 2), np.arange(n // 2, n)


def p_of(seed, **how):
    samples, first, second = simulated(seed, **how)
    return worth_of_column(samples, "ward", 0, first, second, FEW)[1]


def p_by_regression(seed, **how):
    """One-sided p of the column's coefficient beside the label's, on the half that is tested: what power can be had."""
    samples, _, second = simulated(seed, **how)
    x = np.stack([np.ones(len(second)), samples.labels[second, 0], samples.columns["ward"][0][second]], 1)
    y = samples.odds[second, 0]
    fit, rest, *_ = np.linalg.lstsq(x, y, rcond=None)
    error = math.sqrt(rest[0] / (len(y) - 3) * np.linalg.inv(x.T @ x)[2, 2])
    return stats.t.sf(fit[2] / error, len(y) - 3)


NEARLY_THE_LABEL = {"prevalence": 0.25, "with_ill": 0.95, "with_well": 0.05}


@pytest.mark.parametrize(
    "how",
    [
        NEARLY_THE_LABEL | {"effect": 0.25},
        {"prevalence": 0.25, "with_ill": 0.8, "with_well": 0.1, "effect": 0.15},
        {"prevalence": 0.25, "with_ill": 0.7, "with_well": 0.3, "effect": 0.12},
    ],
)
def test_a_column_is_found_as_often_as_a_regression_on_it_and_the_label_finds_it(how):
    powers = [np.mean([p(seed, **how) <= 0.05 for seed in range(150)]) for p in (p_of, p_by_regression)]
    assert powers[0] > powers[1] - 0.08
    assert 0.3 < powers[1] < 0.99


def test_a_column_that_nearly_is_the_label_and_moves_the_answer_is_surely_found():
    assert max(p_of(seed, **NEARLY_THE_LABEL, effect=1.0) for seed in range(20)) < 0.01


@pytest.mark.parametrize(
    "how",
    [
        NEARLY_THE_LABEL | {"effect": 0.0},
        {"prevalence": 0.25, "with_ill": 0.8, "with_well": 0.1, "effect": 0.0},
        {"prevalence": 0.4, "with_ill": 0.5, "with_well": 0.5, "effect": 1.0},
    ],
    ids=["nearly the label, no effect", "goes with the label, no effect", "an effect, and nothing of the label"],
)
def test_a_column_that_does_only_one_of_both_is_reported_in_one_of_twenty_searches(how):
    alarms = sum(p_of(seed, **how) <= 0.05 for seed in range(300))
    assert stats.binomtest(alarms, 300, 0.05, alternative="greater").pvalue > 0.01


def test_of_many_columns_and_none_that_matters_one_is_reported_in_one_of_forty_searches():
    """Half of the level is the columns': the other half is for what is found in images."""

    def count(seed):
        rng = np.random.default_rng(seed)
        labels = (rng.random(200) < 0.3) * 1.0
        columns = {f"c{k}": (rng.random(200) < 0.3 + 0.4 * labels).astype(np.int64) for k in range(4)}
        samples = samples_of(labels, labels + rng.normal(0, 0.5, 200), columns)
        halves = np.arange(100), np.arange(100, 200)
        return len(metadata_suspects(samples, *halves, np.array([0]), replace(FEW, least=0.0), [0.5])[0])

    alarms = sum(count(seed) > 0 for seed in range(150))
    assert stats.binomtest(alarms, 150, 0.025, alternative="greater").pvalue > 0.01


def test_patients_change_places_within_labels():
    rng = np.random.default_rng(0)
    patients = rng.integers(0, 20, 60)
    labels = rng.integers(0, 2, 60) * 1.0
    kinds = {p: tuple(np.sort(labels[patients == p])) for p in np.unique(patients)}
    orders = permuted_within(patients, labels, 40, 0)
    assert len({tuple(order) for order in orders}) > 20
    for order in orders:
        assert sorted(order) == list(range(60))
        np.testing.assert_array_equal(labels[order], labels)
        for patient, kind in kinds.items():
            (other,) = set(patients[order][patients == patient])  # all of one patient's, of the same labels
            assert kinds[other] == kind


def test_what_a_column_is_worth_is_told_from_the_label_that_it_nearly_is():
    """By 1 the group raises the log-odds, and the label by .42, whatever share of the images differ in the two."""
    for with_ill, with_well in ((0.95, 0.05), (0.6, 0.4), (0.5, 0.5)):
        samples, first, second = simulated(
            0, prevalence=0.25, with_ill=with_ill, with_well=with_well, effect=1.0, n=4000
        )
        worth, _ = worth_of_column(samples, "ward", 0, first, second, FEW)
        members = samples.columns["ward"][0]
        x = np.stack([np.ones(len(first)), samples.labels[first, 0], members[first]], 1)
        slope = np.linalg.solve(x.T @ x, x.T @ samples.odds[first, 0])[2]
        assert worth[members == 1][0] - worth[members == 0][0] == pytest.approx(slope)
        assert slope == pytest.approx(1, abs=0.25)
        assert worth[first].mean() == pytest.approx(0, abs=1e-9)
    sim = simulated(0, prevalence=0.25, with_ill=0.95, with_well=0.05, effect=1.0, n=4000)
    (suspect,) = metadata_suspects(*sim, np.array([0]), FEW, [0.5])[0]
    assert suspect.share == pytest.approx(0.9 / (0.42 + 0.9), abs=0.08)


def test_a_column_that_is_the_label_says_nothing_beside_it():
    samples, first, second = simulated(0, prevalence=0.3, with_ill=1.0, with_well=0.0, effect=1.0)
    assert worth_of_column(samples, "ward", 0, first, second, FEW)[1] == 1
    assert metadata_suspects(samples, first, second, np.array([0]), FEW, [0.5])[0] == []


def test_a_patients_images_count_together():
    """Ten images of each patient, alike in column and answer: as if there were one, and not ten."""

    def p(seed):
        rng = np.random.default_rng(seed)
        labels = (rng.random(60) < 0.5) * 1.0
        members = (rng.random(60) < 0.3 + 0.4 * labels).astype(np.int64)
        patients = np.repeat(np.arange(60), 10)
        odds = (labels + rng.normal(0, 0.5, 60))[patients] + rng.normal(0, 0.05, 600)
        samples = samples_of(labels[patients], odds, {"ward": members[patients]}, patients)
        return worth_of_column(samples, "ward", 0, np.arange(300), np.arange(300, 600), FEW)[1]

    assert stats.binomtest(sum(p(seed) <= 0.05 for seed in range(200)), 200, 0.05, alternative="greater").pvalue > 0.01


def test_what_groups_add_sums_to_the_difference_and_is_what_a_loop_gives():
    rng = np.random.default_rng(1)
    members, labels = rng.integers(-1, 4, 300), rng.integers(0, 2, 300) * 1.0
    of_group = np.array([0.5, -0.2, 1.0, 0.0])
    worth = np.where(members >= 0, of_group[members], np.nan)
    groups = groups_that_carry(worth, members, labels)
    inside = members >= 0
    means = [worth[inside & (labels == value)].mean() for value in (1, 0)]
    assert sum(one["part"] for one in groups) == pytest.approx(means[0] - means[1])
    for one in groups:
        own = members == one["group"]
        assert one["n"] == own.sum()
        assert one["positives"] == pytest.approx((own & (labels == 1)).sum() / (inside & (labels == 1)).sum())
        assert one["worth"] == pytest.approx(of_group[one["group"]] - worth[inside].mean())


def test_a_column_is_named_after_the_groups_that_carry_it():
    def one(group, positives, negatives, worth):
        return {"group": group, "positives": positives, "negatives": negatives, "worth": worth} | {
            "part": worth * (positives - negatives)
        }

    rare, large = one(0, 0.0, 0.05, 3.0), one(1, 0.6, 0.2, 0.5)
    small, lowering = one(2, 0.1, 0.05, 0.4), one(3, 0.3, 0.7, -0.5)
    ordered = sorted([rare, large, small, lowering], key=lambda group: -group["part"])
    assert named_groups(ordered) == ([1], True)
    assert named_groups([one(1, 0.4, 0.2, 0.5), one(2, 0.3, 0.1, 0.5), rare]) == ([1, 2], True)
    assert named_groups([lowering, rare]) == ([3], False)


def test_a_few_images_of_the_largest_mean_give_no_suspect_its_name():
    """Hospital 0 moves the answer and goes with the label; 2 is a handful of images, drawn by lot, high or low."""
    names = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        labels = (rng.random(400) < 0.3) * 1.0
        members = np.where(rng.random(400) < 0.04, 2, (rng.random(400) > np.where(labels == 1, 0.75, 0.35)).astype(int))
        samples = samples_of(
            labels, 1.2 * labels + 0.6 * (members == 0) + rng.normal(0, 0.8, 400), {"hospital": members}
        )
        order = rng.permutation(400)
        for one in metadata_suspects(samples, np.sort(order[:200]), np.sort(order[200:]), np.array([0]), FEW, [0.5])[0]:
            names.append(one.name)
            ill = one.prevalence_of["ill"]
            assert ill.positives.value > ill.negatives.value
            assert f"{100 * ill.positives.value:.0f} % of those with ill are such images" in one.verdict
    assert len(names) > 20
    assert set(names) <= {"hospital: hospital0", "hospital: hospital0 or hospital2"}
    assert names.count("hospital: hospital0") > 0.9 * len(names)
