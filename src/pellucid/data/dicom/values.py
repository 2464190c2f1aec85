"""From a DICOM image's stored values to grey: modality and VOI look-up tables, windows, inversion and padding.

Stored values have at most 16 bits, so that all of it is one table from stored value to grey.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pellucid.data.decoding.notes import note

if TYPE_CHECKING:
    import numpy.typing as npt
    from pydicom.dataset import Dataset as DicomObject

    Values = npt.NDArray[np.float64]

WHITE = 65535


def gray_table(image: DicomObject, window: int | None = None) -> npt.NDArray[np.uint16]:
    """Grey for every value that the image can store, as uint16 over the full range.

    The steps are those of the standard (DICOM PS3.3 C.11.1, C.11.2, C.7.6.3.1.2): the Modality LUT Sequence, or
    Rescale Slope and Intercept; the VOI LUT Sequence, or a window (LINEAR, LINEAR_EXACT or SIGMOID); MONOCHROME1
    turned over; Pixel Padding Value, and the range to Pixel Padding Range Limit, black. Without table and window the
    range of what can be stored is black to white, never the range of what is there, so that equal values are equal
    greys in all images. A table whose entries have more or fewer bits than its descriptor says is gone by its entries,
    as viewers do.

    Args:
        image: with the attributes of the Image Pixel module.
        window: which of the image's windows, from 1; 0 for none, and no VOI table either. Where None, the VOI table
            if there is one, else the first window.

    Returns:
        (2 ** BitsStored,), by the stored bits read as an unsigned number.

    Raises:
        ValueError: saying which attribute has what value that cannot be.

    Source:
        DICOM PS3.3 2024, C.11.1 (modality), C.11.2.1.2 and C.11.2.1.3 (windows), C.7.5.1.1.2 (padding).

    Example:
        >>> from pydicom.dataset import Dataset
        >>> image = Dataset()
        >>> image.BitsStored, image.PixelRepresentation, image.PhotometricInterpretation = 2, 0, "MONOCHROME1"
        >>> gray_table(image).tolist()
        [65535, 43690, 21845, 0]
    """
    bits = whole(image, "BitsStored")
    if not 1 <= bits <= 16:
        raise ValueError(f"BitsStored is {bits}; 1 to 16 can be read")
    stored = np.arange(2**bits, dtype=np.float64)
    if image.get("PixelRepresentation", 0) == 1:
        stored[2 ** (bits - 1) :] -= 2**bits
    values, low, high = _modality(image, stored)
    grays = _voi(image, values, low, high, window)
    if image.get("PhotometricInterpretation", "") == "MONOCHROME1":
        grays = 1 - grays
    grays[_padding(image, stored)] = 0
    return np.asarray(np.rint(grays * WHITE), dtype=np.uint16)


def numbers(image: DicomObject, keyword: str) -> list[float]:
    """The numbers of an attribute; none where it is missing or empty.

    Raises:
        ValueError: naming the attribute, for a value that is no finite number.
    """
    try:
        value = image.get(keyword)
        entries = [] if value in (None, "") else [float(v) for v in np.atleast_1d(value)]
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{keyword} is not a number") from error
    if not np.isfinite(entries).all():
        raise ValueError(f"{keyword} is {', '.join(f'{v:g}' for v in entries)}; expected finite numbers")
    return entries


def whole(image: DicomObject, keyword: str, default: int | None = None) -> int:
    """The whole number of an attribute.

    Raises:
        ValueError: naming the attribute, where it is missing without a default, or is no single whole number.
    """
    entries = numbers(image, keyword)
    if not entries and default is not None:
        return default
    if len(entries) != 1 or entries[0] != int(entries[0]):
        raise ValueError(f"{keyword} is missing" if not entries else f"{keyword} is not one whole number")
    return int(entries[0])


def _modality(image: DicomObject, stored: Values) -> tuple[Values, float, float]:
    """Values after the modality transformation, and the ends of the range that they may take."""
    if image.get("ModalityLUTSequence"):
        first, entries, top = _lut(image.ModalityLUTSequence[0], "Modality LUT", image)
        return _look_up(stored, first, entries), 0.0, top
    slope, intercept = (numbers(image, "RescaleSlope") or [1.0])[0], (numbers(image, "RescaleIntercept") or [0.0])[0]
    if slope == 0:
        raise ValueError("RescaleSlope is 0: all values would be the same")
    values = stored * slope + intercept
    return values, float(values.min()), float(values.max())


def _voi(image: DicomObject, values: Values, low: float, high: float, window: int | None) -> Values:
    """What is shown of the values, from 0 (least) to 1."""
    if window is None and image.get("VOILUTSequence"):
        first, entries, top = _lut(image.VOILUTSequence[0], "VOI LUT", image)
        return _look_up(values, first, entries) / top
    centres, widths = numbers(image, "WindowCenter"), numbers(image, "WindowWidth")
    count = min(len(centres), len(widths))
    if window is not None and window > count:
        raise ValueError(f"window {window} is asked for, but there are {count} windows")
    if window == 0 or count == 0:
        return (values - low) / max(high - low, 1e-300)
    which = (window or 1) - 1
    return windowed(values, centres[which], widths[which], str(image.get("VOILUTFunction") or "LINEAR"))


def windowed(values: Values, centre: float, width: float, function: str = "LINEAR") -> Values:
    """A window over values, by pydicom: 0 below it, 1 above, in between as the function says.

    Raises:
        ValueError: for a width that is none, or an unknown function.

    Example:
        >>> windowed(np.array([-1.0, 0, 1, 2, 3]), 1, 3, "LINEAR").tolist()
        [0.0, 0.25, 0.75, 1.0, 1.0]
        >>> windowed(np.array([-1.0, 0, 1, 2, 3]), 1, 4, "LINEAR_EXACT").tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    from pydicom.dataset import Dataset as NewObject
    from pydicom.pixels.processing import apply_windowing

    window = NewObject()
    window.PhotometricInterpretation, window.PixelRepresentation, window.BitsStored = "MONOCHROME2", 0, 1  # from 0 to 1
    window.add_new("WindowCenter", "FD", centre)  # as "DS" it could have 16 letters at most
    window.add_new("WindowWidth", "FD", width)
    window.VOILUTFunction = function
    try:
        with np.errstate(over="ignore"):  # far below a SIGMOID window: 1 / (1 + infinity) is the 0 that is meant
            return np.asarray(apply_windowing(values, window), dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"WindowWidth is {width:g}, VOILUTFunction {function!r}: {error}") from error


