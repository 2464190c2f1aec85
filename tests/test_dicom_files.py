"""DICOM's files: which are refused and why, any bytes, frames, the spacing of pixels, and names that tell nothing."""

from __future__ import annotations

import gzip
import os
import shutil
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.charset import convert_encodings
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from helpers.dicom import RAMP, SECRETS, lut, radiograph, shipped
from pellucid.data import check_dataset
from pellucid.data.dicom.file import is_dicom, read_dicom
from pellucid.data.dicom.header import read_header
from pellucid.data.dicom.quiet import quiet
from pellucid.data.dicom.values import windowed
from pellucid.types import InputError


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("MR_truncated.dcm", ["truncated or damaged", "8130 vs 8192"]),
        ("README.txt", ["not a DICOM file", "dcmconv +F"]),
        ("no_meta.dcm", ["not a DICOM file"]),
        ("reportsi.dcm", ["no pixel data", "Basic Text SR"]),
        ("examples_ybr_color.dcm", ["30 frames, not one image", "frame=1 … frame=30"]),
        ("rtdose_1frame.dcm", ["32 bits per pixel; up to 16"]),
        ("JPGExtended.dcm", ["JPEG Extended", "of more than 8 bits", "1.2.840.10008.1.2.4.51", "dcmdjpeg", "RLE"]),
        ("badVR.dcm", ["truncated or damaged"]),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(name, parts):
    with pytest.raises(InputError) as refused:
        read_dicom(shipped(name))
    assert str(refused.value).startswith(str(shipped(name)))
    assert all(part in str(refused.value) for part in parts)


@pytest.mark.parametrize(
    ("attributes", "parts"),
    [
        ({"WindowWidth": 0, "WindowCenter": 5}, "WindowWidth is 0"),
        ({"WindowWidth": 100, "WindowCenter": 5, "VOILUTFunction": "CUBIC"}, "VOILUTFunction 'CUBIC': Unsupported"),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "RescaleSlope is 0"),
        ({"VOILUTSequence": [lut(0, RAMP[:9] * 255, 20)]}, "descriptor of the VOI LUT"),
        ({"PhotometricInterpretation": "HSV"}, "of the kind HSV"),
        ({"Rows": 60000, "Columns": 60000}, "60000 × 60000 pixels, above the limit"),
        ({"Rows": 0}, "64 × 0 pixels"),
        ({"NumberOfFrames": 2**31 - 1}, "2147483647 frames"),
        ({"SamplesPerPixel": 60_000}, "60000 samples per pixel"),
        ({"BitsStored": 17}, "BitsStored is 17, BitsAllocated 16"),
        ({"BitsStored": 12, "HighBit": 16}, "HighBit is 16; .* it can be 11 to 15"),
        ({"BitsStored": 12, "HighBit": 9}, "HighBit is 9; .* it can be 11 to 15"),
        ({"BitsStored": 12, "HighBit": 15}, "HighBit is 15, but no bit above 11 is set"),
    ],
)
def test_attributes_that_make_no_sense(tmp_path, attributes, parts):
    radiograph(tmp_path / "bad.dcm", **attributes)
    with pytest.raises(InputError, match=parts) as refused:
        read_dicom(tmp_path / "bad.dcm")
    assert str(tmp_path / "bad.dcm") in str(refused.value)


@pytest.mark.parametrize("compress", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_garbage_in_capsules(tmp_path, compress):
    image = radiograph(tmp_path / "a.dcm", compress=compress)
    data = bytearray(image.PixelData)
    data[20:] = bytes(np.random.default_rng(0).integers(0, 256, len(data) - 20, dtype=np.uint8))
    image.PixelData = bytes(data)
    image.save_as(tmp_path / "a.dcm")
    with pytest.raises(InputError, match=r"a\.dcm: truncated or damaged"):
        read_dicom(tmp_path / "a.dcm")


def test_a_decoder_that_panics_is_an_error_that_names_the_file(tmp_path):
    """pylibjpeg-rle is written in Rust; what it cannot cope with is no `Exception`, and once went up to the top."""
    radiograph(tmp_path / "whole.dcm", np.arange(64, dtype=np.uint16).reshape(8, 8), compress=RLELossless)
    data = bytearray((tmp_path / "whole.dcm").read_bytes())
    at = data.index(b"\xfe\xff\x00\xe0", data.index(b"\xfe\xff\x00\xe0") + 4) + 8  # the frame: its RLE header
    data[at + 64] = 129  # the first segment begins with a run that is longer than all of it
    (tmp_path / "a.dcm").write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"a\.dcm: truncated or damaged \(its decoder gave up: index out of bounds"):
        read_dicom(tmp_path / "a.dcm")


