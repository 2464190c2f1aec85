"""`pellucid data cache`: every image of a dataset decoded once, into files that are mapped or into shards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pellucid.data.cache.manifest import open_manifest, verify_cache
from pellucid.data.cache.pixels import cache_path, materialize
from pellucid.data.cache.shards import part_manifests, write_shards
from pellucid.data.dataset import get_split
from pellucid.data.registry import open_dataset
from pellucid.types import InputError, InputSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pellucid.data.cache.manifest import Manifest


@dataclass(frozen=True)
class CachedDataset:
    """What was written.

    Attributes:
        spec: how the images were fitted.
        manifests: of each part that holds images, by path.
        path: the folder, or the index of the shards.
    """

    spec: InputSpec
    manifests: dict[Path, Manifest]
    path: Path


def cache_dataset(
    name: str,
    root: Path | None,
    out: Path,
    *,
    preprocess: str | None = None,
    size: int = 256,
    channels: int | None = None,
    parts: Sequence[str] = (),
    shard_size: int | None = None,
    verify: bool = False,
    workers: int | None = None,
    seed: int = 0,
    options: Mapping[str, object] | None = None,
) -> CachedDataset:
    """Decode every image once, at one size; what an earlier call did is not done again.

    Args:
        name: the dataset's name in the registry.
        root: its folder.
        out: the folder for the cache.
        preprocess: how images are fitted, as ``crop:256:224:bicubic``.
        size: without it, height and width to which they are stretched.
        channels: 1 or 3; the dataset's own by default.
        parts: only these; all by default.
        shard_size: write shards of at most so many images, with their labels.
        verify: read all of it back and compare its hashes.
        workers: threads; by default two per processor.
        seed: as for `open_dataset`.
        options: as for `open_dataset`.

    Raises:
        InputError: an unknown dataset or part, one without images, images that cannot be read, or a full disk.
    """
    splits = open_dataset(name, root, seed=seed, options=options)
    if parts:
        splits = {part: get_split(splits, part) for part in parts}
    splits = {part: dataset for part, dataset in splits.items() if len(dataset)}
    if not splits:
        raise InputError(f"{name}: there are no images in it.")
    colours = channels or next(iter(splits.values())).card.native_channels
    spec = InputSpec.square(colours, size) if preprocess is None else InputSpec.parse(preprocess, colours)
    if shard_size is not None:
        path = write_shards(splits, out, spec, shard_size=shard_size, progress=True, workers=workers)
        paths = part_manifests(path)
    else:
        for dataset in splits.values():
            materialize(dataset, spec, directory=out, progress=True, workers=workers)
        path, paths = out, [cache_path(dataset, spec, directory=out) for dataset in splits.values()]
    manifests = {}
    for path in paths:
        manifest = verify_cache(path, progress=True, workers=workers) if verify else open_manifest(path)
        assert manifest is not None
        manifests[path] = manifest
    return CachedDataset(spec, manifests, path)
