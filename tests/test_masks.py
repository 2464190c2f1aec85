"""Masks as ground truth: the real COVID-19 findings, and masks of one's own."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from pellucid.data import check_dataset, open_dataset
from pellucid.data.readers.masks import MaskFile, bounding_box, list_masks, mask_regions
from pellucid.data.regions import resize_mask
from pellucid.types import InputError


@pytest.fixture(scope="module")
def covid(real_data):
    return open_dataset("covid-findings", real_data / "covid-findings")


def test_counts_are_those_of_the_folder(covid, real_data):
    assert list(covid) == ["test"]
    test = covid["test"]
    masks = [p.stem.rpartition("__") for p in (real_data / "covid-findings" / "masks").iterdir()]
    assert len(test) == 100
    assert test.classes == ("Ground Glass Opacities", "Consolidation")
    for k, label in enumerate(test.classes):
        images = {stem for stem, _, name in masks if name.replace("_", " ") == label}
        assert len(images) == (93, 32)[k]
        images -= {"nejmoa2001191_f1-PA"}  # its only mask of a finding is one pixel in the corner
        assert {test.ids[i] for i in np.flatnonzero(test.targets[:, k])} == images
    assert test.targets.sum(axis=0).tolist() == [92, 32]
    assert {"Lungs", "Lesions", "Left Lung", "Tubings"} <= set(test.regions.labels)


def test_a_mask_at_its_own_size_is_the_file_and_its_box_is_the_published_one(covid, real_data):
    test = covid["test"]
    folder = real_data / "covid-findings" / "masks"
    for image, label in test.regions.pairs(["Left Lung", "Consolidation"])[:40]:
        region = next(r for r in test.regions.items if (r.image, r.label) == (image, label))
        pixels = np.asarray(Image.open(folder / f"{test.ids[image]}__{label.replace(' ', '_')}.png")) > 127
        np.testing.assert_array_equal(region.mask(), pixels)
        assert pixels.shape == test.read(image).shape[:2]
        rows, columns = np.nonzero(pixels)
        height, width = pixels.shape
        x, y, w, h = region.box
        assert (x * width, y * height) == pytest.approx((columns.min(), rows.min()))
        assert ((x + w) * width, (y + h) * height) == pytest.approx((columns.max() + 1, rows.max() + 1))


def test_derived_labels_are_unions(covid):
    regions = covid["test"].regions
    for image in range(0, 100, 9):
        for derived, sides in (
            ("Lungs", ["Left Lung", "Right Lung"]),
            ("Lesions", list(covid["test"].classes)),
        ):
            np.testing.assert_array_equal(regions.mask(image, derived, 64), regions.mask(image, sides, 64))


def test_lesions_lie_in_the_lungs(covid):
    """Masks and images belong together: most of every lesion's area is inside the lungs."""
    regions = covid["test"].regions
    inside = []
    for image, _ in regions.pairs(["Lesions"]):
        lesion, lungs = (regions.mask(image, label, 128) for label in ("Lesions", "Lungs"))
        inside.append((lesion & lungs).sum() / lesion.sum())
    assert np.quantile(inside, 0.1) > 0.9


def test_no_mask_vanishes_at_a_small_size(covid):
    regions = covid["test"].regions
    assert all(regions.mask(image, label, 8).any() for image, label in regions.pairs())
    dot = np.zeros((1000, 900), dtype=bool)
    dot[999, 450] = True
    assert np.argwhere(resize_mask(dot, 4)).tolist() == [[3, 2]]
    assert not resize_mask(dot & False, 4).any()


def test_side_views_are_left_out(real_data, tmp_path):
    root = real_data / "covid-findings"
    for part in ("images", "masks"):
        (tmp_path / part).symlink_to(root / part)
    lines = (root / "metadata.csv").read_text().splitlines()
    lines[1] = lines[1].replace(",PA,", ",L,")
    (tmp_path / "metadata.csv").write_text("\n".join(lines))
    assert len(open_dataset("covid-findings", tmp_path)["test"]) == 99


@pytest.mark.slow
def test_check_reads_images_and_masks(real_data, tmp_path):
    root = real_data / "covid-findings"
    report = check_dataset("covid-findings", root)
    assert report.ok
    assert sorted(note.reason[:23] for note in report.notes) == [
        "the mask covers 0 pixel",
        "the mask covers 1 pixel",
    ]
    shutil.copytree(root, tmp_path / "copy")
    mask = next((tmp_path / "copy" / "masks").iterdir())
    mask.write_bytes(mask.read_bytes()[:60])
    report = check_dataset("covid-findings", tmp_path / "copy")
    assert not report.ok
    assert str(mask) in report.problems[0].reason


def test_masks_of_ones_own(tmp_path):
    (tmp_path / "masks").mkdir()
    pixels = np.zeros((4, 8), dtype=np.uint8)
    pixels[1:3, 2:4] = 255
    Image.fromarray(pixels).save(tmp_path / "masks" / "a__Big_Thing.png")
    Image.fromarray(pixels * 0).save(tmp_path / "masks" / "b__Big_Thing.png")
    Image.fromarray(pixels).save(tmp_path / "masks" / "c__Big_Thing.png")
    masks = list_masks(tmp_path / "masks")
    assert masks[0] == MaskFile("a", "Big Thing", tmp_path / "masks" / "a__Big_Thing.png")
    regions = mask_regions(["b", "a"], masks, derived={"Anything": ["Big Thing", "Small Thing"]})
    assert regions.pairs() == [(1, "Anything"), (1, "Big Thing")]
    assert regions.items[0].box == (0.25, 0.25, 0.25, 0.5)
    expected = np.zeros((4, 4), dtype=bool)
    expected[1:3, 1] = True
    np.testing.assert_array_equal(regions.mask(1, "Anything", 4), expected)


def test_a_mask_of_another_size_and_a_name_without_class_are_refused(tmp_path):
    Image.new("L", (8, 4), 255).save(tmp_path / "a__Thing.png")
    Image.new("L", (8, 5)).save(tmp_path / "image.png")
    with pytest.raises(InputError, match=r"a__Thing.png: the mask is 8 × 4 pixels, its image image.png 8 × 5"):
        mask_regions(["a"], [MaskFile("a", "Thing", tmp_path / "a__Thing.png")], images=[tmp_path / "image.png"])
    with pytest.raises(InputError, match=r"image.png is not named <image>__<Class>.png"):
        list_masks(tmp_path)


def test_bounding_box_of_nothing_is_none():
    assert bounding_box(np.zeros((3, 3), dtype=bool)) is None
