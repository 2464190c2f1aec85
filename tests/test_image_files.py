"""One list of what an image file is, one walk, and every file that was left out is said, with the reason."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from helpers.dicom import radiograph
from pellucid.data.checks.check import check_dataset
from pellucid.data.decoding.image import read_image
from pellucid.data.readers.image_files import IMAGE_SUFFIXES, LeftOut, list_images
from pellucid.data.registry import open_dataset
from pellucid.types import InputError

RNG = np.random.default_rng(5)


def picture(path, kind=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (6, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(path, kind or {".jfif": "JPEG", ".jpe": "JPEG", ".apng": "PNG"}.get(path.suffix))


@pytest.fixture
def folder(tmp_path):
    """Two classes with images at several depths and of several kinds, and much else."""
    for name in ("cat/1.png", "cat/patient2/1.png", "cat/patient2/2.jfif", "dog/a/b/3.jpe", "dog/4.PGM", "dog/5.tiff"):
        picture(tmp_path / name, "PPM" if name.endswith("PGM") else None)
    radiograph(tmp_path / "dog" / "6.dcm")
    radiograph(tmp_path / "dog" / "IM0007")  # DICOM by its content
    (tmp_path / "cat" / "._1.png").write_bytes(b"\0\5\x16\7 a Mac's notes")
    (tmp_path / "cat" / "sub.png").mkdir()  # a folder, and an empty one
    (tmp_path / "cat" / "notes.txt").write_text("of the study")
    (tmp_path / "dog" / ".secret.png").write_bytes(b"")
    (tmp_path / ".git").mkdir()
    picture(tmp_path / "__MACOSX" / "cat" / "1.png")
    picture(tmp_path / "loose.png")
    return tmp_path


IDS = {
    "cat/1.png", "cat/patient2/1.png", "cat/patient2/2.jfif", "dog/4.PGM", "dog/5.tiff", "dog/6.dcm", "dog/IM0007",
    "dog/a/b/3.jpe",
}  # fmt: skip


def test_all_images_are_found_at_any_depth_and_the_rest_is_said_in_one_line(folder):
    with pytest.warns(UserWarning, match="left out") as warned:
        splits = open_dataset("folder", folder, options={"test_fraction": 1})
    assert set(splits["test"].ids) == IDS
    assert all(splits["test"].read(i).ndim >= 2 for i in range(len(IDS)))
    (line,) = [str(w.message) for w in warned if "left out" in str(w.message)]
    for said in (
        "1 image beside the folders of parts or classes, so of no class, such as loose.png",
        "1 file that a Mac keeps beside others (._…), such as cat/._1.png",
        "1 file not named as images are (.txt), such as cat/notes.txt",
        "1 hidden file, such as dog/.secret.png",
    ):
        assert said in line
    assert any("patient_pattern='^([^/]+)/'" in str(w.message) for w in warned)


def test_the_check_says_each_reason_and_that_not_all_was_looked_at(folder, pellucid, tmp_path_factory):
    report = check_dataset("folder", folder, options={"test_fraction": 1})
    assert report.ok
    assert report.left_out
    assert report.found == len(IDS)
    assert sum(note.reason.startswith("left out: ") for note in report.notes) == 4
    assert json.loads(report.to_json())["left_out"] is True
    status, output, _ = pellucid("data", "check", "folder", "--root", folder, "--data-option", "test_fraction=1")
    assert status == 0
    assert "nothing is wrong with what was read; notes say what was left out" in output
    clean = tmp_path_factory.mktemp("clean")
    for name in ("a/1.png", "a/2.png", "b/3.png"):
        picture(clean / name)
    assert not check_dataset("folder", clean, options={"test_fraction": 1}).left_out


def test_every_suffix_of_the_list_is_found(tmp_path):
    for suffix in IMAGE_SUFFIXES:
        (tmp_path / f"a{suffix}").write_bytes(b"")
        (tmp_path / f"b{suffix.upper()}").write_bytes(b"")
    assert len(list_images(tmp_path)) == 2 * len(IMAGE_SUFFIXES)


def test_every_command_says_what_was_left_out(folder, tmp_path_factory, pellucid):
    """Not `data check` alone: whoever trains or evaluates may never run it."""
    out = tmp_path_factory.mktemp("cache")
    status, _, said = pellucid("data", "cache", "folder", "--root", folder, "--size", 8, "--out", out)
    assert status == 0
    (line,) = [line for line in said.splitlines() if "left out: " in line]
    assert line.startswith(f"note: {folder}: left out: ")
    assert pellucid("data", "check", "folder", "--root", folder)[1].count(f"{folder}: {folder}") == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_pipes_folders_and_links_in_a_walk(tmp_path):
    picture(tmp_path / "below" / "1.png")
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "below" / "round").symlink_to(tmp_path, target_is_directory=True)
    left_out = LeftOut(tmp_path)
    assert set(list_images(tmp_path, left_out)) == {"gone.png"}
    assert {issue.reason for issue in left_out.issues()} == {
        "left out: 2 pipes, sockets or devices, such as pipe, pipe.png",
        "left out: 1 folder, not looked into, such as below",
    }
    assert set(list_images(tmp_path, nested=True)) == {"gone.png", "below/1.png"}


def test_a_patient_is_found_in_the_path_below_the_class(tmp_path):
    for kind in ("cat", "dog"):
        for patient in range(6):
            for image in range(3):
                picture(tmp_path / kind / f"{kind}{patient}" / f"{image}.png")
    splits = open_dataset("folder", tmp_path, options={"patient_pattern": "^([^/]+)/", "test_fraction": 0.3})
    patients = {f"{kind}{i}" for kind in ("cat", "dog") for i in range(6)}
    assert {p for part in splits.values() for p in part.patients} == patients
    assert sum(len(part) for part in splits.values()) == len({i for part in splits.values() for i in part.ids}) == 36


def test_parts_are_recognised_or_said(tmp_path):
    for part in ("Training", "dev", "TEST", "eval"):
        for number in range(4):
            picture(tmp_path / part / "ab"[number % 2] / f"{number}.png")
    with pytest.warns(UserWarning, match="left out") as warned:
        splits = open_dataset("folder", tmp_path, options={"validation": "folder"})
    assert {part: {i.split("/")[0] for i in data.ids} for part, data in splits.items()} == {
        "train": {"Training"}, "validation": {"dev"}, "test": {"TEST"},
    }  # fmt: skip
    (line,) = [str(w.message) for w in warned]
    assert "1 folder of images called as no part is (train, " in line
    assert line.endswith("such as eval.")
    with pytest.warns(UserWarning, match=r"validation images, with the option validation=split, such as dev"):
        open_dataset("folder", tmp_path)
    shutil.rmtree(tmp_path / "Training")
    shutil.rmtree(tmp_path / "TEST")
    with pytest.raises(InputError, match=r"dev: the only part there is, and the option validation=folder"):
        open_dataset("folder", tmp_path)
    shutil.rmtree(tmp_path / "dev")
    with pytest.raises(InputError, match=r"eval: a part or a class\?"):
        open_dataset("folder", tmp_path)


def test_folders_that_are_one_too_high_are_refused_and_not_made_one_class(tmp_path):
    for number in range(6):
        picture(tmp_path / "archive" / "ab"[number % 2] / f"{number}.png")
    with pytest.raises(InputError, match=r"one class, 'archive', with nothing in it but folders \(a/, b/\)"):
        open_dataset("folder", tmp_path)
    picture(tmp_path / "deeper" / "train" / "a" / "1.png")
    with pytest.raises(InputError, match=r"deeper: taken for a class, but it holds train/, which is called as a part"):
        open_dataset("folder", tmp_path)


def test_a_picture_that_is_called_a_dicom_file_is_read_and_said(tmp_path):
    for name in ("x/a.png", "x/b.dcm", "y/c.DICOM", "y/d.dcm"):
        picture(tmp_path / name, "PNG")
    radiograph(tmp_path / "y" / "d.dcm", np.arange(64, dtype=np.uint16).reshape(8, 8))
    with pytest.warns(UserWarning, match=r"called as a DICOM file and of another kind, .*names the images"):
        assert (read_image(tmp_path / "x" / "b.dcm") == np.asarray(Image.open(tmp_path / "x" / "b.dcm"))).all()
    notes = [one.reason for one in check_dataset("folder", tmp_path, options={"test_fraction": 1}).notes]
    assert [note.split(": ")[0] for note in notes if "as a DICOM" in note] == ["2 images, such as x/b.dcm"]


def test_explaining_a_folder_takes_its_images_and_says_the_rest(folder):
    from pellucid.verbs.input_images import image_files

    with pytest.warns(UserWarning, match=r"\._1\.png.*folders?, not looked into") as warned:
        files = image_files([folder / "cat"])
    assert [file.name for file in files] == ["1.png"]
    assert "sub.png" in str(warned[0].message)
    shutil.rmtree(folder / "cat" / "patient2")
    (folder / "cat" / "1.png").unlink()
    with pytest.raises(InputError, match=r"cat holds no images .*\._1\.png"):
        image_files([folder / "cat"])


def test_the_check_of_a_table_counts_the_images_that_it_does_not_name(tmp_path):
    for name in ("x/1.png", "x/2.png", "x/3.png", "y/4.png", "elsewhere/5.png"):
        picture(tmp_path / name)
    (tmp_path / "labels.csv").write_text("path,class,split\nx/1.png,a,test\ny/4.png,b,test\n")
    for root in (tmp_path, tmp_path / "labels.csv"):
        report = check_dataset("table", root)
        assert report.ok
        assert [n.reason for n in report.notes if "left out" in n.reason] == [
            "left out: 2 images beside those of the table, which it does not name or which cannot be used, such as "
            "x/2.png, x/3.png"
        ]
        assert report.left_out
