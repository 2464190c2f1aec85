"""A radiograph as DICOM, of the phantom or of given values, with all that may be told apart in it; lookup tables."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    generate_uid,
)

from pellucid.data.readers.phantom.reader import render

_BY_PILLOW = {
    JPEG2000Lossless: ("JPEG2000", {"irreversible": False, "no_jp2": True}),
    JPEGBaseline8Bit: ("JPEG", {"quality": 95}),
}
SECRETS = {
    "PatientName": "Quixotte^Dulcinea",
    "PatientID": "HOSP-7731942",
    "PatientBirthDate": "19481123",
    "StudyDate": "20230417",
    "SeriesDate": "20230418",
    "ContentDate": "20230419",
    "AcquisitionDate": "20230420",
    "AccessionNumber": "ACC-5521873",
    "ReferringPhysicianName": "Tristram^Shandy",
    "InstitutionName": "Bedlam General",
}
FILES = Path(pydicom.__file__).parent / "data" / "test_files"
RAMP = np.linspace(0, 1, 4096) ** 0.5


def radiograph(path, values=None, *, syntax=ExplicitVRLittleEndian, index=0, size=64, compress=None, **attributes):
    """Write a radiograph; `values` as stored, by default a phantom of 12 bits. Attributes of None are left out."""
    if values is None:
        values = render(index, options={"size": size}, split="test").pixels.astype(np.uint16) * 16
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.TransferSyntaxUID = syntax
    image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID = DigitalXRayImageStorageForPresentation
    image.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = generate_uid(prefix=None)
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(prefix=None), generate_uid(prefix=None)
    image.Modality, image.StudyID, image.SeriesNumber, image.InstanceNumber = "DX", "1", 1, 1
    image.PatientSex, image.StudyTime, image.ImageType = "F", "101112", ["ORIGINAL", "PRIMARY"]
    image.PatientOrientation = ["L", "F"]
    image.Rows, image.Columns = values.shape[:2]
    image.SamplesPerPixel = 1 if values.ndim == 2 else 3
    if values.ndim == 3:
        image.PlanarConfiguration = 0
    image.PhotometricInterpretation = "MONOCHROME2" if values.ndim == 2 else "RGB"
    image.BitsAllocated = 8 * values.itemsize
    image.BitsStored = 12 if values.itemsize == 2 else 8
    image.PixelRepresentation = int(values.dtype.kind == "i")
    image.ImagerPixelSpacing = [0.2, 0.1]
    for keyword, value in {**SECRETS, **attributes}.items():
        if value is None:
            if keyword in image:
                del image[keyword]
        else:
            setattr(image, keyword, value)
    image.HighBit = attributes.get("HighBit", image.BitsStored - 1)
    image.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)
    image["PixelData"].VR = "OW" if image.BitsAllocated > 8 else "OB"
    if compress in _BY_PILLOW:
        kind, how = _BY_PILLOW[compress]
        Image.fromarray(values).save(stream := io.BytesIO(), kind, **how)
        image.PixelData = encapsulate([stream.getvalue()])
        image["PixelData"].is_undefined_length = True
        meta.TransferSyntaxUID = compress
    elif compress is not None:
        image.compress(compress, generate_instance_uid=False)
    image.save_as(path, enforce_file_format=True)
    return image


def lut(first, entries, bits, *, packed=False):
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    values = np.asarray(entries, dtype=np.uint8 if packed else np.uint16)
    item.add_new("LUTData", "OW", values.tobytes())
    return item


def shipped(name):
    """The files that pydicom's wheel holds; nothing is downloaded."""
    return FILES / name
