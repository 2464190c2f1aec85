"""Small arrays as text, so that a file keeps what was found and a criterion can be changed without finding it again."""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

Packed = dict[str, Any]


def packed(values: npt.NDArray[Any]) -> Packed:
    """An array of bits or of whole numbers from 0 to 65,535: its shape, and its bytes compressed, as base64."""
    bits = values.dtype == bool
    raw = np.packbits(values) if bits else values.astype("<u2")
    text = b64encode(zlib.compress(raw.tobytes(), 9)).decode("ascii")
    return {"shape": list(values.shape), "bits" if bits else "numbers": text}


def unpacked(stored: Mapping[str, Any]) -> npt.NDArray[Any]:
    """What `packed` was given, as bool or int64."""
    shape = tuple(stored["shape"])
    if "bits" in stored:
        raw = np.frombuffer(zlib.decompress(b64decode(stored["bits"])), np.uint8)
        return np.unpackbits(raw, count=int(np.prod(shape))).reshape(shape).astype(bool)
    raw = np.frombuffer(zlib.decompress(b64decode(stored["numbers"])), "<u2")
    return raw.reshape(shape).astype(np.int64)


def ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """From 1, equal values with equal ranks, by size; 0 of what is not finite."""
    order = np.zeros(len(values), np.int64)
    is_finite = np.isfinite(values)
    order[is_finite] = np.unique(values[is_finite], return_inverse=True)[1] + 1
    return order
