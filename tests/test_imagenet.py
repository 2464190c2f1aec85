"""ImageNet: numbers, names and parts from class folders and from a table of labels, and what can be wrong."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid.audit.facts import listed
from pellucid.data import check_dataset, materialize, open_dataset
from pellucid.data.decoding.image import read_image
from pellucid.report.tables.metrics import readable
from pellucid.types import InputError, InputSpec
from pellucid.utils.imagenet_classes import imagenet_classes

SAMPLE = "imagenet-sample"
WORDNET = ("n01440764", "n01443537", "n02007558", "n13133613")


@pytest.fixture
def folders(tmp_path):
    """train/ and val/ of four classes, as ImageNet is usually unpacked; a class's images have its own grey value."""
    rng = np.random.default_rng(0)
    for k, name in reversed(list(enumerate(WORDNET))):
        for part, count in (("train", 40), ("val", 5)):
            place = tmp_path / part / name
            place.mkdir(parents=True)
            for i in rng.permutation(count).tolist():
                path = place / (f"{name}_{i}.JPEG" if part == "train" else f"ILSVRC2012_val_{k * 5 + i:08d}.JPEG")
                Image.new("L", (6, 8), 50 * k + i).save(path, "JPEG", quality=100)
    return tmp_path


@pytest.fixture
def sample(tmp_path):
    """Three images and a table; returns the folder and a function that writes the table anew."""

    def write(*rows, header="file,class_index,wnid"):
        (tmp_path / "labels.csv").write_text("\n".join([header, *rows]) + "\n")

    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (5, 4)).save(tmp_path / name)
    write("a.png,999,n13133613", "b.png,0,n01440764", "c.png,999,n13133613")
    return tmp_path, write


def test_class_folders_are_numbered_in_the_order_of_their_ids(folders):
    splits = open_dataset("imagenet", folders, options={"validation_fraction": 0.2})
    assert list(splits) == ["train", "validation", "test"]
    for part, dataset in splits.items():
        assert dataset.classes == WORDNET
        assert dataset.targets.dtype == np.int64
        for i, name in enumerate(dataset.ids):
            place, wordnet, file = name.split("/")
            assert place == ("val" if part == "test" else "train")
            assert dataset.classes[dataset.targets[i]] == wordnet
            assert dataset.files[i].path == folders / place / wordnet / file
            assert (int(dataset.read(i)[0, 0]) + 5) // 50 == dataset.targets[i]  # JPEG may change it by one
    assert len(splits["test"]) == 20
    assert len(splits["train"]) + len(splits["validation"]) == 160
    assert 20 <= len(splits["validation"]) <= 44  # a fifth of 160, give or take two standard deviations
    assert not set(splits["train"].ids) & set(splits["validation"].ids)


def test_the_cut_is_the_seeds_and_each_images_own(folders):
    first, again, other = (
        open_dataset("imagenet", folders, seed=seed, options={"validation_fraction": 0.2}) for seed in (0, 0, 1)
    )
    assert {k: v.fingerprint for k, v in first.items()} == {k: v.fingerprint for k, v in again.items()}
    assert first["validation"].ids != other["validation"].ids
    assert first["test"].ids == other["test"].ids
    for i in range(20):
        (folders / "train" / WORDNET[0] / f"{WORDNET[0]}_{i}.JPEG").unlink()
    part = open_dataset("imagenet", folders, options={"validation_fraction": 0.2})
    assert set(part["train"].ids) < set(first["train"].ids)
    assert set(part["validation"].ids) <= set(first["validation"].ids)


def test_one_of_the_folders_is_enough_and_the_default_cuts_little(folders):
    whole = open_dataset("imagenet", folders)
    assert 1 <= len(whole["validation"]) <= 8
    assert list(open_dataset("imagenet", folders, options={"validation_fraction": 0})) == ["train", "test"]
    shutil.rmtree(folders / "train")
    only = open_dataset("imagenet", folders)
    assert list(only) == ["test"]
    assert only["test"].fingerprint == whole["test"].fingerprint


