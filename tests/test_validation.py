"""Validation scores and thresholds beside scikit-learn's."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pellucid.evaluation.metrics.validation import ValidationScorer


def test_validation_scores_are_scikit_learns_where_labels_are_unknown():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (30, 3)).astype(np.float32)
    targets[rng.random((30, 3)) < 0.3] = np.nan
    targets[:, 2] = 0  # undefined: takes part in nothing
    logits = rng.normal(size=(30, 3))
    data = SimpleNamespace(task="multilabel", targets=targets, classes=("a", "b", "c"))
    found = ValidationScorer().metrics(logits, data)
    areas = []
    for k in range(2):
        known = ~np.isnan(targets[:, k])
        areas.append(roc_auc_score(targets[known, k], logits[known, k]))
    assert found["auroc"] == pytest.approx(np.mean(areas))
    known = ~np.isnan(targets)
    assert found["accuracy"] == pytest.approx(((logits > 0) == (targets == 1))[known].mean())
    thresholds = ValidationScorer().thresholds(logits, data)
    assert math.isnan(thresholds[2])
    assert all(0 < t < 1 for t in thresholds[:2])
