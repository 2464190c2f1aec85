"""Annotations as files: exported and read again without a loss, other people's, and bad ones, refused whole."""

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from helpers.annotation import OPTIONS
from helpers.annotation_store import DATA, A, full
from pellucid.annotations.shapes import Brush, Polygon, Rectangle, drawn_mask
from pellucid.annotations.store import open_store
from pellucid.data.placement import Placement
from pellucid.types import InputError


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "annotations.db", create=DATA) as opened:
        yield opened


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """What our own COCO file of some of everything holds, as text."""
    from pellucid.annotations.files import export_annotations

    folder = tmp_path_factory.mktemp("exported")
    with open_store(folder / "annotations.db", create=DATA) as opened:
        full(opened)
    export_annotations(folder / "annotations.db", folder / "out.json", "coco")
    return (folder / "out.json").read_text()


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
    from pellucid.annotations.files import export_annotations

    full(store)
    export_annotations(tmp_path / "annotations.db", tmp_path / "out.json", "coco")
    coco = pycocotools.COCO(str(tmp_path / "out.json"))
    box, outline, stroke = (coco.anns[i] for i in (1, 2, 3))
    assert box["bbox"] == [7.5, 10.0, 7.5, 2.5]
    assert coco.cats[box["category_id"]]["name"] == "Nodule"
    assert coco.cats[outline["category_id"]]["name"] == "Mass: irrelevant"
    theirs = coco.annToMask(outline).astype(bool)
    ours = drawn_mask(Polygon(((0.1, 0.2), (1 / 3, 0.7), (0.9, 2 / 3))), Placement.whole(20, 30))
    assert (theirs & ours).sum() / (theirs | ours).sum() > 0.8
    strokes = drawn_mask(Brush(((0.2, 0.2), (0.8, 0.55)), 0.0625, 1.0), Placement.whole(32, 32))
    assert np.array_equal(coco.annToMask(stroke).astype(bool), strokes)
    assert stroke["area"] == strokes.sum()


MASK = {"size": [64, 64], "counts": [0, 1, 63, 1, 4031]}


