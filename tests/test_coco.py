"""COCO: what the released files say comes back image by image, outlines as drawn by hand, and what can be wrong."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import warnings
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as official

from pellucid.data import check_dataset, materialize, open_dataset
from pellucid.data.coco_annotations import read_instances
from pellucid.data.coco_masks import draw_mask
from pellucid.types import InputError

SAMPLE = "coco-sample"
WIDTH, HEIGHT = 40, 30
CATEGORIES = [{"id": 7, "name": "train"}, {"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}]
RECTANGLE = [4.0, 6.0, 16.0, 6.0, 16.0, 20.0, 4.0, 20.0]  # x from 4 to 16, y from 6 to 20


def annotation(number, image, category, box=(4, 6, 12, 14), crowd=0, **more):
    return {"id": number, "image_id": image, "category_id": category, "bbox": list(box), "iscrowd": crowd} | more


def content(*annotations, images=4, first=1):
    numbers = range(first, first + images)
    listed = [{"id": i, "file_name": f"{i:012d}.jpg", "width": WIDTH, "height": HEIGHT} for i in numbers]
    return {"info": {}, "images": listed, "annotations": list(annotations), "categories": CATEGORIES}


@pytest.fixture
def written(tmp_path):
    """Writes a folder of one or both parts from their JSON; their images are plain gray."""

    def write(val=None, train=None):
        (tmp_path / "annotations").mkdir(exist_ok=True)
        for name, value in (("val2017", val), ("train2017", train)):
            if value is None:
                continue
            (tmp_path / "annotations" / f"instances_{name}.json").write_text(json.dumps(value))
            (tmp_path / name).mkdir(exist_ok=True)
            for entry in value["images"]:
                Image.new("L", (WIDTH, HEIGHT), entry["id"] % 256).save(tmp_path / name / entry["file_name"])
        return tmp_path

    return write


def test_the_sample_says_what_its_files_say(real_data):
    splits = open_dataset("coco", real_data / SAMPLE)
    assert list(splits) == ["train", "validation", "test"]
    assert len(splits["train"]) + len(splits["validation"]) == len(splits["test"]) == 128
    for parts, name in ((("train", "validation"), "train2017"), (("test",), "val2017")):
        said = json.loads((real_data / SAMPLE / "annotations" / f"instances_{name}.json").read_text())
        labels = {entry["id"]: entry["name"] for entry in said["categories"]}
        images = {f"{name}/{entry['file_name']}": entry for entry in said["images"]}
        seen = set()
        for part in parts:
            dataset = splits[part]
            assert dataset.classes == tuple(labels[i] for i in sorted(labels))
            assert len(dataset.classes) == 80
            for i, image in enumerate(dataset.ids):
                seen.add(image)
                entry = images[image]
                mine = [a for a in said["annotations"] if a["image_id"] == entry["id"]]
                shown = {c for c, there in zip(dataset.classes, dataset.targets[i], strict=True) if there == 1}
                assert shown == {labels[a["category_id"]] for a in mine}
                assert dataset.read(i).shape[:2] == (entry["height"], entry["width"])
                regions = [r for r in dataset.regions.items if r.image == i]
                assert all(r.mask is None for r in regions)  # the sample has no outlines
                found = Counter((r.label, *np.round(r.box, 4)) for r in regions)
                frame = np.array([entry["width"], entry["height"]] * 2)
                expected = Counter((labels[a["category_id"]], *np.round(a["bbox"] / frame, 4)) for a in mine)
                assert sum(found.values()) == sum(expected.values())
                for label, *box in expected:  # boxes stick out by a hundredth of a pixel at most
                    assert any(label == other[0] and np.allclose(box, other[1:], atol=2e-4) for other in found)
        assert seen == set(images)
    report = check_dataset("coco", real_data / SAMPLE)
    assert report.ok
    assert [note.reason for note in report.notes] == [
        "names 128 of the 118,287 official images: a part of the dataset",
        "names 128 of the 5,000 official images: a part of the dataset",
    ]


def test_categories_go_by_their_ids_and_the_released_frame_holds_for_smaller_files(written):
    folder = written(content(annotation(1, 1, 90), annotation(2, 1, 1), annotation(3, 3, 7)))
    Image.new("RGB", (WIDTH // 2, HEIGHT // 2)).save(folder / "val2017" / "000000000001.jpg")
    test = open_dataset("coco", folder)["test"]
    assert test.classes == ("person", "train", "toothbrush")
    assert test.targets.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert [r.box for r in test.regions.items] == [(4 / WIDTH, 6 / HEIGHT, 12 / WIDTH, 14 / HEIGHT)] * 3
    assert test.patients == test.ids
    assert materialize(test, size=8, channels=3).shape == (4, 3, 8, 8)


def test_outlines_of_every_kind_are_the_masks_that_were_drawn(written):
    rng = np.random.default_rng(0)
    blob = rng.random((HEIGHT, WIDTH)) < 0.3
    runs, value = [0], 0
    for pixel in blob.T.ravel().tolist():  # down the columns, zeros first
        if pixel == value:
            runs[-1] += 1
        else:
            runs.append(1)
            value = pixel
    text = official.encode(np.asfortranarray(blob.astype(np.uint8)))["counts"].decode()
    other = [20.0, 6.0, 24.0, 6.0, 24.0, 20.0, 20.0, 20.0]
    folder = written(
        content(
            annotation(1, 1, 1, segmentation=[RECTANGLE]),
            annotation(2, 2, 1, segmentation=[RECTANGLE, other]),
            annotation(3, 3, 1, segmentation={"size": [HEIGHT, WIDTH], "counts": runs}),
            annotation(4, 4, 1, segmentation={"size": [HEIGHT, WIDTH], "counts": text}),
            annotation(5, 4, 7),
        )
    )
    regions = open_dataset("coco", folder)["test"].regions.items
    rectangle = np.zeros((HEIGHT, WIDTH), dtype=bool)
    rectangle[6:20, 4:16] = True
    both = rectangle.copy()
    both[6:20, 20:24] = True
    for region, expected in zip(regions, (rectangle, both, blob, blob), strict=False):
        assert np.array_equal(region.mask(), expected)
    assert regions[4].mask is None
    assert check_dataset("coco", folder).ok  # which draws every mask
    plain = open_dataset("coco", folder, options={"masks": False})["test"].regions.items
    assert all(region.mask is None for region in plain)
    assert [r.box for r in plain] == [r.box for r in regions]


def test_an_outline_without_a_pixel_marks_its_box():
    from array import array

    thin = [array("d", [4, 6, 4, 6, 4, 6])]
    assert not official.decode(official.frPyObjects([p.tolist() for p in thin], HEIGHT, WIDTH)).any()
    mask = draw_mask(thin, (WIDTH, HEIGHT), (4, 6, 0.3, 2.5), "a")
    assert np.argwhere(mask).tolist() == [[6, 4], [7, 4], [8, 4]]


def test_a_crowd_is_present_and_no_region(written):
    crowd = {"size": [HEIGHT, WIDTH], "counts": [0, WIDTH * HEIGHT]}
    folder = written(
        content(annotation(1, 1, 1, crowd=1, segmentation=crowd), annotation(2, 1, 7), annotation(3, 2, 1, crowd=1))
    )
    test = open_dataset("coco", folder)["test"]
    assert test.targets[:, 0].tolist() == [1, 1, 0, 0]
    assert [(r.image, r.label) for r in test.regions.items] == [(0, "train")]


def test_a_box_without_area_is_left_out_with_a_note(written):
    folder = written(content(annotation(1, 1, 1), annotation(2, 2, 1, box=(10, 10, 0, 5))))
    test = open_dataset("coco", folder)["test"]
    assert test.targets[:, 0].tolist() == [1, 1, 0, 0]
    assert [r.image for r in test.regions.items] == [0]
    report = check_dataset("coco", folder)
    assert report.ok
    assert "annotation 2 on 000000000002.jpg: the box (10, 10, 0, 5) has no area; it marks nothing" in [
        note.reason for note in report.notes
    ]


def test_fingerprints_tell_outlines_and_boxes_apart(written):
    def prints(outline, **options):
        folder = written(content(annotation(1, 1, 1, segmentation=outline), annotation(2, 2, 7)))
        test = open_dataset("coco", folder, options=options)["test"]
        assert test.subset(range(4)).fingerprint == test.fingerprint
        return test.fingerprint

    other = [*RECTANGLE[:-1], 19.0]
    runs = {"size": [HEIGHT, WIDTH], "counts": [WIDTH * HEIGHT - 5, 5]}
    with_masks = [prints([RECTANGLE]), prints([other]), prints([RECTANGLE[:6], RECTANGLE[2:]]), prints(runs)]
    assert len(set(with_masks)) == 4
    assert prints([RECTANGLE]) == with_masks[0]
    boxes = {prints(outline, masks=False) for outline in ([RECTANGLE], [other], runs)}
    assert len(boxes) == 1
    assert boxes.isdisjoint(with_masks)


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


def test_the_cut_is_the_seeds_and_each_images_own(written):
    folder = written(content(images=5), content(images=200, first=1000))
    first, again, other = (
        open_dataset("coco", folder, seed=seed, options={"validation_fraction": 0.2}) for seed in (0, 0, 1)
    )
    assert {k: v.fingerprint for k, v in first.items()} == {k: v.fingerprint for k, v in again.items()}
    assert first["validation"].ids != other["validation"].ids
    assert 20 <= len(first["validation"]) <= 60  # 40 of 200, give or take three and a half standard deviations
    assert "validation" not in open_dataset("coco", folder, options={"validation_fraction": 0})
    for name in first["train"].ids[:50]:
        (folder / name).unlink()
    with pytest.warns(UserWarning, match="150 of 200 images found"):
        part = open_dataset("coco", folder, options={"validation_fraction": 0.2})
    assert part["validation"].ids == first["validation"].ids
    assert part["train"].ids == first["train"].ids[50:]


def test_what_is_missing_or_too_much(written):
    folder = written(content())
    (folder / "val2017" / "000000000002.jpg").unlink()
    Image.new("L", (4, 4)).save(folder / "val2017" / "stray.png")
    broken = folder / "val2017" / "000000000003.jpg"
    broken.write_bytes(broken.read_bytes()[:60])
    report = check_dataset("coco", folder)
    assert [p.file for p in report.problems] == ["val2017/000000000002.jpg", str(broken)]
    assert report.expected == 4
    assert any("1 image(s) that the annotations do not name" in note.reason for note in report.notes)
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
        ({"shapes": [], "version": "5"}, r"no list 'categories'; found 'shapes', 'version'\. Expected the release's"),
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
    with pytest.raises(InputError, match=r"masks=false.*pip install 'pellucid\[coco\]'"):
        region.mask()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_compressed_run_lengths_are_read_as_the_official_code_reads_them(data):
    height, width = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    pixels = np.array(data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width)))
    mask = pixels.reshape(height, width)
    text = official.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    outline = {"size": [height, width], "counts": text}
    if mask.any():
        assert np.array_equal(draw_mask(outline, (width, height), (0, 0, 1, 1), "a"), mask)
    text = data.draw(st.text(st.characters(min_codepoint=40, max_codepoint=130), max_size=20))
    try:
        drawn = draw_mask(outline | {"counts": text}, (width, height), (0, 0, 1, 1), "a")
    except InputError:
        return
    assert drawn.shape == (height, width)


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
        found.remarks()
        for outline, frame in zip(found.outlines, found.frames[found.image], strict=True):
            if outline is not None:
                draw_mask(outline, tuple(frame.astype(int).tolist()), (0, 0, 1, 1), "a")
    except InputError:
        pass


def test_the_study_runs_on_the_sample_in_a_process_of_its_own(real_data, tmp_path):
    tiny = [
        "settings.model={name='small', size=32, options={widths=[4, 8], blocks=[1, 1], strides=[1, 2]}}",
        "settings.training={epochs=1, batch_size=32, mixed_precision='no'}",
        "evaluation.methods=['cam', 'saliency']",
        "evaluation.resamples=100",
        "evaluation.ara={kinds=['attack'], limit=20}",
        "evaluation.adversarial={cases=2, classes=2, rhos=[0.075]}",
    ]
    command = [sys.executable, "-m", "pellucid.cli.app", "study", "coco", "--root", str(real_data / SAMPLE)]
    command += ["--out", str(tmp_path), "--device", "cpu", "--jobs", "1"]
    command += [word for setting in tiny for word in ("--set", setting)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PELLUCID_PROGRESS": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert [variant["label"] for variant in results["variants"]] == ["standard", "robust", "all"]
    assert {row["variant"] for row in results["ara"]["attacks"]} == {"standard", "robust", "all"}
    assert (tmp_path / "report.html").read_text().count('class="slide-rho"') == 2