@pytest.mark.parametrize("read", [read_dicom, read_header])
def test_no_memory_is_taken_for_more_bytes_than_a_file_holds(tmp_path, read):
    path = tmp_path / "a.dcm"
    radiograph(path)
    data = path.read_bytes()
    at = data.index(b"\x20\x00\x20\x00CS")
    path.write_bytes(data[:at] + b"\x20\x00\x20\x00UT\0\0\xf0\xff\xff\x7f" + data[at + 8 :])
    tracemalloc.start()
    with suppress(InputError):  # pydicom leaves out what is cut off, so that there are no pixels
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 * 2**20  # it declares 2 GiB


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit])
def test_the_end_of_the_process_is_no_damage(tmp_path, monkeypatch, ending):
    def stop(*_):
        raise ending

    monkeypatch.setattr("pellucid.data.dicom.file._decode", stop)
    radiograph(tmp_path / "a.dcm")
    with pytest.raises(ending):
        read_dicom(tmp_path / "a.dcm")


@pytest.mark.parametrize("compress", [JPEGLSLossless, JPEG2000Lossless])
def test_a_compressed_image_of_another_size_than_its_file_says_is_not_decoded(tmp_path, monkeypatch, compress):
    radiograph(tmp_path / "a.dcm", size=64, compress=compress)
    data = bytearray((tmp_path / "a.dcm").read_bytes())
    if compress == JPEGLSLossless:
        at = data.index(b"\xff\xf7") + 5
        data[at : at + 4] = (60_000).to_bytes(2, "big") * 2
    else:
        at = data.index(b"\xff\x4f\xff\x51") + 8
        data[at : at + 8] = (60_000).to_bytes(4, "big") * 2
    (tmp_path / "a.dcm").write_bytes(data)
    monkeypatch.setattr("pydicom.pixels.decoders.base.Decoder.as_array", None)
    with pytest.raises(InputError, match=r"a\.dcm: its header declares 64 × 64 pixels, .* in it 60000 × 60000"):
        read_dicom(tmp_path / "a.dcm")


