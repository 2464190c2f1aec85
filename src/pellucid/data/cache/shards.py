"""A dataset as shards: caches of many files with their labels, to be read from a folder or from object storage."""

from __future__ import annotations

import hashlib
import io
import json
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from pellucid.data.cache.manifest import map_pixels, parse_manifest
from pellucid.data.cache.pixels import cache_path, ensure_cache, plan
from pellucid.data.cache.shard_store import INDEX, Shards, Store
from pellucid.data.checks.image_hashes import BYTES, content_hashes
from pellucid.data.dataset import Dataset, DatasetCard
from pellucid.data.decoding.image import DECODE_VERSION
from pellucid.data.decoding.npz import open_npz, read_npy
from pellucid.types import InputError
from pellucid.utils.resources import whole_file, write_text
from pellucid.utils.settings import Section, validate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pellucid.data.cache.manifest import Manifest
    from pellucid.data.dataset import Splits
    from pellucid.types import InputSpec

LANES = 8
"""Shards that are read side by side and mixed; a part has a multiple of it, for 1, 2, 4 or 8 processes to share."""

FORMAT = 3
_NAME_BYTES = 4 * 4096  # of an image's or patient's name, as numpy keeps it: four a letter

CARD = DatasetCard(
    name="shards",
    title="Shards of another dataset",
    task="multilabel",
    classes=(),
    licence="that of the dataset",
    notes="Written by `pellucid data cache --shard-size`; labels and classes are those of the dataset.",
)


class ShardOptions(Section):
    """Where shards are read from."""

    url: str = Field(description="the folder that holds shards.json: https://…, s3://…, or a path")
    storage: dict[str, Any] = Field(
        default_factory=dict, description="options of fsspec for such a URL, as storage.anon=true"
    )


class PartIndex(Section):
    """The files of one part: a cache's manifest, and labels, names and hashes of the images, with a hash of that file.

    `decoding` and `options` are those of the dataset that was written.
    """

    manifest: str
    labels: str
    sha256: str
    decoding: dict[str, int | None]
    options: dict[str, Any]


class ShardIndex(Section):
    """What `shards.json` holds: the dataset's card, and its parts."""

    format: int
    card: dict[str, Any]
    parts: dict[str, PartIndex]


def write_shards(
    splits: Splits,
    directory: str | Path,
    spec: InputSpec,
    *,
    shard_size: int,
    progress: bool | Callable[[int, int], None] = False,
    workers: int | None = None,
) -> Path:
    """Decode a dataset into shards of at most `shard_size` images, with their labels; gives the index's path.

    Goes on after a kill, and refuses shards whose images changed, as `materialize` does. The number of shards is a
    multiple of `LANES` where there are images enough.

    Raises:
        InputError: for a wrong `shard_size`, and as by `materialize`.
    """
    if shard_size < 1:
        raise InputError(f"a shard holds at least one image; found --shard-size {shard_size}.")
    folder = Path(directory).expanduser()
    parts: dict[str, PartIndex] = {}
    card: DatasetCard | None = None
    for split, dataset in splits.items():
        card = dataset.card
        count = min(len(dataset), LANES * math.ceil(len(dataset) / (LANES * shard_size)))
        path = cache_path(dataset, spec, directory=folder)
        path = path.with_name(f"{path.stem}-of-{count}.json")
        planned = plan(dataset, spec, name=path.stem, files=count)
        labels = path.with_suffix(".npz")
        manifest = ensure_cache(path, dataset, planned, progress=progress, workers=workers)
        parts[split] = PartIndex(
            manifest=path.name,
            labels=labels.name,
            sha256=_write_labels(labels, dataset, path, manifest),
            decoding=dict(dataset.decoding),
            options=dict(dataset.options),
        )
    if card is None:
        raise InputError("there is no part to write.")
    about = {field: getattr(card, field) for field in card.__dataclass_fields__}
    write_text(folder / INDEX, ShardIndex(format=FORMAT, card=about, parts=parts).model_dump_json(indent=1) + "\n")
    return folder / INDEX


