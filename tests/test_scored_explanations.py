"""Explanations scored on a task: which pairs have maps, and the scores those of maps that are made one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.models import small
from pellucid.data import open_dataset
from pellucid.data.cache.fitted_images import FittedImages
from pellucid.evaluation.metrics.boxes import SWEEP_THRESHOLDS, heatmap_to_boxes
from pellucid.evaluation.metrics.explanations import (
    arrays_of,
    localization_task,
    score_explanations,
    scores_of,
)
from pellucid.evaluation.metrics.heatmap_scores import heatmap_scores
from pellucid.explainers import EXPLAINERS, explain
from pellucid.models.inference import as_pixels
from pellucid.types import InputSpec
from pellucid.utils.digests import read_arrays, write_arrays

METHODS = ["cam", "grad-cam", "grad-cam++", "saliency"]


@pytest.fixture(scope="module")
def model():
    classes = open_dataset("phantom", options={"size": 64})["test"].classes
    return small(classes=classes, size=64)


@pytest.fixture(scope="module")
def task(model):
    test = open_dataset("phantom", options={"size": 64})["test"]
    return localization_task(FittedImages(test, InputSpec.square(1, 64)), model.classes, limit=6)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_methods_that_give_all_classes_at_once_are_scored_on_predicted_pairs_too(method, model, task):
    predicted = np.random.default_rng(0).random((len(task.images), len(task.classes))) < 0.3
    found = score_explanations(model, task, method, boxes=True, predicted=predicted, batch_size=4)
    wanted = {(int(i), int(c)) for i, c in zip(task.pair_image, task.pair_class, strict=True)}
    if EXPLAINERS[method].all_classes_at_once:
        wanted |= {(int(i), int(c)) for i, c in np.argwhere(predicted)}
        assert np.array_equal(found.predicted, predicted[found.map_image, found.map_class])
        assert 0 < found.predicted.sum() < len(found.predicted)
    else:
        assert found.predicted is None
    assert list(zip(found.map_image.tolist(), found.map_class.tolist(), strict=True)) == sorted(wanted)
    pixels = as_pixels(task.images, torch.device("cpu"))
    maps = {
        (i, c): explain(method, model, pixels[i : i + 1], int(task.outputs[c])).maps.numpy()
        for i, c in zip(found.map_image.tolist(), found.map_class.tolist(), strict=True)
    }
    for row, pair in enumerate(zip(task.pair_image.tolist(), task.pair_class.tolist(), strict=True)):
        for name, values in heatmap_scores(maps[pair], task.masks[row : row + 1]).items():
            assert found.scores[name][row] == pytest.approx(values[0], abs=1e-3), name
    drawn = [len(heatmap_to_boxes(heat, SWEEP_THRESHOLDS).boxes) for heat in maps.values()]
    assert np.bincount(found.boxes.map_index, minlength=len(drawn)).tolist() == pytest.approx(drawn, abs=2)


@pytest.mark.slow
@pytest.mark.parametrize("boxes", [True, False])
def test_scores_come_back_as_they_were_kept(model, task, tmp_path, boxes):
    predicted = np.ones((len(task.images), len(task.classes)), dtype=bool)
    for method in METHODS:
        found = score_explanations(model, task, method, boxes=boxes, predicted=predicted)
        write_arrays(tmp_path / "scores.npz", arrays_of(found))
        again = arrays_of(scores_of(read_arrays(tmp_path / "scores.npz")))
        assert again.keys() == arrays_of(found).keys()
        for name, values in arrays_of(found).items():
            np.testing.assert_array_equal(again[name], values)
