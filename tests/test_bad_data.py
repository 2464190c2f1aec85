"""Bad input: each gets one clear error, with the file and what to do, before any image is decoded."""

from __future__ import annotations

from importlib import import_module

import pytest
from PIL import Image

from pellucid.data import check_dataset, open_dataset
from pellucid.data.registry import DATASETS, get_entry
from pellucid.types import InputError

TABLE = "Data_Entry_2017.csv"
BOXES = "BBox_List_2017.csv"
HEADER = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,\n"
ON_DISK = [name for name, entry in DATASETS.items() if entry.needs_root]


@pytest.fixture
def release(tmp_path):
    """ChestX-ray14 in small: four patients, six images, two boxes."""
    root = tmp_path / "release"
    (root / "images").mkdir(parents=True)
    images = ("1_000", "1_001", "2_000", "3_000", "4_000", "4_001")
    names = [f"0000000{image}.png" for image in images]
    for name in names:
        Image.new("L", (8, 8), 90).save(root / "images" / name)
    found = ["No Finding", "Mass|Nodule"] * 3
    rows = [f"{name},{label},0,{int(name[:8])},50,M,PA,\n" for name, label in zip(names, found, strict=True)]
    (root / TABLE).write_text(HEADER + "".join(rows))
    (root / "train_val_list.txt").write_text("\n".join(names[:4]))
    (root / "test_list.txt").write_text("\n".join(names[4:]) + "\n")
    (root / BOXES).write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n00000004_001.png,Mass,10,20,30,40,,,\n"
        "00000004_001.png,Nodule,0.5,1000,23.5,24.2,,,\n"
    )
    return root


@pytest.fixture(autouse=True)
def no_pixels_are_read(monkeypatch, request):
    """Errors come before long work: opening may decode no image."""
    if "check" in request.node.name:
        return
    for module in ("chestxray14.reader", "folder"):
        monkeypatch.setattr(f"pellucid.data.readers.{module}.read_image", lambda path: pytest.fail(f"decoded {path}"))


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def refused(name, root, *parts, **options):
    with pytest.raises(InputError) as caught:
        open_dataset(name, root, options=options)
    for part in parts:
        assert str(part) in str(caught.value)
    return str(caught.value)


def test_the_small_release_opens(release):
    splits = open_dataset("chestxray14", release)
    assert {k: len(set(v.patients)) for k, v in splits.items()} == {"train": 2, "validation": 1, "test": 1}
    assert len(splits["test"].regions) == 2


@pytest.mark.parametrize("name", ON_DISK)
def test_no_folder_no_such_folder_an_empty_one_or_a_file(name, tmp_path):
    layout = get_entry(name).layout
    refused(name, None, name, "give its folder", layout)
    refused(name, tmp_path / "gone", tmp_path / "gone", "no such folder", layout)
    refused(name, tmp_path, tmp_path, "the folder is empty", layout)
    (tmp_path / "file").write_text("")
    refused(name, tmp_path / "file", "the table has no rows" if name == "table" else "a file, not the folder")


@pytest.mark.parametrize("name", ON_DISK)
def test_a_folder_of_something_else(name, tmp_path):
    (tmp_path / "readme.txt").write_text("nothing to see")
    refused(name, tmp_path, tmp_path, "Expected: ")
    report = check_dataset(name, tmp_path)
    assert not report.ok
    assert str(tmp_path) in report.problems[0].reason


@pytest.mark.parametrize("name", ON_DISK)
def test_an_unknown_option(name, tmp_path):
    (tmp_path / "readme.txt").write_text("")
    refused(name, tmp_path, f"options of {name}", "colour", colour="red")


@pytest.mark.parametrize(
    ("given", "meant"), [("chestxray-14", "chestxray14"), ("Phantom", "phantom"), ("covid", "covid-findings")]
)
def test_an_unknown_dataset_gets_the_nearest_name(given, meant):
    refused(given, None, f"unknown dataset {given!r}", f"Did you mean {meant!r}?")


@pytest.mark.parametrize("name", DATASETS)
def test_every_entry_has_its_opener_and_its_card(name):
    entry = get_entry(name)
    assert entry.card.name == name
    assert callable(getattr(import_module(entry.module), entry.opener))