def _padding(image: DicomObject, stored: Values) -> npt.NDArray[np.bool_]:
    value, limit = numbers(image, "PixelPaddingValue"), numbers(image, "PixelPaddingRangeLimit")
    if not value:
        return np.zeros(len(stored), dtype=bool)
    ends = (value[0], limit[0] if limit else value[0])
    return (stored >= min(ends)) & (stored <= max(ends))


def _lut(item: DicomObject, what: str, image: DicomObject) -> tuple[float, Values, float]:
    """The first value mapped, the entries of a look-up table, and the greatest that its entries could be.

    pydicom's own functions go by the descriptor alone: entries of 8 bits packed two by two, bits that the entries do
    not keep to, and first values below 0 are more than they read right.
    """
    descriptor = [int(v) for v in numbers(item, "LUTDescriptor")]
    if len(descriptor) != 3 or not 8 <= descriptor[2] <= 16:
        raise ValueError(f"the descriptor of the {what} is {descriptor}; expected entries, first value, 8 to 16 bits")
    count, first, depth = descriptor[0] % 65536 or 65536, descriptor[1], descriptor[2]
    data = item.get("LUTData")
    if isinstance(data, bytes):
        little = image.original_encoding[1] is not False
        kind = "u1" if len(data) in {count, count + count % 2} and depth == 8 else "<u2" if little else ">u2"
        entries = np.frombuffer(data[: len(data) // np.dtype(kind).itemsize * np.dtype(kind).itemsize], kind)
    else:
        entries = np.asarray(np.atleast_1d([] if data is None else data), dtype=np.int64) & 0xFFFF
    if len(entries) < count:
        raise ValueError(f"the {what} has {len(entries)} entries; its descriptor says {count}")
    entries = entries[:count]
    needed = max(int(entries.max()).bit_length(), 8)
    if needed != depth:
        detail = f": the descriptor says {depth} bits, the greatest entry is {entries.max():,}"
        note(f"the {what} has another depth than its descriptor says; its entries were gone by", detail)
    return float(first), entries.astype(np.float64), 2.0**needed - 1


def _look_up(values: Values, first: float, entries: Values) -> Values:
    if first >= 32768 and values.min() < 0:  # a signed number that was written, or read, as an unsigned one
        first -= 65536
    return entries[np.clip(np.rint(values - first), 0, len(entries) - 1).astype(np.int64)]
