"""Which bits of a DICOM image's words are its values, and whether they are the bits that its header names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.data.decoding.notes import note
from pellucid.data.dicom.values import whole

if TYPE_CHECKING:
    import numpy.typing as npt
    from pydicom.dataset import Dataset as DicomObject


def values_of_words(image: DicomObject, words: npt.NDArray[Any], *, as_stored: bool) -> npt.NDArray[Any]:
    """The values in an image's words: the BitsStored bits up to HighBit.

    Args:
        image: with the attributes of the Image Pixel module, BitsStored at most BitsAllocated.
        words: of BitsAllocated bits, signed or not.
        as_stored: whether they are the words of the file; what JPEG and its like hold are values already.

    Raises:
        ValueError: for attributes that cannot be, and where the words hold more than BitsStored bits, so that they
            would wrap round: how many, and the greatest.
    """
    allocated, stored = whole(image, "BitsAllocated"), whole(image, "BitsStored")
    high = whole(image, "HighBit", stored - 1)
    if not stored - 1 <= high < allocated:
        raise ValueError(
            f"HighBit is {high}; with BitsStored {stored} and BitsAllocated {allocated} it can be "
            f"{stored - 1} to {allocated - 1}"
        )
    shift = high + 1 - stored if as_stored else 0
    if shift:
        _check_high(words, stored, high)
        words = words >> shift
    _check_beyond(image, words, stored)
    return words


def _check_high(words: npt.NDArray[Any], stored: int, high: int) -> None:
    """Refuse a HighBit that is plainly wrong: below it bits are set, and none of those that only it would explain."""
    used = int(np.bitwise_or.reduce(words.astype(np.int64).ravel() & 0xFFFF))
    if used and used < 2**stored:
        raise ValueError(
            f"HighBit is {high}, but no bit above {used.bit_length() - 1} is set: the values are shifted "
            "by another program, or HighBit is wrong. Mend it"
        )
    note("HighBit is not BitsStored - 1: the values were taken from the upper bits", f": HighBit is {high}")


def _check_beyond(image: DicomObject, words: npt.NDArray[Any], stored: int) -> None:
    """Refuse words with more than BitsStored bits; what is the same in all of them, or an overlay, is no value."""
    mask = (1 << stored) - 1
    wide = words.astype(np.int64)
    low = wide & mask
    sign_extended = np.where(low >> (stored - 1) == 1, low - (1 << stored), low)
    signed = image.get("PixelRepresentation", 0) == 1 and bool(wide.size) and wide.min() < 0  # else filled with zeros
    other = wide != (sign_extended if signed else low)
    count = int(other.sum())
    if not count:
        return
    above = np.unique(wide[other] >> stored)
    if (len(above) == 1 and count == other.size) or _has_overlay(image):
        note(
            "bits above BitsStored hold something else, and were not looked at",
            f": in {count:,} of {other.size:,} values",
        )
        return
    raise ValueError(
        f"{count:,} of {other.size:,} values have more than the {stored} bits of BitsStored, up to "
        f"{np.abs(wide[other]).max():,}, and would wrap round. Mend BitsStored, or write the file again"
    )


def _has_overlay(image: DicomObject) -> bool:
    """Whether an overlay lies in bits of the pixel words (retired, but still met): group 6000 to 601E."""
    return any((group, 0x0102) in image and not image.get((group, 0x3000)) for group in range(0x6000, 0x6020, 2))
