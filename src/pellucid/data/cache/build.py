"""Decoding into a cache: block by block, going on after a kill, by one process at a time."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import warnings
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pellucid.data.cache.small_images import SmallImages, small_image
from pellucid.data.decoding.file_pixels import fitted
from pellucid.types import InputError
from pellucid.utils.locks import is_at, lock
from pellucid.utils.parallel import in_threads
from pellucid.utils.resources import write_text
from pellucid.utils.settings import validate

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from pellucid.data.cache.manifest import Block, Manifest, PixelFile
    from pellucid.data.dataset import Dataset
    from pellucid.types import Pixels

NAMED = 20  # broken images that an error names
_HEADROOM = 1 << 20  # bytes beside the pixels: headers, manifest
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class DecodedImage(NamedTuple):
    """An image of a cache.

    Attributes:
        pixels: as a network takes them; an error for a broken image.
        small: whether it is small for that, as a count of one image.
    """

    pixels: Pixels | InputError
    small: SmallImages = SmallImages()


def decode_rows(
    dataset: Dataset,
    manifest: Manifest,
    rows: list[int],
    *,
    title: str,
    progress: bool | Callable[[int, int], None] = False,
    workers: int | None = None,
    completed: int = 0,
) -> Generator[DecodedImage]:
    """The images of these rows as the manifest says, decoded in threads and in order."""
    spec = manifest.spec

    def one(index: int) -> DecodedImage:
        try:
            pixels, place = fitted(dataset, rows[index], spec)
        except InputError as error:
            return DecodedImage(error)
        return DecodedImage(pixels, small_image(place, spec))

    return in_threads(one, len(rows), title=title, progress=progress, workers=workers, completed=completed)


def broken_images(name: str, errors: list[InputError]) -> InputError:
    """One error that names all of them; as it is, where there is one."""
    if len(errors) == 1:
        return errors[0]
    more = " or more" if len(errors) >= NAMED else ""
    return InputError(f"{name}: {len(errors)}{more} images cannot be used.\n" + "\n".join(map(str, errors)))


def build_cache(
    path: Path,
    dataset: Dataset,
    manifest: Manifest,
    *,
    progress: bool | Callable[[int, int], None] = False,
    workers: int | None = None,
) -> None:
    """Decode a dataset into the files of a manifest, and write it, last of all, to `path`.

    What is decoded stands under temporary names until all of it is there. A journal keeps a hash of every block that
    was written: the next call after a kill goes on from there. Of several processes one decodes; the others wait for
    it.

    Raises:
        InputError: for too little free disk, before anything is decoded; for a disk that fills up (nothing is kept),
            a folder that cannot be written, and images that cannot be read: up to `NAMED` of them, named at once.
    """
    journal = _journal(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(journal) as stream:
            try:
                if not path.is_file():
                    _Build(path, dataset, manifest, stream).run(progress, workers)
            finally:
                if path.is_file() or stream.tell() == 0:  # whole, or not begun: nothing to go on from
                    _clear(path, manifest)
    except OSError as error:
        if error.errno in _DISK_FULL:
            _clear(path, manifest)
            raise InputError(
                f"{path.parent}: no space left while writing {_gigabytes(manifest.images * manifest.image_bytes)} of "
                f"images ({error.strerror}). Free some, or name another cache directory. Nothing was kept."
            ) from error
        raise InputError(
            f"{path.parent}: the cache cannot be written ({error.strerror or error}). Name another directory."
        ) from error


class _Build:
    """One run of decoding, over the blocks that are not there yet."""

    def __init__(self, path: Path, dataset: Dataset, manifest: Manifest, journal: IO[bytes]) -> None:
        self.path, self.dataset, self.manifest, self.journal = path, dataset, manifest, journal
        self.sources = source_digests(dataset, manifest)
        self.hashes: dict[int, str] = {}
        self.small: dict[int, SmallImages] = {}
        self.parts = [_part(path, file) for file in manifest.files]

    def run(self, progress: bool | Callable[[int, int], None], workers: int | None) -> None:
        blocks = list(self.manifest.blocks())
        self._find(blocks)
        waiting = [block for block in blocks if block.number not in self.hashes]
        self._check_space(sum(block.images for block in waiting) * self.manifest.image_bytes)
        self._decode(waiting, progress, workers)
        for part, file in zip(self.parts, self.manifest.files, strict=True):
            with part.open("r+b") as stream:
                os.fsync(stream.fileno())
            part.replace(self.path.with_name(file.name))
        small = tuple(self.small[block.number] for block in blocks)
        update = {"files": self._files(blocks), "sources": self.sources, "small": small}
        whole = self.manifest.model_copy(update=update)
        write_text(self.path, whole.model_dump_json(indent=1) + "\n")

    def _find(self, blocks: list[Block]) -> None:
        """The blocks that an earlier run wrote, of files that are still as they were; a journal tells of them."""
        entry_of: dict[int, dict[str, Any]] = {}
        self.journal.seek(0)
        for line in self.journal:
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a line may be cut off
                entry = json.loads(line)
                entry_of[int(entry["block"])] = entry
        for block in blocks:
            entry = entry_of.get(block.number, {})
            if entry.get("source") == self._source(block) and self._hash(block) == entry.get("sha256"):
                with contextlib.suppress(InputError, KeyError):  # of an earlier version, which counted no small images
                    self.small[block.number] = validate(SmallImages, entry["small"], str(self.path))
                    self.hashes[block.number] = entry["sha256"]
        if not self.hashes:
            for part in self.parts:
                part.unlink(missing_ok=True)

    def _hash(self, block: Block) -> str | None:
        part = self.parts[block.file]
        final = self.path.with_name(self.manifest.files[block.file].name)
        if not part.exists() and final.exists():  # killed between the last block and the manifest
            final.replace(part)
        try:
            with part.open("rb") as stream:
                stream.seek(self._start(block))
                return hashlib.sha256(stream.read(block.images * self.manifest.image_bytes)).hexdigest()
        except OSError:
            return None

    def _decode(self, waiting: list[Block], progress: bool | Callable[[int, int], None], workers: int | None) -> None:
        """Write the blocks that wait; one with a broken image is left out, and all broken ones named in the end."""
        name = f"{self.dataset.card.name}/{self.dataset.split}"
        rows = [block.row + i for block in waiting for i in range(block.images)]
        decoded = decode_rows(
            self.dataset,
            self.manifest,
            rows,
            title=f"decode {name}",
            progress=progress,
            workers=workers,
            completed=self.manifest.images - len(rows),
        )
        broken: list[InputError] = []
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.closing(decoded))
            streams: dict[int, IO[bytes]] = {}
            for block in waiting:
                if block.file not in streams:
                    streams[block.file] = stack.enter_context(self._opened(block.file))
                images = [next(decoded) for _ in range(block.images)]
                broken += [image.pixels for image in images if isinstance(image.pixels, InputError)]
                if len(broken) >= NAMED:
                    break
                good = [image.pixels for image in images if not isinstance(image.pixels, InputError)]
                if len(good) == block.images:
                    self.small[block.number] = SmallImages.together(image.small for image in images)
                    self._write(streams[block.file], block, good)
            next(decoded, None)  # ends the progress bar
        if broken:
            raise broken_images(name, broken[:NAMED])

    def _opened(self, index: int) -> IO[bytes]:
        """A file's part, with its header; plain writes, since a memory map dies of a full disk without a word."""
        part = self.parts[index]
        if not part.exists():
            part.write_bytes(self.manifest.header(self.manifest.files[index]))
        return part.open("r+b")

    def _write(self, stream: IO[bytes], block: Block, images: list[Pixels]) -> None:
        content = np.stack(images).astype(self.manifest.dtype, copy=False).tobytes()
        stream.seek(self._start(block))
        stream.write(content)
        stream.flush()
        self.hashes[block.number] = hashlib.sha256(content).hexdigest()
        entry = {
            "block": block.number,
            "sha256": self.hashes[block.number],
            "source": self._source(block),
            "small": self.small[block.number].model_dump(),
        }
        self.journal.write(b"\n" + json.dumps(entry).encode())  # the line before may be cut off
        self.journal.flush()

    def _source(self, block: Block) -> str:
        return self.sources[block.number] if self.sources else ""

    def _start(self, block: Block) -> int:
        header = self.manifest.header(self.manifest.files[block.file])
        return len(header) + block.first * self.manifest.image_bytes

    def _files(self, blocks: list[Block]) -> tuple[PixelFile, ...]:
        hashes: list[list[str]] = [[] for _ in self.manifest.files]
        for block in blocks:
            hashes[block.file].append(self.hashes[block.number])
        return tuple(
            file.model_copy(update={"sha256": tuple(own_hashes)})
            for file, own_hashes in zip(self.manifest.files, hashes, strict=True)
        )

    def _check_space(self, needed: int) -> None:
        free = shutil.disk_usage(self.path.parent).free
        if free < needed + _HEADROOM:
            raise InputError(
                f"{self.path.parent}: the cache needs {_gigabytes(needed)} but only {_gigabytes(free)} are free. "
                "Free some, name another cache directory, or choose a smaller size."
            )


