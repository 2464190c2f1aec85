"""Leaks: a patient or a picture in two parts, by its pixels whatever its file; and one hash of all there is."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from pellucid.data import check_dataset
from pellucid.data.decoding.image import read_image
from pellucid.data.issues import MISSING

OPTIONS = {"validation": "folder"}


def picture(seed, shape=(12, 16)):
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)


@pytest.fixture
def parts(tmp_path):
    """Folders train/, val/ and test/ of two classes, three different pictures in each."""
    seed = 0
    for part in ("train", "val", "test"):
        for name in ("ill", "well"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(3):
                Image.fromarray(picture(seed)).save(tmp_path / part / name / f"{part}{i}.png")
                seed += 1
    return tmp_path


def check(root, **options):
    return check_dataset("folder", root, options={**OPTIONS, **options})


def test_nothing_twice_is_nothing_to_say(parts):
    report = check(parts)
    assert (report.ok, report.notes, report.found) == (True, (), 18)


def test_the_same_pixels_in_two_parts_are_a_problem_whatever_the_file(parts):
    pixels = picture(0)
    Image.fromarray(np.dstack([pixels] * 3)).save(parts / "test" / "ill" / "copy.bmp")  # colour without colour
    shutil.copy(parts / "train" / "well" / "train1.png", parts / "val" / "ill" / "other.png")
    report = check(parts)
    assert not report.ok
    said = {p.file: p.reason for p in report.problems}
    assert said["train/ill/train0.png"].startswith("the same pixels as test/ill/copy.bmp (test); in train and test: ")
    assert "other.png (validation), with another target; in train and validation" in said["train/well/train1.png"]
    assert len(said) == 2
    assert report.found == 20  # the check went on


def test_the_same_pixels_in_one_part_are_a_note(parts):
    for i in range(7):
        shutil.copy(parts / "train" / "ill" / "train2.png", parts / "train" / "ill" / f"twin{i}.png")
    report = check(parts)
    assert report.ok
    (note,) = report.notes
    assert note.file == "train/ill/train2.png"
    assert note.reason.count("(train)") == 5
    assert note.reason.endswith(", …")


def test_pictures_that_are_not_the_same(parts):
    """One pixel changed, the same numbers in another shape, and blank images, which are all alike."""
    pixels = picture(0)
    pixels[3, 4] ^= 1
    Image.fromarray(pixels).save(parts / "test" / "ill" / "almost.png")
    Image.fromarray(picture(0).reshape(16, 12)).save(parts / "test" / "ill" / "reshaped.png")
    colour = np.dstack([picture(0), picture(0), picture(1)])
    Image.fromarray(colour).save(parts / "test" / "ill" / "colour.png")
    for part in ("train", "test"):
        Image.new("L", (12, 16), 70).save(parts / part / "ill" / "blank.png")
    report = check(parts)
    assert report.ok
    assert {(n.file, n.reason.partition(":")[0]) for n in report.notes} == {
        (str(parts / part / "ill" / "blank.png"), "of one shade throughout") for part in ("train", "test")
    }


def test_patients_in_two_parts_are_all_named_and_the_check_goes_on(parts):
    for part in ("train", "test"):
        for person in ("ann", "bob"):
            Image.fromarray(picture([len(part), ord(person[0])])).save(parts / part / "ill" / f"{part}_{person}.png")
    broken = parts / "val" / "well" / "val0.png"
    broken.write_bytes(broken.read_bytes()[:50])
    report = check(parts, patient_pattern=r"_?([a-z]+\d?)\.png")
    assert [p.file for p in report.problems] == ["patient ann", "patient bob", str(broken)]
    assert report.found == 22


def test_the_content_hash_is_of_pixels_names_and_parts(parts, tmp_path):
    before = check(parts).content_hash
    assert len(before) == 64
    for file in parts.rglob("*.png"):
        with Image.open(file) as image:
            image.load()
            image.save(file, optimize=True, pnginfo=None, compress_level=1)  # other bytes, the same pixels
    assert check(parts).content_hash == before
    assert json.loads(check(parts).to_json())["content_hash"] == before
    file = parts / "train" / "ill" / "train0.png"
    pixels = picture(0)
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(file)
    changed = check(parts).content_hash
    assert changed != before
    file.rename(file.with_name("renamed.png"))
    assert check(parts).content_hash not in {before, changed}
    file.write_bytes(b"")
    assert check(parts).content_hash == ""


def test_masks_are_part_of_the_content(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    Image.fromarray(picture(0)).save(tmp_path / "images" / "x.png")
    marked = np.zeros((12, 16), dtype=np.uint8)
    marked[2:5, 3:9] = 255
    Image.fromarray(marked).save(tmp_path / "masks" / "x__Consolidation.png")
    before = check_dataset("covid-findings", tmp_path).content_hash
    marked[3, 4] = 0
    Image.fromarray(marked).save(tmp_path / "masks" / "x__Consolidation.png")
    after = check_dataset("covid-findings", tmp_path)
    assert after.ok
    assert after.content_hash not in {"", before}


def test_links_that_lead_nowhere_or_in_a_circle_are_found_and_the_check_goes_on(parts):
    place = parts / "train" / "ill"
    (place / "circle.png").symlink_to("circle.png")
    (place / "gone.png").symlink_to("nowhere.png")
    (place / "fine.png").symlink_to(parts / "test" / "ill" / "test0.png")
    (place / "folder.png").mkdir()
    report = check(parts)
    said = {p.file: p.reason for p in report.problems}
    assert "Too many levels of symbolic links" in said[str(place / "circle.png")]
    assert "No such file" in said[str(place / "gone.png")]
    assert "test/ill/test0.png (test)" in said["train/ill/fine.png"]
    assert len(said) == 3
    assert report.found == 21
    (parts / "circle").symlink_to("circle")
    assert "a link that leads nowhere" in check(parts / "circle").problems[0].reason


def test_more_than_one_frame_is_a_note(parts):
    frames = [Image.fromarray(picture(seed)) for seed in (500, 501, 502)]
    file = parts / "test" / "ill" / "moving.gif"
    frames[0].save(file, save_all=True, append_images=frames[1:])
    report = check(parts)
    assert report.ok
    assert [(n.file, n.reason) for n in report.notes] == [(str(file), "has 3 frames, of which the first is read")]


@pytest.mark.parametrize("suffix", ["gif", "tif"])
def test_later_frames_that_are_damaged_are_a_problem(parts, suffix):
    frames = [Image.fromarray(picture(seed)) for seed in (500, 501, 502)]
    file = parts / "test" / "ill" / f"moving.{suffix}"
    frames[0].save(file, save_all=True, append_images=frames[1:])
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])  # the first is whole
    assert read_image(file).shape[:2] == picture(500).shape
    (problem,) = check(parts).problems
    assert problem.file == str(file)
    assert "later frames are damaged" in problem.reason


def test_a_png_named_jpg_is_read_and_a_missing_image_counts(parts):
    shutil.move(parts / "test" / "ill" / "test0.png", parts / "test" / "ill" / "test0.jpg")
    report = check(parts)
    assert (report.ok, report.found) == (True, 18)
    assert report.expected == 18 + sum(p.reason == MISSING for p in report.problems)
