"""An image is turned upright in every format, as Pillow's own function turns it; boxes follow the upright image."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from helpers.tiff import tiff
from pellucid.data.checks.check import check_dataset
from pellucid.data.decoding.image import image_size, read_image
from pellucid.data.registry import open_dataset

PIXELS = np.add.outer(np.arange(16) * 9, np.arange(24) * 4).astype(np.uint8)
ALL = pytest.mark.parametrize("orientation", range(1, 9))


def noted(path, orientation, pixels=PIXELS):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {".jpg": {"quality": 100}, ".webp": {"lossless": True}}.get(path.suffix, {})
    Image.fromarray(pixels).save(path, exif=exif, **options)
    return path


@ALL
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_every_orientation_in_every_format(tmp_path, suffix, orientation):
    path = noted(tmp_path / f"a.{suffix}", orientation)
    with Image.open(noted(tmp_path / "expected.png", orientation)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    found = read_image(path)
    found = found if found.ndim == 2 else found[:, :, 0]
    assert found.shape == ((24, 16) if orientation > 4 else (16, 24))
    np.testing.assert_allclose(found.astype(int), expected, atol=3 if suffix == "jpg" else 0)
    assert image_size(path) == found.shape[::-1]


@ALL
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_that_pillow_reads_wrongly_is_turned_all_the_same(tmp_path, orientation, photometric, order):
    values = np.arange(6).reshape(2, 3) * 10_000
    path = tiff(tmp_path / "a.tif", values, bits=16, photometric=photometric, order=order, orientation=orientation)
    upright = {  # which row and column stand first and second, by TIFF 6.0: top, bottom, left, right
        1: values,
        2: values[:, ::-1],
        3: values[::-1, ::-1],
        4: values[::-1],
        5: values.T,
        6: values[::-1].T,
        7: values[::-1, ::-1].T,
        8: values[:, ::-1].T,
    }[orientation]
    np.testing.assert_array_equal(read_image(path, bits=16), upright if photometric else 65535 - upright)


def test_what_notes_none_or_nonsense_is_left_as_it_is(tmp_path):
    for number in (0, 9, 300):
        np.testing.assert_array_equal(read_image(noted(tmp_path / "a.png", number)), PIXELS)
    data = noted(tmp_path / "a.jpg", 6).read_bytes()
    at = data.index(b"Exif\0\0") + 6
    (tmp_path / "cut.jpg").write_bytes(data[: at + 2] + b"\xff" * 4 + data[at + 6 :])  # no TIFF in its EXIF
    assert read_image(tmp_path / "cut.jpg").shape == PIXELS.shape


def test_a_box_is_of_the_upright_image(tmp_path):
    bright = np.zeros((20, 40), np.uint8)
    bright[2:6, 30:38] = 255  # near the right end; turned by 90 degrees to the right, at the bottom
    for name in ("a.png", "b.png"):
        noted(tmp_path / name, 6, bright if name == "a.png" else bright + 1)
    (tmp_path / "labels.csv").write_text("path,class,split\na.png,x,test\nb.png,y,test\n")
    (tmp_path / "boxes.csv").write_text("path,label,x,y,width,height\na.png,x,14,30,4,8\n")
    data = open_dataset("table", tmp_path)["test"]
    image, box = data.read(0), data.regions.items[0].box
    assert image.shape == (40, 20)
    assert box == (14 / 20, 30 / 40, 4 / 20, 8 / 40)
    assert (image[30:38, 14:18] == 255).all()
    assert (image == 255).sum() == 32


def test_the_check_counts_what_was_turned(tmp_path):
    for kind in "ab":
        (tmp_path / kind).mkdir()
        for number in range(4):
            noted(tmp_path / kind / f"{number}.png", 3 if kind == "a" and number else 1, PIXELS + number + ord(kind))
    report = check_dataset("folder", tmp_path, options={"test_fraction": 1})
    assert report.ok
    assert [n.reason for n in report.notes if "upright" in n.reason] == [
        "3 images, such as a/1.png: turned upright, as EXIF or TIFF note it; boxes and masks are taken to be of the "
        "upright image"
    ]
