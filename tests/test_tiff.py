"""TIFFs of all bits, signs, interpretations and byte orders, written byte by byte, come out as they are meant."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from helpers.tiff import tiff
from pellucid.data import check_dataset
from pellucid.data.decoding.image import read_image
from pellucid.types import InputError

ORDERS = pytest.mark.parametrize("order", ["<", ">"])
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
UNSIGNED, SIGNED, FLOAT = 1, 2, 3


def values_of(bits, sign):
    """(2, 4) samples from the least to the greatest that can be stored, and what they are of the way from it."""
    share = np.array([[0, 0.1, 0.2, 0.4], [0.5, 0.7, 0.9, 1]])
    steps = np.rint(share * (2**bits - 1)).astype(np.int64)
    return steps - (2 ** (bits - 1) if sign == SIGNED else 0), steps / (2**bits - 1)


@ORDERS
@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, BLACK_IS_ZERO])
@pytest.mark.parametrize(
    ("bits", "sign"),
    [(1, UNSIGNED), (2, UNSIGNED), (4, UNSIGNED), (8, UNSIGNED), (8, SIGNED), (16, UNSIGNED), (16, SIGNED)],
)
def test_gray_runs_from_the_least_to_the_greatest_value(tmp_path, bits, sign, photometric, order):
    samples, share = values_of(bits, sign)
    path = tiff(tmp_path / "a.tif", samples, bits=bits, sign=sign, photometric=photometric, order=order)
    shown = 1 - share if photometric == WHITE_IS_ZERO else share
    np.testing.assert_array_equal(read_image(path), np.rint(np.rint(shown * 65535) / 257))
    np.testing.assert_allclose(read_image(path, bits=16), shown * 65535, atol=0.5)


@pytest.mark.parametrize("sign", [UNSIGNED, SIGNED])
@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, BLACK_IS_ZERO])
def test_12_bits_of_their_own_are_the_whole_range(tmp_path, sign, photometric):
    samples, share = values_of(12, sign)
    path = tiff(tmp_path / "a.tif", samples, bits=12, sign=sign, photometric=photometric)
    shown = 1 - share if photometric == WHITE_IS_ZERO else share
    np.testing.assert_allclose(read_image(path, bits=16), shown * 65535, atol=0.5)


@ORDERS
@pytest.mark.parametrize("bits", [8, 16])
def test_colour_of_8_and_16_bits(tmp_path, bits, order):
    samples = np.stack([values_of(bits, UNSIGNED)[0], values_of(bits, UNSIGNED)[0][::-1], np.zeros((2, 4))], axis=2)
    path = tiff(tmp_path / "a.tif", samples.astype(np.int64), bits=bits, photometric=RGB, order=order)
    np.testing.assert_allclose(read_image(path), samples / (2**bits - 1) * 255, atol=1)


@ORDERS
@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, BLACK_IS_ZERO, RGB])
@pytest.mark.parametrize(
    ("bits", "sign", "said"),
    [
        (32, UNSIGNED, "whole numbers of 32 bits"),
        (32, SIGNED, "whole numbers of 32 bits"),
        (64, SIGNED, "whole numbers of 64 bits"),
        (16, FLOAT, "floating-point"),
        (32, FLOAT, "floating-point"),
        (64, FLOAT, "floating-point"),
    ],
)
def test_wide_and_floating_point_samples_are_refused_whatever_they_hold(tmp_path, bits, sign, said, photometric, order):
    samples = np.full((2, 4, 3) if photometric == RGB else (2, 4), 7)  # would fit into 8 bits
    path = tiff(tmp_path / "a.tif", samples, bits=bits, sign=sign, photometric=photometric, order=order)
    with pytest.raises(InputError, match=rf"a\.tif: {said}.*Save it as") as refused:
        read_image(path)
    assert "damaged" not in str(refused.value)


@pytest.mark.parametrize(("bits", "sign", "order"), [(2, SIGNED, "<"), (2, SIGNED, ">"), (12, UNSIGNED, ">")])
def test_a_kind_that_is_not_read_is_said_to_be_so(tmp_path, bits, sign, order):
    path = tiff(tmp_path / "a.tif", values_of(bits, UNSIGNED)[0], bits=bits, sign=sign, order=order)
    with pytest.raises(InputError, match=r"a\.tif: a TIFF of a kind that is not read"):
        read_image(path)


def test_samples_of_no_declared_kind_are_unsigned(tmp_path):
    """SampleFormat 4; TIFF 6.0, section 19: "as if the field were not present"."""
    samples, _ = values_of(8, UNSIGNED)
    path = tiff(tmp_path / "a.tif", samples, bits=8, extra=[(339, 3, [4])], sign=None)
    np.testing.assert_array_equal(read_image(path), samples)


@ORDERS
def test_a_compressed_tiff_is_turned_over_too(tmp_path, order):
    """By Pillow's own writer (libtiff), with the tag of the interpretation changed afterwards."""
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64) * 16
    Image.fromarray(values.astype(f"{order}u2")).save(tmp_path / "plain.tif", compression="tiff_adobe_deflate")
    data = (tmp_path / "plain.tif").read_bytes()
    written = "<" if data[:2] == b"II" else ">"
    tag = np.array([262, 3], f"{written}u2").tobytes() + np.array([1], f"{written}u4").tobytes()
    assert data.count(tag) == 1
    at = data.index(tag) + len(tag)
    (tmp_path / "white.tif").write_bytes(data[:at] + b"\0\0" + data[at + 2 :])
    np.testing.assert_array_equal(read_image(tmp_path / "white.tif", bits=16), 65535 - values)


@ORDERS
@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, BLACK_IS_ZERO])
def test_a_check_finds_nothing_wrong_with_what_is_read(tmp_path, photometric, order):
    """Pillow alone cannot open all of them, and so cannot count their frames."""
    kinds = [(8, UNSIGNED), (8, SIGNED), (16, UNSIGNED), (16, SIGNED)]
    for number, (bits, sign) in enumerate(kinds):
        folder = tmp_path / "test" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        samples = values_of(bits, sign)[0] * (number % 3 + 1) // 3  # no two of the same pixels
        tiff(folder / f"{number}.tif", samples, bits=bits, sign=sign, photometric=photometric, order=order)
    report = check_dataset("folder", tmp_path)
    assert not report.problems
    assert not [note.reason for note in report.notes if "frames" in note.reason]
