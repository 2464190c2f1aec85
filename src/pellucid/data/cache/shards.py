"""A dataset as shards: caches of many files with their labels, to be read from a folder or from object storage."""

from __future__ import annotations

import hashlib
import io
import json
import math
import threading
import time
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from pellucid.data.cache.manifest import map_pixels, parse_manifest
from pellucid.data.cache.pixels import cache_path, ensure_cache, plan
from pellucid.data.checks.image_hashes import BYTES, content_hashes
from pellucid.data.dataset import Dataset, DatasetCard
from pellucid.data.decoding.image import DECODE_VERSION
from pellucid.data.decoding.npz import open_npz, read_npy
from pellucid.types import InputError
from pellucid.utils.resources import optional, whole_file, write_text
from pellucid.utils.settings import Section, validate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from pellucid.data.cache.manifest import Manifest
    from pellucid.data.dataset import Splits
    from pellucid.types import Pixels

LANES = 8
"""Shards that are read side by side and mixed; a part has a multiple of it, for 1, 2, 4 or 8 processes to share."""

FORMAT = 3
INDEX = "shards.json"  # what a folder of shards begins with
_ATTEMPTS = 4  # to read a file, with 1, 2 and 4 seconds between
_NAME_BYTES = 4 * 4096  # of an image's or patient's name, as numpy keeps it: four a letter
_KEPT = 2  # shards kept for reading single images

CARD = DatasetCard(
    name="shards",
    title="Shards of another dataset",
    task="multilabel",
    classes=(),
    citation="",
    licence="that of the dataset",
    url="",
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
    *,
    size: int,
    channels: int,
    shard_size: int,
    progress: bool | Callable[[int, int], None] = False,
    workers: int | None = None,
) -> Path:
    """Decode a dataset into shards of at most `shard_size` images, with their labels; gives the index's path.

    Goes on after a kill, and refuses shards whose images changed, as `materialize` does. The number of shards is a
    multiple of `LANES` where there are images enough.

    Raises:
        InputError: for a wrong size, and as by `materialize`.
    """
    if shard_size < 1:
        raise InputError(f"a shard holds at least one image; found --shard-size {shard_size}.")
    folder = Path(directory).expanduser()
    parts: dict[str, PartIndex] = {}
    card: DatasetCard | None = None
    for split, dataset in splits.items():
        card = dataset.card
        count = min(len(dataset), LANES * math.ceil(len(dataset) / (LANES * shard_size)))
        path = cache_path(dataset, size=size, channels=channels, directory=folder)
        path = path.with_name(f"{path.stem}-of-{count}.json")
        planned = plan(dataset, size=size, channels=channels, name=path.stem, files=count)
        labels = path.with_suffix(".npz")
        written = ensure_cache(path, dataset, planned, progress=progress, workers=workers)
        parts[split] = PartIndex(
            manifest=path.name,
            labels=labels.name,
            sha256=_write_labels(labels, dataset, path, written),
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


def _write_labels(path: Path, dataset: Dataset, manifest: Path, held: Manifest) -> str:
    stream = io.BytesIO()
    hashes = [content_hashes(map_pixels(manifest, held, index)) for index in range(len(held.files))]
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
        raise InputError(f"{store.place(INDEX)}: not an index of shards ({error}).") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise InputError(
            f"{store.place(INDEX)}: not an index of shards in format {FORMAT}, which says what each image is known by. "
            "Write the shards anew with `pellucid data cache --shard-size`."
        )
    index = validate(ShardIndex, values, store.place(INDEX))
    try:
        card = DatasetCard(**{**index.card, "classes": tuple(index.card.get("classes", ()))})
    except TypeError as error:
        raise InputError(f"{store.place(INDEX)}: not an index of shards ({error}).") from error
    return {split: _open_part(store, card, split, part) for split, part in index.parts.items()}


def _open_part(store: Store, card: DatasetCard, split: str, part: PartIndex) -> Dataset:
    manifest = parse_manifest(store.read(part.manifest, named_by=INDEX), store.place(part.manifest))
    content = store.read(part.labels, named_by=INDEX)
    if hashlib.sha256(content).hexdigest() != part.sha256:
        raise InputError(
            f"{store.place(part.labels)}: not what was written, by its hash in {INDEX}; write the shards anew."
        )
    if manifest.decode_version != DECODE_VERSION:
        warnings.warn(
            f"{store.place(part.manifest)}: decoded by the rules of another version of Pellucid (number "
            f"{manifest.decode_version}, now {DECODE_VERSION}); write the shards anew for what is read now.",
            stacklevel=3,
        )
    place = store.place(part.labels)
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
    )


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
            raise InputError(f"{url}: cannot be read ({error}): pip install 'pellucid[cloud]'") from error
        except Exception as error:  # whatever a protocol raises that is not known, not complete or not reachable
            told = str(error).strip() or type(error).__name__
            raise InputError(f"{url}: not a URL that fsspec reads with these options ({told}).") from error

    def place(self, name: str) -> str:
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
                raise InputError(f"{self.place(name)}: there is no such file{by}.") from error
            except Exception as error:  # whatever a network or a storage service raises
                if attempt == _ATTEMPTS - 1:
                    raise InputError(
                        f"{self.place(name)}: cannot be read after {_ATTEMPTS} attempts ({error!r})."
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
        """One shard, (n, C, S, S), read anew and compared with its hashes.

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
                f"{self.store.place(file.name)}: not what was written, by its hashes in {self.name}; fetch or write "
                "both anew."
            )
        shape = (file.images, self.manifest.channels, self.manifest.size, self.manifest.size)
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