def _clear(path: Path, manifest: Manifest) -> None:
    for leftover in (_journal(path), *(_part(path, file) for file in manifest.files)):
        with contextlib.suppress(OSError):
            leftover.unlink(missing_ok=True)


def _journal(path: Path) -> Path:
    return path.with_name(f".{path.stem}.journal")


def _part(path: Path, file: PixelFile) -> Path:
    return path.with_name(f".{file.name}.part")


@contextmanager
def _only_one(journal: Path) -> Iterator[IO[bytes]]:
    """The journal, open and locked: the system lets go of it when the process ends, however it ends."""
    while True:
        with journal.open("a+b") as stream:
            if not lock(stream, wait=False):
                warnings.warn(f"another process is decoding into {journal.parent}; waiting for it.", stacklevel=3)
                lock(stream, wait=True)
            if is_at(stream, journal):
                yield stream
                return


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e7 else f"{count / 1e6:.2f} MB"


def source_digests(dataset: Dataset, manifest: Manifest) -> tuple[str, ...]:
    """A hash for every block of sizes and times of its images' files; none where images come from no files."""
    if not dataset.files:
        return ()
    stamps = np.array([(f.size, f.modified) for f in dataset.files], dtype="<i8")
    return tuple(_short(stamps[b.row : b.row + b.images]) for b in manifest.blocks())


def _short(values: npt.NDArray[np.int64]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]
