"""What a cache is: files of pixels, and a manifest that says what they hold and proves that they are whole."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal, NamedTuple, Self, cast

import numpy as np
from pydantic import model_validator

from pellucid.data.cache.small_images import SmallImages
from pellucid.data.decoding.checked_pixels import CheckedPixels
from pellucid.data.decoding.image import DECODE_VERSION
from pellucid.types import InputError, InputSpec
from pellucid.utils.parallel import in_threads
from pellucid.utils.settings import Section, validate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pellucid.types import Pixels

BLOCK = 128  # images that are hashed, and after a kill decoded again, together


class PixelFile(Section):
    """One .npy file of a cache.

    Attributes:
        name: beside the manifest.
        images: how many it holds.
        sha256: a hash for every block of `BLOCK` images (the last may be shorter).
    """

    name: str
    images: int
    sha256: tuple[str, ...] = ()


class Manifest(Section):
    """The pixels of one part of a dataset as a network takes them: one file to be mapped, or many, the shards.

    Attributes:
        format: of this file.
        dataset: the dataset's name.
        split: which part of it.
        fingerprint: of that part, when it was decoded.
        images: how many, over all files.
        channels: 1 or 3.
        height: of the images.
        width: of the images.
        preprocess: how they were brought there, as `InputSpec.parse` reads it.
        bits: 8 (uint8) or 16 (uint16).
        decode_version: by which rules the images were decoded.
        files: with the pixels, in the order of the images.
        sources: a hash for every block of its images' files, by size and time of the last change.
        small: of every block, how many of its images are small for what they were fitted to; None where that was not
            recorded, as by earlier versions.
    """

    format: Literal[3] = 3
    dataset: str
    split: str
    fingerprint: str
    images: int
    channels: Literal[1, 3]
    height: int
    width: int
    preprocess: str
    bits: Literal[8, 16]
    decode_version: int = DECODE_VERSION
    files: tuple[PixelFile, ...]
    sources: tuple[str, ...] = ()
    small: tuple[SmallImages, ...] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.spec.height, self.spec.width) != (self.height, self.width):
            raise ValueError(f"images of {self.height} × {self.width} pixels are not what {self.preprocess} gives")
        return self

    @property
    def spec(self) -> InputSpec:
        """What the images were fitted to."""
        return InputSpec.parse(self.preprocess, self.channels)

    @property
    def small_images(self) -> SmallImages | None:
        """Those of all blocks together; None where they were not counted."""
        return None if self.small is None else SmallImages.together(self.small)

    @property
    def dtype(self) -> np.dtype[np.uint8 | np.uint16]:
        """Of a channel of a pixel."""
        return cast("np.dtype[np.uint8 | np.uint16]", np.dtype(f"<u{self.bits // 8}"))

    @property
    def image_bytes(self) -> int:
        """Bytes of one image."""
        return self.channels * self.height * self.width * self.bits // 8

    def header(self, file: PixelFile) -> bytes:
        """How the .npy file begins; the images follow, one after another."""
        stream = io.BytesIO()
        shape = (file.images, self.channels, self.height, self.width)
        described = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, described)
        return stream.getvalue()

    def blocks(self) -> Iterator[Block]:
        """All blocks of all files, in the order of the images."""
        number = row = 0
        for index, file in enumerate(self.files):
            for first in range(0, file.images, BLOCK):
                count = min(BLOCK, file.images - first)
                yield Block(number, index, first // BLOCK, first, row, count)
                number, row = number + 1, row + count


class Block(NamedTuple):
    """A few images that stand together in one file.

    Attributes:
        number: over all files.
        file: the file's place in the manifest.
        place: among the file's blocks.
        first: its first image's place in the file.
        row: its first image's place in the dataset.
        images: how many.
    """

    number: int
    file: int
    place: int
    first: int
    row: int
    images: int


def parse_manifest(text: str | bytes, where: str) -> Manifest:
    """A manifest that was read from somewhere.

    Raises:
        InputError: naming `where`, if it is none, or of another version.
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise InputError(f"{where}: not a manifest of a cache ({error}).") from error
    if not isinstance(values, dict) or values.get("format") != 3:
        raise InputError(f"{where}: not a manifest of a cache, or one of another version; delete it.")
    manifest = validate(Manifest, values, where)
    hashes = {block.file: block.place + 1 for block in manifest.blocks()}
    whole = all(len(file.sha256) == hashes.get(index, 0) for index, file in enumerate(manifest.files))
    whole &= manifest.small is None or len(manifest.small) == sum(hashes.values())
    if any(PurePosixPath(file.name).name != file.name or "\\" in file.name for file in manifest.files):
        raise InputError(f"{where}: names files that do not stand beside it; delete it.")
    if not whole or sum(file.images for file in manifest.files) != manifest.images:
        raise InputError(f"{where}: its numbers of images, files and hashes do not agree; delete it.")
    return manifest


def open_manifest(path: Path) -> Manifest | None:
    """The manifest of a cache whose files are there in full; None where there is none, or files are missing or short.

    Their contents are not read: `map_pixels` does that block by block, `verify_cache` at once.
    """
    try:
        manifest = parse_manifest(path.read_bytes(), str(path))
        for file in manifest.files:
            header = manifest.header(file)
            with path.with_name(file.name).open("rb") as stream:
                if stream.read(len(header)) != header:
                    return None
                if stream.seek(0, os.SEEK_END) != len(header) + file.images * manifest.image_bytes:
                    return None
    except (OSError, InputError):
        return None
    return manifest


def map_pixels(path: Path, manifest: Manifest, index: int = 0) -> Pixels:
    """One file of a cache as a read-only memory map (n, C, H, W), whose blocks are checked when they are first used."""
    file = manifest.files[index]
    mapped = CheckedPixels(
        path.with_name(file.name),
        manifest.dtype,
        len(manifest.header(file)),
        (file.images, manifest.channels, manifest.height, manifest.width),
        block=BLOCK,
        hashes=file.sha256,
        advice=f"Delete {path} to have the images decoded anew.",
    )
    return cast("Pixels", mapped)


def verify_cache(
    path: Path, *, progress: bool | Callable[[int, int], None] = False, workers: int | None = None
) -> Manifest:
    """Read every byte of a cache and compare with its manifest's hashes.

    Raises:
        InputError: naming the files that are missing, too short or changed.
    """
    try:
        manifest = parse_manifest(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    blocks = list(manifest.blocks())

    def broken(index: int) -> str | None:
        block = blocks[index]
        file = manifest.files[block.file]
        start = len(manifest.header(file)) + block.first * manifest.image_bytes
        try:
            with path.with_name(file.name).open("rb") as stream:
                same_start = block.first > 0 or stream.read(len(manifest.header(file))) == manifest.header(file)
                stream.seek(start)
                content = stream.read(block.images * manifest.image_bytes)
        except OSError:
            return file.name
        return None if same_start and hashlib.sha256(content).hexdigest() == file.sha256[block.place] else file.name

    broken_names = in_threads(broken, len(blocks), title=f"verify {path.stem}", progress=progress, workers=workers)
    names = list(dict.fromkeys(name for name in broken_names if name is not None))
    if names:
        raise InputError(
            f"{path}: not what was written: {', '.join(names[:20])}. Delete {path.name} and have the images decoded "
            "anew."
        )
    return manifest
