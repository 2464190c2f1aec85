"""Grey TIFFs of every sign and photometric interpretation, of which Pillow reads some wrongly and some not at all."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pellucid.data.decoding.tiff_tags import BITS, PHOTOMETRIC, SAMPLE_FORMAT, SAMPLES, Tag, read_tags
from pellucid.types import InputError

if TYPE_CHECKING:
    import numpy.typing as npt

_MIN_IS_WHITE, _MIN_IS_BLACK = 0, 1
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3


class PixelKindError(InputError):
    """Pixels of a kind that is not read, in a file that is whole."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"{kind}, which are not read. Save it as grey or colour of 8 or 16 bits, unsigned.")


@dataclass(frozen=True)
class GrayLayout:
    """How the samples of a grey TIFF are stored.

    Attributes:
        bits: of a sample.
        signed: whether they are signed numbers.
        white_is_zero: whether the least value is white.
        data: the file, changed to say that they are unsigned and that the least value is black.
    """

    bits: int
    signed: bool
    white_is_zero: bool
    data: bytes

    def gray(self, samples: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8 | np.uint16]:
        """Samples, decoded as unsigned numbers from `data`, as grey over the full range of 8 or 16 bits.

        The least value that can be stored is black and the greatest white, or the other way round.
        """
        values = samples.astype(np.uint16)
        if self.signed:  # two's complement: the sign bit turned over puts the least value at 0
            values = values ^ np.uint16(1 << (self.bits - 1))
        top = 2**self.bits - 1
        if self.white_is_zero:
            values = np.uint16(top) - values
        if self.bits not in {8, 16}:
            values = ((values.astype(np.uint32) * 65535 + top // 2) // top).astype(np.uint16)
        return values.astype(np.uint8) if self.bits == 8 else values


def gray_layout(data: bytes) -> GrayLayout | None:
    """The layout of a grey TIFF whose samples have more than 4 bits; None for colour, and for what is no TIFF.

    Raises:
        PixelKindError: for samples of floating point, signed ones of colours, or more than 16 bits.
    """
    tags = read_tags(data)
    bits = max(_values(tags, BITS, 1))
    kinds = set(_values(tags, SAMPLE_FORMAT, _UNSIGNED))
    if PHOTOMETRIC not in tags or bits < 8:
        return None
    if _FLOAT in kinds:
        raise PixelKindError("floating-point pixels")
    if bits > 16:
        raise PixelKindError(f"whole numbers of {bits} bits")
    photometric = _values(tags, PHOTOMETRIC, _MIN_IS_BLACK)[0]
    if photometric not in {_MIN_IS_WHITE, _MIN_IS_BLACK} or _values(tags, SAMPLES, 1) != (1,) or len(kinds) > 1:
        if _SIGNED in kinds:
            raise PixelKindError("signed numbers for colours")
        return None
    kind = kinds.pop()
    changed = bytearray(data)
    for number, value in ((PHOTOMETRIC, _MIN_IS_BLACK), (SAMPLE_FORMAT, _UNSIGNED)):
        if number in tags:
            struct.pack_into(tags[number].code, changed, tags[number].place, value)
    return GrayLayout(bits, kind == _SIGNED, photometric == _MIN_IS_WHITE, bytes(changed))


def _values(tags: dict[int, Tag], number: int, default: int) -> tuple[int, ...]:
    return tags[number].values if number in tags else (default,)
