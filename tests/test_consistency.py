"""Attacks of a given size and minimal attacks never contradict each other about one decision."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from pellucid.attacks import BoundedAttack
from pellucid.attacks.under_attack import AnswersUnderAttack
from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.metrics.comparison import robustness_rows
from pellucid.evaluation.robustness.consistency import Withstood, broken, shortened
from pellucid.evaluation.robustness.radii import Radii
from pellucid.evaluation.robustness.robustness_target import RobustnessTarget

NAN = math.nan
IDS = ["a", "b", "c", "d"]
VALUES = 12  # of an image


def radii_of(radius, label=None, image=None):
    radius = np.array(radius, dtype=np.float64)
    count = len(radius)
    zeros = np.zeros(count, dtype=np.int64)
    task = "multiclass" if label is None else "multilabel"
    return Radii(
        robustness_target=RobustnessTarget("attack", "misclassified", 0.5, task),
        image=np.arange(count) if image is None else np.array(image),
        label=zeros - 1 if label is None else np.array(label),
        found=~np.isnan(radius), correct_at_start=radius != 0, radius=radius,
        gradient_evaluations=zeros, forward_passes=zeros, seconds=0.0,
    )  # fmt: skip


def left_by(attack, radius, ids=IDS):
    radius = np.array(radius, dtype=np.float64)
    counts = np.zeros(len(radius), dtype=np.int64)
    answers = AnswersUnderAttack(np.zeros((len(radius), 2), dtype=np.float32), counts, counts, radius, counts)
    return Withstood(ids, [BoundedAttack.of(attack)], [answers])


def test_no_radius_is_larger_than_a_perturbation_that_changed_the_decision():
    radii = radii_of([0.02, NAN, 0.01, 0.0])
    withstood = left_by("linf=0.015", [0.015, 0.012, NAN, 0.0])
    result = shortened(radii, IDS, withstood)
    np.testing.assert_array_equal(result.radius, [0.015, 0.012, 0.01, 0.0])
    assert result.found.all()


def test_images_are_matched_by_name_and_labels_by_number():
    radii = radii_of([0.03, 0.03, NAN], label=[0, 1, 1], image=[0, 0, 2])
    withstood = left_by("linf=0.02", [[0.02, NAN], [0.001, 0.001]], ids=["c", "a"])
    result = shortened(radii, IDS, withstood)  # a is the second row there, c the first
    np.testing.assert_array_equal(result.radius, [0.001, 0.001, NAN])
    assert result.found.tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("attack", "falls"),
    [
        ("rms=0.01", [True, True, False, True]),
        ("pgd:l2=0.035", [True, True, False, True]),  # 0.01 times the root of 12 is 0.0346
        ("l2=0.034", [True, False, False, True]),
        ("linf=0.034", [True, False, False, True]),  # no value changes by more than the Euclidean length
    ],
)
def test_a_smallest_perturbation_breaks_every_size_beyond_it(attack, falls):
    radii = radii_of([0.005, 0.01, NAN, 0.0])
    withstood = left_by(attack, [NAN] * 4)
    (mask,) = broken(radii, IDS, "tight", withstood, VALUES).values()
    assert mask.tolist() == falls
    (outside,) = broken(radii, IDS, "woods2019", withstood, VALUES).values()  # which leaves the pixel box
    assert not outside.any()


def test_what_is_broken_counts_as_wrong():
    targets = np.array([0, 1, 0, 1])
    logits = np.eye(2, dtype=np.float32)[targets]
    data = SimpleNamespace(targets=targets, classes=("x", "y"), task="multiclass", ids=IDS)
    mask = {"L2 1": np.array([True, False, False, True])}
    draws = Bootstrap(IDS, 20)
    answers = {"v": [{"0": logits, "L2 1": logits}]}
    rows = robustness_rows(answers, {"v": [[0.5, 0.5]]}, data, draws, broken={"v": [mask]})
    found = {row.at: row.value for row in rows if row.metric == "accuracy"}
    assert found == {"0": 1.0, "L2 1": 0.5}
    several = replace_task(data, np.eye(2)[targets])
    rows = robustness_rows(
        {"v": [{"L2 1": 8 * logits - 4}]}, {"v": [[0.5, 0.5]]}, several, draws,
        broken={"v": [{"L2 1": np.array([[True, False], [True, True], [False, False], [False, False]])}]},
    )  # fmt: skip
    assert next(row.value for row in rows if row.metric == "accuracy") == 5 / 8


def replace_task(data, targets):
    return SimpleNamespace(**vars(data) | {"targets": targets, "task": "multilabel"})


def test_a_decision_that_was_wrong_from_the_start_stays_at_0():
    radii = replace(radii_of([0.0, 0.01]), correct_at_start=np.array([False, True]))
    assert shortened(radii, IDS, left_by("linf=0.1", [0.1, 0.1, NAN, NAN])).radius.tolist() == [0.0, 0.01]
