"""CIFAR-10's training images from a zip: the same pixels as zipfile gives, and what can be wrong."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from helpers.cifar10 import encoded, picture, write_zip
from pellucid.data import check_dataset, materialize, open_dataset
from pellucid.data.readers.cifar10.reader import CLASSES
from pellucid.data.readers.zip_archive import open_zip
from pellucid.types import InputError, InputSpec
from pellucid.utils.parallel import in_threads

ZIP = "cifar10-jpeg/train.zip"
MADE = {"train_zip": "images.zip", "validation_fraction": 0.3}


def write_batch(path, labels, images):
    path.write_bytes(b"".join(bytes([k]) + i.transpose(2, 0, 1).tobytes() for k, i in zip(labels, images, strict=True)))


@pytest.fixture
def written(tmp_path):
    """A zip of training images, a binary file of test images, and the folder of both; and the zip's members."""
    rng = np.random.default_rng(0)
    names = [f"train/{CLASSES[k % 10]}/{k:04d}.jpg" for k in range(60)] + ["train/cat/0500.jpg", "train/cat/4999.jpg"]
    members = {name: encoded(picture(rng)) for name in (*names, "train/ship/0700.jpg")}
    labels = rng.integers(0, 10, 5)
    write_batch(tmp_path / "test_batch.bin", labels, [picture(rng) for _ in labels])
    write_zip(tmp_path / "images.zip", {"train/readme.txt": b"no image", "train/cat/.hidden.jpg": b"", **members})
    return tmp_path, members


def both(splits):
    return [(d, i, name) for part in ("train", "validation") for d in [splits[part]] for i, name in enumerate(d.ids)]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_images_are_those_of_the_zip(written, method):
    folder, members = written
    write_zip(folder / "images.zip", members, method)
    splits = open_dataset("cifar10", folder, options=MADE)
    found = both(splits)
    assert sorted(f"train/{name}" for _, _, name in found) == sorted(members)
    for dataset, i, name in found:
        assert dataset.classes[dataset.targets[i]] == name.split("/")[0]
        pixels = np.asarray(Image.open(io.BytesIO(members[f"train/{name}"])))
        assert np.abs(dataset.read(i).astype(int) - pixels).max() <= 1
    assert splits["test"].ids == tuple(f"test_batch/{i}" for i in range(5))
    assert materialize(splits["train"], InputSpec.square(3, 32)).shape[1:] == (3, 32, 32)


def test_the_official_training_files_take_no_part(written):
    folder, _ = written
    before = open_dataset("cifar10", folder, options=MADE)
    (folder / "data_batch_1.bin").write_bytes(b"damaged, and it does not matter")
    after = open_dataset("cifar10", folder, options=MADE)
    assert {part: d.fingerprint for part, d in after.items()} == {part: d.fingerprint for part, d in before.items()}


def test_any_names_and_places_but_several(written):
    folder, members = written
    assert check_dataset("cifar10", folder, options=MADE).ok
    write_zip(folder / "images.zip", {"cat/any name.png": encoded(picture(np.random.default_rng(1)), "PNG")} | members)
    with pytest.raises(InputError, match=r"class folders in 2 places, such as those of cat/any name\.png and train/"):
        open_dataset("cifar10", folder, options=MADE)
    renamed = {f"{name.split('/')[1]}/picture {i}.jpg": data for i, (name, data) in enumerate(members.items())}
    write_zip(folder / "images.zip", renamed)
    assert sorted(name for _, _, name in both(open_dataset("cifar10", folder, options=MADE))) == sorted(renamed)
    (folder / "test_batch.bin").unlink()
    with pytest.raises(InputError, match=r"no test_batch\.bin"):
        open_dataset("cifar10", folder, options=MADE)


def test_the_fingerprint_covers_the_zip(written):
    folder, members = written
    first = open_dataset("cifar10", folder, options=MADE)
    write_zip(folder / "images.zip", dict(reversed(members.items())))  # the order in the zip is of no account
    (folder / "moved").mkdir()
    again = open_dataset("cifar10", folder, options={**MADE, "train_zip": str(folder / "images.zip")})
    name = "train/cat/4999.jpg"
    changed = bytearray(members[name])
    changed[-20] ^= 1  # one bit, and the same length
    write_zip(folder / "images.zip", {**members, name: bytes(changed)})
    other = open_dataset("cifar10", folder, options=MADE)
    assert first["train"].ids == again["train"].ids == other["train"].ids
    assert first["test"].fingerprint == other["test"].fingerprint
    assert first["train"].fingerprint != other["train"].fingerprint
    assert first["train"].files[0].modified > 0


def test_folders_that_are_no_classes(written):
    folder, members = written
    write_zip(folder / "images.zip", {**members, "train/aeroplane/0001.jpg": b""})
    with pytest.raises(InputError, match=r"images\.zip: 'aeroplane' is no class of CIFAR-10\. Did you mean 'airplane'"):
        open_dataset("cifar10", folder, options=MADE)


