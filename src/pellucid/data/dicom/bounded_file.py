"""A file from which no more is asked than it holds, so that no memory is taken for a length that a header invents."""

from __future__ import annotations

import os
from typing import IO


class BoundedFile:
    """A file that is open for reading bytes, as far as readers of formats use one.

    Python takes memory for all that is asked of a file before it reads: four damaged bytes would ask for 4 GiB.

    Example:
        >>> from tempfile import TemporaryFile
        >>> with TemporaryFile() as file:
        ...     count = file.write(b"four")
        ...     bounded = BoundedFile(file)
        ...     at = bounded.seek(1)
        ...     bounded.read(2**40)
        b'our'
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        here = file.tell()
        self._size = file.seek(0, os.SEEK_END)
        file.seek(here)

    def read(self, count: int = -1) -> bytes:
        """At most `count` bytes from here on; all of them where it is negative."""
        remaining = max(0, self._size - self._file.tell())
        return self._file.read(remaining if count < 0 else min(count, remaining))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Where it is."""
        return self._file.tell()
