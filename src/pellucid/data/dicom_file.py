"""One DICOM file: is it one, its pixels as people see them, its header without what names the patient."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pydantic import Field

from pellucid.data.decode import check_pixels
from pellucid.data.dicom_values import WHITE, gray_table, numbers, whole
from pellucid.resources import optional
from pellucid.settings import Section
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from pydicom.dataset import Dataset as DicomObject

    from pellucid.types import Pixels

# Which of pydicom's plug-ins may decode what, the first that is installed. None is under the GPL: pylibjpeg only with
# its OpenJPEG and RLE parts, never with pylibjpeg-libjpeg, which is.
_JPEG = ("pillow", "gdcm")
_LOSSLESS_JPEG = ("gdcm",)
_JPEG_LS = ("pyjpegls", "gdcm")
_JPEG_2000 = ("pylibjpeg", "pillow", "gdcm")
PLUGINS: dict[str, tuple[str, ...]] = {
    "1.2.840.10008.1.2.5": ("pylibjpeg", "pydicom"),  # RLE
    "1.2.840.10008.1.2.4.50": _JPEG,
    "1.2.840.10008.1.2.4.51": _JPEG,
    "1.2.840.10008.1.2.4.57": _LOSSLESS_JPEG,
    "1.2.840.10008.1.2.4.70": _LOSSLESS_JPEG,
    "1.2.840.10008.1.2.4.80": _JPEG_LS,
    "1.2.840.10008.1.2.4.81": _JPEG_LS,
    "1.2.840.10008.1.2.4.90": _JPEG_2000,
    "1.2.840.10008.1.2.4.91": _JPEG_2000,
    "1.2.840.10008.1.2.4.201": ("pylibjpeg",),  # High-Throughput JPEG 2000
    "1.2.840.10008.1.2.4.202": ("pylibjpeg",),
    "1.2.840.10008.1.2.4.203": ("pylibjpeg",),
}
_WHAT_TO_DO = "Fetch it again, or take it out."
READABLE = "uncompressed, deflated, RLE, JPEG of 8 bits, JPEG-LS and JPEG 2000"
_FUNCTIONAL_GROUPS = ("PixelValueTransformationSequence", "FrameVOILUTSequence", "PixelMeasuresSequence")
_HEADER = (
    "SOPClassUID", "SOPInstanceUID", "AccessionNumber", "PatientID", "IssuerOfPatientID", "Manufacturer", "Rows",
    "Columns", "NumberOfFrames", "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing",
    "PresentationIntentType", "SharedFunctionalGroupsSequence",
)  # fmt: skip


class DicomPixels(Section):
    """How a DICOM file's pixels are to be read.

    Attributes:
        window: which of the file's windows to show gray values through, from 1; 0 for the full range of what can be
            stored. None for the file's VOI look-up table, or the first window where it has none.
        frame: which frame, from 1, of files that have several; those are refused without it.
    """

    window: int | None = Field(default=None, ge=0)
    frame: int | None = Field(default=None, ge=1)


class Spacing(NamedTuple):
    """How far apart the pixels of an image are, in millimetres.

    Attributes:
        row: between rows, downwards.
        column: between columns, to the right.
        source: the attribute it is from. `PixelSpacing` may be calibrated to the patient; `ImagerPixelSpacing` is at
            the detector, where a projection is magnified; `NominalScannedPixelSpacing` is of a digitised film.
    """

    row: float
    column: float
    source: str


@dataclass(frozen=True)
class Header:
    """What is known of a DICOM file without its pixels.

    Attributes:
        path: the file.
        uid: its SOP Instance UID.
        accession: its accession number; empty where it has none.
        patient_id: as in the file; empty where it has none. Show `patient` instead.
        issuer: of the patient's id, as in the file.
        rows: height in pixels; 0 for an object that is no image.
        columns: width in pixels.
        frames: how many images are in it.
        manufacturer: of what made the image.
        raw: whether it is marked as for processing, not for presentation.
        spacing: between pixels; None where it is not known.
        spacing_problem: why the spacing cannot be used, where it is there and makes no sense.
    """

    path: Path
    uid: str
    accession: str
    patient_id: str
    issuer: str
    rows: int
    columns: int
    frames: int
    manufacturer: str
    raw: bool
    spacing: Spacing | None
    spacing_problem: str = ""

    @property
    def name(self) -> str:
        """What the image is called in results: by a hash, since UIDs and paths may hold dates and names."""
        return f"dicom-{_hash('image', self.uid or self.path.name)}"

    def named(self, pixels: DicomPixels) -> str:
        """The same, with what was chosen of the file, by which the pixels differ."""
        chosen = [f"{k}{v}" for k, v in (("window", pixels.window), ("frame", pixels.frame)) if v is not None]
        return "-".join((self.name, *chosen))

    @property
    def patient(self) -> str:
        """A name for the patient that tells nothing: a hash of the id; the image's own where it has no id."""
        return f"patient-{_hash('patient', self.issuer, self.patient_id)}" if self.patient_id else self.name

    def need_spacing(self) -> Spacing | None:
        """The spacing, None where it is not known.

        Raises:
            InputError: naming the file, for a spacing that makes no sense.
        """
        if self.spacing_problem:
            raise InputError(f"{self.path}: {self.spacing_problem}.")
        return self.spacing


