"""Download a dataset into its folder: resumed, checked, unpacked, recorded; what is there already is left alone."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.data.download.unpack import unpack
from pellucid.data.issues import MISSING
from pellucid.data.registry import DATASETS, get_entry
from pellucid.types import InputError
from pellucid.utils.download import TITLES, check_digest, digest_of, download
from pellucid.utils.progress import progress_bar
from pellucid.utils.resources import write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pellucid.data.download.release import Release, ReleaseFile
    from pellucid.data.registry import DatasetEntry

RECORDS = ".fetched"  # in the dataset's folder: a file of JSON for each published file
_MB = 1e6


@dataclass(frozen=True)
class Fetched:
    """What became of one published file.

    Attributes:
        name: its name.
        was_there: whether an earlier call had fetched it.
        algorithm: of the checksum: `md5`, or `sha256` where the publisher states none.
        digest: the checksum.
        published: whether the publisher states it, so that the file was held against it.
        contents: the files that are there of it and their bytes: itself, or what it was unpacked to.
    """

    name: str
    was_there: bool
    algorithm: str
    digest: str
    published: bool
    contents: dict[str, int]

    @property
    def title(self) -> str:
        """What the checksum is called."""
        return TITLES[self.algorithm]


def fetch_dataset(name: str, root: str | Path, *, files: Sequence[str] = (), keep: bool = False) -> list[Fetched]:
    """Download the published files of a dataset, each under its name only once it is whole and its checksum right.

    An archive is unpacked and then taken away. A file that is in `root` already, under its published name, is taken
    instead of being downloaded: that is how to go on from one that was fetched by other means. A record is left in the
    folder `.fetched`, with the checksum and the files that came of it, by which a later call knows that all is there.

    Args:
        name: the dataset's name in the registry.
        root: its folder; made where it is missing.
        files: which of its files; by default all that are not optional.
        keep: keep archives once they are unpacked.

    Returns:
        What became of each file; none where a whole copy that came there in another way is laid out in `root`.

    Raises:
        InputError: for data of one's own; a dataset or part of it that must be fetched by hand, with what to accept
            and where; an unknown file; too little space; an address that does not answer; a file with another
            checksum than its publisher states; or an archive that cannot be unpacked safely.

    Example:
        >>> fetch_dataset("folder", "/tmp/images")
        Traceback (most recent call last):
        ...
        pellucid.types.InputError: folder: nothing is published under this name; it reads data of your own or built in.
    """
    entry = get_entry(name)
    release = entry.release
    if release is None:
        raise InputError(f"{name}: nothing is published under this name; it reads data of your own or built in.")
    folder = Path(root).expanduser()
    release_files = release.choose(files, name)
    fetched = {file.name: one for file in release_files if (one := _recorded(file, folder)) is not None}
    if not (files or fetched) and _laid_out(entry, folder):
        return []
    missing = [file for file in release_files if file.name not in fetched]
    _check_space(missing, folder)
    if missing and (rest := _by_hand(name, release, folder)):
        warnings.warn(rest, stacklevel=2)  # before hours of downloading
    for file in missing:
        fetched[file.name] = _fetch(file, folder, keep)
    if rest := _by_hand(name, release, folder):
        raise InputError(f"{'the files at fixed addresses are there. ' if fetched else ''}{rest}")
    return [fetched[file.name] for file in release_files]


def _fetch(file: ReleaseFile, folder: Path, keep: bool) -> Fetched:
    path = folder / file.name

    def check(downloaded: Path) -> None:
        if file.md5:
            check_digest(downloaded, file.md5, "md5")

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}). Choose another --root.") from error
    if path.exists():
        try:
            check(path)
        except InputError as error:
            raise InputError(f"{path}: {error} Take it away, and it is downloaded.") from error
    else:
        with progress_bar(file.name, (file.size or 0) / _MB, unit="MB") as advance:
            megabytes_told = 0

            def move(have: int, total: int | None) -> None:
                nonlocal megabytes_told
                advance(
                    (have - megabytes_told) / _MB, f"of {total / _MB:,.0f} MB" if total and total != file.size else ""
                )
                megabytes_told = have

            otherwise = f"fetch the file by other means, put it at {path}, and call this again"
            download(file.url, path, check, progress=move, otherwise=otherwise)
    algorithm = "md5" if file.md5 else "sha256"
    digest = file.md5 or digest_of(path, algorithm)
    size = path.stat().st_size
    contents = {file.name: size}
    if file.unpack:
        with progress_bar(f"unpacking {file.name}", size / _MB, unit="MB", patience=1) as advance:
            contents = unpack(path, folder, below=file.below, progress=lambda count: advance(count / _MB))
        if not keep:
            path.unlink()
    checksum = {"algorithm": algorithm, "digest": digest, "published": bool(file.md5)}
    record = {"url": file.url, "bytes": size, "checksum": checksum, "contents": contents}
    write_json(_record(file, folder), record)
    return Fetched(
        file.name, was_there=False, algorithm=algorithm, digest=digest, published=bool(file.md5), contents=contents
    )


def _record(file: ReleaseFile, folder: Path) -> Path:
    return folder / RECORDS / f"{file.name}.json"


def _recorded(file: ReleaseFile, folder: Path) -> Fetched | None:
    """What an earlier call recorded, if all that came of the file is still there in its size."""
    try:
        record = json.loads(_record(file, folder).read_text(encoding="utf-8"))
        checksum, contents = record["checksum"], dict(record["contents"])
        if any((folder / path).stat().st_size != size for path, size in contents.items()):
            return None
        return Fetched(file.name, was_there=True, **checksum, contents=contents)
    except (OSError, ValueError, KeyError, TypeError):  # none, or not as this command writes it
        return None


def _check_space(missing: Sequence[ReleaseFile], folder: Path) -> None:
    """Refuse before hours of downloading; what is packed is taken to have the size of its archive."""
    sizes = [file.size or 0 for file in missing]
    here = [sum(p.stat().st_size for p in (folder / f.name, folder / f"{f.name}.part") if p.is_file()) for f in missing]
    packed = [file.size or 0 for file in missing if file.unpack]
    needed = sum(sizes) - sum(here) + max(packed, default=0)
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise InputError(
            f"{folder}: {needed / 1e9:,.1f} GB are needed and {free / 1e9:,.1f} GB are free. Free some space, choose "
            "another --root, or fetch a part of the files by --file."
        )


def _by_hand(name: str, release: Release, folder: Path) -> str:
    """What is still to be fetched by hand, and how; empty where nothing is."""
    missing = [pattern for pattern in release.by_hand if not any(folder.glob(pattern))]
    if not missing:
        return ""
    return (
        f"{name}: to be fetched by hand into {folder}: {', '.join(p.removeprefix('**/') for p in missing)}. "
        f"{release.instructions} Terms: {DATASETS[name].card.licence}."
    ).replace("..", ".")


def _laid_out(entry: DatasetEntry, folder: Path) -> bool:
    """Whether a whole copy lies in the folder that came there in another way; its images are not looked at."""
    if not folder.is_dir():
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            entry.open(folder, 0, None)
            return not any(issue.reason == MISSING for issue in entry.check(folder))
        except InputError:
            return False
