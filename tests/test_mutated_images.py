"""Image files of every format with bytes changed and cut off: each is read or is an InputError that names it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from helpers.dicom import RAMP, lut, radiograph
from helpers.tiff import tiff
from pellucid.data.decoding.image import image_size, read_image
from pellucid.types import InputError

OF_EACH = 35
GRAY = np.random.default_rng(0).integers(0, 256, (24, 20), dtype=np.uint8)


def by_pillow(suffix):
    def write(path):
        exif = Image.Exif()
        exif[0x0112] = 6
        options = {"exif": exif} if suffix in {"jpg", "png", "webp", "tif"} else {}
        kind = {"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000", "pgm": "PPM"}.get(suffix, suffix.upper())
        Image.fromarray(GRAY).save(path, kind, **options)

    return write


def by_hand(**layout):
    return lambda path: tiff(path, GRAY.astype(int), orientation=6, **layout)


def by_pydicom(**attributes):
    return lambda path: radiograph(path, GRAY.astype(np.uint16) * 16, **attributes)


KINDS = {
    **{suffix: by_pillow(suffix) for suffix in ("jpg", "png", "webp", "tif", "gif", "bmp", "jp2", "pgm")},
    "16-bit tiff, white 0": by_hand(bits=16, photometric=0, order=">"),
    "signed tiff": by_hand(bits=8, sign=2),
    "12-bit tiff": by_hand(bits=12),
    "dicom": by_pydicom(),
    "dicom with a table": by_pydicom(VOILUTSequence=[lut(0, RAMP * 4095, 16)]),
    "dicom, run lengths": by_pydicom(compress=RLELossless),
    "dicom, JPEG 2000": by_pydicom(compress=JPEG2000Lossless),
    "dicom, JPEG-LS": by_pydicom(compress=JPEGLSLossless),
}


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_changed_it_is_read_or_refused_by_name(tmp_path, kind):
    path = tmp_path / "a.img"
    KINDS[kind](path)
    whole = path.read_bytes()
    assert set(read_image(path).shape[:2]) == set(GRAY.shape)
    rng = np.random.default_rng(len(kind))
    refused = 0
    for number in range(OF_EACH):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), rng.integers(1, 6)):
            data[at] = rng.integers(256)
        if number % 5 == 0:
            del data[rng.integers(len(data)) :]
        path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image_size(path)
            try:
                read_image(path)
            except InputError as error:
                assert str(path) in str(error)  # noqa: PT017 - nothing else may be raised
                refused += 1
    assert refused