def test_a_training_image_of_another_size(written):
    folder, members = written
    large = encoded(np.zeros((40, 48, 3), dtype=np.uint8))
    write_zip(folder / "images.zip", {**members, "train/cat/4999.jpg": large})
    report = check_dataset("cifar10", folder, options=MADE)
    (problem,) = report.problems
    assert problem.file == str(folder / "images.zip")
    assert problem.reason == "train/cat/4999.jpg: 48 × 40 pixels; expected 32 × 32."


def test_files_that_are_no_zip_of_images(written, tmp_path):
    folder, members = written
    path = folder / "images.zip"
    whole = path.read_bytes()

    def refused(match):
        with pytest.raises(InputError, match=match):
            open_dataset("cifar10", folder, options=MADE)

    for content in (b"", b"no zip", encoded(picture(np.random.default_rng(0))), whole[: len(whole) // 2]):
        path.write_bytes(content)
        refused(r"images\.zip: not a zip file")
    write_zip(path, {"train/cat/notes.txt": b"."})
    refused(r"images\.zip: no image in it")
    write_zip(path, {"0001.jpg": b"."})
    refused(r"images\.zip: 0001\.jpg: not in a class folder")
    write_zip(path, members, zipfile.ZIP_BZIP2)
    refused(r"\.jpg: compressed by method 12; images stored \(0\) or deflated \(8\) are read")
    write_zip(path, members)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("train/cat/0500.jpg", b".")
    refused(r"train/cat/0500\.jpg: occurs twice")
    path.unlink()
    refused(r"images\.zip: no such file")
    path.mkdir()
    refused(r"images\.zip: a folder")


def test_an_encrypted_image_is_named(written):
    folder, _ = written
    path = folder / "images.zip"
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02", content.rindex(b"train/cat/4999.jpg") - 60)
    content[at + 8] |= 1  # the flag in the directory
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"train/cat/4999\.jpg: encrypted"):
        open_dataset("cifar10", folder, options=MADE)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("where", ["header", "middle"])
def test_a_damaged_image_is_named_and_the_others_are_read(written, method, where):
    folder, members = written
    path = folder / "images.zip"
    write_zip(path, members, method)
    name = "train/ship/0700.jpg"
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(name)
    content = bytearray(path.read_bytes())
    at = info.header_offset if where == "header" else info.header_offset + 30 + len(name) + info.compress_size // 2
    content[at] ^= 0xFF
    path.write_bytes(content)
    report = check_dataset("cifar10", folder, options=MADE)
    (problem,) = report.problems
    assert problem.file == str(path)
    assert f"{name}: damaged" in problem.reason
    write_zip(path, {**members, name: members[name][:100]})  # whole in the zip, but no whole image
    report = check_dataset("cifar10", folder, options=MADE)
    assert [f"{name}: truncated or damaged" in p.reason for p in report.problems] == [True]


def test_local_headers_may_say_more_than_the_directory(tmp_path):
    """An extra field of the image's own header moves its bytes; zip programs write times there."""
    data = encoded(picture(np.random.default_rng(0)))
    info = zipfile.ZipInfo("cat/1.jpg")
    info.extra = b"\x55\x54\x05\x00\x01\x00\x00\x00\x00"
    with zipfile.ZipFile(tmp_path / "extra.zip", "w") as archive:
        archive.writestr(info, data)
        archive.getinfo("cat/1.jpg").extra = b""  # what the directory says in the end
    content = (tmp_path / "extra.zip").read_bytes()
    assert content.count(b"\x55\x54\x05\x00") == 1
    assert open_zip(tmp_path / "extra.zip")["train"].read_bytes(0) == data
    (tmp_path / "behind.zip").write_bytes(b"#!/bin/sh\n" * 9 + content)  # as a self-extracting zip
    assert open_zip(tmp_path / "behind.zip")["train"].read_bytes(0) == data


@pytest.mark.slow
def test_the_real_zip_byte_for_byte_from_many_threads(real_data):
    images = open_zip(real_data / ZIP)["train"]
    assert len(images) == 50_000
    chosen = np.random.default_rng(0).choice(50_000, 2000, replace=False).tolist()
    with zipfile.ZipFile(real_data / ZIP) as archive:
        expected = [hashlib.sha256(archive.read(images.members[i].filename)).hexdigest() for i in chosen]
    found = in_threads(
        lambda k: hashlib.sha256(images.read_bytes(chosen[k])).hexdigest(), len(chosen), title="", workers=8
    )
    assert list(found) == expected


@pytest.mark.slow
def test_the_real_zip_as_a_dataset(real_data):
    splits = open_dataset("cifar10", real_data, options={"train_zip": ZIP})
    found = both(splits)
    assert len({name for _, _, name in found}) == 50_000
    assert Counter(int(d.targets[i]) for d, i, _ in found) == dict.fromkeys(range(10), 5000)
    assert 0.09 < len(splits["validation"]) / 50_000 < 0.11


def test_what_is_left_out_of_the_zip_is_said(written):
    folder, _ = written
    with pytest.warns(UserWarning, match="left out") as warned:
        open_dataset("cifar10", folder, options=MADE)
    said = "left out: 2 files in the zip, hidden or not named as images are, such as train/cat/.hidden.jpg"
    assert said in str(warned[0].message)
    assert check_dataset("cifar10", folder, options=MADE).left_out