def part_manifests(index: Path) -> list[Path]:
    """The manifests of the parts that an index names."""
    parts = ShardIndex.model_validate_json(index.read_bytes()).parts
    return [index.with_name(part.manifest) for part in parts.values()]


def _write_labels(path: Path, dataset: Dataset, manifest: Path, pixel_manifest: Manifest) -> str:
    stream = io.BytesIO()
    hashes = [content_hashes(map_pixels(manifest, pixel_manifest, index)) for index in range(len(pixel_manifest.files))]
    np.savez_compressed(
        stream,
        ids=np.array(dataset.ids),
        patients=np.array(dataset.patients),
        targets=dataset.targets,
        stable_ids=np.array(dataset.stable_ids or ("",) * len(dataset)),
        content=np.concatenate(hashes),
    )
    with whole_file(path) as temporary:
        temporary.write_bytes(stream.getvalue())
    return hashlib.sha256(stream.getvalue()).hexdigest()


def open_shards(*, seed: int = 0, options: Mapping[str, object] | None = None) -> Splits:
    """The parts of a dataset that was written as shards; pixels are fetched when they are asked for.

    Raises:
        InputError: for a URL that cannot be read, or files that are not what was written.
    """
    del seed  # nothing is left to chance
    settings = validate(ShardOptions, options, "the options of the dataset shards")
    store = Store(settings.url, settings.storage)
    try:
        values = json.loads(store.read(INDEX))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{store.url_of(INDEX)}: not an index of shards ({error}).") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise InputError(
            f"{store.url_of(INDEX)}: not an index of shards in format {FORMAT}, which says what each image is known "
            "by. Write the shards anew with `pellucid data cache --shard-size`."
        )
    index = validate(ShardIndex, values, store.url_of(INDEX))
    try:
        card = DatasetCard(**{**index.card, "classes": tuple(index.card.get("classes", ()))})
    except TypeError as error:
        raise InputError(f"{store.url_of(INDEX)}: not an index of shards ({error}).") from error
    return {split: _open_part(store, card, split, part) for split, part in index.parts.items()}


def _open_part(store: Store, card: DatasetCard, split: str, part: PartIndex) -> Dataset:
    manifest = parse_manifest(store.read(part.manifest, named_by=INDEX), store.url_of(part.manifest))
    content = store.read(part.labels, named_by=INDEX)
    if hashlib.sha256(content).hexdigest() != part.sha256:
        raise InputError(
            f"{store.url_of(part.labels)}: not what was written, by its hash in {INDEX}; write the shards anew."
        )
    if manifest.decode_version != DECODE_VERSION:
        warnings.warn(
            f"{store.url_of(part.manifest)}: decoded by the rules of another version of Pellucid (number "
            f"{manifest.decode_version}, now {DECODE_VERSION}); write the shards anew for what is read now.",
            stacklevel=3,
        )
    place = store.url_of(part.labels)
    with open_npz(io.BytesIO(content), place) as labels:
        count = manifest.images
        ids, patients, stable = (
            read_npy(labels, name, place, rows=count, columns=0, kinds="U", width=_NAME_BYTES)
            for name in ("ids", "patients", "stable_ids")
        )
        targets = read_npy(labels, "targets", place, rows=count, columns=len(card.classes), kinds="if")
        hashes = read_npy(labels, "content", place, rows=count, columns=BYTES, kinds="u").astype(np.uint8)
    shards = Shards(store, manifest, hashes, part.manifest)
    return Dataset(
        card=card,
        split=split,
        ids=tuple(ids.tolist()),
        patients=tuple(patients.tolist()),
        targets=targets,
        read=shards.image,
        bits=manifest.bits,
        origin=hashlib.sha256("".join(h for file in manifest.files for h in file.sha256).encode()).hexdigest(),
        shards=shards,
        stable_ids=tuple(stable.tolist()),
        decoding=part.decoding,
        options=part.options,
        fitted=manifest.spec,
    )