def test_check_says_that_classes_are_missing(folders):
    report = check_dataset("imagenet", folders)
    assert report.ok
    assert report.parts["test"].labels == dict.fromkeys(WORDNET, 5)
    assert [n.reason for n in report.notes if "of one shade" not in n.reason] == [
        "4 of the 1,000 classes, numbered in their own order: the class numbers are not ImageNet's"
    ]
    broken = folders / "val" / WORDNET[1] / "ILSVRC2012_val_00000006.JPEG"
    broken.write_bytes(broken.read_bytes()[:100])
    report = check_dataset("imagenet", folders)
    assert [p.file for p in report.problems] == [str(broken)]


def test_folders_that_are_not_imagenets(folders):
    (folders / "val" / "n99999999").mkdir()
    with pytest.raises(InputError, match=r"class n99999999 is in val/ but not in train/, which has 4 classes"):
        open_dataset("imagenet", folders)
    (folders / "train" / "n99999999").mkdir()
    with pytest.raises(InputError, match=r"train/n99999999: no images of this class"):
        open_dataset("imagenet", folders)
    (folders / "train" / "n99999999").rmdir()
    (folders / "train" / "goldfish").mkdir()
    with pytest.raises(InputError, match=r"train/goldfish: not called by a WordNet id such as n01440764"):
        open_dataset("imagenet", folders)
    with pytest.raises(InputError, match=r"sample_split is for a folder with labels\.csv; this one has train/"):
        open_dataset("imagenet", folders, options={"sample_split": True})
    shutil.rmtree(folders / "train")
    shutil.rmtree(folders / "val")
    (folders / "val").mkdir()
    with pytest.raises(InputError, match="val: no class folders"):
        open_dataset("imagenet", folders)
    (folders / "val").rmdir()
    (folders / "images").mkdir()
    with pytest.raises(InputError, match=r"no train/, no val/ and no labels\.csv\. Expected: train/ and val/"):
        open_dataset("imagenet", folders)


def test_a_table_numbers_out_of_a_thousand(sample):
    folder, _ = sample
    splits = open_dataset("imagenet", folder)
    assert list(splits) == ["test"]
    test = splits["test"]
    assert test.ids == ("a.png", "b.png", "c.png")
    assert test.targets.tolist() == [999, 0, 999]
    assert len(test.classes) == len(set(test.classes)) == 1000
    assert (test.classes[0], test.classes[1], test.classes[999]) == ("n01440764", "class-1", "n13133613")
    assert check_dataset("imagenet", folder).ok
    assert test.card.title.startswith("a sample of ImageNet")


def test_a_table_in_the_usual_order_has_the_names_of_all_classes(sample):
    folder, write = sample
    write("a.png,0,n01440764", "b.png,2,n01484850", "c.png,999,n15075141")
    test = open_dataset("imagenet", folder)["test"]
    assert (test.classes[1], len(set(test.classes))) == ("n01443537", 1000)
    assert list(test.classes) == sorted(test.classes)  # as the networks of timm and torchvision have them


def test_pages_show_its_classes_by_name(real_data):
    """Those by which the sample's files are called, each behind its WordNet id."""
    with (real_data / SAMPLE / "labels.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 200
    for row in rows:
        name = Path(row["file"]).stem.removeprefix(f"{row['wnid']}_").replace("_", " ")
        assert readable(row["wnid"]).lower() == name.lower()
    names = [readable(one) for one in imagenet_classes()]
    assert len(set(names)) == 1000
    assert listed(imagenet_classes(), 2) == "tench, goldfish and 998 more"
    assert readable("n99999999") == "n99999999"


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        (["a.png,1000,n01440764"], r"line 2: class_index '1000'; expected 0 to 999"),
        (["a.png,-1,n01440764"], r"line 2: class_index '-1'"),
        (["a.png,tench,n01440764"], r"line 2: class_index 'tench'"),
        (["a.png,0,tench"], r"line 2: wnid 'tench'; expected a WordNet id"),
        (["a.png,0"], r"line 2: 2 columns; the header has 3"),
        (["a.png,0,n01440764", "b.png,0,n01443537"], r"line 3: class 0 is n01443537 here and n01440764 further up"),
        (["a.png,0,n01440764", "b.png,1,n01440764"], r"two class_index have the same wnid"),
        (["a.png,0,n01440764", "a.png,0,n01440764"], r"line 3: a\.png is named twice"),
        (["a.png,0,n01440764", "d.png,0,n01440764"], r"line 3: .*d\.png cannot be read \(No such file"),
        ([], r"labels\.csv: names no images"),
    ],
)
def test_a_table_that_makes_no_sense(sample, rows, match):
    folder, write = sample
    write(*rows)
    with pytest.raises(InputError, match=match):
        open_dataset("imagenet", folder)


