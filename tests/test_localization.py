"""Wang et al.'s scores against a version in plain loops with its own flood fill, and by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import zoom

from pellucid.evaluation.metrics.boxes import (
    SWEEP_THRESHOLDS,
    WANG_THRESHOLDS,
    PredictedBoxes,
    heatmap_to_boxes,
    iobb,
    iou,
)
from pellucid.evaluation.metrics.localization import (
    SWEEP_CRITERIA,
    WANG_CRITERIA,
    LocalizationInput,
    OverlapThreshold,
    localization_table,
    match_boxes,
    threshold_sweep,
)
from pellucid.evaluation.metrics.statistics import Bootstrap
from pellucid.types import InputError


def flood(heat, threshold):
    """Boxes of one map by flood fill over eight neighbours."""
    low, high = float(heat.min()), float(heat.max())
    if not low < high:
        return []
    hot = {
        (r, c)
        for r in range(heat.shape[0])
        for c in range(heat.shape[1])
        if (float(heat[r, c]) - low) / (high - low) * 255 >= threshold
    }
    boxes = []
    while hot:
        front = [hot.pop()]
        region = []
        while front:
            r, c = front.pop()
            region.append((r, c))
            for near in [(r + i, c + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]:
                if near in hot:
                    hot.remove(near)
                    front.append(near)
        rows, columns = zip(*region, strict=True)
        boxes.append((min(columns), min(rows), max(columns) - min(columns) + 1, max(rows) - min(rows) + 1))
    return boxes


def overlap(p, t, kind):
    """Overlap by counting, boxes on whole pixels."""
    inside = {(x, y) for x in range(p[0], p[0] + p[2]) for y in range(p[1], p[1] + p[3])}
    true = {(x, y) for x in range(t[0], t[0] + t[2]) for y in range(t[1], t[1] + t[3])}
    return len(inside & true) / (len(inside) if kind == "IoBB" else len(inside | true))


def random_case(seed, images=4, classes=3, size=12):
    """Maps of all pairs, boxes of some (up to three per pair), and a random gate."""
    rng = np.random.default_rng(seed)
    pairs = [(i, c) for i in range(images) for c in range(classes)]
    if seed % 2:
        maps = np.stack([zoom(rng.random((4, 4)), size / 4, order=1) for _ in pairs])
    else:
        maps = rng.integers(0, 6, (len(pairs), size, size)).astype(float)
    if seed % 3 == 0:
        maps[rng.integers(len(pairs))] = 7.0  # a constant map has no boxes
    truth = []
    for i, c in pairs:
        for _ in range(rng.choice([0, 1, 1, 3])):
            x, y = rng.integers(0, size - 1, 2)
            truth.append((i, c, (int(x), int(y), *(int(rng.integers(1, size - v + 1)) for v in (x, y)))))
    truth = truth or [(0, 0, (1, 1, 3, 3))]
    rng.shuffle(truth)
    return maps.astype(np.float32), pairs, truth, rng.random(len(pairs)) < 0.6


def as_input(maps, pairs, truth, gate, *, images=4, classes=3, thresholds=WANG_THRESHOLDS):
    return LocalizationInput(
        boxes=heatmap_to_boxes(maps, thresholds),
        map_image=np.array([i for i, _ in pairs]),
        map_class=np.array([c for _, c in pairs]),
        true_image=np.array([i for i, _, _ in truth]),
        true_class=np.array([c for _, c, _ in truth]),
        true_box=np.array([b for _, _, b in truth], dtype=float),
        images=images,
        classes=tuple("abcdef"[:classes]),
        predicted=gate,
    )


def by_loops(maps, pairs, truth, gate, *, gated, thresholds, classes=3):
    """Accuracy, AFP, box area and boxes per map for every class and criterion, image by image."""
    out = {}
    for c in range(classes):
        boxes, scored = {}, 0
        for heat, (i, k), on in zip(maps, pairs, gate, strict=True):
            wanted = on if gated else any(t[:2] == (i, k) for t in truth)
            if k == c and wanted:
                scored += 1
                boxes[i] = [b for t in thresholds for b in flood(heat, t)]
        drawn = [b for found in boxes.values() for b in found]
        own = [t for t in truth if t[1] == c]
        for criterion in WANG_CRITERIA:
            kind, limit = criterion
            hit = sum(any(overlap(p, b, kind) > limit for p in boxes.get(i, [])) for i, _, b in own)
            false = sum(
                not any(overlap(p, t[2], kind) > limit for t in own if t[0] == i)
                for i, found in boxes.items()
                for p in found
            )
            out["abcdef"[c], str(criterion)] = (
                hit / len(own) if own else math.nan,
                false / len(truth),
                np.mean([w * h for *_, w, h in drawn]) / maps[0].size if drawn else math.nan,
                len(drawn) / scored if scored else math.nan,
            )
    return out


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_the_scores_are_those_of_plain_loops(seed, gated):
    maps, pairs, truth, gate = random_case(seed)
    inputs = as_input(maps, pairs, truth, gate)
    table = localization_table(match_boxes(inputs, gated=gated), Bootstrap(range(4), 10))
    wanted = by_loops(maps, pairs, truth, gate, gated=gated, thresholds=WANG_THRESHOLDS)
    for (name, criterion), figures in wanted.items():
        score = table[name][criterion]
        found = [score.accuracy, score.false_positives, score.box_area, score.boxes_per_map]
        assert [f.value for f in found] == pytest.approx(list(figures), nan_ok=True)
    for criterion in map(str, WANG_CRITERIA):
        accuracies = [wanted[c, criterion][0] for c in "abc"]
        assert table["mean"][criterion].accuracy.value == pytest.approx(np.nanmean(accuracies))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(2, 5), st.integers(0, 10_000))
def test_boxes_are_those_of_a_flood_fill(height, width, levels, seed):
    rng = np.random.default_rng(seed)
    maps = rng.integers(0, levels, (3, height, width)).astype(np.float32)
    found = heatmap_to_boxes(maps, (60, 128, 255))
    for m in range(3):
        for threshold in (60, 128, 255):
            own = found.boxes[(found.map_index == m) & (found.threshold == threshold)]
            assert sorted(map(tuple, own.tolist())) == sorted(flood(maps[m], threshold))


def test_maps_in_pieces_and_joined_batches_give_the_same_boxes(monkeypatch):
    maps = np.random.default_rng(0).random((7, 9, 9)).astype(np.float32)

    def rows(boxes):
        return sorted(zip(boxes.map_index.tolist(), boxes.threshold.tolist(), boxes.boxes.tolist(), strict=True))

    whole = heatmap_to_boxes(torch.tensor(maps))
    joined = PredictedBoxes.concatenate([heatmap_to_boxes(maps[:3]), heatmap_to_boxes(maps[3:])])
    assert rows(joined) == rows(whole)
    assert joined.maps == whole.maps == 7
    monkeypatch.setattr("pellucid.evaluation.metrics.bootstrap.CHUNK", 2 * 81 * 2)
    assert rows(heatmap_to_boxes(maps)) == rows(whole)
    assert len(heatmap_to_boxes(maps[:0])) == 0


def test_a_map_that_says_nothing_has_no_box():
    maps = np.zeros((4, 5, 5), dtype=np.float32)
    maps[1] = 3.0
    maps[2, 1, 1] = math.nan
    maps[3, 1, 1] = math.inf
    assert len(heatmap_to_boxes(maps)) == 0


def test_scale_and_offset_of_a_map_do_not_matter():
    maps = np.random.default_rng(1).integers(0, 100, (3, 8, 8)).astype(np.float64)
    assert (heatmap_to_boxes(maps * 4 - 50).boxes == heatmap_to_boxes(maps).boxes).all()


def test_neighbours_touch_by_corners_but_maps_do_not_touch():
    maps = np.zeros((2, 4, 4))
    maps[0, 0, 0] = maps[0, 1, 1] = 1
    maps[1, 1, 1] = maps[1, 3, 3] = 1
    found = heatmap_to_boxes(maps, (100,))
    assert found.map_index.tolist() == [0, 1, 1]
    assert found.boxes.tolist() == [[0, 0, 2, 2], [1, 1, 1, 1], [3, 3, 1, 1]]


def test_overlaps_by_hand():
    assert iou([0, 0, 4, 4], [2, 2, 4, 4]) == pytest.approx(4 / 28)
    assert iobb([0, 0, 4, 2], [2, 0, 8, 8]) == pytest.approx(0.5)
    assert iou([0, 0, 1, 1], [1, 0, 1, 1]) == 0
    assert iou([0.5, 0.5, 1, 1], [0, 0, 2, 2]) == pytest.approx(0.25)
    assert iou(np.zeros((3, 1, 4)), np.ones((2, 4))).shape == (3, 2)


def one_pair(heat, box, **changes):
    fields = {
        "boxes": heatmap_to_boxes(heat[None], changes.pop("thresholds", WANG_THRESHOLDS)),
        "map_image": np.array([0]),
        "map_class": np.array([0]),
        "true_image": np.array([0]),
        "true_class": np.array([0]),
        "true_box": np.array([box], dtype=float),
        "images": 2,
        "classes": ("mass", "nodule"),
        "predicted": np.array([True]),
    }
    return LocalizationInput(**(fields | changes))


def test_an_overlap_equal_to_the_threshold_is_no_hit():
    heat = np.zeros((10, 10))
    heat[0, :5] = 1
    inputs = one_pair(heat, (0, 0, 10, 1))  # IoU is 5/10, IoBB is 1
    table = localization_table(match_boxes(inputs, gated=False), Bootstrap(range(2)))
    assert table["mass"]["IoU@0.4"].accuracy.value == 1
    assert table["mass"]["IoU@0.5"].accuracy.value == 0
    assert table["mass"]["IoU@0.5"].false_positives.value == 2  # the same box from both thresholds
    assert table["mass"]["IoBB@0.9"].accuracy.value == 1
    assert table["mass"]["IoU@0.1"].box_area.value == pytest.approx(0.05)


def test_the_gate_makes_misses_and_false_positives():
    heat = np.zeros((10, 10))
    heat[2:6, 2:6] = 1
    missed = one_pair(heat, (2, 2, 4, 4), predicted=np.array([False]))
    draws = Bootstrap(range(2))
    score = localization_table(match_boxes(missed, gated=True), draws)["mass"]["IoU@0.1"]
    assert (score.accuracy.value, score.false_positives.value) == (0, 0)
    assert math.isnan(score.box_area.value)
    assert score.box_area.reason == "no box was predicted"
    assert localization_table(match_boxes(missed, gated=False), draws)["mass"]["IoU@0.1"].accuracy.value == 1
    # a class that is predicted on an image without a box of it
    other = one_pair(heat, (2, 2, 4, 4), map_image=np.array([1]))
    score = localization_table(match_boxes(other, gated=True), draws)["mass"]["IoU@0.1"]
    assert (score.accuracy.value, score.false_positives.value) == (0, 2)
    ungated = localization_table(match_boxes(other, gated=False), draws)["mass"]["IoU@0.1"]
    assert ungated.false_positives.value == 0


def test_a_class_without_boxes_is_undefined_and_left_out_of_the_mean():
    heat = np.zeros((10, 10))
    heat[2:6, 2:6] = 1
    table = localization_table(match_boxes(one_pair(heat, (2, 2, 4, 4)), gated=False), Bootstrap(range(2)))
    assert math.isnan(table["nodule"]["IoU@0.1"].accuracy.value)
    assert table["nodule"]["IoU@0.1"].accuracy.reason == "no true box of this class"
    assert table["mean"]["IoU@0.1"].accuracy.value == 1
    text = json.dumps(table["nodule"]["IoU@0.1"].to_json(), allow_nan=False)
    assert json.loads(text)["accuracy"]["value"] is None


def test_every_true_box_of_the_set_is_in_the_denominator_of_false_positives():
    """Wang's AFP divides by 984, whatever the class."""
    rng = np.random.default_rng(5)
    images, classes = 40, 2
    maps = np.zeros((80, 8, 8), dtype=np.float32)
    maps[:, 0, 0] = 1
    pairs = [(i, c) for i in range(images) for c in range(classes)]
    truth = [(i, int(rng.random() < 0.3), (4, 4, 3, 3)) for i in range(images)]
    inputs = as_input(maps, pairs, truth, np.ones(80, dtype=bool), images=images, classes=classes)
    draws = Bootstrap([i // 2 for i in range(images)], 60)
    score = localization_table(match_boxes(inputs, gated=True), draws)["a"]["IoU@0.1"]
    assert score.false_positives.value == 80 / 40
    assert score.false_positives.n == 40
    assert score.accuracy.n == sum(c == 0 for _, c, _ in truth)
    np.testing.assert_allclose(score.false_positives.samples, 2.0)  # every image has two, and one box


def test_the_sweep_scores_each_threshold_alone():
    maps, pairs, truth, gate = random_case(7)
    inputs = as_input(maps, pairs, truth, gate, thresholds=SWEEP_THRESHOLDS)
    sweep = threshold_sweep(inputs, Bootstrap(range(4), 5), gated=True)
    assert list(sweep) == list(range(20, 241, 20))
    for threshold in (20.0, 120.0, 240.0):
        wanted = by_loops(maps, pairs, truth, gate, gated=True, thresholds=(threshold,))
        for criterion in map(str, SWEEP_CRITERIA):
            score = sweep[threshold]["b"][criterion]
            found = [score.accuracy, score.false_positives, score.box_area, score.boxes_per_map]
            assert [f.value for f in found] == pytest.approx(list(wanted["b", criterion]), nan_ok=True)
    # the boxes of the sweep serve Wang's two thresholds as well
    same = match_boxes(as_input(maps, pairs, truth, gate), gated=True)
    np.testing.assert_array_equal(match_boxes(inputs, gated=True).hits, same.hits)


def test_matching_in_pieces_changes_nothing(monkeypatch):
    inputs = as_input(*random_case(4))
    whole = match_boxes(inputs, gated=True)
    monkeypatch.setattr("pellucid.evaluation.metrics.bootstrap.CHUNK", 500)
    pieces = match_boxes(inputs, gated=True)
    np.testing.assert_array_equal(pieces.hits, whole.hits)
    np.testing.assert_array_equal(pieces.false_positives, whole.false_positives)


def test_wrong_input_is_named():
    heat = np.eye(4)
    with pytest.raises(InputError, match="no boxes were drawn at 100"):
        match_boxes(one_pair(heat, (0, 0, 1, 1)), gated=False, thresholds=(100.0,))
    with pytest.raises(InputError, match="gated"):
        match_boxes(one_pair(heat, (0, 0, 1, 1), predicted=None), gated=True)
    with pytest.raises(InputError, match="image numbers"):
        one_pair(heat, (0, 0, 1, 1), true_image=np.array([2]))
    with pytest.raises(InputError, match="more than one heat map"):
        one_pair(
            heat,
            (0, 0, 1, 1),
            boxes=heatmap_to_boxes(np.stack([heat, heat])),
            map_image=np.array([0, 0]),
            map_class=np.array([1, 1]),
            predicted=None,
        )
    with pytest.raises(InputError, match="thresholds must lie"):
        heatmap_to_boxes(heat[None], (0,))
    with pytest.raises(InputError, match=r"\(M, H, W\)"):
        heatmap_to_boxes(heat)
    assert str(OverlapThreshold("IoBB", 0.25)) == "IoBB@0.25"
