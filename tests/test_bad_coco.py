"""COCO files with something wrong in them: read or refused by name, never a traceback, and all faults told at once."""

from __future__ import annotations

import copy
import json
import sys
import warnings
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.coco import CATEGORIES, HEIGHT, RECTANGLE, WIDTH, annotation, content, write_release
from pellucid.data import check_dataset, open_dataset
from pellucid.data.readers.coco.annotations import read_instances
from pellucid.data.readers.coco.masks import draw_mask
from pellucid.types import InputError


@pytest.fixture
def written(tmp_path):
    return partial(write_release, tmp_path)


def test_bad_boxes_are_refused_at_once_and_all_named_by_the_check(written):
    boxes = [(1, 1, float("nan"), 2), (1, 1, 2, float("inf")), (30, 1, 12, 5), (-2, 1, 5, 5), (1, 1, -1, 3)]
    folder = written(content(*(annotation(i + 1, 1, 1, box=box) for i, box in enumerate(boxes))))
    with pytest.raises(InputError, match=r"(?s)5 things are wrong.*annotation 1 .* is not finite.*annotation 4 on"):
        open_dataset("coco", folder)
    (folder / "val2017" / "000000000002.jpg").write_bytes(b"")  # looked at all the same
    report = check_dataset("coco", folder)
    assert report.found == 4
    assert report.parts["test"].regions == {}
    assert len(report.problems) == 6
    assert any(p.file.endswith("000000000002.jpg") for p in report.problems)
    reasons = [p.reason for p in report.problems if p.file.endswith(".json")]
    assert not any("data check" in reason for reason in reasons)
    for number, words in enumerate(("not finite", "not finite", "outside its image of 40 × 30", "outside", "negative")):
        assert any(f"annotation {number + 1} on" in reason and words in reason for reason in reasons)
    slack = written(content(annotation(1, 1, 1, box=(-0.5, 0, WIDTH + 1, HEIGHT + 0.9))))
    assert open_dataset("coco", slack)["test"].regions.items[0].box == (0, 0, 1, 1)


def test_what_is_missing_or_too_much(written):
    folder = written(content())
    (folder / "val2017" / "000000000002.jpg").unlink()
    Image.new("L", (4, 4)).save(folder / "val2017" / "stray.png")
    broken = folder / "val2017" / "000000000003.jpg"
    broken.write_bytes(broken.read_bytes()[:60])
    report = check_dataset("coco", folder)
    assert [p.file for p in report.problems] == ["val2017/000000000002.jpg", str(broken)]
    assert report.expected == 4
    assert any("1 image that the annotations do not name" in note.reason for note in report.notes)
    assert any("3 categories; COCO has 80" in note.reason for note in report.notes)
    for path in (folder / "val2017").iterdir():
        path.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(InputError, match="none of the images that the annotations name"):
            open_dataset("coco", folder)
    (folder / "train2017").mkdir()
    with pytest.raises(InputError, match=r"instances_train2017\.json: no such file, but train2017/ is there"):
        open_dataset("coco", folder)
    empty = folder / "empty"
    (empty / "elsewhere").mkdir(parents=True)
    with pytest.raises(InputError, match="no train2017/ and no val2017/"):
        open_dataset("coco", empty)
    with pytest.raises(InputError, match="list different categories"):
        open_dataset("coco", written(content(), content(images=9, first=50) | {"categories": CATEGORIES[:2]}))


def changed(**values):
    return content(annotation(1, 1, 1)) | values


def image(**values):
    entries = content()["images"]
    return changed(images=[*entries[:-1], entries[-1] | values])


