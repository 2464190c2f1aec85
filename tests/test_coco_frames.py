"""COCO's sizes against the files', fractions, crowds that are masks, turned boxes: by brute force and pycocotools."""

from __future__ import annotations

import json
import math
from functools import partial

import numpy as np
import pytest
from PIL import Image, ImageOps

from helpers.coco import HEIGHT, RECTANGLE, WIDTH, annotation, content, write_release
from pellucid.data import check_dataset, open_dataset
from pellucid.data.readers.coco.objects import rotated_box
from pellucid.types import InputError

FILE = "000000000001.jpg"


@pytest.fixture
def written(tmp_path):
    return partial(write_release, tmp_path)


def save(folder, size, orientation=None):
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.new("L", size).save(folder / "val2017" / FILE, exif=exif)


def test_a_frame_of_another_proportion_is_refused_and_the_check_finds_it(written):
    folder = written(content(annotation(1, 1, 1), annotation(2, 2, 1)))
    save(folder, (HEIGHT, WIDTH))
    said = rf"{FILE}: said to be 40 × 30 pixels; its file holds 30 × 40"
    with pytest.raises(InputError, match=said):
        open_dataset("coco", folder)
    report = check_dataset("coco", folder)
    assert [said.replace(r"\.", ".") in p.reason for p in report.problems] == [True]
    assert report.found == 4
    assert report.parts["test"].regions == {"person": 1}  # that of the other image


@pytest.mark.parametrize("size", [(20, 15), (80, 60), (13, 10), (39, 29), (4, 3)])
def test_a_copy_in_proportion_is_read(written, size):
    folder = written(content(annotation(1, 1, 1)))
    save(folder, size)
    assert open_dataset("coco", folder)["test"].regions.items[0].box == (0.1, 0.2, 0.3, 14 / 30)


@pytest.mark.parametrize("size", [(40, 32), (30, 30), (20, 13)])
def test_a_copy_out_of_proportion_is_not(written, size):
    folder = written(content(annotation(1, 1, 1)))
    save(folder, size)
    with pytest.raises(InputError, match="another proportion"):
        open_dataset("coco", folder)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_annotations_of_an_image_on_its_side_are_turned_with_it(written, orientation):
    """Against Pillow, which turns a picture of the box."""
    folder = written(content(annotation(1, 1, 1), annotation(2, 1, 7, segmentation=[RECTANGLE])))
    save(folder, (WIDTH, HEIGHT), orientation)
    test = open_dataset("coco", folder)["test"]
    stored = Image.new("L", (WIDTH, HEIGHT))
    stored.paste(255, (4, 6, 16, 20))
    stored.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(stored)) > 0
    assert upright.shape == test.read(0).shape[:2] == (WIDTH, HEIGHT)
    rows, columns = np.nonzero(upright)
    box, outline = sorted(test.regions.items, key=lambda region: region.label)
    expected = [columns.min() / HEIGHT, rows.min() / WIDTH, np.ptp(columns + 0.0), np.ptp(rows + 0.0)]
    x, y, width, height = box.box
    assert [x, y, width * HEIGHT - 1, height * WIDTH - 1] == pytest.approx(expected)
    np.testing.assert_array_equal(outline.mask(), upright)
    report = check_dataset("coco", folder)
    assert any("1 image annotated as stored" in note.reason for note in report.notes)
    save(folder, (HEIGHT, WIDTH), orientation)  # and the frame is the upright image's
    assert open_dataset("coco", folder)["test"].regions.items[0].box == (0.1, 0.2, 0.3, 14 / 30)


def test_fractions_are_refused(written):
    folder = written(content(annotation(1, 1, 1, box=(0.1, 0.2, 0.3, 0.4)), annotation(2, 2, 1, box=(0, 0, 1, 1))))
    with pytest.raises(InputError, match=r"instances_val2017\.json: all boxes lie within 1: they look like fractions"):
        open_dataset("coco", folder)
    folder = written(content(annotation(1, 1, 1, segmentation=[[0.1, 0.2, 0.4, 0.2, 0.4, 0.6]])))
    with pytest.raises(InputError, match="all outlines lie within 1"):
        open_dataset("coco", folder)
    folder = written(
        content(annotation(1, 1, 1, box=(0, 0, 1, 1)), annotation(2, 2, 1))
    )  # one small box is no fraction
    assert len(open_dataset("coco", folder)["test"].regions) == 2


