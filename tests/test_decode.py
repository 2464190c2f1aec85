"""Files of every kind become pixels, and pixels the input of a network: fitting, 16 bits, and the limit of pixels."""

from __future__ import annotations

import os

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.dicom import radiograph
from pellucid.data.decoding.fitting import fit
from pellucid.data.decoding.image import read_image
from pellucid.data.dicom.file import is_dicom, read_dicom
from pellucid.types import InputError, InputSpec

GRAY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
RGB = np.stack([GRAY, 255 - GRAY, GRAY // 2], axis=2)


def save(path, pixels, mode=None, **options):
    Image.fromarray(pixels, mode).save(path, **options) if mode else Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
def test_lossless_files_come_back(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    np.testing.assert_array_equal(read_image(save(tmp_path / f"rgb.{suffix}", RGB, **options)), RGB)
    if suffix != "webp":
        np.testing.assert_array_equal(read_image(save(tmp_path / f"gray.{suffix}", GRAY)), GRAY)


def test_alpha_is_dropped_if_constant_and_blended_over_black_if_not(tmp_path):
    opaque = np.dstack([RGB, np.full_like(GRAY, 255)])
    faint = np.dstack([RGB, np.full_like(GRAY, 7)])
    half = opaque.copy()
    half[:, :4, 3] = 0
    for name, pixels in (("opaque", opaque), ("faint", faint)):
        np.testing.assert_array_equal(read_image(save(tmp_path / f"{name}.png", pixels)), RGB)
    blended = read_image(save(tmp_path / "half.png", half))
    assert not blended[:, :4].any()
    np.testing.assert_array_equal(blended[:, 4:], RGB[:, 4:])
    with_gray = np.dstack([GRAY, np.full_like(GRAY, 255)])
    assert (read_image(save(tmp_path / "la.png", with_gray)) == GRAY[:, :, None]).all()


def test_16_bit_uses_the_full_range(tmp_path):
    wide = np.array([[0, 128, 129, 257], [32768, 65406, 65407, 65535]], dtype=np.uint16)
    expected = np.rint(wide / 257.0).astype(np.uint8)
    np.testing.assert_array_equal(read_image(save(tmp_path / "wide.png", wide)), expected)
    np.testing.assert_array_equal(read_image(save(tmp_path / "wide.tif", wide)), expected)


def test_palette_and_one_bit(tmp_path):
    Image.fromarray(RGB).quantize(200).save(tmp_path / "palette.png")
    with Image.open(tmp_path / "palette.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(read_image(tmp_path / "palette.png"), np.asarray(image.convert("RGB")))
    Image.fromarray(GRAY > 100).save(tmp_path / "bit.png")
    np.testing.assert_array_equal(read_image(tmp_path / "bit.png"), np.where(GRAY > 100, 255, 0))


def test_jpeg_agrees_with_pillow(tmp_path):
    y, x = np.mgrid[:40, :56]
    smooth = (127 + 60 * np.sin(x / 9) + 60 * np.cos(y / 7)).astype(np.uint8)
    colour = np.stack([smooth, np.roll(smooth, 5, 1), 255 - smooth], axis=2)
    for name, pixels in (("gray.jpg", smooth), ("colour.jpeg", colour)):
        path = save(tmp_path / name, pixels, quality=95)
        mine, theirs = read_image(path), np.asarray(Image.open(path))
        assert mine.shape == pixels.shape
        assert np.abs(mine.astype(int) - theirs).max() <= 3
    cmyk = Image.fromarray(colour).convert("CMYK")
    cmyk.save(tmp_path / "cmyk.jpg")
    assert read_image(tmp_path / "cmyk.jpg").shape == (40, 56, 3)


def test_stray_bytes_in_a_jpeg_harm_nothing(tmp_path):
    data = simplejpeg.encode_jpeg(np.repeat(GRAY[:, :, None], 3, 2))
    (tmp_path / "clean.jpg").write_bytes(data)
    (tmp_path / "stray.jpg").write_bytes(data[:-2] + b"\0\0\0" + data[-2:])
    np.testing.assert_array_equal(read_image(tmp_path / "stray.jpg"), read_image(tmp_path / "clean.jpg"))


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("gone.png", None, "cannot be read"),
        ("empty.png", lambda p: p.write_bytes(b""), "the file is empty"),
        ("text.png", lambda p: p.write_text("hello"), "not an image"),
        ("float.tif", lambda p: save(p, GRAY.astype(np.float32)), "floating-point"),
        ("long.tif", lambda p: save(p, GRAY.astype(np.int32) * 70000), "whole numbers of 32 bits"),
    ],
)
def test_unreadable_files_are_named(tmp_path, name, make, message):
    if make is not None:
        make(tmp_path / name)
    with pytest.raises(InputError, match=message) as caught:
        read_image(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.filterwarnings("ignore:Truncated File Read")
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "webp", "gif"])
def test_every_truncation_is_noticed(tmp_path, suffix):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    path = save(tmp_path / f"whole.{suffix}", pixels)
    data = path.read_bytes()
    cut = tmp_path / f"cut.{suffix}"
    for share in (0.02, 0.1, 0.5, 0.9):
        cut.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(InputError, match=f"cut.{suffix}: "):
            read_image(cut)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 24), st.sampled_from([1, 3]), st.booleans())
