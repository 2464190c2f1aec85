"""JSRT as people have it: films converted to images and DICOM, without a table of nodules, with outlines of organs."""

from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import pellucid as pl
from helpers.dicom import radiograph
from helpers.models import small
from pellucid.data import check_dataset, open_dataset
from pellucid.data.readers.jsrt.pixels import read_converted
from pellucid.data.readers.jsrt.reader import check
from pellucid.types import InputError

SIDE = 64
ALL = {"test_fraction": 1}
pytestmark = pytest.mark.filterwarnings("ignore:.*films found", "ignore:.*no CLNDAT_EN")


def film(seed=0):
    """12 bits, bright in the middle as a chest is when it is looked at; white and black are there."""
    values = np.random.default_rng(seed).integers(500, 2500, (SIDE, SIDE))
    values[:, 24:40] += 1500
    values[0, 0], values[1, 0] = 0, 4095
    return values.astype(np.uint16)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write(folder, names, ending="png"):
    for i, name in enumerate(names):
        save(folder / f"{name}.{ending}", (film(i) // 16).astype(np.uint8))
    return folder


@pytest.fixture
def films(tmp_path):
    return write(tmp_path / "jsrt", ("JPCLN001", "JPCLN002", "JPCNN001", "JPCNN002"))


def mask(left, right, top=16, bottom=48, side=SIDE):
    pixels = np.zeros((side, side), dtype=np.uint8)
    pixels[top:bottom, left:right] = 255
    return pixels


def in_8_bits(values):
    return np.rint(values / 4095 * 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("ending", "convert", "levels", "negative"),
    [
        ("png", in_8_bits, 255, False),
        ("tif", in_8_bits, 255, False),
        ("png", lambda v: np.stack([in_8_bits(v)] * 3, axis=2), 255, False),
        ("png", lambda v: np.rint(v / 4095 * 65535).astype(np.uint16), 65535, False),
        ("tiff", lambda v: np.rint(v / 4095 * 65535).astype(np.uint16), 65535, False),
        ("png", lambda v: v, 4095, False),
        ("tif", lambda v: v, 4095, False),
        ("tif", lambda v: 4095 - v, 4095, True),
        ("tif", lambda v: 65535 - v, 4095, True),
        ("png", lambda v: 255 - in_8_bits(v), 255, True),
    ],
)
def test_a_film_is_the_same_whatever_it_was_converted_to(tmp_path, ending, convert, levels, negative):
    save(tmp_path / f"JPCNN001.{ending}", convert(film()))
    pixels = read_converted(tmp_path / f"JPCNN001.{ending}", negative=negative)
    assert pixels.dtype == np.uint16
    assert np.abs(pixels / 65535 - film() / 4095).max() <= 0.5 / levels + 0.5 / 65535


def test_a_dicom_file_says_itself_whether_it_is_a_negative(tmp_path):
    radiograph(tmp_path / "JPCNN001.dcm", film())
    radiograph(tmp_path / "JPCNN002.dcm", 4095 - film(), PhotometricInterpretation="MONOCHROME1")
    radiograph(tmp_path / "JPCNN003", film(), BitsStored=16, HighBit=15)  # 12 bits in use, of 16 that are declared
    dataset = open_dataset("jsrt", tmp_path, options=ALL)["test"]
    assert dataset.ids == ("JPCNN001", "JPCNN002", "JPCNN003")
    for i in range(3):
        assert np.abs(dataset.read(i) / 65535 - film() / 4095).max() <= 1 / 65535


def test_a_negative_is_refused_and_so_is_the_option_where_there_is_none(films):
    upright = open_dataset("jsrt", films, options=ALL)["test"]
    turned = open_dataset("jsrt", films, options={**ALL, "negative": True})["test"]
    with pytest.raises(InputError, match=r"JPCLN001\.png: darker in the middle .*leave the option negative out"):
        turned.read(0)
    before = upright.read(0)
    save(films / "JPCLN001.png", 255 - np.asarray(Image.open(films / "JPCLN001.png")))
    with pytest.raises(InputError, match=r"is a negative\. .*--data-option negative=true"):
        upright.read(0)
    np.testing.assert_array_equal(turned.read(0), before)


@pytest.mark.parametrize(
    ("pixels", "match"),
    [
        (np.full((SIDE, SIDE - 1), 9, dtype=np.uint8), r"63 × 64 pixels; a film is square"),
        (np.stack([film() // 16, film() // 17, film() // 16], axis=2).astype(np.uint8), r"in colour; a film is grey"),
    ],
)
def test_what_is_no_whole_gray_film_is_refused(tmp_path, pixels, match):
    save(tmp_path / "JPCNN001.png", pixels)
    with pytest.raises(InputError, match=rf"JPCNN001\.png: {match}"):
        read_converted(tmp_path / "JPCNN001.png")


def test_without_a_table_names_are_the_labels_and_nobody_knows_where_the_nodules_are(films):
    with pytest.warns(UserWarning, match=r"no CLNDAT_EN\.txt: where the nodules are is not known"):
        dataset = open_dataset("jsrt", films, options=ALL)["test"]
    assert dataset.targets[:, 0].tolist() == [1, 1, 0, 0]
    assert dataset.regions is None
    assert dataset.stable_ids[0] == "jsrt/JPCLN001"  # the film's, whatever it was converted to


def test_with_the_table_nodules_have_boxes_at_any_size(films):
    rows = [f"JPCLN00{i}.IMG\t3\t35.84\t60\tfemale\t1024\t512\tbenign\tr.lower lobe" for i in (1, 2)]
    (films / "CLNDAT_EN.txt").write_text("\r".join(rows))
    regions = open_dataset("jsrt", films, options=ALL)["test"].regions
    assert regions.pairs() == [(0, "Nodule"), (1, "Nodule")]
    side = 35.84 / 0.175 / 2048  # of the film
    assert regions.items[0].box == pytest.approx((0.5 - side / 2, 0.25 - side / 2, side, side))


def test_outlines_are_regions_of_their_own_in_every_layout_that_people_have(films):
    save(films / "masks" / "JPCLN001__Left Lung.png", mask(40, 56))
    save(films / "masks" / "JPCLN001__right_lung.png", mask(8, 24))
    save(films / "SCR" / "fold1" / "masks" / "heart" / "JPCLN001.gif", mask(24, 44, 30, 50))
    save(films / "scratch" / "fold2" / "masks" / "Right-Clavicle" / "JPCNN001.gif", mask(10, 40, 8, 16, side=128))
    save(films / "masks" / "lungs" / "JPCNN002.png", mask(8, 56).astype(bool))
    regions = open_dataset("jsrt", films, options=ALL)["test"].regions
    assert regions.labels == ("Clavicles", "Heart", "Left Lung", "Lungs", "Right Clavicle", "Right Lung")
    np.testing.assert_array_equal(regions.mask(0, "Left Lung", SIDE), mask(40, 56) > 0)
    np.testing.assert_array_equal(regions.mask(0, "Lungs", SIDE), (mask(40, 56) + mask(8, 24)) > 0)
    np.testing.assert_array_equal(regions.mask(0, "Heart", SIDE), mask(24, 44, 30, 50) > 0)
    np.testing.assert_array_equal(regions.mask(2, "Clavicles", SIDE), mask(5, 20, 4, 8) > 0)  # of half the size
    np.testing.assert_array_equal(regions.mask(3, "Lungs", SIDE), mask(8, 56) > 0)
    issues = check(films)
    assert [issue.reason for issue in issues if not issue.serious] == [
        "1 film without outlines, which others have: JPCLN002"
    ]


@pytest.mark.parametrize(
    ("add", "match"),
    [
        (lambda f: write(f, ["JPCLN003"], "tif"), r"several kinds: 4 PNG files, such as \S+ and 1 TIFF file, such as"),
        (lambda f: write(f, ["JPCLN001"], "tif"), r"several kinds: .*; 1 film in more than one\. Grey values"),
        (lambda f: write(f / "again", ["JPCLN001"]), r"again.JPCLN001\.png: the same film as .*Take one of them away"),
        (lambda f: write(f, ["JPCLN155"]), r"JPCLN155\.png: called as no film of the release"),
        (lambda f: write(f / "masks", ["JPCLN001"]), r"JPCLN001\.png: it is not said of what this is a mask"),
        (lambda f: write(f / "heart", ["JPCNN094"]), r"JPCNN094\.png: called as no film .* nor as the mask of one"),
        (
            lambda f: save(f / "JPCLN001__Heart.png", mask(1, 9)[:60]),
            r"Heart\.png: the mask is 64 × 60 pixels; it must",
        ),
        (lambda f: save(f / "heart" / "JPCLN001.png", mask(9, 9)), r"heart.JPCLN001\.png: the mask marks nothing"),
        (
            lambda f: (f / "JPCLN001__Heart.png").write_bytes(b"no"),
            r"Heart\.png: not an image of a format that is read",
        ),
    ],
)
def test_what_is_wrong_in_the_folder_is_one_error_and_the_check_goes_on(films, add, match):
    add(films)
    with pytest.raises(InputError, match=match):
        open_dataset("jsrt", films, options=ALL)
    report = check_dataset("jsrt", films, options=ALL)
    assert report.found == 4
    assert len([p for p in report.problems if "no such file" not in p.reason]) == 1


def test_raw_films_are_no_negatives_and_other_images_are_left_out(films, tmp_path):
    save(films / "logo.png", film())
    with pytest.warns(UserWarning, match=r"1 image not called as the films are, such as logo\.png"):
        open_dataset("jsrt", films, options=ALL)
    (tmp_path / "others").mkdir()
    save(tmp_path / "others" / "scan1.png", film())
    with pytest.raises(InputError, match=r"none of the 247 films is there\. .*scan1\.png.* Expected"):
        open_dataset("jsrt", tmp_path / "others")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "JPCNN001.IMG").write_bytes(b"")
    with pytest.raises(InputError, match=r"its films are raw, and turned over anyway"):
        open_dataset("jsrt", tmp_path / "raw", options={"negative": True})


def test_a_mask_of_a_film_that_is_not_there_is_said(films):
    save(films / "heart" / "JPCLN099.png", mask(9, 20))
    report = check_dataset("jsrt", films, options=ALL)
    assert any("outlines and no image" in note.reason and "JPCLN099" in note.reason for note in report.notes)
    assert open_dataset("jsrt", films, options=ALL)["test"].regions is None


def test_how_much_of_a_map_lies_in_the_lungs_is_measured_for_a_network_of_other_findings(films):
    covered = {"JPCLN001": mask(8, 24) | mask(40, 56), "JPCNN001": mask(8, 40, top=0)}
    for name, pixels in covered.items():
        save(films / "masks" / f"{name}__Lungs.png", pixels)
    model = small(size=SIDE, classes=("Effusion", "Nodule"))
    dataset = open_dataset("jsrt", films, options=ALL)["test"]
    result = pl.localize(model, dataset, "saliency", regions={"Effusion": ["Lungs"]}, boxes=False)
    shares = {
        row["method"]: row for row in result.rows if row["metric"] == "energy_share" and row["class"] == "Effusion"
    }
    area = np.mean([pixels.mean() / 255 for pixels in covered.values()])
    assert shares["trivial: uniform"]["value"] == pytest.approx(area)
    inside = []
    for name, pixels in covered.items():
        image = torch.from_numpy(dataset.read(dataset.ids.index(name)) / 65535).float()[None, None]
        heat = pl.explain(model, image, "saliency", classes="Effusion").maps[0].numpy()
        inside.append(heat[pixels > 0].sum() / heat.sum())
    assert shares["saliency"]["value"] == pytest.approx(np.mean(inside), rel=1e-4)
    assert shares["saliency"]["n"] == 2


def test_the_real_films_with_their_outlines(real_data, tmp_path):
    folder = real_data / "jsrt"
    dataset = open_dataset("jsrt", folder, options=ALL)["test"]
    with (folder / "labels.csv").open() as file:
        labels = {row["file"].removesuffix(".png"): row["label"] == "nodule" for row in csv.DictReader(file)}
    assert dict(zip(dataset.ids, dataset.targets[:, 0].astype(bool), strict=True)) == labels
    regions = dataset.regions
    assert len(regions.pairs(["Left Lung", "Right Lung", "Heart", "Lungs"])) == 4 * 247
    masks = {label: np.stack([regions.mask(i, label, 32) for i in range(0, 247, 13)]) for label in regions.labels}
    np.testing.assert_array_equal(masks["Lungs"], masks["Left Lung"] | masks["Right Lung"])
    left, heart, right = (np.nonzero(masks[organ])[2].mean() for organ in ("Left Lung", "Heart", "Right Lung"))
    assert right < heart < left  # the patient faces us
    for i in range(0, 247, 13):  # heart brighter than lungs: upright, as the reader took it
        pixels = dataset.read(i)
        heart, lungs = (pixels[regions.mask(i, organ, pixels.shape[0])].mean() for organ in ("Heart", "Lungs"))
        assert heart > lungs
    negative = tmp_path / "JPCLN001.png"
    save(negative, 255 - np.asarray(Image.open(folder / "images" / negative.name)))
    with pytest.raises(InputError, match="it is a negative"):
        read_converted(negative)


def test_the_check_works_on_real_films(real_data, tmp_path):
    names = ("JPCLN001", "JPCLN154", "JPCNN001", "JPCNN093")
    for source in [path for name in names for path in (real_data / "jsrt").glob(f"*/{name}*")]:
        target = tmp_path / source.parent.name / source.name
        target.parent.mkdir(exist_ok=True)
        shutil.copy(source, target)
    report = check_dataset("jsrt", tmp_path, options=ALL)
    assert (report.found, report.expected) == (4, 247)
    assert report.parts["test"].labels == {"Nodule": 2}
    assert report.parts["test"].regions == {"Heart": 4, "Left Lung": 4, "Lungs": 8, "Right Lung": 4}
    assert {problem.reason for problem in report.problems} == {
        "named by the dataset's lists, but there is no such file"
    }
