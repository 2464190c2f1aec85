"""CIFAR-10's python version: the same as the binary one, read without running a pickle, whatever the pickle says."""

from __future__ import annotations

import os
import pickle
import shutil
import struct
import zipfile
from contextlib import suppress
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.cifar10 import encoded, picture, write_zip
from pellucid.data import check_dataset, open_dataset
from pellucid.data.readers.cifar10.files import CLASSES, RECORD, TEST, TRAIN, open_batches
from pellucid.data.readers.cifar10.python_files import read_batch, read_class_names
from pellucid.types import InputError

FOLDER = "cifar-10-batches-py"


def text(value):
    """A string as Python 2 pickles it."""
    value = value if isinstance(value, bytes) else value.encode()
    return (b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<i", len(value))) + value


def number(value):
    return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)


def array(pixels):
    """An array of bytes as numpy's `__reduce__` has it under Python 2, opcode after opcode."""
    dtype = (
        b"cnumpy\ndtype\nq\x0bU\x02u1q\x0cK\x00K\x01\x87q\rRq\x0e(K\x03U\x01|q\x0fNNN"
        + b"J\xff\xff\xff\xff" * 2
        + b"K\x00tb"
    )
    empty = b"cnumpy.core.multiarray\n_reconstruct\nq\x06cnumpy\nndarray\nq\x07K\x00\x85q\x08U\x01bq\t\x87q\nR"
    shape = number(pixels.shape[0]) + number(pixels.shape[1]) + b"\x86"
    return empty + b"(K\x01" + shape + dtype + b"\x89" + text(pixels.tobytes()) + b"tb"


def python2(labels, pixels, name="training batch 1 of 5"):
    """A batch file as the official ones are: protocol 2, by Python 2; items in the order of its dictionary."""
    items = [
        text("data") + array(pixels),
        text("labels") + b"q\x13]q\x14(" + b"".join(map(number, labels)) + b"e",
        text("batch_label") + text(name),
        text("filenames") + b"](" + b"".join(text(f"leptodactylus_pentadactylus_s_{k:06}.png") for k in labels) + b"e",
    ]
    return b"\x80\x02}q\x01(" + b"".join(items) + b"u."


def meta(classes=CLASSES):
    names = b"]q\x02(" + b"".join(map(text, classes)) + b"e"
    items = [text("num_cases_per_batch") + number(10_000), text("label_names") + names, text("num_vis") + number(3072)]
    return b"\x80\x02}q\x01(" + b"".join(items) + b"u."


@pytest.fixture
def versions(tmp_path):
    """The same random images as python and as binary version; the two folders that hold their folders."""
    rng = np.random.default_rng(0)
    python, binary = tmp_path / "p" / FOLDER, tmp_path / "b" / "cifar-10-batches-bin"
    python.mkdir(parents=True)
    binary.mkdir(parents=True)
    for k, name in enumerate((*TRAIN, TEST)):
        labels, pixels = rng.integers(0, 10, 7 + k, dtype=np.uint8), rng.integers(0, 256, (7 + k, 3072), dtype=np.uint8)
        (python / name).write_bytes(python2(labels.tolist(), pixels))
        (binary / f"{name}.bin").write_bytes(np.concatenate([labels[:, None], pixels], 1).tobytes())
    (python / "batches.meta").write_bytes(meta())
    (python / "readme.html").touch()
    return tmp_path / "p", tmp_path / "b"


def test_the_files_of_this_test_are_pickles_of_the_official_kind():
    labels, pixels = [3, 9], np.arange(2 * 3072, dtype=np.uint32).astype(np.uint8).reshape(2, 3072)
    with mock.patch("numpy.core", np._core, create=True):
        loaded = pickle.loads(python2(labels, pixels), encoding="latin1")
    assert loaded["labels"] == labels
    assert np.array_equal(loaded["data"], pixels)
    assert pickle.loads(meta(), encoding="latin1")["label_names"] == list(CLASSES)


@pytest.mark.parametrize("inside", [False, True])
def test_both_versions_give_the_same(versions, inside):
    roots = [next(root.iterdir()) if inside else root for root in versions]
    options = {"validation_fraction": 0.3}
    python, binary = (open_dataset("cifar10", root, options=options) for root in roots)
    assert list(python) == list(binary) == ["train", "validation", "test"]
    for part, dataset in python.items():
        assert dataset.ids == binary[part].ids
        assert np.array_equal(dataset.targets, binary[part].targets)
        for i in range(len(dataset)):
            assert np.array_equal(dataset.read(i), binary[part].read(i))
            assert dataset.files[i].path.name == dataset.ids[i].split("/")[0]
    assert check_dataset("cifar10", roots[0]).ok
    (versions[0] / FOLDER / "data_batch_4").unlink()
    with pytest.raises(InputError, match=rf"{FOLDER}: no data_batch_4\. Expected"):
        open_dataset("cifar10", roots[0])


