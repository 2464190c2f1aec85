"""Annotations as files: exported and read again without a loss, other people's, and bad ones, refused whole."""

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from annotation_example import OPTIONS
from annotation_store_example import DATA, A, full
from pellucid.data.annotation_shapes import Brush, Polygon, Rectangle, drawn_mask
from pellucid.data.annotation_store import open_store


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "annotations.db", create=DATA) as opened:
        yield opened


@pytest.mark.parametrize("kind", ["coco", "csv"])
def test_a_file_brings_everything_back_exactly(store, tmp_path, pellucid, kind):
    full(store)
    source, out = tmp_path / "annotations.db", tmp_path / ("out.json" if kind == "coco" else "out.csv")
    status, said, _ = pellucid("annotate", "export", source, "--format", kind, "--out", out)
    assert (status, "3 marks, 1 marks taken back, 2 verdicts, 1 notes" in said) == (0, True)
    again = tmp_path / "again.db"
    for _ in range(2):  # a second import changes nothing
        assert pellucid("annotate", "import", out, "--store", again)[0] == 0
        with open_store(again) as read:
            assert read.content() == store.content()


def test_others_read_our_coco_file(store, tmp_path):
    pycocotools = pytest.importorskip("pycocotools.coco")
    from pellucid.data.annotation_files import export_annotations

    full(store)
    export_annotations(tmp_path / "annotations.db", tmp_path / "out.json", "coco")
    coco = pycocotools.COCO(str(tmp_path / "out.json"))
    box, outline, stroke = (coco.anns[i] for i in (1, 2, 3))
    assert box["bbox"] == [7.5, 10.0, 7.5, 2.5]
    assert coco.cats[box["category_id"]]["name"] == "Nodule"
    assert coco.cats[outline["category_id"]]["name"] == "Mass: irrelevant"
    theirs = coco.annToMask(outline).astype(bool)
    ours = drawn_mask(Polygon(((0.1, 0.2), (1 / 3, 0.7), (0.9, 2 / 3))), 20, 30)
    assert (theirs & ours).sum() / (theirs | ours).sum() > 0.8
    strokes = drawn_mask(Brush(((0.2, 0.2), (0.8, 0.55)), 0.0625, 1.0), 32, 32)
    assert np.array_equal(coco.annToMask(stroke).astype(bool), strokes)
    assert stroke["area"] == strokes.sum()


def foreign():
    """A COCO file as another tool writes it."""
    return {
        "images": [{"id": 7, "file_name": f"images/{A}.png", "width": 64, "height": 32}],
        "categories": [{"id": 3, "name": "Nodule"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [16, 8, 32, 16], "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 3, "segmentation": [[0, 0, 64, 0, 64, 16]], "bbox": [0, 0, 1, 1]},
            {"id": 3, "image_id": 7, "category_id": 3, "segmentation": {"size": [1, 1], "counts": [1]}, "iscrowd": 1},
        ],
    }


def import_phantom(pellucid, path, *more):
    options = [word for k, v in OPTIONS.items() for word in ("--data-option", f"{k}={v}")]
    return pellucid(
        "annotate", "import", path, "--store", path.with_suffix(".db"), "--data", "phantom", *options, *more
    )


def test_somebody_elses_coco_file_is_read(tmp_path, pellucid):
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps(foreign()))
    assert import_phantom(pellucid, path, "--as", "irrelevant", "--annotator", "Eve")[0] == 0
    assert import_phantom(pellucid, path, "--as", "irrelevant", "--annotator", "Eve")[0] == 0  # again: the same marks
    with open_store(path.with_suffix(".db")) as store:
        marks = store.marks()
        assert [m.shape for m in marks] == [Rectangle(0.25, 0.25, 0.5, 0.5), Polygon(((0, 0), (1, 0), (1, 0.5)))]
        assert {(m.image, m.kind, m.annotator) for m in marks} == {(A, "irrelevant", "Eve")}


def changed(path, value):
    """`foreign`, with the value at a path replaced."""
    content = foreign()
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return content


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "holds an object"),
        ({"images": []}, "no list 'annotations'"),
        (changed(("images", 0, "file_name"), "../../etc/passwd"), "there is no such image"),
        (changed(("images", 0, "width"), 0), "whole numbers above 0"),
        (changed(("categories", 0, "name"), "Nodul"), "Did you mean 'Nodule'"),
        (changed(("annotations", 0, "image_id"), 8), "annotation 1: its image"),
        (changed(("annotations", 0, "bbox"), [float("nan"), 0, 1, 1]), "annotation 1: a box needs finite"),
        (changed(("annotations", 0, "bbox"), [60, 0, 40, 1]), "outside its image"),
        (changed(("annotations", 0, "bbox"), [1, 2, 3]), "annotation 1: a box is"),
        (changed(("annotations", 1, "segmentation"), [[0, 0, 1, 1]]), "annotation 2: an outline"),
        (changed(("annotations", 1, "segmentation"), [[0, 0, 1, 1, 900, 1]]), "leaves the image"),
        (changed(("annotations", 0), None), "not COCO's"),
        ({"pellucid": {"version": 9}}, "another version"),
        ({"pellucid": {"version": 1, "records": [{"record": "mark"}]}}, "record 1: 'value' is missing"),
        ({"pellucid": {"version": 1, "records": ["x"]}}, "record 1"),
        ({"pellucid": {"version": 1, "records": []}}, "which dataset"),
    ],
)
def test_a_bad_json_file_is_refused_whole(tmp_path, pellucid, content, told):
    path = tmp_path / "bad.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    status, _, _ = import_phantom(pellucid, path)
    assert told in str(status)
    database = path.with_suffix(".db")
    assert not database.exists() or sqlite3.connect(database).execute("SELECT count(*) FROM mark").fetchone() == (0,)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.replace("record,id", "recrd,id"), "columns"),
        (lambda t: t.replace('""x"": 0.25', '""x"": 9'), "from 0 to 1"),
        (lambda t: t.replace(",irrelevant,", ",boring,"), "relevant or irrelevant"),
        (lambda t: t.replace("verdict,,", "verdct,,"), "unknown record"),
        (lambda t: t.replace(",Mass,", ",Dragon,"), "Dragon"),
        (lambda t: t + "mark,1\n", "cells"),
        (lambda t: t + '"', "CSV"),
        (lambda t: t.replace("2026-", "yesterday-"), "record"),
        (lambda t: t.encode("utf-16").decode("latin-1"), "columns|CSV"),
    ],
)
def test_a_bad_csv_file_is_refused_whole(store, tmp_path, pellucid, change, told):
    import re

    full(store)
    path = tmp_path / "out.csv"
    pellucid("annotate", "export", tmp_path / "annotations.db", "--format", "csv", "--out", path)
    text = path.read_bytes().decode()
    assert change(text) != text
    path.write_bytes(change(text).encode())
    status, _, _ = pellucid("annotate", "import", path, "--store", tmp_path / "again.db")
    assert re.search(told, str(status))
    assert not Path(tmp_path / "again.db").exists()


def test_a_spreadsheet_runs_nothing_of_our_file(store, tmp_path):
    import csv

    from pellucid.data.annotation_files import export_annotations

    full(store)
    export_annotations(tmp_path / "annotations.db", tmp_path / "out.csv", "csv")
    with (tmp_path / "out.csv").open(newline="") as stream:
        cells = [cell for row in csv.reader(stream) for cell in row]
    assert "'=Bob" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