def test_the_check_names_every_line_and_goes_on(sample):
    folder, write = sample
    write("a.png,1000,n01440764", "b.png,0,n01440764", "d.png,1,n01443537", "c.png,0")
    report = check_dataset("imagenet", folder)
    assert [p.reason[:6] for p in report.problems] == ["line 2", "line 4", "line 5"]
    assert report.found == 1


def test_the_check_of_folders_names_every_one_that_is_wrong(folders):
    (folders / "train" / "goldfish").mkdir()
    (folders / "train" / "n99999999").mkdir()
    (folders / "val" / "n99999998").mkdir()
    report = check_dataset("imagenet", folders)
    assert len(report.problems) == 3, report.problems
    assert report.found > 4


def test_a_table_without_its_columns(sample):
    folder, write = sample
    write("a.png,0", header="file,label")
    with pytest.raises(InputError, match=r"labels\.csv: no column class_index\. Expected: file, class_index"):
        open_dataset("imagenet", folder)


def test_a_table_of_files_and_indices_alone(sample):
    folder, write = sample
    write("0,a.png", "999,b.png", "0,c.png", header="class_index,file")
    test = open_dataset("imagenet", folder)["test"]
    assert test.ids == ("a.png", "b.png", "c.png")
    assert test.targets.tolist() == [0, 999, 0]
    assert (len(test.classes), test.classes[0], test.classes[999]) == (1000, "class-0", "class-999")
    assert check_dataset("imagenet", folder).ok


@pytest.mark.parametrize("path", ["../a.png", "x/../../a.png", "/tmp/a.png"])
def test_a_table_that_leads_out_of_its_folder(sample, path):
    folder, write = sample
    write(f"{path},0", header="file,class_index")
    with pytest.raises(InputError, match=r"line 2: .* leads out of"):
        open_dataset("imagenet", folder)


def test_a_check_prints_some_of_the_thousand_classes(sample, pellucid, tmp_path):
    _, output, _ = pellucid("data", "check", "imagenet", "--root", sample[0], "--out", tmp_path / "checked")
    assert sum("class-" in line for line in output.splitlines()) < 31
    assert "and 970 more classes" in output
    assert len(json.loads((tmp_path / "checked/check.json").read_text())["parts"]["test"]["labels"]) == 1000


def test_the_real_sample(real_data):
    test = open_dataset("imagenet", real_data / SAMPLE)["test"]
    with (real_data / SAMPLE / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(test.ids) == [row["file"] for row in rows]
    assert test.targets.tolist() == list(range(0, 1000, 5))
    for i, row in enumerate(rows):  # the published files carry their WordNet id in their names
        assert test.classes[test.targets[i]] == row["wnid"] == row["file"][:9]
    assert materialize(test.subset([0, 199]), InputSpec.square(3, 64)).shape == (2, 3, 64, 64)
    assert np.array_equal(test.read(7), read_image(real_data / SAMPLE / rows[7]["file"]))


def test_the_real_sample_cut_for_trials(real_data):
    whole = open_dataset("imagenet", real_data / SAMPLE)["test"]
    first, again, other = (
        open_dataset("imagenet", real_data / SAMPLE, seed=seed, options={"sample_split": True}) for seed in (0, 0, 1)
    )
    assert list(first) == ["train", "validation", "test"]
    assert sorted(name for part in first.values() for name in part.ids) == sorted(whole.ids)
    assert {k: v.ids for k, v in first.items()} == {k: v.ids for k, v in again.items()}
    assert first["train"].ids != other["train"].ids
    target = dict(zip(whole.ids, whole.targets.tolist(), strict=True))
    for part, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
        assert len(first[part]) / 200 == pytest.approx(share, abs=0.12)  # 3.5 standard deviations of 200 tosses
        assert first[part].targets.tolist() == [target[name] for name in first[part].ids]
        assert first[part].classes == whole.classes