def is_dicom(path: str | Path) -> bool:
    """Whether a file begins as DICOM files do: 128 bytes of anything, then DICM. Its name says nothing."""
    try:
        with Path(path).open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_dicom(path: str | Path, *, window: int | None = None, frame: int | None = None) -> Pixels:
    """A DICOM file's image as the standard has it shown: uint16 gray (H, W), or colour (H, W, 3).

    Gray goes through `gray_table`. Colour is RGB whatever the file's encoding (YBR, palette, either planar
    configuration), uint8 up to 8 bits a sample, else uint16. Presentation states, overlays, shutters and the
    Presentation LUT are not applied.

    Args:
        path: the file.
        window: see `gray_table`.
        frame: which frame of several, from 1.

    Raises:
        InputError: with the file's name, for a file that is not DICOM, is truncated or damaged, has no pixel data,
            several frames and none chosen, a transfer syntax that cannot be read here, or attributes that make no
            sense.
    """
    path = Path(path)
    image = open_dicom(path)
    try:
        chosen = _frame(image, frame)
        pixels = _decode(image, chosen - 1)
        _lift_functional_groups(image, chosen - 1)
        return _shown(image, pixels, window)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:  # decoders raise whatever they like at damaged data
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"{path}: truncated or damaged ({said[-1].strip()}). {_WHAT_TO_DO}") from error


def read_header(path: str | Path) -> Header:
    """What a DICOM file says without its pixels.

    Raises:
        InputError: with the file's name, for a file that is not DICOM or is damaged.
    """
    path = Path(path)
    image = open_dicom(path, pixels=False, tags=_HEADER)
    try:
        shape = [whole(image, k, default) for k, default in (("Rows", 0), ("Columns", 0), ("NumberOfFrames", 1))]
        _lift_functional_groups(image, 0)
        intent = _text(image, "PresentationIntentType")
        named = [_text(image, k) for k in ("SOPInstanceUID", "AccessionNumber", "PatientID", "IssuerOfPatientID")]
    except Exception as error:
        raise InputError(f"{path}: the header is damaged ({error}). {_WHAT_TO_DO}") from error
    spacing, problem = None, ""
    try:
        spacing = _spacing(image)
    except ValueError as error:
        problem = str(error)
    uid, accession, patient, issuer = named
    return Header(
        path, uid, accession, patient, issuer, shape[0], shape[1], max(shape[2], 1), _text(image, "Manufacturer"),
        intent == "FOR PROCESSING", spacing, problem,
    )  # fmt: skip


class _RefusedError(InputError):
    """What is refused for a reason of its own, not because a file is damaged."""


def open_dicom(path: Path, *, pixels: bool = True, tags: Sequence[str] | None = None) -> DicomObject:
    """A DICOM file as pydicom reads it.

    Args:
        path: the file.
        pixels: whether to read what begins with the pixel data.
        tags: only these attributes; all where None.

    Raises:
        InputError: with the file's name, for a file that is not DICOM or is damaged; naming the extra, where pydicom
            is not installed.
    """
    pydicom = optional("pydicom", "dicom", f"{path.name or path}: a DICOM file")
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    if not is_dicom(path):
        raise InputError(
            f"{path}: not a DICOM file: DICM is not at byte 128. A data set without its preamble becomes a file by "
            "DCMTK's `dcmconv +F`."
        )
    try:
        image: DicomObject = pydicom.dcmread(
            path, stop_before_pixels=not pixels, specific_tags=None if tags is None else list(tags)
        )
    except Exception as error:
        raise InputError(f"{path}: truncated or damaged ({type(error).__name__}). {_WHAT_TO_DO}") from error
    return image


def _frame(image: DicomObject, frame: int | None) -> int:
    if "PixelData" not in image:
        if "FloatPixelData" in image or "DoubleFloatPixelData" in image:
            raise _RefusedError("floating-point pixels; images of whole numbers up to 16 bits can be read.")
        kind = image.file_meta.get("MediaStorageSOPClassUID")
        raise _RefusedError(f"no pixel data in it; it is {getattr(kind, 'name', None) or 'of no known kind'}.")
    count = max(whole(image, "NumberOfFrames", 1), 1)
    if count > 1 and frame is None:
        raise _RefusedError(f"{count} frames, not one image. Choose one with the option frame=1 … frame={count}.")
    if frame is not None and not 1 <= frame <= count:
        raise _RefusedError(f"frame {frame} is asked for; it has {count}.")
    return frame or 1


