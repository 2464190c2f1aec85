"""CIFAR-10's binary files: bit for bit, in whichever folder, and what is wrong with them said file by file."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from pellucid.data import check_dataset, get_split, materialize, open_dataset
from pellucid.data.readers.cifar10.reader import CLASSES, OFFICIAL_COUNT, RECORD, TRAIN
from pellucid.models.inference import as_pixels
from pellucid.models.sources import woods2019
from pellucid.types import InputError, InputSpec

FOLDER = "cifar-10-batches-bin"
SIZES = {**{name: 7 + number for number, name in enumerate(TRAIN)}, "test_batch": 5}


@pytest.fixture
def written(tmp_path):
    """Files of random records in a folder of the official name, and what was written: name → (labels, images)."""
    rng = np.random.default_rng(0)
    folder = tmp_path / FOLDER
    folder.mkdir()
    content = {}
    for name, count in SIZES.items():
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        content[name] = labels, images
        with (folder / f"{name}.bin").open("wb") as file:  # as the format's description has it, byte after byte
            for label, image in zip(labels, images, strict=True):
                file.write(bytes([label]))
                for channel in range(3):
                    file.write(image[:, :, channel].tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n\n")
    return folder, content


def original(content, name):
    """The label and image of an id such as `test_batch/3`."""
    batch, _, place = name.partition("/")
    labels, images = content[batch]
    return int(labels[int(place)]), images[int(place)]


def test_every_record_comes_back_as_written(written):
    folder, content = written
    splits = open_dataset("cifar10", folder)
    assert list(splits) == ["train", "validation", "test"]
    found = set()
    for part, dataset in splits.items():
        pixels = materialize(dataset, InputSpec.square(3, 32))
        for i, name in enumerate(dataset.ids):
            label, image = original(content, name)
            assert dataset.targets[i] == label
            assert dataset.read(i).dtype == np.uint8
            assert np.array_equal(dataset.read(i), image)
            assert np.array_equal(pixels[i], image.transpose(2, 0, 1))
            assert (name.startswith("test_batch/")) == (part == "test")
            assert dataset.files[i].path == folder / f"{name.split('/')[0]}.bin"
        assert dataset.targets.dtype == np.int64
        assert dataset.classes == CLASSES
        found |= set(dataset.ids)
    assert found == {f"{name}/{i}" for name, count in SIZES.items() for i in range(count)}
    part = splits["test"].subset([4, 1])
    assert part.ids == ("test_batch/4", "test_batch/1")
    assert np.array_equal(part.read(1), original(content, "test_batch/1")[1])


def test_what_is_read_can_be_written_to_without_touching_the_file(written):
    folder, _ = written
    before = (folder / "test_batch.bin").read_bytes()
    test = open_dataset("cifar10", folder)["test"]
    test.read(0)[:] = 7
    assert not (test.read(0) == 7).all()
    assert (folder / "test_batch.bin").read_bytes() == before


def test_the_folder_or_the_one_around_it(written):
    folder, _ = written
    inside, around = open_dataset("cifar10", folder), open_dataset("cifar10", folder.parent)
    assert {k: (v.ids, v.fingerprint) for k, v in inside.items()} == {
        k: (v.ids, v.fingerprint) for k, v in around.items()
    }


def test_the_cut_is_the_seeds_and_each_images_own(written):
    folder, _ = written
    first = open_dataset("cifar10", folder, options={"validation_fraction": 0.4})
    again = open_dataset("cifar10", folder, options={"validation_fraction": 0.4})
    other = open_dataset("cifar10", folder, seed=1, options={"validation_fraction": 0.4})
    for part in first:
        assert first[part].ids == again[part].ids
        assert first[part].fingerprint == again[part].fingerprint
    assert first["validation"].ids != other["validation"].ids
    assert first["test"].ids == other["test"].ids
    # with one file cut short, every image that is left stays where it was
    path = folder / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[: 3 * RECORD])
    short = open_dataset("cifar10", folder, options={"validation_fraction": 0.4})
    assert set(short["train"].ids) < set(first["train"].ids)
    assert set(short["validation"].ids) <= set(first["validation"].ids)
    assert short["train"].fingerprint != first["train"].fingerprint
    whole = open_dataset("cifar10", folder, options={"validation_fraction": 0})
    assert list(whole) == ["train", "test"]
    assert len(whole["train"]) == sum(SIZES[name] for name in TRAIN) - 5


@pytest.mark.parametrize("gone", [["data_batch_3"], ["test_batch", "data_batch_1"]])
@pytest.mark.parametrize("around", [False, True])
def test_missing_files_are_named(written, gone, around):
    folder, _ = written
    for name in gone:
        (folder / f"{name}.bin").unlink()
    with pytest.raises(InputError) as caught:
        open_dataset("cifar10", folder.parent if around else folder)
    assert str(folder) in str(caught.value)
    missing = str(caught.value).split("Expected")[0]
    assert all((f"{name}.bin" in missing) == (name in gone) for name in SIZES)


def test_a_folder_without_any_names_all(tmp_path):
    (tmp_path / "data_batch_1.txt").write_bytes(b"another file")
    with pytest.raises(InputError, match=r"no data_batch_1\.bin, .*test_batch\.bin"):
        open_dataset("cifar10", tmp_path)


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b[: RECORD // 2], lambda b: b""])
def test_a_file_that_is_no_whole_number_of_records(written, change):
    folder, _ = written
    path = folder / "data_batch_4.bin"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=r"data_batch_4\.bin: .* not a whole number of records of 3,073 bytes"):
        open_dataset("cifar10", folder)


def test_a_label_above_nine(written):
    folder, _ = written
    path = folder / "test_batch.bin"
    content = bytearray(path.read_bytes())
    content[3 * RECORD] = 10
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"test_batch\.bin: record 3 has label 10; CIFAR-10's are 0 to 9"):
        open_dataset("cifar10", folder)


def test_class_names_of_another_dataset(written):
    folder, _ = written
    (folder / "batches.meta.txt").write_text("apple\naquarium_fish\n")
    with pytest.raises(InputError, match=r"batches\.meta\.txt: expected the class names airplane"):
        open_dataset("cifar10", folder)
    (folder / "batches.meta.txt").unlink()  # not needed for anything
    assert open_dataset("cifar10", folder)["test"].classes == CLASSES


def test_check_counts_and_names_what_is_wrong(written):
    folder, content = written
    report = check_dataset("cifar10", folder.parent)
    assert report.ok
    assert report.found == report.expected == sum(SIZES.values())
    labels = content["test_batch"][0]
    assert report.parts["test"].labels == {c: int((labels == k).sum()) for k, c in enumerate(CLASSES)}
    assert len(report.notes) == 6  # none of the files is whole
    assert f"holds 5 of the {OFFICIAL_COUNT:,} official images" in [n.reason for n in report.notes][-1]
    (folder / "data_batch_5.bin").unlink()
    report = check_dataset("cifar10", folder)
    assert not report.ok
    assert "no data_batch_5.bin" in report.problems[0].reason


def test_networks_published_for_it_have_its_classes():
    """Two packages that may not import each other, one list."""
    assert woods2019.CLASSES == CLASSES


def test_the_official_files(real_data, tmp_path):
    splits = open_dataset("cifar10", real_data)
    test = get_split(splits, "test")
    assert len(test) == 512
    assert len(splits["train"]) + len(splits["validation"]) == 5 * 1017
    assert 0.07 < len(splits["validation"]) / (5 * 1017) < 0.13
    raw = np.frombuffer((real_data / FOLDER / "test_batch.bin").read_bytes(), dtype=np.uint8).reshape(512, 3073)
    assert test.targets.tolist() == raw[:, 0].tolist()
    assert [CLASSES[k] for k in test.targets[:4]] == ["cat", "ship", "ship", "airplane"]  # the first of CIFAR-10's test
    for directory in (None, tmp_path, tmp_path):  # decoded, written to the cache, read from it
        pixels = materialize(test, InputSpec.square(3, 32), directory=directory)
        assert np.array_equal(pixels.reshape(512, 3072), raw[:, 1:])
    floats = as_pixels(pixels)
    assert torch.equal((floats * 255).round().to(torch.uint8), torch.from_numpy(np.array(pixels)))
    assert [name.partition("/")[2] for name in test.ids] == [str(i) for i in range(512)]


def test_an_official_file_cut_short_is_said(real_data, tmp_path):
    folder = tmp_path / FOLDER
    shutil.copytree(real_data / FOLDER, folder, copy_function=shutil.copyfile)
    folder.chmod(0o755)
    with (folder / "data_batch_1.bin").open("r+b") as file:
        file.truncate(3_000_000)
    with pytest.raises(InputError, match=r"data_batch_1\.bin: 3,000,000 bytes"):
        open_dataset("cifar10", tmp_path)


def test_a_test_file_alone_is_a_test_part(written):
    folder, _ = written
    whole = open_dataset("cifar10", folder)
    for name in TRAIN:
        (folder / f"{name}.bin").unlink()
    with pytest.warns(UserWarning, match="no training files; there is a test part and no other"):
        alone = open_dataset("cifar10", folder)
    assert list(alone) == ["test"]
    assert alone["test"].fingerprint == whole["test"].fingerprint
    with pytest.raises(InputError, match="cifar10 has no 'train' part; it has: test"):
        get_split(alone, "train")
    report = check_dataset("cifar10", folder)
    assert report.ok
    assert any("no training files" in note.reason for note in report.notes)
