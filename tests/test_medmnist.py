"""MedMNIST's npz files: pixels and labels as numpy gives them, official parts and names, and what can be wrong."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pellucid.data import check_dataset, materialize, open_dataset
from pellucid.data.readers.medmnist.sets import SETS, SIZES, file_name
from pellucid.data.registry import DATASETS
from pellucid.types import InputError, InputSpec

COUNTS = {"train": 7, "val": 3, "test": 4}
CHESTS = ("atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax")


def arrays(size=28, channels=(), columns=1, classes=2, seed=0):
    """The six arrays of a file."""
    rng = np.random.default_rng(seed)
    return {
        f"{part}_{kind}": rng.integers(0, 256 if kind == "images" else classes, shape, dtype=np.uint8)
        for part, count in COUNTS.items()
        for kind, shape in (("images", (count, size, size, *channels)), ("labels", (count, columns)))
    }


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(("size", "channels"), [(28, ()), (64, (3,)), (128, (1,)), (224, (3,))])
def test_images_and_labels_are_those_of_the_file(tmp_path, save, size, channels):
    content = arrays(size, channels, classes=9)
    save(tmp_path / file_name("pathmnist", size), **content)
    splits = open_dataset("medmnist", tmp_path)
    assert list(splits) == ["train", "validation", "test"]
    for part, dataset in zip(COUNTS, splits.values(), strict=True):
        assert dataset.task == "multiclass"
        assert dataset.classes == SETS["pathmnist"].classes
        assert dataset.targets.dtype == np.int64
        assert np.array_equal(dataset.targets, content[f"{part}_labels"][:, 0])
        images = content[f"{part}_images"]
        images = images[..., 0] if channels == (1,) else images
        with ThreadPoolExecutor(4) as pool:
            assert np.array_equal(np.stack(list(pool.map(dataset.read, range(len(dataset))))), images)
        assert dataset.ids == tuple(f"{part}/{i}" for i in range(COUNTS[part]))
        assert dataset.card.native_channels == (3 if channels == (3,) else 1)
        dataset.read(0)[:] = 0  # a copy
        assert np.array_equal(dataset.read(0), images[0])
    small = materialize(splits["test"], InputSpec.square(1, 28))
    assert small.shape == (4, 1, 28, 28)
    assert check_dataset("medmnist", tmp_path).ok


def test_labels_of_several_columns_are_findings(tmp_path):
    content = arrays(columns=14)
    np.savez(tmp_path / "chestmnist_64.npz", **content)
    splits = open_dataset("medmnist", tmp_path)
    assert splits["train"].task == "multilabel"
    assert splits["train"].classes[:8] == CHESTS
    assert splits["train"].targets.dtype == np.float32
    assert np.array_equal(splits["train"].targets, content["train_labels"])
    assert splits["train"].card.title == "MedMNIST: chestmnist_64"


def test_minus_one_and_nan_among_labels_of_0_and_1_are_not_known(tmp_path):
    content = arrays(columns=3)
    labels = content["train_labels"].astype(np.float32)
    labels[0, 0], labels[1, 2] = -1, np.nan
    np.savez(tmp_path / "ours.npz", **content | {"train_labels": labels})
    found = open_dataset("medmnist", tmp_path)["train"].targets
    assert np.argwhere(np.isnan(found)).tolist() == [[0, 0], [1, 2]]
    known = ~np.isnan(found)
    assert np.array_equal(found[known], content["train_labels"][known])


def test_other_names_have_numbers_for_classes(tmp_path):
    np.savez(tmp_path / "ours.npz", **arrays(classes=5))
    assert open_dataset("medmnist", tmp_path)["test"].classes == ("0", "1", "2", "3", "4")
    np.savez(tmp_path / "pneumoniamnist.npz", **arrays(classes=5))  # more classes than the set has
    with pytest.raises(
        InputError, match=r"several npz files: ours\.npz, pneumoniamnist\.npz\. Choose one by the option"
    ):
        open_dataset("medmnist", tmp_path)
    with pytest.raises(InputError, match=r"no pneumonia\. Did you mean 'pneumoniamnist\.npz'"):
        open_dataset("medmnist", tmp_path, options={"file": "pneumonia"})
    with pytest.raises(InputError, match=r"no \.\./ours"):
        open_dataset("medmnist", tmp_path, options={"file": "../ours"})
    found = open_dataset("medmnist", tmp_path, options={"file": "pneumoniamnist"})["test"]
    assert found.classes == ("0", "1", "2", "3", "4")
    np.savez(tmp_path / "dermamnist_128.npz", **arrays(classes=7, columns=1))
    derma = open_dataset("medmnist", tmp_path, options={"file": "dermamnist_128.npz"})["test"]
    assert derma.classes[4] == "melanoma"
    assert "NC" in derma.card.licence


def test_a_part_may_be_missing_and_the_fingerprint_is_of_the_contents(tmp_path):
    content = arrays()
    prints = []
    for change in (0, 0, 1):
        content["test_images"][0, 0, 0] ^= change
        np.savez(tmp_path / "x.npz", **{name: a for name, a in content.items() if "val" not in name})
        splits = open_dataset("medmnist", tmp_path)
        assert list(splits) == ["train", "test"]
        prints.append((splits["train"].fingerprint, splits["test"].fingerprint))
    assert prints[0] == prints[1]
    assert prints[1][0] == prints[2][0]
    assert prints[1][1] != prints[2][1]


def with_(**changed):
    return {**arrays(), **changed}


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"a": np.zeros(3)}, r"expected arrays called train_images, .*found a"),
        ({}, "found none"),
        (with_(train_images=np.zeros((7, 28, 28, 28), np.uint8)), r"volumes .* are not read; expected uint8"),
        (with_(train_images=np.zeros((7, 28, 28), np.float32)), r"expected uint8 images .* found float32"),
        (with_(train_images=np.zeros((7, 28), np.uint8)), r"found uint8 \(7, 28\)"),
        (with_(train_images=np.zeros((6, 28, 28), np.uint8)), r"6 train_images and 7 train_labels"),
        (with_(val_images=np.zeros((0, 28, 28), np.uint8), val_labels=np.zeros((0, 1))), r"expected uint8 images"),
        (with_(val_images=np.asfortranarray(np.zeros((3, 28, 28), np.uint8))), r"stored by columns"),
        (with_(test_labels=np.array([[object()]] * 4)), r"test_labels\.npy: pickled objects"),
        (with_(test_labels=np.array([["a"]] * 4)), r"expected numbers of shape"),
        (with_(test_labels=np.full((4, 1), -1)), r"no class numbers from 0"),
        (with_(test_labels=np.full((4, 1), np.nan)), r"no class numbers from 0"),
        (with_(test_labels=np.full((4, 1), 1e9)), r"no class numbers from 0"),
        (with_(test_labels=np.zeros((4, 2))), r"labels of 1 and 2 columns"),
        (
            with_(**{f"{p}_labels": np.full((n, 3), 2) for p, n in COUNTS.items()}),
            r"3 columns with other values than 0",
        ),
    ],
)
def test_files_that_are_not_medmnists(tmp_path, content, match):
    np.savez(tmp_path / "x.npz", **content)
    with pytest.raises(InputError, match=rf"x\.npz.*{match}"):
        open_dataset("medmnist", tmp_path)


def test_damaged_files_are_named(tmp_path):
    np.savez(tmp_path / "x.npz", **arrays(128))
    good = (tmp_path / "x.npz").read_bytes()
    for bad in (b"", b"no zip", good[:-30], good[:5000]):
        (tmp_path / "x.npz").write_bytes(bad)
        with pytest.raises(InputError, match=r"x\.npz: not an npz file, or damaged"):
            open_dataset("medmnist", tmp_path)
    at = good.index(arrays(128)["test_images"].tobytes()[-50:])
    (tmp_path / "x.npz").write_bytes(good[:at] + b"x" + good[at + 1 :])
    report = check_dataset("medmnist", tmp_path)
    assert report.parts["train"].images == 7
    assert not report.ok
    assert all("test_images.npy: damaged" in problem.reason for problem in report.problems)
    (tmp_path / "x.npz").unlink()
    (tmp_path / "y").touch()
    with pytest.raises(InputError, match=r"no npz file\. Expected: an npz file of MedMNIST"):
        open_dataset("medmnist", tmp_path)


def test_an_array_that_claims_terabytes_takes_none(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (1 << 40, 1)})
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("test_images.npy", header.getvalue())
        archive.writestr("test_labels.npy", header.getvalue())
    with pytest.raises(InputError, match=r"test_images\.npy: damaged: .* are not those of an array of shape"):
        open_dataset("medmnist", tmp_path)


def zeros_in_zip(path, name, shape):
    """Add an array of zeros of this shape to a zip, a megabyte at a time: of 400 MB it takes 0.4."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open(f"{name}.npy", "w") as content:
        content.write(header.getvalue())
        for _ in range(int(np.prod(shape)) >> 20):
            content.write(bytes(1 << 20))


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        ((16, 4, 4), (16, 1 << 23), r"test_labels\.npy: 8,388,608 labels per image; expected 10,000 at most"),
        ((16, 4, 4), (1 << 27, 1), r"16 test_images and 134,217,728 test_labels; expected as many"),
    ],
)
def test_labels_of_a_shape_that_none_have_are_not_read(tmp_path, images, labels, said):
    np.savez_compressed(tmp_path / "x.npz", test_images=np.ones(images, np.uint8))
    zeros_in_zip(tmp_path / "x.npz", "test_labels", labels)
    assert (tmp_path / "x.npz").stat().st_size < 200_000
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=said):
            open_dataset("medmnist", tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000  # they would be 134 MB, and 1 GB as float64
    finally:
        tracemalloc.stop()


def test_images_that_declare_too_many_pixels_are_not_unpacked(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", test_labels=np.zeros((1, 1), np.uint8))
    zeros_in_zip(tmp_path / "x.npz", "test_images", (1, 1 << 14, 1 << 13))
    with pytest.raises(InputError, match=r"test_images\.npy: declares 8192 × 16384 pixels, above the limit"):
        open_dataset("medmnist", tmp_path)


@pytest.mark.parametrize("text", ["{'descr': '|u1', 'shape': (((", "", "{" * 100, "{'descr': 'O'}", "1L"])
def test_a_header_that_is_no_header_is_an_error_that_names_the_array(tmp_path, text):
    """The first once raised TokenError, which is no ValueError."""
    header = text.encode().ljust(118) + b"\n"
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for kind in ("images", "labels"):
            archive.writestr(f"test_{kind}.npy", b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(InputError, match=r"x\.npz: test_images\.npy: damaged: no header of an array"):
        open_dataset("medmnist", tmp_path)


def test_a_full_temporary_folder_is_said(tmp_path, monkeypatch):
    np.savez(tmp_path / "x.npz", **arrays())
    test = open_dataset("medmnist", tmp_path)["test"]

    def full():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(InputError, match=r"cannot be unpacked to .* \(No space left on device\)\. .*TMPDIR"):
        test.read(0)


def test_every_file_of_the_sets_can_be_fetched():
    names = {file.name for file in DATASETS["medmnist"].release.files}
    assert names == {file_name(name, size) for name in SETS for size in SIZES}
    assert len(names) == 48
    assert len({md5 for known in SETS.values() for md5 in known.md5}) == 48
    assert file_name("octmnist", 28) == "octmnist.npz"


WHOLE = io.BytesIO()
np.savez_compressed(WHOLE, **arrays(4))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, len(WHOLE.getvalue()) - 1), st.integers(0, 255)), min_size=1, max_size=5))
def test_a_file_with_changed_bytes_opens_or_is_an_input_error(tmp_path, places):
    content = bytearray(WHOLE.getvalue())
    for place, value in places:
        content[place] = value
    (tmp_path / "x.npz").write_bytes(content)
    with suppress(InputError):
        for dataset in open_dataset("medmnist", tmp_path).values():
            assert all(dataset.read(i).shape == (4, 4) for i in range(len(dataset)))