def foreign():
    """A COCO file as another tool writes it."""
    return {
        "images": [{"id": 7, "file_name": f"images/{A}.png", "width": 64, "height": 64}],
        "categories": [{"id": 3, "name": "Nodule"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [16, 8, 32, 16], "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 3, "segmentation": [[0, 0, 64, 0, 64, 16]], "bbox": [0, 0, 1, 1]},
            {"id": 3, "image_id": 7, "category_id": 3, "segmentation": MASK, "bbox": [0, 0, 2, 1], "iscrowd": 1},
            {"id": 4, "image_id": 7, "category_id": 3, "segmentation": [], "bbox": [3, 4, 0, 9], "iscrowd": "0"},
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
        assert [m.shape for m in marks] == [
            Rectangle(0.25, 0.125, 0.5, 0.25),
            Polygon(((0, 0), (1, 0), (1, 0.25))),
            Polygon(((0, 0), (0.03125, 0), (0.03125, 0.015625), (0, 0.015625))),
        ]
        assert store.image_sizes()[A] == (32, 32)  # the image's own size, not that of the copy
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
        ({"images": []}, "no list 'categories'"),
        (changed(("images", 0, "file_name"), "../../etc/passwd"), "there is no such image"),
        (changed(("images", 0, "width"), 0), "0 × 64 pixels"),
        (changed(("categories", 0, "name"), "Nodul"), "Did you mean 'Nodule'"),
        (changed(("annotations", 0, "image_id"), 8), "annotation 1 names image_id 8"),
        (changed(("annotations", 0, "bbox"), [float("nan"), 0, 1, 1]), "a box needs finite x, y"),
        (changed(("annotations", 0, "bbox"), [60, 0, 40, 1]), "outside its image"),
        (changed(("annotations", 0, "bbox"), [1, 2, 3]), "annotation 1: bbox [1, 2, 3]; expected four numbers"),
        (changed(("annotations", 1, "segmentation"), [[0, 0, 9, 9]]), f"annotation 2 on images/{A}.png: an outline"),
        (changed(("annotations", 1, "segmentation"), [[0, 0, 1, 1, 900, 1]]), "leaves the image"),
        (changed(("annotations", 0), None), "annotations[0] is no object; found NoneType"),
        (changed(("images", 0, "height"), 32), "has another proportion"),
        (changed(("images", 0, "file_name"), 5), "file_name 5 must be the name of a file"),
        (changed(("categories", 0, "name"), ["Nodule"]), "its name is text"),
        (changed(("annotations", 2, "segmentation"), {"size": [1, 1], "counts": [1]}), "run lengths of size [1, 1]"),
        (changed(("annotations", 2, "iscrowd"), "yes"), "iscrowd is 0 or 1"),
        ({"pellucid": {"version": 9}}, "is of version 9"),
        ({"pellucid": {"version": 1, "records": [{"record": "mark"}]}}, "record 1: 'value' is missing"),
        ({"pellucid": {"version": 1, "records": ["x"]}}, "record 1"),
        ({"pellucid": {"version": 1, "records": []}}, "which dataset"),
        ({"pellucid": []}, "its part 'pellucid' is an object; found []"),
        ({"pellucid": {"version": [1], "records": []}}, "is of version"),
    ],
)
def test_a_bad_json_file_is_refused_whole(tmp_path, pellucid, content, told):
    path = tmp_path / "bad.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    status, _, _ = import_phantom(pellucid, path)
    assert told in str(status)
    database = path.with_suffix(".db")
    assert not database.exists() or sqlite3.connect(database).execute("SELECT count(*) FROM mark").fetchone() == (0,)


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrong", [None, 5, True, [], {}, "", "\0", "\ud800", "x", "9" * 30 + "x1", "0001-01-01T00:00:00+14:00"]
)
@pytest.mark.parametrize("record", ["dataset", "image", "mark", "verdict", "note", "visit"])
def test_every_field_of_our_own_json_is_checked(exported, tmp_path, record, wrong):
    """Each field in turn holds something else: it is refused in words, or means something."""
    from pellucid.annotations.files import import_annotations

    whole = json.loads(exported)
    at = next(i for i, row in enumerate(whole["pellucid"]["records"]) if row["record"] == record)
    used = {"dataset": ["value"], "image": ["image", "value"], "note": ["image", "value", "annotator", "created"]}
    for key in used.get(record, [k for k, v in whole["pellucid"]["records"][at].items() if v]):
        content = json.loads(exported)
        content["pellucid"]["records"][at][key] = wrong
        bad, database = tmp_path / "bad.json", tmp_path / f"{key}.db"
        bad.write_text(json.dumps(content))
        status = 0
        try:
            import_annotations(bad, database, None)
        except InputError as error:  # and no other
            status = error
        if not isinstance(wrong, str) or wrong in ("\0", "\ud800"):
            assert f"record {at + 1}: {key} is text" in str(status)
        if status != 0:
            assert str(bad) in str(status)
            assert not database.exists()


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [None, 5, True, [], {}, [5], [None], "Nodule", "\0"])
@pytest.mark.parametrize("key", ["name", "split", "task", "classes", "fingerprint", "origin", "more"])
def test_every_field_of_the_dataset_is_checked(exported, tmp_path, pellucid, key, wrong):
    path, content = tmp_path / "out.json", json.loads(exported)
    row = next(row for row in content["pellucid"]["records"] if row["record"] == "dataset")
    row["value"] = json.dumps(json.loads(row["value"]) | {key: wrong})
    path.write_text(json.dumps(content))
    status, _, _ = pellucid("annotate", "import", path, "--store", tmp_path / "again.db")
    if wrong == "Nodule" and key not in ("classes", "more"):
        assert status == 0
    else:
        assert f"{path}: record 1: " in str(status)


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

    from pellucid.annotations.files import export_annotations

    full(store)
    export_annotations(tmp_path / "annotations.db", tmp_path / "out.csv", "csv")
    with (tmp_path / "out.csv").open(newline="") as stream:
        cells = [cell for row in csv.reader(stream) for cell in row]
    assert "'=Bob" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