def box(value):
    return changed(annotations=[annotation(1, 1, 1) | {"bbox": value}])


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ([1, 2], r"expected an object; found list"),
        ({"shapes": [], "version": "5"}, r"no list 'categories'; found 'shapes', 'version'\. Expected lists of images"),
        (changed(annotations={}), r"no list 'annotations'"),
        (changed(images=[]), r"lists no images"),
        (changed(categories=[]), r"lists no categories"),
        (changed(annotations=[1]), r"annotations\[0\] is no object; found int"),
        (changed(annotations=[annotation(1, 1, 1)] * 2), r"two of its annotations have the same id: 1"),
        (image(id=1), r"two of its images have the same id: 1"),
        (image(file_name="000000000001.jpg"), r"two of its images have the same file_name"),
        (changed(categories=[CATEGORIES[1], {"id": 1, "name": "x"}]), r"two of its categories have the same id"),
        (changed(categories=[CATEGORIES[1], {"id": 2, "name": "person"}]), r"two of its categories have the same name"),
        (changed(categories=[{"id": 1}]), r"category 1 has no name"),
        (changed(annotations=[annotation(1, 99, 1)]), r"annotation 1 names image_id 99, which is not listed"),
        (changed(annotations=[annotation(1, 1, 2)]), r"annotation 1 names category_id 2, which is not listed"),
        (changed(annotations=[annotation("a", 1, 1)]), r"'id' must be a whole number; found 'a'"),
        (image(file_name="../../etc/passwd"), r"file_name '\.\./\.\./etc/passwd' must be the name of a file"),
        (image(file_name="/etc/passwd"), r"must be the name of a file in the part's own folder"),
        (image(file_name="a\\..\\b.jpg"), r"must be the name of a file"),
        (image(file_name=None), r"file_name None"),
        (image(width=0), r"000000000004\.jpg is said to be 0 × 30 pixels"),
        (image(height="30"), r"'height' must be a whole number; found '30'"),
        (box([1, 2, 3]), r"annotation 1: bbox \[1, 2, 3\]; expected four numbers"),
        (box([1, 2, 3, None]), r"expected four numbers"),
        (box([1, 2, 3, "4"]), r"expected four numbers"),
        (box(None), r"expected four numbers"),
        (box([10**400, 2, 3, 4]), r"too large"),
    ],
)
def test_json_that_is_not_cocos(tmp_path, value, match):
    path = tmp_path / "instances_val2017.json"
    path.write_text(json.dumps(value))
    with pytest.raises(InputError, match=match) as caught:
        read_instances(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b'{"images": [1, 2'])
def test_files_that_are_no_json(tmp_path, data):
    path = tmp_path / "instances_val2017.json"
    path.write_bytes(data)
    with pytest.raises(InputError, match="not a JSON file"):
        read_instances(path)


@pytest.mark.parametrize(
    ("outline", "match"),
    [
        ([[1.0, 2.0, 3.0, 4.0]], "a polygon of 4 numbers"),
        ([RECTANGLE[:7]], "a polygon of 7 numbers"),
        ([[*RECTANGLE[:-1], float("nan")]], "not finite or far outside"),
        ([[*RECTANGLE[:-1], 1e9]], "not finite or far outside"),
        ([["a", "b"]], "neither polygons nor run lengths"),
        ("text", "neither polygons nor run lengths"),
        (RECTANGLE, "neither polygons nor run lengths"),
        ({"size": [WIDTH, HEIGHT], "counts": [WIDTH * HEIGHT]}, "the image has height 30, width 40"),
        ({"size": [HEIGHT, WIDTH], "counts": [7, 7]}, "run lengths of 14 pixels; the image has 1,200"),
        ({"size": [HEIGHT, WIDTH], "counts": [-1, WIDTH * HEIGHT + 1]}, "run lengths cannot be read"),
        ({"size": [HEIGHT, WIDTH], "counts": "\u00ff"}, "run lengths cannot be read"),
        ({"size": [HEIGHT, WIDTH]}, "run lengths cannot be read"),
    ],
)
def test_outlines_that_cannot_be_drawn_are_named(written, outline, match):
    folder = written(content(annotation(5, 1, 1, segmentation=outline)))
    region = open_dataset("coco", folder)["test"].regions.items[0]
    with pytest.raises(InputError, match=rf"instances_val2017\.json: annotation 5: .*{match}"):
        region.mask()
    assert match in check_dataset("coco", folder).problems[0].reason


def test_without_pycocotools_the_error_says_how_to_get_it(written, monkeypatch):
    folder = written(content(annotation(1, 1, 1, segmentation=[RECTANGLE])))
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    region = open_dataset("coco", folder)["test"].regions.items[0]
    with pytest.raises(InputError, match=r"masks=false.*-e '\.\[coco\]'"):
        region.mask()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def paths(value, here=()):
    """Where every value inside a JSON value is."""
    yield here
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*here, key))


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_is_put_in_the_annotations_is_read_or_refused(tmp_path, data):
    """One value anywhere in the file is replaced by any JSON."""
    value = copy.deepcopy(content(annotation(1, 1, 1, segmentation=[RECTANGLE]), annotation(2, 2, 7, crowd=1)))
    where = data.draw(st.sampled_from(list(paths(value))))
    new = data.draw(JSON)
    if where:
        inner = value
        for key in where[:-1]:
            inner = inner[key]
        inner[where[-1]] = new
    else:
        value = new
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(value))
    try:
        found = read_instances(path)
        found.issues()
        for outline, frame in zip(found.outlines, found.frames[found.image], strict=True):
            if outline is not None:
                draw_mask(outline, tuple(frame.astype(int).tolist()), (0, 0, 1, 1), "a")
    except InputError:
        pass
