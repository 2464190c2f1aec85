"""Two networks are compared on the pairs that both have a map for, and what is lost is said."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.metrics.comparison import Row, localization_rows
from pellucid.evaluation.metrics.explanations import ExplanationScores
from pellucid.evaluation.metrics.heatmap_scores import SCORES, heatmap_scores
from pellucid.evaluation.trust.grid_pointing import quarter_share
from pellucid.evaluation.trust.map_measures import scores_by_region


@dataclass
class Pairs:
    pair_image: np.ndarray
    pair_class: np.ndarray
    name: str = "marked"
    classes: tuple[str, ...] = ("mass", "nodule")


def compared(first: np.ndarray, second: np.ndarray) -> dict[tuple[str, str], Row]:
    count = len(first)
    scores = {v: [ExplanationScores(dict.fromkeys(SCORES, x))] for v, x in (("new", first), ("old", second))}
    task = Pairs(np.arange(count), np.arange(count) % 2)
    rows = localization_rows(scores, task, "cam", Bootstrap(range(count), 200), "old")  # type: ignore[arg-type]
    return {(r.class_name, r.variant): r for r in rows if r.metric == "auprc"}


def test_networks_that_are_the_same_wherever_both_are_defined_differ_by_nothing():
    """The example of the review: dropping each network's own undefined maps made a difference of .440 of this."""
    values = np.random.default_rng(0).random(60)
    first, second = values.copy(), values.copy()
    first[np.argsort(values)[:15]] = np.nan  # the worst of one
    second[np.argsort(values)[-15:]] = np.nan  # and the best of the other
    rows = compared(first, second)
    assert rows["mean", "new"].value - rows["mean", "old"].value > 0.2
    for name in ("mass", "nodule", "mean"):
        assert rows[name, "new"].difference["value"] == 0
        reason = "30 of 60 pairs left out: undefined for new on 15, for old on 15"
        assert rows[name, "new"].difference["reason"] == reason


def test_a_difference_on_common_pairs_is_that_of_those_pairs_alone():
    rng = np.random.default_rng(1)
    first, second = rng.random(40), rng.random(40)
    first[3:9], whole = np.nan, second.copy()
    row = compared(first, second)["mass", "new"]
    both = np.flatnonzero(np.isfinite(first) & (np.arange(40) % 2 == 0))
    assert row.difference["value"] == pytest.approx((first - whole)[both].mean())
    assert compared(second, whole)["mean", "new"].difference["reason"] is None


def test_in_the_table_of_trust_a_map_without_heat_misses_and_one_that_is_hot_everywhere_has_no_score():
    maps = torch.stack([torch.zeros(4, 4), torch.ones(4, 4), torch.eye(4)])
    masks = np.zeros((3, 4, 4), dtype=bool)
    masks[:, :2, :2] = True
    names = {"finding": ("auprc", "pointing", "energy_ratio")}
    scores = scores_by_region(maps, {"finding": masks}, names, heatmap_scores)
    np.testing.assert_equal(scores["pointing"], [0, np.nan, 0.5])
    np.testing.assert_equal(scores["energy_ratio"], [0, np.nan, 2])
    assert np.isnan(scores["auprc"][:2]).all()
    np.testing.assert_equal(quarter_share(maps, np.zeros(3, dtype=np.int64)), [0, np.nan, 0.5])
