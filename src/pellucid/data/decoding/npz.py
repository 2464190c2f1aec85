"""Arrays in npz files of others: headers are looked at before memory is taken, and all damage is one error."""

from __future__ import annotations

import math
import zipfile
import zlib
from contextlib import contextmanager
from tokenize import TokenError
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.lib import format as npy

from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

DAMAGED = (
    zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError, KeyError, IndexError,
    SyntaxError, TokenError, OverflowError, MemoryError,
)  # fmt: skip
"""What zipfile and numpy raise at damaged files; TokenError at a header that was text of another Python."""


@contextmanager
def open_npz(source: Path | IO[bytes], place: str) -> Iterator[zipfile.ZipFile]:
    """An npz file, and what is wrong with it as one error.

    Raises:
        InputError: naming `place`, for what is no npz file, or damaged, also where that is found while it is open.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            yield archive
    except InputError:
        raise
    except DAMAGED as error:
        raise InputError(f"{place}: not an npz file, or damaged ({error}). Fetch the file again.") from error
    except OSError as error:
        raise InputError(f"{place}: cannot be read ({error.strerror or error}).") from error


def npy_members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The arrays of an npz file by name."""
    return {info.filename.removesuffix(".npy"): info for info in archive.infolist()}


def npy_header(content: IO[bytes], place: str, size: int) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Shape and type of an array, checked against the bytes that there are before any are reserved for it.

    Raises:
        InputError: naming `place`, for pickled objects, an array stored by columns, or of other bytes than it declares.
    """
    version = npy.read_magic(content)
    if version not in ((1, 0), (2, 0)):
        raise InputError(f"{place}: version {version} of npy; expected 1.0 or 2.0.")
    reader = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    try:
        shape, fortran, dtype = reader(content)
    except DAMAGED as error:
        raise InputError(f"{place}: damaged: no header of an array ({error}).") from error
    if dtype.hasobject or fortran:
        raise InputError(
            f"{place}: {'pickled objects' if dtype.hasobject else 'stored by columns'}, which is not read."
        )
    if size != content.tell() + math.prod(shape) * dtype.itemsize:
        raise InputError(f"{place}: damaged: {size:,} bytes are not those of an array of shape {shape}.")
    return shape, dtype


def read_npy(
    archive: zipfile.ZipFile, name: str, place: str, *, rows: int, columns: int, kinds: str, width: int = 8
) -> npt.NDArray[np.generic]:
    """An array of an npz file, read only if it is of the shape that is expected.

    Args:
        archive: the file.
        name: of the array.
        place: what errors begin with.
        rows: its first dimension.
        columns: the most that its second may be, where it has one; 0 where it may have none.
        kinds: the kinds of numpy's types that it may have.
        width: the most bytes of an element.

    Raises:
        InputError: naming `place` and the array, for another shape or type, before it is read.
    """
    members = npy_members(archive)
    if name not in members:
        raise InputError(f"{place}: no array {name}; found {', '.join(members) or 'none'}.")
    info = members[name]
    with archive.open(info) as content:
        shape, dtype = npy_header(content, f"{place}: {info.filename}", info.file_size)
        fits = len(shape) in {1, 2} and shape[0] == rows and all(1 <= n <= columns for n in shape[1:])
        if not fits or dtype.kind not in kinds or dtype.itemsize > width:
            expected = f"({rows:,},)" + (f" or ({rows:,}, K), K up to {columns:,}" if columns else "")
            raise InputError(f"{place}: {info.filename}: expected {expected}; found {dtype} {shape}.")
        return np.frombuffer(content.read(), dtype=dtype).reshape(shape)
