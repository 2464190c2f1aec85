"""Folders of classes: layouts, patients, and the real Kermany et al. 2018."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pellucid.data import materialize, open_dataset, patient_split
from pellucid.data.readers.splits import check_disjoint
from pellucid.types import InputError, InputSpec


def fill(folder, names, shade=100):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("L", (6, 4), shade).save(folder / name)


@pytest.fixture
def flat(tmp_path):
    """Three classes, 20 patients of two images each."""
    for k, name in enumerate(("cat", "dog", "emu")):
        fill(tmp_path / name, [f"p{p:02d}_{i}.png" for p in range(20) if p % 3 == k for i in range(2)], k * 100)
    return tmp_path


@pytest.fixture
def parts(tmp_path):
    for part, people in (("train", range(20)), ("val", range(30, 32)), ("test", range(40, 46))):
        for name in ("ill", "well"):
            fill(tmp_path / part / name, [f"p{p:02d}_{name}.png" for p in people])
    return tmp_path


def test_a_flat_folder_is_cut_by_patient(flat):
    (flat / "cat" / "notes.txt").write_text("not an image")
    (flat / ".cache").mkdir()
    splits = open_dataset("folder", flat, options={"patient_pattern": r"^(p\d+)_"})
    assert list(splits) == ["train", "validation", "test"]
    assert splits["train"].classes == ("cat", "dog", "emu")
    assert splits["train"].task == "multiclass"
    assert sum(map(len, splits.values())) == 40
    for dataset in splits.values():
        assert len(dataset) == 2 * len(set(dataset.patients))
        expected = [("cat", "dog", "emu").index(i.split("/")[0]) for i in dataset.ids]
        np.testing.assert_array_equal(dataset.targets, expected)
        assert [dataset.read(i)[0, 0] for i in range(len(dataset))] == [100 * k for k in expected]
    everything = open_dataset("folder", flat, options={"test_fraction": 1})
    assert list(everything) == ["test"]
    assert len(everything["test"]) == 40


def test_folders_for_the_parts(parts):
    cut = open_dataset("folder", parts, options={"validation_fraction": 0.2})
    assert {k: len(v) for k, v in cut.items()}["test"] == 12
    assert len(cut["train"]) + len(cut["validation"]) == 40
    assert all(i.startswith("train/") for i in cut["validation"].ids)
    asked = open_dataset("folder", parts, options={"validation": "folder"})
    assert {k: len(v) for k, v in asked.items()} == {"train": 40, "validation": 4, "test": 12}


def test_positive_makes_one_label(parts):
    splits = open_dataset("folder", parts, options={"positive": "ill"})
    test = splits["test"]
    assert test.task == "multilabel"
    assert test.classes == ("ill",)
    assert test.targets.dtype == np.float32
    np.testing.assert_array_equal(test.targets[:, 0], ["ill/" in i for i in test.ids])
    with pytest.raises(InputError, match=r"'Ill'.*Did you mean 'ill'\?"):
        open_dataset("folder", parts, options={"positive": "Ill"})


def test_a_patient_in_two_folders_is_refused_unless_numbers_restart(parts):
    fill(parts / "test" / "ill", ["p00_again.png"])
    options = {"patient_pattern": r"(p\d+)"}
    with pytest.raises(InputError, match=r"1 patient both in (train|validation) and in test \(p00\)"):
        open_dataset("folder", parts, options=options)
    splits = open_dataset("folder", parts, options={**options, "numbering": "folder"})
    assert "test/p00" in splits["test"].patients


def test_a_changed_file_changes_the_fingerprint(parts):
    before = open_dataset("folder", parts)["test"]
    Image.new("L", (600, 400), 3).save(parts / "test" / "ill" / "p40_ill.png")
    after = open_dataset("folder", parts)["test"]
    assert before.ids == after.ids
    assert before.fingerprint != after.fingerprint


def test_kermany_real(real_data):
    splits = open_dataset("kermany2018", real_data / "kermany2018")
    train, validation, test = (splits[k] for k in ("train", "validation", "test"))
    assert train.classes == ("PNEUMONIA",)
    assert len(train) + len(validation) == 5216
    assert len(test) == 312
    assert train.targets.sum() + validation.targets.sum() == 3875
    assert 0.07 < len(validation) / 5216 < 0.13
    numbers = [set(re.findall(r"(?:person|IM-)\d+", " ".join(d.ids))) for d in (train, validation)]
    assert not numbers[0] & numbers[1]
    assert not any(i.startswith("val/") for d in splits.values() for i in d.ids)


def test_kermany_numbers_across_training_and_test_are_as_the_card_says(real_data):
    """Many person numbers are in both folders, none of them with the same cause in both."""
    causes = {}
    for part in ("train", "test"):
        names = [p.name for p in (real_data / "kermany2018" / part / "PNEUMONIA").iterdir()]
        causes[part] = {re.match(r"(person\d+)_(bacteria|virus)", n).groups() for n in names}
    shared = {n for n, _ in causes["train"]} & {n for n, _ in causes["test"]}
    assert len(shared) > 100
    assert not causes["train"] & causes["test"]


def test_kermany_gray_from_colour_files(real_data):
    test = open_dataset("kermany2018", real_data / "kermany2018")["test"].subset([0, 311])
    assert test.read(0).shape == (224, 224, 3)
    gray = materialize(test, InputSpec.square(1, 224))
    with Image.open(test.files[0].path) as image:
        difference = np.abs(gray[0, 0].astype(int) - np.asarray(image.convert("L")))
    assert difference.max() <= 2  # two decoders may round differently


names = st.lists(st.text("abcdef0123", min_size=1, max_size=4), min_size=2, max_size=60)


@settings(deadline=None, max_examples=60)
@given(names, st.floats(0.01, 0.9), st.integers(0, 5))
def test_patient_split_shares_no_patient_and_ignores_order_and_company(patients, fraction, seed):
    if len(set(patients)) < 2:
        with pytest.raises(InputError, match="at least two patients"):
            patient_split(patients, fraction, seed)
        return
    kept, cut = patient_split(patients, fraction, seed)
    assert sorted([*kept, *cut]) == list(range(len(patients)))
    off = {patients[i] for i in cut}
    assert off
    assert not off & {patients[i] for i in kept}
    reverse = patients[::-1]
    assert {reverse[i] for i in patient_split(reverse, fraction, seed)[1]} == off
    more = [*patients, "newcomer"]
    there = {more[i] for i in patient_split(more, fraction, seed)[1]}
    if 1 < len(off) < len(set(patients)) - 1:  # away from the rule that neither side is empty
        assert there - {"newcomer"} == off


def test_patient_split_cuts_about_the_fraction():
    patients = [str(i) for i in range(20000)]
    assert len(patient_split(patients, 0.1, 0)[1]) == pytest.approx(2000, abs=4 * np.sqrt(1800))
    test = set(patient_split(patients, 0.5, 0, purpose="test")[1].tolist())
    validation = set(patient_split(patients, 0.5, 0)[1].tolist())
    assert len(test & validation) == pytest.approx(5000, abs=400)  # independent of each other


def test_check_disjoint_names_the_shared(flat):
    splits = open_dataset("folder", flat, options={"patient_pattern": r"^(p\d+)_"})
    check_disjoint(splits)
    name = splits["test"].patients[0]
    with pytest.raises(InputError, match=f"both in a and in b \\({name}\\)"):
        check_disjoint({"a": splits["test"], "b": splits["test"].subset([0])})


@pytest.mark.parametrize(("bits", "expected"), [(8, [0, 4, 255]), (16, [0, 1000, 65535])])
def test_the_depth_of_16_bit_images_is_kept_where_asked_for(tmp_path, bits, expected):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        pixels = np.array([[0, 1000, 65535]] * 3, dtype=np.uint16)
        Image.fromarray(pixels).save(tmp_path / name / f"{name}.png")
    options = {"test_fraction": 1, "validation_fraction": 0, "bits": bits}
    part = open_dataset("folder", tmp_path, options=options)["test"]
    assert part.read(0)[0].tolist() == expected
    cached = materialize(part, InputSpec.square(1, 3))
    assert (cached.dtype, cached[0, 0, 0].tolist()) == (np.dtype(f"uint{bits}"), expected)


def test_the_classes_that_are_named_are_taken_in_their_order(flat):
    splits = open_dataset("folder", flat, options={"classes": ["emu", "cat"], "test_fraction": 1})
    found = splits["test"]
    assert found.classes == ("emu", "cat")
    assert {name.split("/")[0] for name in found.ids} == {"emu", "cat"}
    np.testing.assert_array_equal(found.targets, [("emu", "cat").index(i.split("/")[0]) for i in found.ids])
    assert list(found.options["classes"]) == ["emu", "cat"]
    one = open_dataset("folder", flat, options={"classes": ["emu", "cat"], "positive": "cat", "test_fraction": 1})
    np.testing.assert_array_equal(one["test"].targets[:, 0], [i.startswith("cat/") for i in one["test"].ids])


def test_classes_left_out_are_said(flat):
    with pytest.warns(UserWarning, match=r"classes that the option classes does not name.*dog"):
        open_dataset("folder", flat, options={"classes": ["emu", "cat"]})


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["cat", "dogs"], "no class folder 'dogs'.*Did you mean 'dog'"),
        (["cat", "cat"], "more than once"),
        ([], "classes"),
    ],
)
def test_classes_that_are_not_there_are_refused(flat, classes, message):
    with pytest.raises(InputError, match=message):
        open_dataset("folder", flat, options={"classes": classes})
