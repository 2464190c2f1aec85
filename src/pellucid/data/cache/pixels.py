"""The pixels of a dataset as a network takes them: decoded once, then in memory or in a memory-mapped file."""

from __future__ import annotations

import contextlib
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pellucid.data.cache.build import NAMED, broken_images, build_cache, decode_rows, source_digests
from pellucid.data.cache.manifest import Manifest, PixelFile, map_pixels, open_manifest
from pellucid.data.cache.small_images import SmallImages
from pellucid.data.decoding.file_pixels import check_fitted
from pellucid.data.decoding.fitting import check_channels
from pellucid.data.decoding.image import DECODE_VERSION
from pellucid.types import InputError
from pellucid.utils.resources import write_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from pellucid.data.dataset import Dataset
    from pellucid.types import InputSpec, Pixels


def materialize(
    dataset: Dataset,
    spec: InputSpec,
    *,
    directory: str | Path | None = None,
    progress: bool | Callable[[int, int], None] = False,
    workers: int | None = None,
) -> Pixels:
    """All images of a dataset, (N, channels, height, width), uint8 or uint16 as its `bits` say, decoded in threads.

    With a directory the array is a read-only memory map of a file there, which the next call with the same images and
    the same `spec` opens at once, in any number of processes. It is found by `cache_key` and stands under a
    temporary name until it is whole; a call after one that was killed goes on where that one stopped.

    Args:
        dataset: the images.
        spec: what they are fitted to: 1 channel (grey) or 3 (colour), height, width and geometry.
        directory: where cache files live (made if need be); None keeps the array in memory.
        progress: True for a progress bar where it takes longer than a second, or a function of (done, count).
        workers: threads; by default two per processor.

    Raises:
        InputError: before any decoding for a number of channels that is not possible, no images, too little free disk
            or memory (with what is needed and what is free), or a cache whose images have changed since (with the
            files); later for images that cannot be read (with up to 20 files) or a disk that fills up.

    Example:
        >>> from pellucid.data.dataset import Dataset, DatasetCard
        >>> from pellucid.types import InputSpec
        >>> card = DatasetCard("toy", "Toy", "multiclass", ("a",))
        >>> black = lambda i: np.zeros((4, 6), dtype=np.uint8)
        >>> toy = Dataset(card, "test", ("1", "2"), ("1", "2"), np.zeros(2, dtype=np.int64), black)
        >>> materialize(toy, InputSpec.square(channels=1, size=3)).shape
        (2, 1, 3, 3)
    """
    return counted_pixels(dataset, spec, directory=directory, progress=progress, workers=workers)[0]


def counted_pixels(
    dataset: Dataset,
    spec: InputSpec,
    *,
    directory: str | Path | None = None,
    progress: bool | Callable[[int, int], None] = False,
    workers: int | None = None,
) -> tuple[Pixels, SmallImages | None]:
    """What `materialize` gives, and how many of the images are small for `spec`.

    Their number is None where it is not known: of images that were cached before it was recorded, or that were fitted
    to a size before, as those of shards of which some are taken. A warning tells of small images whenever they are
    used, from a cache too.
    """
    name = f"{dataset.card.name}/{dataset.split}"
    small: SmallImages | None
    if directory is None:
        pixels, small = _in_memory(dataset, plan(dataset, spec, name="memory"), progress, workers)
    else:
        path = cache_path(dataset, spec, directory=directory)
        planned = plan(dataset, spec, name=path.stem)
        manifest = ensure_cache(path, dataset, planned, progress=progress, workers=workers)
        pixels, small = map_pixels(path, manifest), manifest.small_images
    if dataset.fitted is not None and not (small and small.images):
        before = None if dataset.shards is None else dataset.shards.manifest
        small = None if before is None or before.spec != spec else before.small_images
    if small is not None:
        small.warn(len(dataset), spec, name)
    return pixels, small


def ensure_cache(
    path: Path,
    dataset: Dataset,
    planned: Manifest,
    *,
    progress: bool | Callable[[int, int], None] = False,
    workers: int | None = None,
) -> Manifest:
    """The cache at `path`: the one that is there, if its images have not changed, or else decoded as planned.

    Raises:
        InputError: as `materialize`.
    """
    manifest = open_manifest(path)
    if manifest is not None:
        return _unchanged(path, manifest, dataset, progress, workers)
    with contextlib.suppress(OSError):  # of a cache that is not whole
        path.unlink()
    build_cache(path, dataset, planned, progress=progress, workers=workers)
    manifest = open_manifest(path)
    if manifest is None:
        raise InputError(f"{path}: the cache was written but cannot be read back; use another directory.")
    return manifest