def test_fit_gives_the_shape_and_stays_in_range(height, width, size, channels, colour):
    shape = (height, width, 3) if colour else (height, width)
    image = np.random.default_rng(0).integers(40, 200, shape, dtype=np.uint8)
    fitted = fit(image, InputSpec.square(channels, size))
    assert fitted.shape == (channels, size, size)
    assert fitted.dtype == np.uint8
    assert image.min() <= fitted.min()
    assert fitted.max() <= image.max()


def test_fit_averages_and_does_not_alias():
    stripes = np.zeros((64, 64), dtype=np.uint8)
    stripes[:, ::2] = 200
    assert np.ptp(fit(stripes, InputSpec.square(1, 8))[0, :, 1:-1].astype(int)) <= 2
    assert abs(int(fit(stripes, InputSpec.square(1, 8)).mean()) - 100) <= 2


def test_fit_between_gray_and_colour():
    equal = np.repeat(GRAY[:, :6, None], 3, axis=2)
    np.testing.assert_array_equal(fit(equal, InputSpec.square(1, 6))[0], GRAY[:, :6])
    np.testing.assert_array_equal(fit(GRAY[:, :6], InputSpec.square(3, 6)), np.repeat(GRAY[None, :, :6], 3, axis=0))
    luma = RGB[:, :6] @ np.array([0.299, 0.587, 0.114])
    assert np.abs(fit(RGB[:, :6], InputSpec.square(1, 6))[0] - luma).max() <= 1
    with pytest.raises(InputError, match="float64"):
        fit(GRAY / 255, InputSpec.square(1, 6))


def test_regions_follow_the_stretch():
    """A bright rectangle and its relative box stay together whatever the shape of the image."""
    from pellucid.data.regions import rasterize

    image = np.zeros((50, 100), dtype=np.uint8)
    image[10:30, 20:40] = 255
    bright = fit(image, InputSpec.square(1, 20))[0] > 127
    np.testing.assert_array_equal(bright, rasterize((0.2, 0.2, 0.2, 0.4), 20))


def png_of(width, height):
    """A PNG whose header declares this size, with hardly any data behind it."""
    import struct
    import zlib

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def jpeg_of(width, height):
    data = bytearray(simplejpeg.encode_jpeg(np.repeat(GRAY[:, :, None], 3, 2)))
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(data)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("make", [png_of, jpeg_of])
@pytest.mark.parametrize("size", [60_000, 9_999])  # one that Pillow refuses, one that it only warns of
def test_what_declares_too_many_pixels_is_refused_before_memory_is_taken(tmp_path, make, size):
    resource = pytest.importorskip("resource")
    (tmp_path / "huge.img").write_bytes(make(size, size))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"huge\.img: .*(above the limit of 89,478,485|bomb).*PELLUCID_MAX_PIXELS"):
        read_image(tmp_path / "huge.img")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB; the pixels would be 100 MB


