"""Files as CVAT, Label Studio and Roboflow write them: every mark on its image and in its place, or nothing at all."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from pellucid.annotations.files import import_annotations, read_file
from pellucid.annotations.shapes import Polygon, drawn_mask
from pellucid.annotations.store import open_store
from pellucid.data import open_dataset
from pellucid.data.placement import Placement
from pellucid.data.readers.coco.outlines import mask_outlines
from pellucid.types import InputError

WIDTH, HEIGHT = 48, 32


@pytest.fixture
def folder(tmp_path):
    """Pictures by class, of which `cat/0.png` is not there."""
    for name in ("train/cat/1.png", "train/cat/3.png", "train/dog/0.png", "train/dog/3.png", "test/cat/3.png"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(len(name)).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    (tmp_path / "data" / "test" / "dog").mkdir()
    Image.new("L", (WIDTH, HEIGHT), 7).save(tmp_path / "data" / "test" / "dog" / "9.png")
    return tmp_path / "data"


def cvat(names, *annotations, frame=(WIDTH, HEIGHT)):
    """A file as CVAT 2 exports COCO 1.0."""
    width, height = frame
    more = {"license": 0, "flickr_url": "", "coco_url": "", "date_captured": 0}
    return {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "date_created": "", "description": "", "url": "", "version": "", "year": ""},
        "categories": [{"id": 1, "name": "cat", "supercategory": ""}, {"id": 2, "name": "dog", "supercategory": ""}],
        "images": [
            {"id": i, "width": width, "height": height, "file_name": name, **more} for i, name in enumerate(names, 1)
        ],
        "annotations": list(annotations),
    }


def drawn(number, image, box=(4.0, 6.0, 10.0, 8.0), segmentation=(), crowd=0, **attributes):
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "segmentation": segmentation if isinstance(segmentation, dict) else list(segmentation),
        "area": box[2] * box[3],
        "bbox": list(box),
        "iscrowd": crowd,
        "attributes": {"occluded": False, **attributes},
    }


def write(tmp_path, content):
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps(content))
    return path


def marks_of(tmp_path, content, folder, part="train"):
    dataset = open_dataset("folder", folder, options={"validation_fraction": 0})[part]
    import_annotations(write(tmp_path, content), tmp_path / "a.db", dataset)
    with open_store(tmp_path / "a.db") as store:
        return store.marks()


def refused(tmp_path, content, folder):
    with pytest.raises(InputError) as caught:
        marks_of(tmp_path, content, folder)
    assert not (tmp_path / "a.db").exists()
    return str(caught.value)


def test_images_of_two_folders_are_not_mixed_up(tmp_path, folder):
    names = ["cat/0.png", "dog/0.png", "test/cat/3.png", "3.png"]
    said = refused(tmp_path, cvat(names, *(drawn(i, i) for i in range(1, 5))), folder)
    assert "3 of the images that it names cannot be found in folder/train" in said
    assert "'cat/0.png': there is no such image; another with a name like it: train/dog/0.png" in said
    assert "'3.png': could be train/cat/3.png or train/dog/3.png" in said
    marks = marks_of(tmp_path, cvat(["dog/0.png", "cat\\3.png"], drawn(1, 1), drawn(2, 2)), folder)
    assert [mark.image for mark in marks] == ["train/dog/0.png", "train/cat/3.png"]


def test_what_roboflow_makes_of_names_and_sizes_is_refused(tmp_path, folder):
    name = "0_png.rf.0123456789abcdef0123456789abcdef.jpg"
    assert "there is no such image" in refused(tmp_path, cvat([name], drawn(1, 1)), folder)
    stretched = refused(tmp_path, cvat(["dog/0.png", "cat/1.png"], drawn(1, 1), frame=(64, 64)), folder)
    assert "2 things are wrong" in stretched
    assert "image 'dog/0.png': said to be 64 × 64 pixels; its file holds 48 × 32" in stretched
    half = marks_of(tmp_path, cvat(["dog/0.png"], drawn(1, 1, box=(0, 0, 12, 8)), frame=(24, 16)), folder)
    assert (half[0].shape.width, half[0].shape.height) == (0.5, 0.5)


def test_fractions_are_refused(tmp_path, folder):
    said = refused(tmp_path, cvat(["dog/0.png"], drawn(1, 1, box=(0.1, 0.2, 0.3, 0.4))), folder)
    assert "all boxes lie within 1: they look like fractions" in said


@pytest.mark.slow
@pytest.mark.parametrize("crowd", [0, 1, "0", "1"])
@pytest.mark.parametrize("compressed", [True, False])
def test_a_mask_stays_a_mask(tmp_path, folder, crowd, compressed):
    coder = pytest.importorskip("pycocotools.mask")
    shape = np.random.default_rng(3).random((HEIGHT, WIDTH)) < 0.5
    shape[4:20, 4:20] = True
    shape[8:12, 8:12] = False  # a hole
    encoded = coder.encode(np.asfortranarray(shape.astype(np.uint8)))
    if compressed:
        outline = {"size": encoded["size"], "counts": encoded["counts"].decode()}
    else:
        flat = np.concatenate([[False], shape.ravel(order="F"), [False]])
        ends = np.flatnonzero(np.diff(flat))
        outline = {"size": [HEIGHT, WIDTH], "counts": np.diff([0, *ends, shape.size]).tolist()}
        outline["counts"] = [int(n) for n in outline["counts"]]
        outline["counts"] = outline["counts"][: -1 if outline["counts"][-1] == 0 else None]
    with pytest.warns(UserWarning, match=r"1 mask kept as the outlines of their pieces"):
        marks = marks_of(tmp_path, cvat(["dog/0.png"], drawn(1, 1, segmentation=outline, crowd=crowd)), folder)
    union = np.logical_or.reduce([drawn_mask(mark.shape, Placement.whole(HEIGHT, WIDTH)) for mark in marks])
    np.testing.assert_array_equal(union, coder.decode(encoded).astype(bool))


def test_what_is_left_out_is_counted(tmp_path, folder):
    nothing = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}
    content = cvat(
        ["dog/0.png"], drawn(1, 1), drawn(2, 1, segmentation=nothing, crowd=1), drawn(3, 1, box=(1, 1, 0, 0))
    )
    with pytest.warns(UserWarning, match=r"2 annotations without an area, or masks without a pixel, left out"):
        assert len(marks_of(tmp_path, content, folder)) == 1


@pytest.mark.parametrize("degrees", [20.0, 90.0, 318.3])
def test_a_turned_box_is_turned(tmp_path, folder, degrees):
    box = (10.0, 8.0, 20.0, 8.0)
    (mark,) = marks_of(tmp_path, cvat(["dog/0.png"], drawn(1, 1, box=box, rotation=degrees)), folder)
    fine = 8
    y, x = (np.mgrid[: HEIGHT * fine, : WIDTH * fine] + 0.5) / fine
    dx, dy, angle = x - 20, y - 12, math.radians(degrees)
    along, across = dx * math.cos(angle) + dy * math.sin(angle), dy * math.cos(angle) - dx * math.sin(angle)
    covered = (np.abs(along) <= 10) & (np.abs(across) <= 4)
    share = covered.reshape(HEIGHT, fine, WIDTH, fine).mean(axis=(1, 3))
    found = drawn_mask(mark.shape, Placement.whole(HEIGHT, WIDTH))
    assert found[share > 0.75].all()
    assert not found[share < 0.25].any()


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_marks_on_an_image_on_its_side(tmp_path, folder, orientation):
    """In the frame of the stored image, or of the upright one; against Pillow."""
    stored = Image.new("L", (WIDTH, HEIGHT))
    stored.paste(255, (4, 6, 14, 14))
    exif = stored.getexif()
    exif[0x0112] = orientation
    stored.save(folder / "train" / "dog" / "0.png", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(stored)) > 0
    runs = np.diff([0, *np.flatnonzero(np.diff(np.asarray(stored).T.ravel() > 0)) + 1, WIDTH * HEIGHT])
    mask = {"size": [HEIGHT, WIDTH], "counts": [int(n) for n in runs]}
    corners = [[14, 6, 14, 14, 4, 14, 4, 6]]  # from another corner on than the mask's outline
    three = [drawn(1, 1), drawn(2, 1, segmentation=corners), drawn(3, 1, segmentation=mask, crowd=1)]
    with pytest.warns(UserWarning, match=r"1 image annotated as stored"):
        marks = marks_of(tmp_path, cvat(["dog/0.png"], *three), folder)
    assert len(marks) == 3
    for mark in marks:
        polygon = mark.shape
        if not isinstance(polygon, Polygon):
            x, y, right, low = polygon.x, polygon.y, polygon.x + polygon.width, polygon.y + polygon.height
            polygon = Polygon(((x, y), (right, y), (right, low), (x, low)))
        np.testing.assert_array_equal(drawn_mask(polygon, Placement.whole(*upright.shape)), upright)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32), st.sampled_from([8, 12, 1000]))
def test_outlines_of_a_mask_are_the_mask(height, width, seed, most):
    rng = np.random.default_rng(seed)
    mask = rng.random((height, width)) < rng.random()
    outlines = mask_outlines(mask, most)
    assert all(len(outline) <= most for outline in outlines)
    fractions = [Polygon(tuple((x / width, y / height) for x, y in outline)) for outline in outlines]
    union = np.zeros_like(mask)
    for shape in fractions:
        union |= drawn_mask(shape, Placement.whole(height, width))
    np.testing.assert_array_equal(union, mask)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def places(value, here=()):
    """Where every value inside a JSON value is."""
    yield here
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*here, key))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_is_put_in_the_file_is_read_or_refused(tmp_path, folder, data):
    dataset = open_dataset("folder", folder, options={"validation_fraction": 0})["train"]
    mask = {"size": [HEIGHT, WIDTH], "counts": [5, 3, HEIGHT * WIDTH - 8]}
    value = cvat(["dog/0.png"], drawn(1, 1, rotation=10), drawn(2, 1, segmentation=mask, crowd=1))
    where = data.draw(st.sampled_from(list(places(copy.deepcopy(value)))[1:]))
    inner = value
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = data.draw(JSON)
    try:
        content = read_file(write(tmp_path, value), dataset, "me", "relevant")
    except InputError:
        return
    assert {mark.image for mark in content.marks} <= set(dataset.ids)