def test_the_official_images_as_python_version(real_data, tmp_path):
    (tmp_path / FOLDER).mkdir()
    for batch in open_batches(real_data):
        (tmp_path / FOLDER / batch.name).write_bytes(python2(batch.labels.tolist(), batch.pixels))
    ours, theirs = open_dataset("cifar10", tmp_path)["test"], open_dataset("cifar10", real_data)["test"]
    assert np.array_equal(ours.targets, theirs.targets)
    assert all(np.array_equal(ours.read(i), theirs.read(i)) for i in range(0, len(ours), 50))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])  # the advice is 4
def test_files_saved_anew_by_python_3(tmp_path, protocol):
    pixels = np.random.default_rng(0).integers(0, 256, (300, 3072), dtype=np.uint8)
    content = {b"data": pixels, b"labels": [k % 10 for k in range(300)], "more": ("a", None, True, 70_000, -1)}
    (tmp_path / "x").write_bytes(pickle.dumps(content, protocol))
    if protocol in (3, 4):
        labels, found = read_batch(tmp_path / "x")
        assert labels.tolist() == content[b"labels"]
        assert np.array_equal(found, pixels)
    else:  # Python 3's protocol 2 encodes text, its protocol 5 makes buffers: names that no official file has
        named = "_codecs.encode" if protocol == 2 else "_frombuffer"
        with pytest.raises(InputError, match=rf"{named}, which no file of CIFAR-10 does.*protocol=4"):
            read_batch(tmp_path / "x")