def _decode(image: DicomObject, index: int) -> npt.NDArray[Any]:
    """Samples as stored, (H, W) or (H, W, 3); YBR as RGB."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    shape = (whole(image, "Rows"), whole(image, "Columns"))
    if min(shape) < 1:
        raise _RefusedError(f"{shape[1]} × {shape[0]} pixels are declared.")
    check_pixels(*shape)
    if whole(image, "BitsAllocated") > 16:
        raise _RefusedError(f"{whole(image, 'BitsAllocated')} bits a pixel; up to 16 can be read.")
    syntax = UID(str(image.file_meta.get("TransferSyntaxUID", "")))
    options: dict[str, Any] = {}
    if syntax.is_compressed and not syntax.is_deflated:
        if syntax not in PLUGINS:
            raise _RefusedError(_unreadable(syntax))
        there = get_decoder(syntax).available_plugins
        plugin = next((p for p in PLUGINS[syntax] if p in there), None)
        if plugin is None or (syntax.endswith(".4.51") and whole(image, "BitsStored") > 8):
            raise _RefusedError(_unreadable(syntax))
        options = {"decoding_plugin": plugin}
    pixels: npt.NDArray[Any] = get_decoder(syntax).as_array(image, index=index, **options)[0]
    return pixels


def _unreadable(syntax: Any) -> str:  # noqa: ANN401
    way = "Decompress it with DCMTK's `dcmdjpeg` or `gdcmconv --raw`"
    if PLUGINS.get(syntax) == _LOSSLESS_JPEG:
        way += ", or install a decoder for it: pip install python-gdcm"
    many = " of more than 8 bits" if syntax.endswith(".4.51") else ""
    return f"compressed as {syntax.name}{many} ({syntax}), which cannot be read here. {way}. Readable are {READABLE}."


def _lift_functional_groups(image: DicomObject, index: int) -> None:
    """What an enhanced image says of all frames, and of this one, as an ordinary image says it."""
    shared = list(image.get("SharedFunctionalGroupsSequence") or ())[:1]
    own = list(image.get("PerFrameFunctionalGroupsSequence") or ())[index : index + 1]
    for item in (*shared, *own):
        for keyword in _FUNCTIONAL_GROUPS:
            for group in list(item.get(keyword) or ())[:1]:
                image.update({element.tag: element for element in group})


def _shown(image: DicomObject, pixels: npt.NDArray[Any], window: int | None) -> Pixels:
    kind, bits = str(image.get("PhotometricInterpretation", "")), whole(image, "BitsStored")
    if kind == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        pixels = apply_color_lut(pixels, image)
        bits = 8 * pixels.itemsize
    elif kind in {"MONOCHROME1", "MONOCHROME2"} and pixels.ndim == 2:
        try:
            table = gray_table(image, window)
        except ValueError as error:
            raise _RefusedError(f"{error}.") from error
        shift = max(whole(image, "HighBit", bits - 1) + 1 - bits, 0)
        stored = pixels.astype(np.uint16, copy=False)
        return np.asarray(np.take(table, (stored >> shift) & (2**bits - 1)))
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise _RefusedError(
            f"pixels of the kind {kind or 'that it does not say'} cannot be shown; gray and colour can."
        )
    top, white = 2**bits - 1, 255 if bits <= 8 else WHITE
    if top != white:
        pixels = (np.minimum(pixels, top).astype(np.uint32) * white + top // 2) // top
    return np.ascontiguousarray(pixels, dtype=np.uint8 if white == 255 else np.uint16)


def _spacing(image: DicomObject) -> Spacing | None:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        found = numbers(image, keyword)
        if found and (len(found) != 2 or min(found) <= 0):
            raise ValueError(f"{keyword} is {', '.join(f'{v:g}' for v in found)}; expected two numbers above 0")
        if found:
            return Spacing(found[0], found[1], keyword)
    return None


def _text(image: DicomObject, keyword: str) -> str:
    """An attribute's text from its bytes: pydicom would warn of what it finds odd, and quote it."""
    item: Any = image.get_item(keyword) if keyword in image else None
    value = getattr(item, "value", None)
    if value is None:
        return ""
    return (value.decode("latin-1") if isinstance(value, bytes) else str(value)).strip(" \0")


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(("pellucid", *parts)).encode()).hexdigest()[:16]