@pytest.mark.parametrize("missing", ["Image Index", "Finding Labels", "Patient ID"])
def test_a_table_without_a_column(release, missing):
    replace(release / TABLE, missing, "Something")
    refused("chestxray14", release, release / TABLE, f"no column {missing!r}", "Something")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (TABLE, "001.png,Mass|Nodule", "001.png,Mass|Nodul", "line 3: unknown finding 'Nodul'. Did you mean"),
        (TABLE, "00000002_000.png", "00000001_000.png", "00000001_000.png is there more than once"),
        (TABLE, "00000003_000.png,Mass|Nodule,0,3,50,M,PA,", "00000003_000.png,Mass", "line 5: 2 cells"),
        (TABLE, ",0,2,50", ",0,,50", "line 4: no patient"),
        (TABLE, ",0,4,50", ",0,1,50", "both in"),
        ("train_val_list.txt", "00000002_000.png", "00000009_000.png", "line 3: 00000009_000.png is not in"),
        ("train_val_list.txt", "00000002_000.png", "00000001_000.png", "there more than once"),
        ("test_list.txt", "00000004_000.png", "00000001_000.png", "also in train_val_list.txt"),
        (BOXES, "Finding Label,", "Label,", "expected the columns"),
        (BOXES, "Mass", "Lump", "line 2: unknown finding 'Lump'"),
        (BOXES, "Mass", "No Finding", "line 2: a box of 'No Finding'"),
        (BOXES, "10,20,30,40", "1000,20,30,40", "line 2: box x=1000 y=20 width=30 height=40 lies outside"),
        (BOXES, "10,20,30,40", "-10,20,30,40", "lies outside its image of 1024 × 1024"),
        (BOXES, "10,20,30,40", "10,20,0,40", "positive width and height"),
        (BOXES, "10,20,30,40", "10,20,nan,40", "line 2: a box needs finite"),
        (BOXES, "10,20,30,40", "10,20,thirty,40", "line 2: expected image, finding, x, y, w, h"),
        (BOXES, "10,20,30,40,,,", "10,20,30", "line 2: expected image, finding, x, y, w, h"),
    ],
)  # fmt: skip
def test_tables_and_lists_that_are_not_as_released(release, file, old, new, message):
    replace(release / file, old, new)
    said = refused("chestxray14", release, message)
    if "both in" not in message:
        assert str(release / file) in said


def test_a_box_that_sticks_out_by_rounding_is_cut(release):
    replace(release / BOXES, "10,20,30,40", "-0.4,20,30,1004.5")
    box = open_dataset("chestxray14", release)["test"].regions.items[0].box
    assert box[0] == 0
    assert box[1] + box[3] == 1


@pytest.mark.parametrize("file", [TABLE, "train_val_list.txt", "test_list.txt"])
def test_a_release_without_a_file(release, file):
    (release / file).unlink()
    refused("chestxray14", release, release, file)


@pytest.mark.parametrize("content", ["", HEADER, HEADER.encode("utf-16"), b"\xff\xfe\x00bad"])
def test_an_empty_or_unreadable_table(release, content):
    (release / TABLE).write_bytes(content.encode() if isinstance(content, str) else content)
    refused("chestxray14", release, release / TABLE)


def test_a_release_without_images_or_boxes(release):
    boxed = {"boxed_test_only": True}
    (release / BOXES).unlink()
    with pytest.warns(UserWarning, match="no ground truth for localisation"):
        assert open_dataset("chestxray14", release)["test"].regions is None
    with pytest.warns(UserWarning, match="localisation"):
        refused("chestxray14", release, "no test image carries a box", **boxed)
    with pytest.warns(UserWarning, match="localisation"):
        refused("chestxray14", release, "boxed_for_training is set", boxed_for_training=0.5)
    refused("chestxray14", release, "boxed_for_training", boxed_for_training=1.0)
    for image in (release / "images").iterdir():
        image.unlink()
    refused("chestxray14", release, release, "none of the 6 images")