@settings(max_examples=120, deadline=None)
@given(st.integers(132, 3000), st.lists(st.tuples(st.integers(132, 2000), st.integers(0, 255)), max_size=12))
def test_damaged_bytes_are_refused_or_read(tmp_path_factory, length, changes):
    place = tmp_path_factory.getbasetemp() / "fuzz.dcm"
    source = tmp_path_factory.getbasetemp() / "fuzz-source.dcm"
    if not source.exists():
        radiograph(source, size=32, WindowCenter=900, WindowWidth=300)
    data = bytearray(source.read_bytes()[: length + (length > 2900) * 10**6])
    for at, value in changes:
        if at < len(data):
            data[at] = value
    place.write_bytes(bytes(data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for read in (read_dicom, read_header):
            try:
                read(place)
            except InputError as error:
                assert str(place) in str(error)  # noqa: PT017 - nothing else may be raised


def test_a_frame_of_several(tmp_path):
    both = read_dicom(shipped("SC_rgb_rle_2frame.dcm"), frame=2)
    assert both.shape == (100, 100, 3)
    np.testing.assert_array_equal(255 - both, read_dicom(shipped("SC_rgb_rle_2frame.dcm"), frame=1))
    with pytest.raises(InputError, match="frame 3 is asked for; it has 2"):
        read_dicom(shipped("SC_rgb_rle_2frame.dcm"), frame=3)


def test_an_enhanced_image_says_it_by_frames(tmp_path):
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 65
    image = radiograph(tmp_path / "a", np.stack([values, values]).reshape(16, 8), ImagerPixelSpacing=None)
    image.Rows, image.NumberOfFrames = 8, 2

    def item(**attributes):
        made = Dataset()
        for keyword, value in attributes.items():
            setattr(made, keyword, value)
        return made

    spacing = item(PixelMeasuresSequence=[item(PixelSpacing=[0.5, 0.25])])
    image.SharedFunctionalGroupsSequence = [spacing]
    image.PerFrameFunctionalGroupsSequence = [
        item(FrameVOILUTSequence=[item(WindowCenter=c, WindowWidth=1000)]) for c in (1000, 3000)
    ]
    image.save_as(tmp_path / "a")
    for frame, centre in ((1, 1000), (2, 3000)):
        shown = windowed(values.astype(float), centre, 1000)
        np.testing.assert_array_equal(read_dicom(tmp_path / "a", frame=frame), np.rint(shown * 65535))
    assert read_header(tmp_path / "a").spacing == (0.5, 0.25, "PixelSpacing")
    image.SharedFunctionalGroupsSequence = []
    for own, size in zip(image.PerFrameFunctionalGroupsSequence, (0.5, 0.75), strict=True):
        own.PixelMeasuresSequence = [item(PixelSpacing=[size, size])]
    image.save_as(tmp_path / "b")
    assert read_header(tmp_path / "b", frame=1).spacing == (0.5, 0.5, "PixelSpacing")
    assert read_header(tmp_path / "b", frame=2).spacing == (0.75, 0.75, "PixelSpacing")
    assert read_header(tmp_path / "b").spacing is None


def test_spacing_and_where_it_is_from(tmp_path):
    radiograph(tmp_path / "a")
    assert read_header(tmp_path / "a").spacing == (0.2, 0.1, "ImagerPixelSpacing")
    radiograph(tmp_path / "b", PixelSpacing=[0.15, 0.15])
    assert read_header(tmp_path / "b").spacing == (0.15, 0.15, "PixelSpacing")
    radiograph(tmp_path / "c", ImagerPixelSpacing=None)
    assert read_header(tmp_path / "c").spacing is None
    for value in ([0.1, -1], [0.0, 0.1], [0, 0]):  # 0\\0 stands in films of some makers
        radiograph(tmp_path / "d", PixelSpacing=value, ImagerPixelSpacing=None)
        assert read_header(tmp_path / "d").spacing is None
        assert "PixelSpacing is" in read_header(tmp_path / "d").spacing_note
        radiograph(tmp_path / "e", PixelSpacing=value)
        assert read_header(tmp_path / "e").spacing == (0.2, 0.1, "ImagerPixelSpacing")
    data = (tmp_path / "b").read_bytes()
    assert data.count(b"0.15\\0.15 ") == 1
    (tmp_path / "nan").write_bytes(data.replace(b"0.15\\0.15 ", b"NaN\\0.150 "))
    assert "PixelSpacing is nan, 0.15" in read_header(tmp_path / "nan").spacing_note


def test_names_tell_nothing_and_stay_the_same(tmp_path):
    first = radiograph(tmp_path / "a")
    header = read_header(tmp_path / "a")
    shutil.copy(tmp_path / "a", tmp_path / "elsewhere")
    assert read_header(tmp_path / "elsewhere").name == header.name
    radiograph(tmp_path / "b")
    other = read_header(tmp_path / "b")
    assert other.patient == header.patient
    assert other.name != header.name
    radiograph(tmp_path / "c", PatientID="HOSP-7731943")
    assert read_header(tmp_path / "c").patient != header.patient
    radiograph(tmp_path / "d", IssuerOfPatientID="elsewhere")
    assert read_header(tmp_path / "d").patient != header.patient
    radiograph(tmp_path / "e", PatientID="", StudyInstanceUID="", AccessionNumber="")
    assert read_header(tmp_path / "e").patient == read_header(tmp_path / "e").name
    studies = []
    for name, study in (("f", "1.2.3"), ("g", "1.2.3"), ("h", "1.2.4"), ("i", "")):
        radiograph(tmp_path / name, PatientID="", StudyInstanceUID=study)
        studies.append(read_header(tmp_path / name).patient)
    assert studies[0] == studies[1]
    assert len(set(studies)) == 3
    assert not any(secret in said for said in studies for secret in (*SECRETS.values(), "1.2.3"))
    said = header.name + header.patient
    assert not any(secret in said for secret in (*SECRETS.values(), first.SOPInstanceUID))


def test_what_pydicom_finds_odd_is_not_quoted(tmp_path, capsys):
    odd = "Quixotte" * 12 + "^\x1bDulcinea"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        radiograph(tmp_path / "a", PatientName=odd, PatientID="HOSP-7731942" * 9)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_header(tmp_path / "a")
        read_dicom(tmp_path / "a")
    told = "".join(str(w.message) for w in caught) + "".join(capsys.readouterr())
    assert "Quixotte" not in told
    assert "HOSP" not in told


def test_an_odd_character_set_is_not_quoted(tmp_path, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        radiograph(tmp_path / "a.dcm", SpecificCharacterSet="SECRETCS")
    (tmp_path / "labels.csv").write_text("path,Mass\na.dcm,1\n")
    filters = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_header(tmp_path / "a.dcm")
        read_dicom(tmp_path / "a.dcm")
        report = check_dataset("dicom", tmp_path, options={"test_fraction": 1})
    told = report.to_json() + "".join(str(w.message) for w in caught) + "".join(capfd.readouterr())
    assert report.found == 1
    assert "SECRETCS" not in told
    assert filters == warnings.filters


def test_threads_do_not_undo_each_others_quiet():
    before, ready, go = list(warnings.filters), Event(), Event()

    def inside():
        with quiet():
            ready.set()
            go.wait(10)

    with warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor(1) as pool:
        warnings.simplefilter("always")
        with quiet():
            pool.submit(inside)
            assert ready.wait(10)
        convert_encodings("SECRETCS")  # pydicom warns of it; the other is still in it
        warnings.warn("ours", stacklevel=1)
        go.set()
    assert [str(w.message) for w in caught] == ["ours"]
    assert warnings.filters == before


def test_is_dicom(tmp_path):
    radiograph(tmp_path / "a.txt")
    (tmp_path / "b.dcm").write_bytes(gzip.compress(os.urandom(500)))
    assert is_dicom(tmp_path / "a.txt")
    assert not is_dicom(tmp_path / "b.dcm")
    assert not is_dicom(tmp_path / "missing.dcm")
    assert not is_dicom(tmp_path)


def test_without_pydicom_the_extra_is_named(tmp_path, monkeypatch):
    import sys

    radiograph(tmp_path / "a.dcm")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(InputError, match=r"-e '\.\[dicom\]'"):
        read_dicom(tmp_path / "a.dcm")
