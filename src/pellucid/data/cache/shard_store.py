"""Reading shards: a folder, here or behind a URL, and the pixels of one part in it."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.types import InputError
from pellucid.utils.resources import how_to_install, optional

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from pellucid.data.cache.manifest import Manifest
    from pellucid.types import Pixels

INDEX = "shards.json"  # what a folder of shards begins with
_ATTEMPTS = 4  # to read a file, with 1, 2 and 4 seconds between
_KEPT = 2  # shards kept for reading single images


class Store:
    """A folder, here or behind a URL, that files are read from whole.

    Args:
        url: of the folder; what fsspec opens (`https://`, `s3://`, `file://`, a path).
        storage: fsspec's options for it.
    """

    def __init__(self, url: str, storage: Mapping[str, Any] | None = None) -> None:
        self.url = url.removesuffix(INDEX).rstrip("/")
        core = optional("fsspec.core", "cloud", "the dataset shards")
        try:
            self._system, self._folder = core.url_to_fs(self.url, **(storage or {}))
        except ImportError as error:  # the package for this kind of URL
            raise InputError(f"{url}: cannot be read ({error}): {how_to_install('cloud')}") from error
        except Exception as error:  # whatever a protocol raises that is not known, not complete or not reachable
            reason = str(error).strip() or type(error).__name__
            raise InputError(f"{url}: not a URL that fsspec reads with these options ({reason}).") from error

    def url_of(self, name: str) -> str:
        """Where a file is, for messages."""
        return f"{self.url}/{name}"

    def read(self, name: str, *, named_by: str = "") -> bytes:
        """All of a file.

        Args:
            name: of the file.
            named_by: the file that says that there is this one, for messages.

        Raises:
            InputError: if it cannot be read, after several attempts where it may be the network's fault.
        """
        for attempt in range(_ATTEMPTS):
            try:
                content: bytes = self._system.cat_file(f"{self._folder.rstrip('/')}/{name}")
                return content
            except FileNotFoundError as error:
                by = f", which {named_by} names" if named_by else ""
                raise InputError(f"{self.url_of(name)}: there is no such file{by}.") from error
            except Exception as error:  # whatever a network or a storage service raises
                if attempt == _ATTEMPTS - 1:
                    raise InputError(
                        f"{self.url_of(name)}: cannot be read after {_ATTEMPTS} attempts ({error!r})."
                    ) from error
                time.sleep(2.0**attempt)
        raise AssertionError


class Shards:
    """The pixels of one part, shard by shard.

    Attributes:
        manifest: what they hold.
        content: uint8 (N, 16), a hash of each image, as `content_hashes` gives it.
        name: the manifest's file.
        starts: int64 (shards + 1,), the row of each shard's first image, and their number at the end.
    """

    def __init__(self, store: Store, manifest: Manifest, content: npt.NDArray[np.uint8], name: str) -> None:
        self.store, self.manifest, self.content, self.name = store, manifest, content, name
        self.starts: npt.NDArray[np.int64] = np.cumsum([0, *(file.images for file in manifest.files)])
        self._kept: OrderedDict[int, Pixels] = OrderedDict()
        self._lock = threading.Lock()

    def fetch(self, index: int) -> Pixels:
        """One shard, (n, C, H, W), read anew and compared with its hashes.

        Raises:
            InputError: if it cannot be read, or is not what was written.
        """
        file = self.manifest.files[index]
        content = self.store.read(file.name, named_by=self.name)
        header = self.manifest.header(file)
        body = memoryview(content)[len(header) :]
        blocks = [block for block in self.manifest.blocks() if block.file == index]
        size = self.manifest.image_bytes
        hashes = tuple(hashlib.sha256(body[b.first * size : (b.first + b.images) * size]).hexdigest() for b in blocks)
        if content[: len(header)] != header or len(body) != file.images * size or hashes != file.sha256:
            raise InputError(
                f"{self.store.url_of(file.name)}: not what was written, by its hashes in {self.name}; fetch or write "
                "both anew."
            )
        shape = (file.images, self.manifest.channels, self.manifest.height, self.manifest.width)
        return np.frombuffer(body, self.manifest.dtype).reshape(shape)

    def image(self, row: int) -> Pixels:
        """One image, (H, W) or (H, W, 3); its shard is kept for the next."""
        index = int(np.searchsorted(self.starts, row, side="right")) - 1
        with self._lock:
            if index not in self._kept:
                self._kept[index] = self.fetch(index)
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            image = self._kept[index][row - int(self.starts[index])]
        return image[0] if len(image) == 1 else np.moveaxis(image, 0, 2)