def test_masks_that_cvat_calls_crowds_are_masks(written):
    coder = pytest.importorskip("pycocotools.mask")
    shape = np.zeros((HEIGHT, WIDTH), dtype=bool)
    shape[3:9, 5:20] = shape[20:22, 1:3] = True
    runs = coder.encode(np.asfortranarray(shape.astype(np.uint8)))["counts"].decode()
    mask = {"segmentation": {"size": [HEIGHT, WIDTH], "counts": runs}, "attributes": {"occluded": False}}
    crowd = {"segmentation": mask["segmentation"]}
    folder = written(content(annotation(1, 1, 1, crowd=1, **mask), annotation(2, 2, 1, crowd=1, **crowd)))
    (region,) = open_dataset("coco", folder)["test"].regions.items
    assert region.image == 0
    np.testing.assert_array_equal(region.mask(), shape)
    notes = [note.reason for note in check_dataset("coco", folder).notes]
    assert "1 annotation of crowds (iscrowd), counted as present and not as regions" in notes


@pytest.mark.parametrize(("flag", "regions"), [("0", 1), ("1", 0), (False, 1), (True, 0), (0.0, 1), (1, 0)])
def test_the_crowd_flag_as_it_is_written(written, flag, regions):
    folder = written(content(annotation(1, 1, 1, crowd=flag)))
    assert len(open_dataset("coco", folder)["test"].regions or ()) == regions


@pytest.mark.parametrize("flag", ["no", "", 2, -1, None, [], math.nan])
def test_a_crowd_flag_that_is_none(written, flag):
    folder = written(content(annotation(1, 1, 1, crowd=flag)))
    with pytest.raises(InputError, match="annotation 1: iscrowd is 0 or 1; found"):
        open_dataset("coco", folder)


def inside(box, degrees, x, y):
    """Whether points lie in a box turned clockwise, on a screen whose y points down."""
    left, top, width, height = box
    dx, dy = x - (left + width / 2), y - (top + height / 2)
    angle = math.radians(degrees)
    along, across = dx * math.cos(angle) + dy * math.sin(angle), -dx * math.sin(angle) + dy * math.cos(angle)
    return (np.abs(along) <= width / 2) & (np.abs(across) <= height / 2)


@pytest.mark.parametrize("degrees", [1, 30, 90, 135, 200.5, 318.3, -45, "30"])
@pytest.mark.parametrize("box", [(10, 8, 14, 6), (-5, 2, 30, 10), (30, 20, 18, 18)])
def test_a_turned_box_covers_what_it_covers(written, degrees, box):
    folder = written(content(annotation(1, 1, 1, box=box, segmentation=[], attributes={"rotation": degrees})))
    (region,) = open_dataset("coco", folder)["test"].regions.items
    fine = 8
    y, x = (np.mgrid[: HEIGHT * fine, : WIDTH * fine] + 0.5) / fine
    covered = inside(box, float(degrees), x, y)
    share = covered.reshape(HEIGHT, fine, WIDTH, fine).mean(axis=(1, 3))
    drawn = region.mask()
    assert (drawn & (share > 0)).sum() / drawn.sum() > 0.93  # pycocotools draws a polygon half a pixel off
    assert drawn[share == 1].mean() > 0.93
    rows, columns = np.nonzero(covered)
    left, top, width, height = region.box
    found = [left * WIDTH, top * HEIGHT, (left + width) * WIDTH, (top + height) * HEIGHT]
    edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert found == pytest.approx([v / fine for v in edges], abs=2 / fine)


def test_it_turns_clockwise_as_seen():
    """A box that lies flat left and right of its centre, turned by 30°: its right end goes down."""
    corners = rotated_box((0, 9, 20, 2), 30, (100, 100))
    right = corners[corners[:, 0] > 15]
    assert len(right)
    assert (right[:, 1] > 12).all()


def test_a_turned_box_that_is_nowhere(written):
    far = annotation(1, 1, 1, box=(100, 100, 10, 4), attributes={"rotation": 45})
    with pytest.raises(InputError, match="lies outside its image of 40 × 30"):
        open_dataset("coco", written(content(far)))
    for value in ("left", None, [], math.inf, True, 10**400):
        bad = annotation(1, 1, 1, attributes={"rotation": value})
        with pytest.raises(InputError, match="annotation 1: rotation is a number of degrees"):
            open_dataset("coco", written(json.loads(json.dumps(content(bad)))))


def test_an_annotation_without_a_box_has_that_of_its_outline(written):
    one = annotation(1, 1, 1, segmentation=[RECTANGLE])
    del one["bbox"]
    assert open_dataset("coco", written(content(one)))["test"].regions.items[0].box == (0.1, 0.2, 0.3, 14 / 30)
