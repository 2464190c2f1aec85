"""One DICOM file: is it one, and its pixels as people see them."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from pellucid.data.decoding.pixel_limit import check_pixels
from pellucid.data.dicom.bits import values_of_words
from pellucid.data.dicom.bounded_file import BoundedFile
from pellucid.data.dicom.codestream import declared_size
from pellucid.data.dicom.quiet import quiet
from pellucid.data.dicom.values import WHITE, gray_table, whole
from pellucid.types import InputError
from pellucid.utils.resources import how_to_install, optional
from pellucid.utils.settings import Section

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt
    from pydicom.dataset import Dataset as DicomObject

    from pellucid.types import Pixels

# Which of pydicom's plug-ins may decode what, the first that is installed. None is under the GPL: pylibjpeg only with
# its OpenJPEG and RLE parts, never with pylibjpeg-libjpeg, which is.
_RLE = "1.2.840.10008.1.2.5"
_JPEG = ("pillow", "gdcm")
_LOSSLESS_JPEG = ("gdcm",)
_JPEG_LS = ("pyjpegls", "gdcm")
_JPEG_2000 = ("pylibjpeg", "pillow", "gdcm")
PLUGINS: dict[str, tuple[str, ...]] = {
    _RLE: ("pylibjpeg", "pydicom"),
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
DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
"""What the names of DICOM files end in, where they end in anything."""
WHAT_TO_DO = "Fetch it again, or take it out."
READABLE = "uncompressed, deflated, RLE, JPEG of 8 bits, JPEG-LS and JPEG 2000"
_FUNCTIONAL_GROUPS = ("PixelValueTransformationSequence", "FrameVOILUTSequence", "PixelMeasuresSequence")


class DicomPixels(Section):
    """How a DICOM file's pixels are to be read.

    Attributes:
        window: which of the file's windows to show grey values through, from 1; 0 for the full range of what can be
            stored. None for the file's VOI look-up table, or the first window where it has none.
        frame: which frame, from 1, of files that have several; those are refused without it.
    """

    window: int | None = Field(default=None, ge=0)
    frame: int | None = Field(default=None, ge=1)


def is_dicom(path: str | Path) -> bool:
    """Whether a file begins as DICOM files do: 128 bytes of anything, then DICM. Its name says nothing."""
    try:
        if not Path(path).is_file():  # a pipe would wait for whoever writes into it
            return False
        with Path(path).open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


@quiet()
def read_dicom(path: str | Path, *, window: int | None = None, frame: int | None = None) -> Pixels:
    """A DICOM file's image as the standard has it shown: uint16 grey (H, W), or colour (H, W, 3).

    Grey goes through `gray_table`. Colour is RGB whatever the file's encoding (YBR, palette, either planar
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
        number = _frame(image, frame)
        with panics_as_errors():
            pixels = _decode(image, number - 1)
        lift_functional_groups(image, number - 1)
        return _shown(image, pixels, window)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:  # decoders raise whatever they like at damaged data
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"{path}: truncated or damaged ({lines[-1].strip()}). {WHAT_TO_DO}") from error


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """A panic of a decoder that is written in Rust, which is no `Exception`, becomes a RuntimeError.

    Ctrl-C and the end of the process pass.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__module__ != "pyo3_runtime":
            raise
        raise RuntimeError(f"its decoder gave up: {error}") from error


class _RefusedError(InputError):
    """What is refused for a reason of its own, not because a file is damaged."""


@quiet()
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
        raise InputError(f"{path}: {'not a file' if path.exists() else 'no such file'}.")
    if not is_dicom(path):
        raise InputError(
            f"{path}: not a DICOM file: DICM is not at byte 128. A data set without its preamble becomes a file by "
            "DCMTK's `dcmconv +F`."
        )
    try:
        with path.open("rb") as file:
            image: DicomObject = pydicom.dcmread(
                BoundedFile(file), stop_before_pixels=not pixels, specific_tags=None if tags is None else list(tags)
            )
    except Exception as error:
        raise InputError(f"{path}: truncated or damaged ({type(error).__name__}). {WHAT_TO_DO}") from error
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
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    shape = (whole(image, "Rows"), whole(image, "Columns"))
    if min(shape) < 1:
        raise _RefusedError(f"{shape[1]} × {shape[0]} pixels are declared.")
    check_pixels(*shape)
    if whole(image, "SamplesPerPixel", 1) not in {1, 3}:
        raise _RefusedError(f"{whole(image, 'SamplesPerPixel')} samples per pixel; grey has 1 and colour 3.")
    if whole(image, "BitsAllocated") > 16:
        raise _RefusedError(f"{whole(image, 'BitsAllocated')} bits per pixel; up to 16 can be read.")
    if not 1 <= whole(image, "BitsStored") <= whole(image, "BitsAllocated"):
        raise _RefusedError(
            f"BitsStored is {whole(image, 'BitsStored')}, BitsAllocated {whole(image, 'BitsAllocated')}."
        )
    syntax = UID(str(image.file_meta.get("TransferSyntaxUID", "")))
    options: dict[str, Any] = {"correct_unused_bits": False}  # gray_table and colour need no help with them
    if syntax.is_compressed and not syntax.is_deflated:
        if syntax not in PLUGINS:
            raise _RefusedError(_unreadable(syntax))
        there = get_decoder(syntax).available_plugins
        plugin = next((p for p in PLUGINS[syntax] if p in there), None)
        if plugin is None or (syntax.endswith(".4.51") and whole(image, "BitsStored") > 8):
            raise _RefusedError(_unreadable(syntax))
        options["decoding_plugin"] = plugin
        _check_frame(image, index, shape)
    pixels: npt.NDArray[Any] = get_decoder(syntax).as_array(image, index=index, **options)[0]
    as_stored = "decoding_plugin" not in options or syntax == _RLE
    if str(image.get("PhotometricInterpretation", "")).startswith("YBR") and not as_stored:
        return pixels  # which a lossy decoder made
    try:
        return values_of_words(image, pixels, as_stored=as_stored)
    except ValueError as error:
        raise _RefusedError(f"{error}.") from error


def _check_frame(image: DicomObject, index: int, shape: tuple[int, int]) -> None:
    """Refuse a compressed frame of another size than the file's, before its decoder takes memory for it."""
    from pydicom.encaps import get_frame

    count = max(whole(image, "NumberOfFrames", 1), 1)
    offsets = None
    if "ExtendedOffsetTable" in image and "ExtendedOffsetTableLengths" in image:
        offsets = (image.ExtendedOffsetTable, image.ExtendedOffsetTableLengths)
    size = declared_size(get_frame(image.PixelData, index, number_of_frames=count, extended_offsets=offsets))
    if size is not None and size != shape:
        raise _RefusedError(
            f"its header declares {shape[1]} × {shape[0]} pixels, the compressed image in it {size[1]} × {size[0]}."
        )


def _unreadable(syntax: Any) -> str:  # noqa: ANN401
    way = "Decompress it with DCMTK's `dcmdjpeg` or `gdcmconv --raw`"
    if syntax in PLUGINS and not syntax.endswith(".4.51"):  # known, and only its decoder is missing
        way += f", or install a decoder for it: {how_to_install('dicom')}"
    many = " of more than 8 bits" if syntax.endswith(".4.51") else ""
    return f"compressed as {syntax.name}{many} ({syntax}), which cannot be read here. {way}. Readable are {READABLE}."


def lift_functional_groups(image: DicomObject, index: int) -> None:
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
        return np.asarray(np.take(table, pixels.astype(np.uint16, copy=False) & (2**bits - 1)))
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise _RefusedError(
            f"pixels of the kind {kind or 'that it does not say'} cannot be shown; grey and colour can."
        )
    top, white = 2**bits - 1, 255 if bits <= 8 else WHITE
    if top != white:
        pixels = ((pixels & top).astype(np.uint32) * white + top // 2) // top
    return np.ascontiguousarray(pixels, dtype=np.uint8 if white == 255 else np.uint16)
