"""CIFAR-10's training images from a zip: the same pixels as zipfile gives, each image once, and what can be wrong."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from cifar10_example import encoded, picture, write_zip
from pellucid.data import check_dataset, materialize, open_dataset
from pellucid.data.cifar10 import CLASSES, RECORD, TRAIN
from pellucid.data.cifar10_zip import COUNTS
from pellucid.data.parallel import in_threads
from pellucid.data.zipped import open_zip
from pellucid.types import InputError

ZIP = "cifar10-jpeg/train.zip"
MADE = {"train_zip": "images.zip", "validation_fraction": 0.3}


def write_batch(path, labels, images):
    path.write_bytes(b"".join(bytes([k]) + i.transpose(2, 0, 1).tobytes() for k, i in zip(labels, images, strict=True)))


@pytest.fixture
def written(tmp_path):
    """A folder of short binary files and a zip of the same training images and a few more, numbered as they should be.

    Returns the folder, the zip's members, and of each id that is to be expected its label and image without loss.
    """
    rng = np.random.default_rng(0)
    members, expected, twins = {}, {}, {}
    for batch, name in enumerate(TRAIN):
        labels = rng.integers(0, 10, 12)
        images = [picture(rng) for _ in labels]
        write_batch(tmp_path / f"{name}.bin", labels, images)
        seen: Counter[int] = Counter()
        for place, (label, image) in enumerate(zip(labels.tolist(), images, strict=True)):
            number = sum(COUNTS[b][label] for b in range(batch)) + seen[label]
            seen[label] += 1
            members[f"train/{CLASSES[label]}/{number:04d}.jpg"] = encoded(image)
            expected[f"{name}/{place}"] = label, image
            twins[f"{CLASSES[label]}/{number:04d}.jpg"] = f"{name}/{place}"
    for label, number in ((3, 500), (3, 4999), (8, 700)):  # behind the end of the short binary files
        image = picture(rng)
        members[f"train/{CLASSES[label]}/{number:04d}.jpg"] = encoded(image)
        expected[f"{CLASSES[label]}/{number:04d}.jpg"] = label, image
    labels = rng.integers(0, 10, 5)
    write_batch(tmp_path / "test_batch.bin", labels, [picture(rng) for _ in labels])
    write_zip(tmp_path / "images.zip", {"train/readme.txt": b"no image", "train/cat/.hidden.jpg": b"", **members})
    return tmp_path, members, expected, twins


def both(splits):
    return [(d, i, name) for part in ("train", "validation") for d in [splits[part]] for i, name in enumerate(d.ids)]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_each_image_once_and_without_loss_where_the_binary_files_have_it(written, method):
    folder, members, expected, _ = written
    write_zip(folder / "images.zip", members, method)
    splits = open_dataset("cifar10", folder, options=MADE)
    found = both(splits)
    assert sorted(name for _, _, name in found) == sorted(expected)
    for dataset, i, name in found:
        label, image = expected[name]
        assert dataset.targets[i] == label
        if name.startswith("data_batch"):
            assert np.array_equal(dataset.read(i), image)
        else:
            assert not np.array_equal(dataset.read(i), image)  # a JPEG
            pixels = np.asarray(Image.open(io.BytesIO(members[f"train/{name}"])))
            assert np.abs(dataset.read(i).astype(int) - pixels).max() <= 1
    assert splits["test"].ids == tuple(f"test_batch/{i}" for i in range(5))
    assert materialize(splits["train"], size=32, channels=3).shape[1:] == (3, 32, 32)


def test_a_lossless_image_is_on_the_same_side_with_and_without_the_zip(written):
    folder, *_ = written
    with_zip = open_dataset("cifar10", folder, options=MADE)
    without = open_dataset("cifar10", folder, options={"validation_fraction": 0.3})
    for part in ("train", "validation"):
        assert {n for n in with_zip[part].ids if n.startswith("data_batch")} == set(without[part].ids)
    assert with_zip["test"].fingerprint == without["test"].fingerprint


def test_without_data_batch_files_the_zip_is_all_there_is(written):
    folder, members, _, _ = written
    for name in TRAIN:
        (folder / f"{name}.bin").unlink()
    found = both(open_dataset("cifar10", folder, options=MADE))
    assert sorted(name for _, _, name in found) == sorted(name.removeprefix("train/") for name in members)
    assert check_dataset("cifar10", folder, options=MADE).ok
    write_zip(folder / "images.zip", {"cat/any name.png": encoded(picture(np.random.default_rng(1)), "PNG")} | members)
    with pytest.raises(InputError, match="class folders in 2 places"):
        open_dataset("cifar10", folder, options=MADE)
    renamed = {f"{name.split('/')[1]}/picture {i}.jpg": data for i, (name, data) in enumerate(members.items())}
    write_zip(folder / "images.zip", renamed)  # no numbers are needed where nothing is to be paired
    assert sorted(name for _, _, name in both(open_dataset("cifar10", folder, options=MADE))) == sorted(renamed)
    (folder / "test_batch.bin").unlink()
    with pytest.raises(InputError, match=r"no test_batch\.bin"):
        open_dataset("cifar10", folder, options=MADE)


def test_the_fingerprint_covers_the_zip(written):
    folder, members, _, _ = written
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


def test_numbers_that_are_not_the_official_order(written):
    folder, members, _, twins = written
    first = next(iter(twins))
    second = next(name for name in twins if name.split("/")[0] != first.split("/")[0])
    swapped = {**members, f"train/{first}": members[f"train/{second}"]}
    write_zip(folder / "images.zip", swapped)
    with pytest.raises(InputError, match=f"{first}: another image than record 0 of data_batch_1.bin"):
        open_dataset("cifar10", folder, options=MADE)
    for bad in ("5000", "seven", "0500", "-1"):  # too large, no number, there already as 500, negative
        write_zip(folder / "images.zip", {**members, f"train/cat/{bad}.png": b"", "train/cat/500.jpg": b""})
        with pytest.raises(InputError, match=r"train/cat/.*expected the name to be the image's number"):
            open_dataset("cifar10", folder, options=MADE)
    write_zip(folder / "images.zip", members)
    path = folder / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[RECORD:])  # not the beginning of the official file any more
    with pytest.raises(InputError, match=r"another image than record \d+ of data_batch_3\.bin"):
        open_dataset("cifar10", folder, options=MADE)


def test_folders_that_are_no_classes(written):
    folder, members, _, _ = written
    write_zip(folder / "images.zip", {**members, "train/aeroplane/0001.jpg": b""})
    with pytest.raises(InputError, match=r"images\.zip: 'aeroplane' is no class of CIFAR-10\. Did you mean 'airplane'"):
        open_dataset("cifar10", folder, options=MADE)


def test_a_training_image_of_another_size(written):
    folder, members, _, _ = written
    large = encoded(np.zeros((40, 48, 3), dtype=np.uint8))
    write_zip(folder / "images.zip", {**members, "train/cat/4999.jpg": large})
    report = check_dataset("cifar10", folder, options=MADE)
    (problem,) = report.problems
    assert problem.file == str(folder / "images.zip")
    assert problem.reason == "train/cat/4999.jpg: 48 × 40 pixels; expected 32 × 32."


def test_files_that_are_no_zip_of_images(written, tmp_path):
    folder, members, _, _ = written
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
    folder, *_ = written
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
    folder, members, _, _ = written
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
    assert open_zip(tmp_path / "extra.zip").read_bytes(0) == data
    (tmp_path / "behind.zip").write_bytes(b"#!/bin/sh\n" * 9 + content)  # as a self-extracting zip
    assert open_zip(tmp_path / "behind.zip").read_bytes(0) == data


def test_the_real_zip_byte_for_byte_from_many_threads(real_data):
    images = open_zip(real_data / ZIP)
    assert len(images) == 50_000
    chosen = np.random.default_rng(0).choice(50_000, 2000, replace=False).tolist()
    with zipfile.ZipFile(real_data / ZIP) as archive:
        expected = [hashlib.sha256(archive.read(images.members[i].name)).hexdigest() for i in chosen]
    found = in_threads(
        lambda k: hashlib.sha256(images.read_bytes(chosen[k])).hexdigest(), len(chosen), title="", workers=8
    )
    assert list(found) == expected


def test_every_lossless_training_image_has_its_twin_in_the_real_zip(real_data):
    """By pixels: in its class, the JPEG that the record displaces is nearer to it than all that stay."""
    splits = open_dataset("cifar10", real_data, options={"train_zip": ZIP})
    found = both(splits)
    assert len(found) == len({name for _, _, name in found}) == 50_000
    assert Counter(int(d.targets[i]) for d, i, _ in found) == dict.fromkeys(range(10), 5000)
    stays = {name for _, _, name in found}
    exact = [(d, i, name) for d, i, name in found if name.startswith("data_batch")]
    assert len(exact) == 5 * 1017
    assert 0.09 < len(splits["validation"]) / 50_000 < 0.11
    label = CLASSES.index("frog")
    images = open_zip(real_data / ZIP)
    frogs = [k for k, member in enumerate(images.members) if member.folder == "frog"]
    jpegs = np.stack([images.read(k).reshape(-1) for k in frogs]).astype(np.float32)
    gone = np.array([f"frog/{images.members[k].stem}.jpg" not in stays for k in frogs])
    pixels = np.stack([d.read(i).reshape(-1) for d, i, _ in exact if d.targets[i] == label]).astype(np.float32)
    assert gone.sum() == len(pixels)
    distance = (pixels**2).sum(1)[:, None] - 2 * pixels @ jpegs.T + (jpegs**2).sum(1)
    nearest = distance.argmin(1)
    assert sorted(nearest.tolist()) == np.flatnonzero(gone).tolist()
    decibels = 10 * np.log10(255**2 * 3072 / distance.min(1))
    assert decibels.min() > 20
    assert np.median(decibels) == pytest.approx(30, abs=2)
