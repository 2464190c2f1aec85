"""A dataset's own boxes as marks, which training reads."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from helpers.annotation import OPTIONS
from pellucid.annotations.from_regions import regions_as_marks
from pellucid.annotations.loading import load_annotations
from pellucid.annotations.store import open_store
from pellucid.data import open_dataset
from pellucid.data.readers.phantom.reader import PHANTOM_CLASSES, render

PHANTOM = [word for key, value in OPTIONS.items() for word in ("--data-option", f"{key}={value}")]


def test_the_phantoms_boxes_become_marks_once(tmp_path, pellucid):
    store = tmp_path / "annotations.db"
    command = ("annotate", "import", "--store", store, "--data", "phantom", *PHANTOM, "--annotator", "truth")
    for _ in range(2):  # the second time nothing is added
        status, said, _ = pellucid(*command)
        assert status == 0
    data = open_dataset("phantom", options=OPTIONS)["train"]
    truth = [render(i, options=OPTIONS).boxes for i in range(len(data))]
    expected = {(data.ids[i], label, *box) for i, boxes in enumerate(truth) for label, box in boxes.items()}
    with open_store(store) as opened:
        marks = opened.marks()
    size = render(0, options=OPTIONS).pixels.shape[0]
    shapes = [(m.shape.x * size, m.shape.y * size, m.shape.width * size, m.shape.height * size) for m in marks]
    found = {(m.image, m.class_name, *shape) for m, shape in zip(marks, shapes, strict=True)}
    assert len(marks) == len(expected)
    assert f"{len(marks)} marks" in said
    assert sorted(row[:2] for row in found) == sorted(row[:2] for row in expected)
    np.testing.assert_allclose([r[2:] for r in sorted(found)], [r[2:] for r in sorted(expected)], atol=1e-6)
    assert {(m.kind, m.annotator) for m in marks} == {("relevant", "truth")}


def test_radiologists_boxes_become_relevant_regions(real_data, tmp_path, pellucid):
    root = real_data / "chestxray14"
    options = {"boxed_for_training": 0.5, "labels": ["Mass", "Nodule", "Pneumothorax"]}
    words = [word for k, v in options.items() for word in ("--data-option", f"{k}={v}".replace("'", '"'))]
    store = tmp_path / "annotations.db"
    command = ("annotate", "import", "--store", store, "--data", "chestxray14", "--root", root, *words)
    assert pellucid(*command)[0] == 0
    with pytest.warns(UserWarning, match="official"):
        data = open_dataset("chestxray14", root, options=options)["train"]
    annotations = load_annotations(store, data)
    with (root / "BBox_List_2017.csv").open(newline="") as file:
        rows = [row for row in list(csv.reader(file))[1:] if row[0] in data.ids and row[1] in data.classes]
    assert len(annotations.marks) == len(rows) > 50
    for name, label, *corner in (row[:6] for row in rows[::7]):
        x, y, width, height = (float(v) / 1024 * 64 for v in corner)
        inside, outside = annotations.masks([name], [label], 64)
        assert not outside.any()
        centres = np.arange(64) + 0.5
        box = ((centres > y) & (centres < y + height))[:, None] & ((centres > x) & (centres < x + width))
        assert (inside[0, 0] | ~box).all()  # several boxes of a finding are one region


def test_labels_that_are_no_class_are_left_out():
    data = open_dataset("phantom", options={**OPTIONS, "shortcuts": {"letter": {"finding": "Mass"}}})["train"]
    assert "letter" in data.regions.labels
    content = regions_as_marks(data, annotator="truth", kind="irrelevant")
    assert {mark.class_name for mark in content.marks} <= set(PHANTOM_CLASSES)
    assert {mark.kind for mark in content.marks} == {"irrelevant"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name a file of annotations"),
        (("--data", "phantom", "--split", "nowhere"), "no 'nowhere' part"),
        (("--data", "phantom", *PHANTOM, "--as", "perhaps"), "There are: relevant, irrelevant"),
    ],
)
def test_an_import_of_nothing_is_refused(tmp_path, pellucid, arguments, said):
    refusal, _, _ = pellucid("annotate", "import", "--store", tmp_path / "annotations.db", *arguments)
    assert said in refusal
    assert not (tmp_path / "annotations.db").exists()


def test_a_part_without_boxes_is_refused(real_data, tmp_path, pellucid):
    command = ("annotate", "import", "--store", tmp_path / "annotations.db", "--data", "chestxray14")
    refusal, _, _ = pellucid(*command, "--root", real_data / "chestxray14")  # the official training part
    assert "chestxray14/train has no regions of its classes. Name a file" in refusal
    assert not (tmp_path / "annotations.db").exists()