class Evil:
    """What a pickle may hold to run a command when it is loaded."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_would_run_something_does_not(tmp_path, protocol):
    mark = tmp_path / "ran"
    for content in (Evil(mark), {"labels": [Evil(mark)], "data": 1}, {Evil(mark): 1}):
        (tmp_path / "x").write_bytes(pickle.dumps(content, protocol))
        for read in (read_batch, read_class_names):
            with pytest.raises(InputError, match=r"x: names (posix|nt)\.system, which no file"):
                read(tmp_path / "x")
    assert not mark.exists()
    pickle.loads(pickle.dumps(Evil(mark), protocol))  # it is in earnest
    assert mark.exists()


LABELS, PIXELS = [1, 2], np.zeros((2, 3072), dtype=np.uint8)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "damaged, or no pickle"),
        (b"the Python version", "damaged, or no pickle"),
        (python2(LABELS, PIXELS)[:-1], "damaged"),
        (python2(LABELS, PIXELS)[:3000], "damaged"),
        (b"\x80\x02].", "no dictionary"),
        (b"\x80\x02}.", "no `labels` and `data`"),
        (b".", "damaged"),
        (b"\x80\x02e.", "damaged"),
        (b"\x80\x02h\x05.", "damaged"),
        (b"\x80\x02}]K\x01s.", "damaged"),
        (b"\x80\x02K\x01K\x02a.", "damaged"),
        (b"\x80\x02cnumpy\nndarray\nK\x01R.", "damaged"),
        (b"\x80\x02cnumpy\nfromfile\nU\x01a\x85R.", "names numpy.fromfile"),
        (b"\x80\x02cbuiltins\neval\nU\x011\x85R.", "names builtins.eval"),
        (b"\x80\x02(U\x011ibuiltins\neval\n.", "names builtins.eval"),
        (b"\x80\x02(cbuiltins\neval\nU\x011o.", "names builtins.eval"),
        (b"\x80\x02cbuiltins\neval\nU\x011\x85\x81.", "names builtins.eval"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.", "names builtins.eval"),
        (b"\x80\x02cnumpy.core.multiarray\nfromfile\n.", "names numpy.core.multiarray.fromfile"),
        (b"\x80\x02P1\n.", "damaged"),
        (b"\x80\x02\x82\x01.", "damaged"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "no dictionary"),
        (b"\x80\x02cnumpy\nndarray\n}U\x05stateK\x01sb.", "damaged"),  # would change the stand-in itself
        (b"\x80\x02}r\xff\xff\xff\xff.", "no `labels`"),  # remembered by a number: a table of 64 GB in C
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x0f.", "damaged"),  # more bytes than there is memory
        (python2([1], PIXELS), "as many rows of 3072"),
        (python2([], PIXELS[:0]), "and at least one"),
        (python2(LABELS, PIXELS[:, :3071]), "as many rows of 3072"),
        (python2(LABELS, PIXELS).replace(b"U\x02u1", b"U\x02u2"), "as many rows of 3072"),
        (python2(LABELS, PIXELS).replace(b"\x89", b"\x88"), "as many rows of 3072"),  # stored by columns
        (
            python2(LABELS, PIXELS).replace(b"(K\x01K\x02M", b"(K\x01K\x03M"),
            "as many rows of 3072",
        ),  # more than there is
        (python2(LABELS, PIXELS).replace(b"K\x01K\x02e", b"K\x01Ne"), "no small whole number"),
    ],
)
def test_what_is_no_file_of_cifar10(tmp_path, content, match):
    (tmp_path / "data_batch_1").write_bytes(content)
    with pytest.raises(InputError, match=match) as caught:
        read_batch(tmp_path / "data_batch_1")
    assert "data_batch_1" in str(caught.value)


def test_labels_and_class_names_of_another_dataset(versions):
    folder = versions[0] / FOLDER
    (folder / "batches.meta").write_bytes(meta(("apple", *CLASSES[1:])))
    with pytest.raises(InputError, match=r"batches\.meta: expected the class names airplane.*found apple"):
        open_dataset("cifar10", folder)
    (folder / "batches.meta").write_bytes(b"\x80\x02}.")
    with pytest.raises(InputError, match=r"batches\.meta: no `label_names`"):
        open_dataset("cifar10", folder)
    (folder / "batches.meta").unlink()
    (folder / "test_batch").write_bytes(python2([1, 10], PIXELS))
    with pytest.raises(InputError, match=r"test_batch: record 1 has label 10; CIFAR-10's are 0 to 9"):
        open_dataset("cifar10", folder)


GOOD = python2([3, 1, 4], np.random.default_rng(1).integers(0, 256, (3, 3072), dtype=np.uint8))
HEAD = GOOD.index(b"T\x00$\x00\x00") + 5  # what comes before the pixels


def changed(places):
    """The good file with some bytes replaced."""
    content = bytearray(GOOD)
    for place, value in places:
        content[place] = value
    return bytes(content)


OPCODES = b"}](.etubRNqhKMJUTXBC\x80\x81\x85\x86\x87\x88\x89\x93\x94\x95c0o\x8c"


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=60),
        st.lists(st.sampled_from(OPCODES), max_size=40).map(bytes),
        st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=4).map(changed),
        st.lists(st.tuples(st.integers(0, HEAD), st.integers(0, 255)), max_size=4).map(changed),
        st.integers(0, len(GOOD)).map(lambda end: GOOD[:end]),
    )
)
def test_any_file_gives_images_or_an_input_error(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with suppress(InputError):
        labels, pixels = read_batch(tmp_path / "x")
        assert labels.dtype == pixels.dtype == np.uint8
        assert pixels.shape == (len(labels), 3072)
        assert pixels.tobytes() in content


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 4), st.binary(max_size=40), st.integers(0, 40))
def test_any_binary_file_gives_images_or_an_input_error(tmp_path, records, more, cut):
    content = (np.random.default_rng(records).bytes(records * RECORD) + more)[cut if more else 0 :]
    (tmp_path / "test_batch.bin").write_bytes(content)
    with suppress(InputError):
        (batch,) = open_batches(tmp_path, needed=(TEST,))
        assert batch.pixels.shape == (len(content) // RECORD, 3072)
        assert batch.labels.tolist() == [content[i] for i in range(0, len(content), RECORD)]
        assert batch.labels.max() < 10


# ---------------------------------------------------------------- a zip of both parts


def test_a_zip_with_train_and_test_is_a_whole_dataset(tmp_path, versions):
    rng = np.random.default_rng(0)
    images = {
        f"cifar/{part}/{name}/{k:04}.png": picture(rng)
        for part in ("train", "test")
        for name in CLASSES
        for k in (0, 1)
    }
    write_zip(tmp_path / "all.zip", {name: encoded(image, "PNG") for name, image in images.items()}, zipfile.ZIP_STORED)
    root = tmp_path / "root"
    root.mkdir()
    shutil.move(tmp_path / "all.zip", root)
    options = {"train_zip": "all.zip", "validation_fraction": 0.2}
    splits = open_dataset("cifar10", root, options=options)
    assert len(splits["train"]) + len(splits["validation"]) == len(splits["test"]) == 20
    for part, dataset in splits.items():
        for i, name in enumerate(dataset.ids):
            member = f"cifar/{name}" if part == "test" else f"cifar/train/{name}"
            assert np.array_equal(dataset.read(i), images[member])
            assert dataset.classes[dataset.targets[i]] == member.split("/")[2]
    assert check_dataset("cifar10", root, options=options).ok
    shutil.copy(versions[0] / FOLDER / TEST, root)  # without loss: goes before the zip's
    assert open_dataset("cifar10", root, options=options)["test"].ids == tuple(f"{TEST}/{i}" for i in range(12))
    write_zip(root / "all.zip", {f"{part}/cat/0.png": encoded(picture(rng), "PNG") for part in ("train", "valid")})
    with pytest.raises(InputError, match="class folders in 2 places"):
        open_dataset("cifar10", root, options=options)