def plan(dataset: Dataset, spec: InputSpec, *, name: str, files: int = 1) -> Manifest:
    """The manifest of a cache that is yet to be made: `files` files of (but for one) equally many images."""
    check_channels(spec.channels)
    check_fitted(dataset, spec)
    if len(dataset) == 0:
        raise InputError(f"{dataset.card.name}/{dataset.split}: there are no images in this part.")
    shares = [len(part) for part in np.array_split(np.arange(len(dataset)), files)]
    names = [name] if files == 1 else [f"{name}-{index:05d}" for index in range(files)]
    return Manifest(
        dataset=dataset.card.name,
        split=dataset.split,
        fingerprint=dataset.fingerprint,
        images=len(dataset),
        channels=1 if spec.channels == 1 else 3,
        height=spec.height,
        width=spec.width,
        preprocess=spec.preprocess,
        bits=dataset.bits,
        files=tuple(PixelFile(name=f"{n}.npy", images=s) for n, s in zip(names, shares, strict=True)),
    )


def cache_key(dataset: Dataset, spec: InputSpec) -> str:
    """What a cache is found by: hash of the images' names and files, of `spec`, bits and decoding rules.

    Labels are not in it, as the pixels do not depend on them. Neither are sizes and times of the files: the manifest
    has those, so that a cache whose images changed is noticed and not passed over.
    """
    fitting = f"{spec.channels}|{spec.preprocess}"
    digest = hashlib.sha256(f"{dataset.card.name}|{fitting}|{dataset.bits}|{DECODE_VERSION}".encode())
    if dataset.files:
        here = str(Path.cwd())
        for name, file in zip(dataset.ids, dataset.files, strict=True):
            digest.update(f"{name}\0{here if not file.path.is_absolute() else ''}\0{file.path}\0".encode())
    else:
        digest.update(dataset.fingerprint.encode())
    return digest.hexdigest()


def cache_path(dataset: Dataset, spec: InputSpec, *, directory: str | Path) -> Path:
    """The manifest of the cache of a dataset's images fitted to `spec`, there or not."""
    check_channels(spec.channels)
    shape = "x".join(map(str, spec.shape))
    stem = re.sub(r"[^\w.-]", "_", f"{dataset.card.name}-{dataset.split}-{shape}-{cache_key(dataset, spec)[:16]}")
    return Path(directory).expanduser() / f"{stem}.json"


def _unchanged(
    path: Path,
    manifest: Manifest,
    dataset: Dataset,
    progress: bool | Callable[[int, int], None],
    workers: int | None,
) -> Manifest:
    """The manifest of a cache whose images are still what it was made of.

    Where the size or time of a file is another, the block that it is in is decoded again and compared. Files that
    were only copied or touched are noted in the manifest and looked at no more.

    Raises:
        InputError: naming the files that changed, up to 20 of them.
    """
    now = source_digests(dataset, manifest)
    pairs = zip(manifest.blocks(), manifest.sources, now, strict=True) if manifest.sources and now else ()
    blocks = [block for block, before, after in pairs if before != after]
    if not blocks:
        return manifest
    cached = (image for b in blocks for image in map_pixels(path, manifest, b.file)[b.first : b.first + b.images])
    rows = [block.row + i for block in blocks for i in range(block.images)]
    title = f"compare {dataset.card.name}/{dataset.split}"
    decoded = decode_rows(dataset, manifest, rows, title=title, progress=progress, workers=workers)
    changed, counts = [], []
    for row, image, old in zip(rows, decoded, cached, strict=True):
        counts.append(image.small)
        if isinstance(image.pixels, InputError) or not np.array_equal(image.pixels, old):
            changed.append(row)
    if changed:
        names = list(dict.fromkeys(str(dataset.files[row].path) for row in changed))
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        raise InputError(
            f"{', '.join(names[:NAMED])}{more}: changed since the cache {path} was made. Put back what was there, or "
            "delete the cache's .json to have the images decoded anew."
        )
    small = None if manifest.small is None else list(manifest.small)
    if small is not None:  # the same pixels may have been made of an image of another size
        for block in blocks:
            small[block.number], counts = SmallImages.together(counts[: block.images]), counts[block.images :]
    update = {"sources": now, "small": None if small is None else tuple(small)}
    manifest = manifest.model_copy(update=update)
    with contextlib.suppress(InputError, OSError):  # somebody else's cache, that may only be read
        write_text(path, manifest.model_dump_json(indent=1) + "\n")
    return manifest


def _in_memory(
    dataset: Dataset, manifest: Manifest, progress: bool | Callable[[int, int], None], workers: int | None
) -> tuple[Pixels, SmallImages]:
    name = f"{dataset.card.name}/{dataset.split}"
    try:
        array: Pixels = np.empty((manifest.images, *manifest.spec.shape), manifest.dtype)
    except MemoryError as error:
        needed = manifest.images * manifest.image_bytes / 1e9
        raise InputError(f"{name}: {needed:.2f} GB do not fit into memory; give a cache directory.") from error
    rows = list(range(manifest.images))
    broken: list[InputError] = []
    small: list[SmallImages] = []
    images = decode_rows(dataset, manifest, rows, title=f"decode {name}", progress=progress, workers=workers)
    with contextlib.closing(images):
        for image, row in zip(images, array, strict=True):  # in this order the images come to their end
            if isinstance(image.pixels, InputError):
                broken.append(image.pixels)
                if len(broken) >= NAMED:
                    break
            else:
                row[...] = image.pixels
                small.append(image.small)
    if broken:
        raise broken_images(name, broken)
    return array, SmallImages.together(small)
