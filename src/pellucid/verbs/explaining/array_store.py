"""The arrays of each image: in memory, or one file per image in a folder, so that many images need no memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pellucid.utils.resources import whole_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    Arrays = Mapping[str, npt.NDArray[np.floating]]


class ArrayStore:
    """Arrays by the name of an image.

    Args:
        folder: where each image's are kept as NAME.npz, from the moment they are added; None for memory.

    Example:
        >>> store = ArrayStore(None)
        >>> store.add("chest", {"Mass|cam": np.zeros((2, 2))})
        >>> sorted(store.arrays("chest"))
        ['Mass|cam']
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._arrays: dict[str, Arrays] = {}

    def add(self, name: str, arrays: Arrays) -> None:
        """Keep the arrays of an image."""
        if self._folder is None:
            self._arrays[name] = arrays
        else:
            _write(arrays, self._folder / file_name(name))

    def arrays(self, name: str) -> Arrays:
        """The arrays of an image."""
        if self._folder is None:
            return self._arrays[name]
        with np.load(self._folder / file_name(name)) as arrays:
            return dict(arrays)

    def write(self, name: str, folder: Path) -> None:
        """Write the arrays of an image to a folder, unless they lie there already."""
        if self._folder is None or self._folder.resolve() != folder.resolve():
            _write(self.arrays(name), folder / file_name(name))


def file_name(name: str) -> str:
    """What the file with an image's arrays is called."""
    return f"{name}.npz"


def _write(arrays: Arrays, path: Path) -> None:
    with whole_file(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **dict(arrays))  # type: ignore[arg-type]  # no array is called allow_pickle
