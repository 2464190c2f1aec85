"""ChestX-ray14: the real copy against independent counts, and every variant of the official layout."""

from __future__ import annotations

import csv
import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from pellucid.data import check_dataset, materialize, open_dataset, split_hash
from pellucid.data.decoding.image import read_image
from pellucid.data.readers.chestxray14.reader import BOXED_LABELS, LABELS
from pellucid.types import InputError, InputSpec


@pytest.fixture(scope="module")
def root(real_data):
    return real_data / "chestxray14"


@pytest.fixture(scope="module")
def splits(root):
    return open_dataset("chestxray14", root)


@pytest.fixture
def copy(root, tmp_path):
    """The real tables, with links to 30 training and 30 boxed test images."""
    for file in root.glob("*"):
        if file.is_file():
            shutil.copyfile(file, tmp_path / file.name)
    boxed = sorted({row[0] for row in read(root / "BBox_List_2017.csv")[1:]})
    train = (root / "train_val_list.txt").read_text().split()
    (tmp_path / "images").mkdir()
    for name in train[:30] + boxed[:30]:
        (tmp_path / "images" / name).symlink_to(root / "images" / name)
    return tmp_path


def read(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_the_real_copy_has_the_official_parts(splits, root):
    test = (root / "test_list.txt").read_text().split()
    train = (root / "train_val_list.txt").read_text().split()
    assert list(splits) == ["train", "validation", "test"]
    assert set(splits["test"].ids) == set(test)
    assert len(test) == 740
    assert set(splits["train"].ids) | set(splits["validation"].ids) == set(train)
    assert len(splits["train"]) + len(splits["validation"]) == 1401
    assert 0.05 < len(set(splits["validation"].patients)) / 1130 < 0.15
    for a, b in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not set(splits[a].patients) & set(splits[b].patients)


def test_labels_are_those_of_the_table(splits, root):
    table = {row[0]: set(row[1].split("|")) for row in read(root / "Data_Entry_2017_v2020.csv")[1:]}
    for dataset in splits.values():
        assert dataset.targets.dtype == np.float32
        for name, row in zip(dataset.ids, dataset.targets, strict=True):
            assert {LABELS[k] for k in np.flatnonzero(row)} == table[name] - {"No Finding"}


def test_boxes_are_those_of_the_list(splits, root):
    rows = read(root / "BBox_List_2017.csv")[1:]
    regions = splits["test"].regions
    assert len(regions) == len(rows) == 520
    assert len({r.image for r in regions.items}) == 460
    expected = Counter(row[1].replace("Infiltrate", "Infiltration") for row in rows)
    assert Counter(r.label for r in regions.items) == expected
    assert set(regions.labels) == set(BOXED_LABELS)
    assert splits["train"].regions is None

    first = rows[0]
    image = splits["test"].ids.index(first[0])
    box = regions.boxes(image, first[1], 256)[0]
    np.testing.assert_allclose(box, np.array(first[2:6], dtype=float) / 4, rtol=1e-6)
    assert regions.mask(image, first[1], 256).sum() == pytest.approx(box.area, rel=0.1)


def test_the_validation_part_follows_the_seed_and_nothing_else(root, splits):
    again, other = (open_dataset("chestxray14", root, seed=seed) for seed in (0, 1))
    assert split_hash(again) == split_hash(splits)
    assert again["train"].fingerprint == splits["train"].fingerprint
    assert set(other["validation"].patients) != set(splits["validation"].patients)
    assert other["test"].ids == splits["test"].ids
    none = open_dataset("chestxray14", root, options={"validation_fraction": 0})
    assert list(none) == ["train", "test"]


def test_options_choose_labels_and_boxed_images(root, splits):
    chosen = open_dataset("chestxray14", root, options={"labels": ["Hernia", "Mass"], "boxed_test_only": True})
    test = chosen["test"]
    assert test.classes == ("Hernia", "Mass")
    assert len(test) == 460
    full = splits["test"]
    rows = [full.ids.index(name) for name in test.ids]
    np.testing.assert_array_equal(test.targets, full.targets[rows][:, [LABELS.index("Hernia"), LABELS.index("Mass")]])
    as_text = open_dataset("chestxray14", root, options={"labels": "Hernia, Mass", "boxed_test_only": True})["test"]
    assert as_text.classes == test.classes  # as a command line gives them
    with pytest.raises(InputError, match=r'labels: expected a list, as \["A", "B"\]; found 0.5'):
        open_dataset("chestxray14", root, options={"labels": 0.5})
    with pytest.raises(InputError, match=r"'Masss'.*Did you mean 'Mass'\?"):
        open_dataset("chestxray14", root, options={"labels": ["Masss"]})
    with pytest.raises(InputError, match="validation_fraction"):
        open_dataset("chestxray14", root, options={"validation_fraction": 1.5})
    with pytest.raises(InputError, match=r"boxes_only.*There are: validation_fraction, labels"):
        open_dataset("chestxray14", root, options={"boxes_only": True})


def test_a_share_of_the_boxed_patients_trains(root, splits):
    boxed = {row[0] for row in read(root / "BBox_List_2017.csv")[1:]}
    with pytest.warns(UserWarning, match="this is not the official split"):
        parts = open_dataset("chestxray14", root, options={"boxed_for_training": 0.5})
    train, test = set(parts["train"].ids), set(parts["test"].ids)
    gone = {name[:8] for name in train & boxed}
    assert 0.4 < len(gone) / len({name[:8] for name in boxed}) < 0.6
    assert train == set(splits["train"].ids) | {name for name in boxed if name[:8] in gone}
    assert test == {name for name in splits["test"].ids if name[:8] not in gone}
    assert parts["validation"].fingerprint == splits["validation"].fingerprint
    for part in ("train", "test"):
        data = parts[part]
        assert {data.ids[r.image] for r in data.regions.items} == boxed & set(data.ids)
    left_out = len(splits["test"]) - len(test) - len(train & boxed)
    assert f"{left_out} others of their {len(gone)} patients are left out" in parts["train"].card.notes
    with pytest.warns(UserWarning, match="official"):
        other = open_dataset("chestxray14", root, seed=1, options={"boxed_for_training": 0.5, "boxed_test_only": True})
    assert set(other["test"].ids) <= boxed
    assert set(other["train"].ids) & boxed != train & boxed


def test_who_trains_does_not_depend_on_the_copy_and_is_noted(root, copy):
    options = {"boxed_for_training": 0.5}
    with pytest.warns(UserWarning, match="official"):
        whole = open_dataset("chestxray14", root, options=options)
    with pytest.warns(UserWarning, match="official"):
        part = open_dataset("chestxray14", copy, options=options)
    assert part["train"].regions is not None
    assert set(part["train"].ids) <= set(whole["train"].ids)
    assert set(part["test"].ids) <= set(whole["test"].ids)
    notes = check_dataset("chestxray14", copy, options=options).notes
    assert any("this is not the official split" in note.reason for note in notes)


def test_pixels_are_those_of_the_files(splits, root):
    some = splits["test"].subset([0, 100, 739])
    pixels = materialize(some, InputSpec.square(1, 256))
    for image, name in zip(pixels, some.ids, strict=True):
        np.testing.assert_array_equal(image[0], np.asarray(Image.open(root / "images" / name).convert("L")))


def test_a_partial_copy_opens_with_its_count_said(copy):
    with pytest.warns(UserWarning, match=r"60 of 2,141 images found"):
        splits = open_dataset("chestxray14", copy)
    assert len(splits["train"]) + len(splits["validation"]) == 30
    assert len(splits["test"]) == 30
    assert len({r.image for r in splits["test"].regions.items}) == 30


def test_a_patient_stays_in_its_part_whatever_the_copy(copy, splits):
    with pytest.warns(UserWarning, match="images found"):
        part = open_dataset("chestxray14", copy)
    assert set(part["validation"].patients) <= set(splits["validation"].patients)


@pytest.mark.filterwarnings("ignore:.*images found")
def test_numbered_folders_and_the_older_table(copy):
    new = open_dataset("chestxray14", copy)
    names = sorted(p.name for p in (copy / "images").iterdir())
    for k, inner in ((1, "images"), (2, "."), (12, "images")):  # the second as some tools unpack it
        folder = copy / f"images_{k:03d}" / inner
        folder.mkdir(parents=True)
        for name in names[k % 3 :: 3]:
            (copy / "images" / name).rename(folder / name)
    (copy / "images").rmdir()
    rows = read(copy / "Data_Entry_2017_v2020.csv")
    (copy / "Data_Entry_2017_v2020.csv").unlink()
    with (copy / "Data_Entry_2017.csv").open("w", newline="") as file:
        csv.writer(file).writerows([*row, ""] for row in rows)  # its header and rows end with a comma
    old = open_dataset("chestxray14", copy)
    assert split_hash(old) == split_hash(new)
    said = {row[0]: tuple(row[4:7]) for row in rows[1:]}
    for part in old.values():
        columns = [part.metadata[name] for name in ("age", "sex", "view")]
        assert list(zip(*columns, strict=True)) == [said[name] for name in part.ids]
    assert {k: v.fingerprint for k, v in old.items()} == {k: v.fingerprint for k, v in new.items()}


@pytest.mark.filterwarnings("ignore:.*images found")
def test_an_empty_finding_is_unknown(copy):
    table = copy / "Data_Entry_2017_v2020.csv"
    text = table.read_text()
    assert "00000001_000.png,Cardiomegaly," in text
    table.write_text(text.replace("00000001_000.png,Cardiomegaly,", "00000001_000.png,,"))
    splits = open_dataset("chestxray14", copy, options={"validation_fraction": 0})
    train = splits["train"]
    assert np.isnan(train.targets[train.ids.index("00000001_000.png")]).all()
    assert np.isnan(train.targets).sum() == 14


def test_native_files_decode_alike_with_and_without_alpha(real_data):
    """The release's RGBA files: equal channels, constant alpha; read as Pillow's own gray."""
    files = sorted((real_data / "chestxray14-native" / "images").iterdir())
    modes = Counter()
    for path in files:
        with Image.open(path) as image:
            modes[image.mode] += 1
            pixels = read_image(path)
            gray = pixels if pixels.ndim == 2 else pixels[:, :, 0]
            np.testing.assert_array_equal(gray, np.asarray(image.convert("RGB"))[:, :, 0])
            assert gray.shape == (1024, 1024)
    assert modes == {"L": 32, "RGBA": 2}


@pytest.mark.slow
def test_check_finds_the_real_copy_sound(root):
    seen: list[tuple[int, int]] = []
    report = check_dataset("chestxray14", root, progress=lambda done, count: seen.append((done, count)))
    assert report.ok, report.problems
    assert report.found == report.expected == 2141
    assert sum(part.patients for part in report.parts.values()) == 1570
    assert report.parts["test"].regions["Pneumonia"] == 66
    assert any("2,141 of the 112,120" in note.reason for note in report.notes)
    assert (740, 740) in seen
    assert len(report.content_hash) == 64
    twins = [note for note in report.notes if note.reason.startswith("the same pixels as")]
    assert len(twins) == 1  # one picture is there twice, both times in the training part


def test_check_names_what_is_missing_broken_or_at_odds(copy):
    train = sorted(p for p in (copy / "images").iterdir())
    broken = train[0]
    data = broken.read_bytes()
    broken.unlink()
    broken.write_bytes(data[: len(data) // 2])
    boxes = copy / "BBox_List_2017.csv"
    boxes.write_text(boxes.read_text() + "00000001_000.png,Mass,10,10,20,20,,,\n")
    report = check_dataset("chestxray14", copy)
    assert not report.ok
    assert report.found == 60
    assert report.expected == 2141
    reasons = {p.file: p.reason for p in report.problems}
    assert "truncated or damaged" in reasons[str(broken)]
    assert "00000001_000.png: a box of Mass, which the data table does not name" in reasons[str(boxes)]
    assert sum("no such file" in p.reason for p in report.problems) == 2141 - 60
    assert '"ok": false' in report.to_json()
