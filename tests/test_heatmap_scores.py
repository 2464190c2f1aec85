"""Threshold-free scores against closed forms, loops and scikit-learn; and the trivial maps beside them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from pellucid.evaluation.metrics.heatmap_scores import (
    SCORES,
    auprc,
    effective_heat_ratio,
    energy_share,
    heatmap_scores,
    otsu_iou,
    pointing,
    score_table,
)
from pellucid.evaluation.metrics.statistics import Bootstrap
from pellucid.evaluation.metrics.trivial_maps import (
    centred_gaussian,
    mean_box,
    mean_box_atlas,
    patient_halves,
    uniform,
)
from pellucid.types import InputError


def random_maps(count=12, size=10, seed=0):
    """Continuous, tied, signed and sparse maps, with rectangles as regions."""
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(count, size, size))
    maps[1::3] = rng.integers(-1, 4, maps[1::3].shape)
    maps[2::3] *= rng.random(maps[2::3].shape) < 0.2
    masks = np.zeros(maps.shape, dtype=bool)
    for mask in masks:
        y, x = rng.integers(0, size - 3, 2)
        mask[y : y + rng.integers(2, 7), x : x + rng.integers(2, 7)] = True
    return maps.astype(np.float32), masks


@pytest.mark.parametrize("level", [1.0, 0.3, 255.0])
def test_a_uniform_map_scores_the_area_of_the_region(level):
    _, masks = random_maps()
    scores = heatmap_scores(level * uniform(12, (10, 10)), masks)
    share = masks.mean((1, 2))
    for name in set(SCORES) - {"energy_ratio"}:
        np.testing.assert_allclose(scores[name], share, err_msg=name)
    np.testing.assert_allclose(scores["energy_ratio"], 1)


def test_the_region_as_its_own_map_is_perfect():
    _, masks = random_maps()
    scores = heatmap_scores(torch.tensor(masks, dtype=torch.float32), torch.tensor(masks))
    for name in ("pointing", "energy_share", "auprc", "effective_heat_ratio", "otsu_iou"):
        np.testing.assert_allclose(scores[name], 1, err_msg=name)
    np.testing.assert_allclose(scores["energy_ratio"] * scores["area_share"], 1)


def test_everything_outside_the_region_scores_nothing():
    _, masks = random_maps()
    scores = heatmap_scores((~masks).astype(np.float32), masks)
    for name in ("pointing", "energy_share", "effective_heat_ratio", "otsu_iou"):
        assert (scores[name] == 0).all(), name


def test_auprc_is_scikit_learns():
    maps, masks = random_maps()
    wanted = [average_precision_score(m.ravel(), h.ravel()) for h, m in zip(maps, masks, strict=True)]
    np.testing.assert_allclose(auprc(maps, masks), wanted)
    finer = maps.astype(np.float64) * (1 + 1e-12 * np.arange(100).reshape(10, 10))  # not ties in float64
    wanted = [average_precision_score(m.ravel(), h.ravel()) for h, m in zip(finer, masks, strict=True)]
    np.testing.assert_allclose(auprc(finer, masks), wanted)


def test_pointing_shares_a_tie():
    heat = np.zeros((2, 1, 4))
    heat[0, 0, 2] = 1
    heat[1, 0, [0, 1, 3]] = 1
    inside = np.array([[[False, False, True, True]]] * 2)
    assert pointing(heat, inside).tolist() == [1.0, pytest.approx(1 / 3)]


def test_energy_counts_the_positive_part():
    heat = np.array([[[1.0, -5.0], [3.0, 4.0]], [[-1.0, -2.0], [0.0, 0.0]]])
    inside = np.array([[[True, True], [True, False]]] * 2)
    found = energy_share(heat, inside)
    assert found[0] == pytest.approx(0.5)
    assert math.isnan(found[1])
    assert heatmap_scores(heat, inside)["energy_ratio"][0] == pytest.approx(0.5 / 0.75)


def otsu_by_loop(heat):
    """The hot pixels under the threshold, of 255 between equal bins, with the largest variance between."""
    low, high = float(heat.min()), float(heat.max())
    bins = np.array([min(int((float(v) - low) / (high - low) * 256), 255) for v in heat.ravel()])
    best, chosen = -1.0, 0
    for k in range(255):
        cold, hot = bins[bins <= k], bins[bins > k]
        if len(cold) and len(hot):
            between = len(cold) * len(hot) * (cold.mean() - hot.mean()) ** 2
            if between > best * (1 + 1e-12):
                best, chosen = between, k
    return (bins > chosen).reshape(heat.shape)


def test_otsus_threshold_is_the_best_of_all():
    maps, masks = random_maps(seed=1)
    for heat, mask, found in zip(maps, masks, otsu_iou(maps, masks), strict=True):
        hot = otsu_by_loop(heat)
        assert found == pytest.approx((hot & mask).sum() / (hot | mask).sum())


def test_effective_heat_ratio_by_loop():
    maps, masks = random_maps(seed=2)
    for own, mask, found in zip(maps, masks, effective_heat_ratio(maps, masks), strict=True):
        heat = np.maximum(own.astype(np.float64), 0) / float(own.max())
        kept = heat[heat >= 0.1]
        ratios = []
        for tenth in range(11):
            threshold = min(np.quantile(kept, tenth / 10), 0.99) - 1e-12
            hot = heat >= threshold
            ratios.append(heat[hot & mask].sum() / hot.sum())
        assert found == pytest.approx(np.trapezoid(ratios, dx=0.1))


def test_what_is_undefined_is_nan_and_counted():
    maps, masks = random_maps()
    maps[0, 0, 0] = math.nan
    masks[1] = False
    maps[2] = -1.0
    scores = heatmap_scores(maps, masks)
    for name in set(SCORES) - {"area_share"}:
        assert np.isnan(scores[name][:2]).all(), name
    assert [scores[n][2] for n in ("energy_share", "energy_ratio", "effective_heat_ratio")] == [0, 0, 0]
    assert not np.isnan([scores[n][2] for n in ("pointing", "auprc", "otsu_iou")]).any()
    assert scores["area_share"][1] == 0
    table = score_table(scores, np.arange(12) % 3, ["a", "b", "c"], Bootstrap(range(12), 20))
    assert table["a"]["auprc"].reason == "1 of 4 heat maps undefined and left out"
    assert table["a"]["auprc"].value == pytest.approx(scores["auprc"][[3, 6, 9]].mean())
    means = [np.nanmean(scores["auprc"][k::3]) for k in range(3)]
    assert table["mean"]["auprc"].value == pytest.approx(np.mean(means))
    assert table["mean"]["auprc"].n == 10
    empty = score_table(scores, np.zeros(12, dtype=int), ["a", "b"], Bootstrap(range(12), 20))["b"]["auprc"]
    assert math.isnan(empty.value)
    assert empty.reason == "no heat map with a defined score of 0"


def test_maps_in_pieces_score_the_same(monkeypatch):
    maps, masks = random_maps()
    whole = heatmap_scores(maps, masks)
    monkeypatch.setattr("pellucid.evaluation.metrics.bootstrap.CHUNK", 500)
    for name, score in heatmap_scores(maps, masks).items():
        np.testing.assert_array_equal(score, whole[name])
    assert heatmap_scores(maps[:0], masks[:0])["auprc"].shape == (0,)
    with pytest.raises(InputError, match=r"\(M, H, W\)"):
        heatmap_scores(maps, masks[:, :5])


def test_integer_maps_are_not_wrapped():
    maps, masks = random_maps()
    steps = np.abs(maps * 40).astype(np.uint8)
    np.testing.assert_array_equal(auprc(steps, masks), auprc(steps.astype(np.float64), masks))


def test_the_gaussian_is_round_and_central():
    heat = centred_gaussian(1, (8, 8), 0.2)[0]
    np.testing.assert_allclose(heat, heat[::-1])
    np.testing.assert_allclose(heat, heat.T)
    assert np.unravel_index(heat.argmax(), heat.shape) in {(3, 3), (3, 4), (4, 3), (4, 4)}
    wide = centred_gaussian(1, (401, 401), 0.1)[0]
    assert wide[200, 200 + 40] == pytest.approx(math.exp(-0.5), abs=0.01)  # a standard deviation off
    with pytest.raises(InputError, match="sigma"):
        centred_gaussian(1, (8, 8), 0)


def test_halves_split_patients_evenly_whatever_the_order():
    patients = [f"p{i % 7}" for i in range(20)]
    halves = patient_halves(patients)
    by_patient = {p: set(halves[[q == p for q in patients]].tolist()) for p in patients}
    assert all(len(h) == 1 for h in by_patient.values())
    assert sum(h == {0} for h in by_patient.values()) in {3, 4}
    assert (patient_halves(patients[::-1])[::-1] == halves).all()
    assert any((patient_halves(patients, seed=s) != halves).any() for s in range(1, 5))


def test_the_mean_box_is_of_the_other_half_only():
    _, masks = random_maps(count=30, seed=4)
    patients = [f"p{i // 2}" for i in range(30)]
    classes = np.arange(30) % 3
    classes[classes == 2] = 3  # class 2 never occurs
    halves = patient_halves(patients)
    found = mean_box(masks, classes, patients)
    for i in range(30):
        others = [j for j in range(30) if classes[j] == classes[i] and halves[j] != halves[i]]
        np.testing.assert_allclose(found[i], np.mean([masks[j] for j in others], axis=0), rtol=1e-6)
    changed = masks.copy()
    changed[0] = ~changed[0]
    same_half = halves == halves[0]
    np.testing.assert_array_equal(mean_box(changed, classes, patients)[same_half], found[same_half])
    atlas = mean_box_atlas(masks, classes, halves, 4)
    assert np.isnan(atlas[:, 2]).all()
    np.testing.assert_array_equal(atlas[halves, classes], found)


def test_a_class_of_one_patient_has_no_mean_box_and_no_score():
    _, masks = random_maps(count=3, seed=5)
    found = mean_box(masks, np.array([0, 0, 0]), ["ann", "ann", "ann"])
    assert np.isnan(found).all()
    assert np.isnan(heatmap_scores(found, masks)["auprc"]).all()
    with pytest.raises(InputError, match="classes and halves"):
        mean_box_atlas(masks, np.array([0]), np.array([0]), 1)


def test_a_map_without_heat_misses_and_a_negative_one_still_points():
    region = np.zeros((3, 4, 4), dtype=bool)
    region[:, :2] = True
    maps = np.stack([np.zeros((4, 4)), np.where(region[0], -1.0, -2.0), np.ones((4, 4))])
    scores = heatmap_scores(maps, region)
    assert scores["pointing"].tolist() == [0, 1, 0.5]
    for name in ("energy_share", "energy_ratio", "effective_heat_ratio"):
        assert scores[name][:2].tolist() == [0, 0]