def test_check_of_a_release_names_all_lines_and_files_that_are_wrong(release):
    rows = (release / TABLE).read_text().splitlines()
    more = ["00000005_000.png,Lump,0,5,50,M,PA,", "00000006_000.png,Mass,0,,50,M,PA,", rows[2]]
    (release / TABLE).write_text("\n".join([*rows, *more]))
    (release / "train_val_list.txt").write_text(
        (release / "train_val_list.txt").read_text() + "\n00000005_000.png\n00000009_000.png"
    )
    boxes = ["00000004_001.png,Mass,1000,20,30,40,,,", "00000004_001.png,Mass,1,20,nan,40,,,"]
    (release / BOXES).write_text((release / BOXES).read_text() + "\n".join(boxes))
    (release / "images" / "00000002_000.png").write_bytes(b"")
    report = check_dataset("chestxray14", release)
    told = "\n".join(f"{p.file}: {p.reason}" for p in report.problems)
    for part in (
        f"{TABLE}: line 8: unknown finding 'Lump'",
        f"{TABLE}: line 9: no patient",
        f"{TABLE}: 00000001_001.png is there more than once",
        "train_val_list.txt: line 6: 00000009_000.png is not in",
        f"{BOXES}: line 4: box x=1000",
        f"{BOXES}: line 5: a box needs finite",
        "00000002_000.png: ",
    ):
        assert told.count(part) == 1, told
    assert "00000005_000.png is not in" not in told  # its line in the table is what is wrong
    assert report.found == 6
    assert report.parts["test"].regions == {"Mass": 1, "Nodule": 1}


def test_check_of_a_truncated_png_names_it(release):
    assert check_dataset("chestxray14", release).ok
    image = release / "images" / "00000003_000.png"
    image.write_bytes(image.read_bytes()[:50])
    report = check_dataset("chestxray14", release)
    assert [p.file for p in report.problems] == [str(image)]
    assert report.found == 6


def test_check_of_a_folder_names_what_is_broken(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(6):
            Image.new("L", (4, 4)).save(tmp_path / name / f"{i}.png")
    assert check_dataset("folder", tmp_path).ok
    (tmp_path / "b" / "3.png").write_text("oops")
    report = check_dataset("folder", tmp_path)
    assert [p.file for p in report.problems] == [str(tmp_path / "b" / "3.png")]


def test_folders_that_are_not_right(tmp_path):
    def fill(name, *images):
        (tmp_path / name).mkdir(parents=True)
        for image in images:
            Image.new("L", (4, 4)).save(tmp_path / name / image)

    fill("train/a", "1.png", "2.png")
    fill("train/b")
    refused("folder", tmp_path, tmp_path / "train" / "b", "no images of this class")
    Image.new("L", (4, 4)).save(tmp_path / "train" / "b" / "3.jpg")
    fill("test/c", "4.png")
    refused("folder", tmp_path, "class 'c' is in test but not in train", "Classes: a, b")
    refused("folder", tmp_path, "ask for the validation folder", validation="folder")
    refused("folder", tmp_path, "not a regular expression", patient_pattern="(")
    refused("folder", tmp_path, "needs one group", patient_pattern="a")
    refused(
        "folder",
        tmp_path,
        tmp_path / "test" / "c" / "4.png",
        "finds no patient",
        patient_pattern="([a-z]+[123])",
    )
    (tmp_path / "val").mkdir()
    (tmp_path / "validation").mkdir()
    refused("folder", tmp_path, "two folders for the validation part")


def test_too_few_patients_to_cut(tmp_path):
    (tmp_path / "train" / "a").mkdir(parents=True)
    Image.new("L", (4, 4)).save(tmp_path / "train" / "a" / "1.png")
    refused("folder", tmp_path, "at least two patients")
    assert len(open_dataset("folder", tmp_path, options={"validation_fraction": 0})["train"]) == 1


def test_masks_that_are_not_right(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("L", (8, 6)).save(tmp_path / "images" / "x.png")
    refused("covid-findings", tmp_path, tmp_path, "no folder masks/")
    (tmp_path / "masks").mkdir()
    refused("covid-findings", tmp_path, "no frontal image with a mask")
    mask = tmp_path / "masks" / "x__Consolidation.png"
    Image.new("L", (8, 7), 255).save(mask)
    refused("covid-findings", tmp_path, mask, "the mask is 8 × 7 pixels")
    Image.new("L", (8, 6), 255).save(mask)
    (tmp_path / "metadata.csv").write_text("filename,modality\nx.png,X-ray\n")
    refused("covid-findings", tmp_path, tmp_path / "metadata.csv", "no column 'view'")
    (tmp_path / "metadata.csv").unlink()
    assert open_dataset("covid-findings", tmp_path)["test"].targets.tolist() == [[0, 1]]
    mask.write_bytes(mask.read_bytes()[:40])
    refused("covid-findings", tmp_path, mask)
