"""DICOM's values: every step from stored values to grey beside pydicom's own functions, in every transfer syntax."""

from __future__ import annotations

import warnings
from base64 import b85decode
from importlib.metadata import distributions

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    HTJ2K,
    DeflatedExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from helpers.dicom import RAMP, lut, radiograph, shipped
from pellucid.data.checks.check import check_dataset
from pellucid.data.decoding.notes import collect_notes
from pellucid.data.dicom.file import PLUGINS, read_dicom
from pellucid.data.dicom.values import gray_table, windowed
from pellucid.data.readers.phantom.reader import render
from pellucid.types import InputError


def expected(path):
    """What the file shows, by pydicom's functions: in [0, 1]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = pydicom.dcmread(path)
        stored = image.pixel_array
        values = apply_modality_lut(stored, image)
        shown = np.asarray(apply_voi_lut(values, image, prefer_lut=True), dtype=np.float64)
    if "VOILUTSequence" in image:
        low, high = 0, 2 ** image.VOILUTSequence[0].LUTDescriptor[2] - 1
    elif "ModalityLUTSequence" in image:
        low, high = 0, 2 ** image.ModalityLUTSequence[0].LUTDescriptor[2] - 1
    else:
        signed, bits = image.PixelRepresentation == 1, image.BitsStored
        ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1])
        low, high = np.sort(ends * float(image.get("RescaleSlope", 1)) + float(image.get("RescaleIntercept", 0)))
    shown = (shown - low) / (high - low)
    return 1 - shown if image.PhotometricInterpretation == "MONOCHROME1" else shown


GRAY = render(3, options={"size": 48}, split="test").pixels.astype(np.uint16)
VARIATIONS = {
    "plain": {},
    "monochrome1": {"PhotometricInterpretation": "MONOCHROME1"},
    "10 bits": {"values": GRAY * 4, "BitsStored": 10},
    "16 bits": {"values": GRAY * 257, "BitsStored": 16},
    "8 bits": {"values": GRAY.astype(np.uint8)},
    "signed": {"values": (GRAY * 16).astype(np.int16) - 2048},
    "signed 16 bits": {"values": (GRAY.astype(np.int32) * 257 - 32768).astype(np.int16), "BitsStored": 16},
    "window": {"WindowCenter": 2000, "WindowWidth": 1500},
    "two windows": {"WindowCenter": [2000, 900], "WindowWidth": [1500, 300]},
    "window of one": {"WindowCenter": 2000, "WindowWidth": 1},
    "exact window": {"WindowCenter": 2000, "WindowWidth": 1500, "VOILUTFunction": "LINEAR_EXACT"},
    "sigmoid": {"WindowCenter": 2000, "WindowWidth": 1500, "VOILUTFunction": "SIGMOID"},
    "rescaled": {"RescaleSlope": 0.5, "RescaleIntercept": -1024, "WindowCenter": -100, "WindowWidth": 1500},
    "turned over": {"RescaleSlope": -1, "RescaleIntercept": 4095, "PhotometricInterpretation": "MONOCHROME1"},
    "modality table": {"ModalityLUTSequence": [lut(0, RAMP * 65535, 16)]},
    "voi table": {"VOILUTSequence": [lut(100, RAMP * 4095, 12)], "WindowCenter": 900, "WindowWidth": 300},
    "run lengths": {"compress": RLELossless, "WindowCenter": 2000, "WindowWidth": 1500},
    "JPEG 2000": {"compress": JPEG2000Lossless},
    "JPEG 2000, 16 bits": {"values": GRAY * 257, "BitsStored": 16, "compress": JPEG2000Lossless},
    "JPEG": {"values": GRAY.astype(np.uint8), "compress": JPEGBaseline8Bit, "PhotometricInterpretation": "MONOCHROME1"},
    "JPEG-LS": {"compress": JPEGLSLossless},
    "deflated": {"syntax": DeflatedExplicitVRLittleEndian},
}


@pytest.mark.parametrize("name", VARIATIONS)
def test_a_radiograph_as_pydicom_shows_it(tmp_path, name):
    radiograph(tmp_path / "a", index=5, **VARIATIONS[name])  # its name has no suffix
    found = read_dicom(tmp_path / "a")
    assert found.dtype == np.uint16
    assert found.min() < found.max()
    np.testing.assert_allclose(found / 65535, np.clip(expected(tmp_path / "a"), 0, 1), atol=0.6 / 65535)


def test_tables_that_pydicom_cannot_apply(tmp_path):
    """Entries of 8 bits packed two by two, and a first value below 0 that is written as an unsigned number."""
    entries = np.arange(256)[::-1]
    values = np.array([[-100, -3, 0, 5, 200]], dtype=np.int16)
    for name, item in {
        "packed": lut(65536 - 100, entries, 8, packed=True),
        "wide": lut(65536 - 100, entries, 8),
    }.items():
        radiograph(tmp_path / name, values, VOILUTSequence=[item])
        shown = np.rint(entries[np.clip(values + 100, 0, 255)] / 255 * 65535)
        np.testing.assert_array_equal(read_dicom(tmp_path / name), shown)


@pytest.mark.parametrize("kind", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize(("said", "held"), [(16, 12), (10, 12), (12, 16), (8, 10), (16, 8)])
def test_a_table_of_other_bits_than_its_descriptor_says_is_gone_by_its_entries(tmp_path, kind, said, held):
    entries = np.rint(RAMP * (2**held - 1))
    with collect_notes() as notes:
        for name, bits in (("right", held), ("wrong", said)):
            radiograph(tmp_path / name, **{kind: [lut(0, entries, bits)]})
            shown = read_dicom(tmp_path / name)
            stored = pydicom.dcmread(tmp_path / name).pixel_array
            np.testing.assert_allclose(shown / 65535, (entries / (2**held - 1))[stored], atol=0.6 / 65535)
    assert len(notes) == 1
    assert f"the descriptor says {said} bits, the greatest entry is {2**held - 1:,}" in notes[0]


def test_values_beyond_bits_stored_do_not_wrap_round(tmp_path):
    """14-bit data that says it has 12: once shown modulo 4096."""
    values = np.linspace(0, 2**14 - 1, 64).astype(np.uint16).reshape(8, 8)
    for compress in (None, RLELossless):
        radiograph(tmp_path / "a", values, compress=compress)
        many = int((values > 4095).sum())
        with pytest.raises(InputError, match=rf"a: {many} of 64 values have more than the 12 bits .* up to 16,383"):
            read_dicom(tmp_path / "a")
    radiograph(tmp_path / "overlay", (values & 0xFFF) | np.where(values % 3, 0, 0x1000).astype(np.uint16))
    image = pydicom.dcmread(tmp_path / "overlay")
    image.add_new((0x6000, 0x0102), "US", 12)  # Overlay Bit Position: what the bit above the values is
    image.save_as(tmp_path / "overlay")
    radiograph(tmp_path / "plain", values & 0xFFF)
    with collect_notes() as notes:
        np.testing.assert_array_equal(read_dicom(tmp_path / "overlay"), read_dicom(tmp_path / "plain"))
    assert len(notes) == 1
    assert "bits above BitsStored hold something else" in notes[0]


def test_signed_values_may_be_filled_up_with_their_sign_or_with_zeros(tmp_path):
    values = np.arange(-2048, 2048, 64, dtype=np.int16).reshape(8, 8)
    radiograph(tmp_path / "sign", values)
    radiograph(tmp_path / "zeros", values & 0xFFF, PixelRepresentation=1)
    np.testing.assert_array_equal(read_dicom(tmp_path / "zeros"), read_dicom(tmp_path / "sign"))
    radiograph(tmp_path / "wide", values * 4, PixelRepresentation=1)
    with pytest.raises(InputError, match=r"wide: 48 of 64 values have more than the 12 bits"):
        read_dicom(tmp_path / "wide")


def test_what_was_assumed_is_counted_by_the_check_and_else_said_once(tmp_path):
    for kind in "ab":
        (tmp_path / kind).mkdir()
        for i in range(3):
            item = lut(0, RAMP * 4095, 16 if i else 12)
            radiograph(tmp_path / kind / f"{i}.dcm", index=i + 3 * (kind == "b"), size=32, VOILUTSequence=[item])
    report = check_dataset("folder", tmp_path, options={"test_fraction": 1})
    assert report.ok
    (told,) = [n.reason for n in report.notes if "VOI LUT" in n.reason]
    assert told.startswith("4 images, such as a/1.dcm (the descriptor says 16 bits, the greatest entry is 4,095): ")
    with pytest.warns(UserWarning, match="the VOI LUT has another depth than its descriptor says"):
        read_dicom(tmp_path / "a" / "1.dcm")


@pytest.mark.parametrize(
    "name",
    [
        "693_J2KI.dcm",
        "CT_small.dcm",
        "J2K_pixelrep_mismatch.dcm",
        "JPEG2000.dcm",
        "JPEGLSNearLossless_08.dcm",
        "JPEGLSNearLossless_16.dcm",
        "MR_small.dcm",
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_expb.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "image_dfl.dcm",
    ],
)
def test_files_that_pydicom_ships(name):
    found = read_dicom(shipped(name))
    np.testing.assert_allclose(found / 65535, np.clip(expected(shipped(name)), 0, 1), atol=0.6 / 65535)


def test_one_image_in_all_transfer_syntaxes():
    plain = read_dicom(shipped("MR_small.dcm"))
    for name in ("RLE", "bigendian", "expb", "implicit", "jp2klossless", "jpeg_ls_lossless"):
        np.testing.assert_array_equal(read_dicom(shipped(f"MR_small_{name}.dcm")), plain)


@pytest.mark.parametrize(
    ("function", "formula"),
    [  # PS3.3 C.11.2.1.2.1, C.11.2.1.3.2 and C.11.2.1.3.1, for centre 40, width 400
        ("LINEAR", lambda x: np.piecewise(x, [x <= -160, x > 239], [0, 1, lambda v: (v - 39.5) / 399 + 0.5])),
        ("LINEAR_EXACT", lambda x: np.piecewise(x, [x <= -160, x > 240], [0, 1, lambda v: (v - 40) / 400 + 0.5])),
        ("SIGMOID", lambda x: 1 / (1 + np.exp(-4 * (x - 40) / 400))),
    ],
)
def test_windows_by_the_formulas_of_the_standard(function, formula):
    values = np.arange(-400.0, 500)
    np.testing.assert_allclose(windowed(values, 40, 400, function), formula(values), atol=1e-12)


def test_which_window(tmp_path):
    both = {"WindowCenter": [2000, 900], "WindowWidth": [1500, 300]}
    radiograph(tmp_path / "both.dcm", **both)
    for number, (centre, width) in enumerate([(2000, 1500), (900, 300)], start=1):
        radiograph(tmp_path / "one.dcm", WindowCenter=centre, WindowWidth=width)
        np.testing.assert_array_equal(
            read_dicom(tmp_path / "both.dcm", window=number), read_dicom(tmp_path / "one.dcm")
        )
    radiograph(tmp_path / "none.dcm")
    np.testing.assert_array_equal(read_dicom(tmp_path / "both.dcm", window=0), read_dicom(tmp_path / "none.dcm"))
    with pytest.raises(InputError, match=r"both\.dcm: window 3 is asked for, but there are 2 windows"):
        read_dicom(tmp_path / "both.dcm", window=3)


def test_padding_is_black_and_takes_no_part(tmp_path):
    values = np.array([[0, 100, 4000], [4094, 4095, 2000]], dtype=np.uint16)
    radiograph(tmp_path / "one", values, PixelPaddingValue=4095)
    radiograph(tmp_path / "range", values, PixelPaddingValue=4095, PixelPaddingRangeLimit=4000)
    radiograph(tmp_path / "inverse", values, PixelPaddingValue=0, PhotometricInterpretation="MONOCHROME1")
    gray = np.rint(values / 4095 * 65535)
    np.testing.assert_array_equal(read_dicom(tmp_path / "one"), np.where(values == 4095, 0, gray))
    np.testing.assert_array_equal(read_dicom(tmp_path / "range"), np.where(values >= 4000, 0, gray))
    np.testing.assert_array_equal(read_dicom(tmp_path / "inverse"), np.where(values == 0, 0, 65535 - gray))


def test_what_lies_in_unused_bits_is_not_shown(tmp_path):
    values = np.arange(16, dtype=np.uint16).reshape(4, 4) * 273
    radiograph(tmp_path / "clean", values)
    radiograph(tmp_path / "overlay", values | 0xF000)
    np.testing.assert_array_equal(read_dicom(tmp_path / "overlay"), read_dicom(tmp_path / "clean"))
    for compress in (None, RLELossless):  # which keeps whole words
        radiograph(tmp_path / "high", values << 4, HighBit=15, compress=compress)
        np.testing.assert_array_equal(read_dicom(tmp_path / "high"), read_dicom(tmp_path / "clean"))


def test_colour(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    radiograph(tmp_path / "rgb", rgb)
    np.testing.assert_array_equal(read_dicom(tmp_path / "rgb"), rgb)
    image = radiograph(tmp_path / "planes", rgb)
    image.PlanarConfiguration, image.PixelData = 1, np.moveaxis(rgb, 2, 0).tobytes()
    image.save_as(tmp_path / "planes")
    np.testing.assert_array_equal(read_dicom(tmp_path / "planes"), rgb)
    twelve = rgb.astype(np.uint16) * 16
    radiograph(tmp_path / "deep", twelve)
    np.testing.assert_array_equal(read_dicom(tmp_path / "deep"), np.rint(twelve / 4095 * 65535))
    red, ybr = read_dicom(shipped("SC_rgb_rle.dcm")), read_dicom(shipped("SC_ybr_full_422_uncompressed.dcm"))
    assert np.abs(red[5:15, 20:80].astype(int) - ybr[5:15, 20:80]).max() <= 4  # the same bars, from YBR
    palette = read_dicom(shipped("examples_palette.dcm"))
    assert palette.shape == (350, 800, 3)
    assert palette.dtype == np.uint16
    jpeg = read_dicom(shipped("SC_rgb_jpeg_dcmtk.dcm"))
    assert np.abs(red.astype(int) - jpeg).mean() < 4


def test_lossless_jpeg_and_a_decoder_that_is_missing(monkeypatch):
    lossless = shipped("SC_rgb_jpeg_gdcm.dcm")
    np.testing.assert_array_equal(read_dicom(lossless), read_dicom(shipped("SC_rgb_rle.dcm")))
    monkeypatch.setitem(PLUGINS, "1.2.840.10008.1.2.4.70", ("not there",))
    with pytest.raises(InputError, match=r"Process 14.*1\.2\.840\.10008\.1\.2\.4\.70.*dcmdjpeg.*-e '\.\[dicom\]'"):
        read_dicom(lossless)


def test_high_throughput_jpeg_2000(tmp_path):
    values = (np.arange(16)[:, None] * 160 + np.arange(16) * 7).astype(np.uint16)
    encoded = b85decode(  # of these values, by OpenJPH
        "|4;u>04YEK0000G0000G00000000000000G0000G0000000000009pH0sl|{2mk^A000XAQUDA90ssL31q1{@0smY86Cj9?kdTm&kdTm&kd"
        "Tmwh=~7W02crOPjF>!N>E53R%LP^FfKASE;BCwkN^q*00000djJ9dlfVEb2l@pEbN~Rr0206e69E1IhjajJ`vV7b0KfnezyK3~-T(r00J4?s"
        "0Hag@zyK4#02N^F?x3f_bpXyfbLQ;8LILcy0Kfn$-~bkwBuSFzz^A9DLU;f^eSCa;e0+TV{fuCH_A!C%x&Z&#"
    )
    plain = tmp_path / "plain.dcm"
    radiograph(plain, values)
    for syntax in (HTJ2KLossless, HTJ2K):
        image = pydicom.dcmread(plain)
        image.PixelData = encapsulate([encoded])
        image["PixelData"].is_undefined_length = True
        image.file_meta.TransferSyntaxUID = syntax
        image.save_as(tmp_path / "packed.dcm")
        np.testing.assert_array_equal(read_dicom(tmp_path / "packed.dcm"), read_dicom(plain))


def test_no_decoder_is_under_the_gpl():
    """pydicom's plug-in pylibjpeg may use pylibjpeg-libjpeg, which is, for the JPEG and JPEG-LS syntaxes only."""
    for syntax, plugins in PLUGINS.items():
        assert "pylibjpeg" not in plugins or syntax.rpartition(".")[2] in {"5", "90", "91", "201", "202", "203"}
    names = {(d.metadata["Name"] or "").lower() for d in distributions()}
    assert "pylibjpeg-libjpeg" not in names


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 16),
    st.booleans(),
    st.sampled_from(["MONOCHROME1", "MONOCHROME2"]),
    st.one_of(st.none(), st.tuples(st.floats(-1e5, 1e5), st.floats(1, 1e5))),
)
def test_gray_rises_with_the_values(bits, signed, kind, window):
    image = Dataset()
    image.BitsStored, image.PixelRepresentation, image.PhotometricInterpretation = bits, int(signed), kind
    if window is not None:
        image.WindowCenter, image.WindowWidth = (round(v, 3) for v in window)
    table = gray_table(image).astype(int)
    half = len(table) // 2 if signed else 0
    steps = np.diff(np.roll(table, half))
    assert (steps <= 0).all() if kind == "MONOCHROME1" else (steps >= 0).all()
    if window is None:
        assert {table.min(), table.max()} == {0, 65535}
