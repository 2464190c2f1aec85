"""The pixels of a cache file as an array, which hands out no image before its block was held against its hash."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from pellucid.utils.digests import damaged
from pellucid.utils.parallel import in_threads

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from pellucid.types import Pixels


class CheckedPixels(NDArrayOperatorsMixin):
    """A memory map (n, C, H, W), read-only, whose blocks of images are checked when they are first used.

    It is indexed, iterated and computed with as an array is, and gives plain arrays; `np.asarray` and arrays' methods
    check all blocks. For its check a block is read from the file, once: what a damaged disk makes an error there ends
    the process in a map.

    Args:
        path: of the file.
        dtype: uint8 or uint16.
        offset: of the first image, in bytes.
        shape: (n, C, H, W).
        block: images a block.
        hashes: SHA-256 of each block.
        advice: what to do about a damaged one.

    Raises:
        DamageError: by every use of an image in a block that is not what was written, naming file and images.
    """

    def __init__(
        self,
        path: Path,
        dtype: np.dtype[np.uint8 | np.uint16],
        offset: int,
        shape: tuple[int, int, int, int],
        *,
        block: int,
        hashes: Sequence[str],
        advice: str,
    ) -> None:
        mapped = np.memmap(path, dtype, "r", offset, shape)
        self._pixels = cast("Pixels", mapped.view(np.ndarray))
        self._path, self._offset, self._advice = path, offset, advice
        self._block, self._hashes = block, tuple(hashes)
        self._image_bytes = int(np.prod(shape[1:])) * dtype.itemsize
        self._waiting = np.ones(len(self._hashes), dtype=bool)  # to be checked

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, C, H, W)."""
        return self._pixels.shape

    @property
    def dtype(self) -> np.dtype[np.uint8 | np.uint16]:
        """Of a channel of a pixel."""
        return self._pixels.dtype

    @property
    def ndim(self) -> int:
        """4."""
        return self._pixels.ndim

    @property
    def size(self) -> int:
        """The number of values."""
        return self._pixels.size

    @property
    def nbytes(self) -> int:
        """Bytes of all images."""
        return self._pixels.nbytes

    @property
    def flags(self) -> Any:  # noqa: ANN401 (numpy does not name its type)
        """Of the memory map: it cannot be written."""
        return self._pixels.flags

    def __len__(self) -> int:
        """The number of images."""
        return len(self._pixels)

    def __getitem__(self, key: Any) -> Any:  # noqa: ANN401 (all that an array can be indexed with)
        """What an array gives for this index."""
        values = self._pixels[key]  # an index that is out of range is refused first
        if self._waiting.any():
            self._check(self._blocks_of(key[0] if isinstance(key, tuple) and key else key))
        return values

    def __iter__(self) -> Iterator[Pixels]:
        """The images, one after another."""
        return (self[row] for row in range(len(self)))

    def __array__(self, dtype: npt.DTypeLike | None = None, *, copy: bool | None = None) -> npt.NDArray[Any]:
        """All images, as numpy asks for them."""
        self._check(np.arange(len(self._hashes)))
        whole = self._pixels if dtype is None else self._pixels.astype(dtype, copy=False)
        return whole.copy() if copy else whole

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """An array's other attributes and methods, of all images."""
        if name.startswith("_"):  # of Python's own protocols, and before `__init__` is done
            raise AttributeError(name)
        return getattr(np.asarray(self), name)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:  # noqa: ANN401
        """Arithmetic and comparisons, with all images."""
        return getattr(ufunc, method)(
            *(np.asarray(i) if isinstance(i, CheckedPixels) else i for i in inputs), **options
        )

    def _blocks_of(self, rows: Any) -> npt.NDArray[np.int64]:  # noqa: ANN401
        """The blocks that an index of the first axis takes images from."""
        if isinstance(rows, int | np.integer):
            return np.array([int(rows) % len(self) // self._block])
        if rows is None or rows is Ellipsis:
            return np.arange(len(self._hashes))
        return np.unique(np.arange(len(self))[rows] // self._block)

    def _check(self, blocks: npt.NDArray[np.int64]) -> None:
        waiting = [int(number) for number in blocks[self._waiting[blocks]]]
        if len(waiting) > 1:
            sounds = in_threads(lambda i: self._sound(waiting[i]), len(waiting), title=f"check {self._path.name}")
        else:
            sounds = (self._sound(number) for number in waiting)
        for number, sound in zip(waiting, sounds, strict=True):
            if not sound:
                first = number * self._block
                last = min(first + self._block, len(self)) - 1
                raise damaged(self._path, f"its images {first} to {last} are not what was written", self._advice)
            self._waiting[number] = False

    def _sound(self, number: int) -> bool:
        with self._path.open("rb") as stream:
            stream.seek(self._offset + number * self._block * self._image_bytes)
            count = min(self._block, len(self) - number * self._block)
            return hashlib.sha256(stream.read(count * self._image_bytes)).hexdigest() == self._hashes[number]