def test_the_limit_can_be_set(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", GRAY)
    monkeypatch.setenv("PELLUCID_MAX_PIXELS", "47")
    with pytest.raises(InputError, match="declares 8 × 6 pixels, above the limit of 47"):
        read_image(path)
    monkeypatch.setenv("PELLUCID_MAX_PIXELS", "48")
    np.testing.assert_array_equal(read_image(path), GRAY)
    monkeypatch.setenv("PELLUCID_MAX_PIXELS", "many")
    with pytest.raises(InputError, match="must be a number of pixels; found 'many'"):
        read_image(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # put back after the test
    monkeypatch.setenv("PELLUCID_MAX_PIXELS", "4000000000")
    (tmp_path / "large.png").write_bytes(png_of(20_000, 10_000))
    with pytest.raises(InputError, match="truncated or damaged"):  # no longer refused: its data are missing
        read_image(tmp_path / "large.png")


def test_16_bits_are_kept_where_asked_for(tmp_path):
    wide = np.array([[0, 1, 257], [4095, 40000, 65535]], dtype=np.uint16)
    for suffix in ("png", "tif"):
        kept = read_image(save(tmp_path / f"wide.{suffix}", wide), bits=16)
        assert kept.dtype == np.uint16
        np.testing.assert_array_equal(kept, wide)
    eight = read_image(save(tmp_path / "eight.png", GRAY), bits=16)
    np.testing.assert_array_equal(eight, GRAY.astype(np.uint16) * 257)


def test_16_bits_are_fitted_as_8_bits_are_but_finer():
    rng = np.random.default_rng(4)
    gray = rng.integers(0, 256, (31, 23), dtype=np.uint8)
    colour = rng.integers(0, 256, (31, 23, 3), dtype=np.uint8)
    for image in (gray, colour):
        for channels in (1, 3):
            fine = fit(image.astype(np.uint16) * 257, InputSpec.square(channels, 9))
            assert fine.dtype == np.uint16
            # 8 bits are rounded after rows, after columns and, from colour to gray, before
            assert np.abs(fine / 257 - fit(image, InputSpec.square(channels, 9)).astype(float)).max() <= 2
    wide = np.full((5, 7), 65535, np.uint16)
    assert (fit(wide, InputSpec.square(1, 12)) == 65535).all()
    with pytest.raises(InputError, match=">u2"):
        fit(wide.astype(">u2"), InputSpec.square(1, 3))


def test_of_several_frames_the_first_is_read(tmp_path):
    frames = [Image.fromarray(np.full((4, 6), v, np.uint8)) for v in (50, 120, 200)]
    for name in ("a.gif", "a.tif", "a.png", "a.webp"):
        options = {"lossless": True} if name == "a.webp" else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        image = read_image(tmp_path / name)
        assert image.shape[:2] == (4, 6)
        assert (image == 50).all()


def test_a_suffix_says_nothing(tmp_path):
    path = save(tmp_path / "a.png", GRAY)
    path.rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), GRAY)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_or_a_folder_that_is_called_as_an_image_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name, said in (("pipe.png", "a pipe, socket or device, not a file"), ("folder.png", "a folder, not a file")):
        with pytest.raises(InputError, match=rf"{name}: {said}"):
            read_image(tmp_path / name)
    assert not is_dicom(tmp_path / "pipe.png")
    with pytest.raises(InputError, match=r"pipe\.png: not a file"):
        read_dicom(tmp_path / "pipe.png")


def test_a_dicom_file_is_an_image_too(tmp_path):
    radiograph(tmp_path / "a.dcm")
    wide = read_dicom(tmp_path / "a.dcm")
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm", bits=16), wide)
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm"), np.rint(wide / 257))


def test_a_webp_that_declares_a_large_canvas_is_refused_before_it_is_opened(tmp_path, monkeypatch):
    data = bytearray(save(tmp_path / "a.webp", np.dstack([RGB, GRAY])).read_bytes())
    assert data[12:16] == b"VP8X"
    data[24:30] = (16_383).to_bytes(3, "little") * 2
    (tmp_path / "a.webp").write_bytes(data)
    monkeypatch.setattr(Image, "open", None)
    with pytest.raises(InputError, match=r"a\.webp: declares 16384 × 16384 pixels, above the limit"):
        read_image(tmp_path / "a.webp")
