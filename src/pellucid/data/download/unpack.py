"""Unpack a tar or zip that is not trusted: nothing outside its folder, no links, no bombs, all of it or nothing."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, cast

from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHUNK = 1 << 20
RATIO = 20  # times the archive's bytes; photographs in a tar have 1, the annotations of COCO have 4
SLACK = 16 << 20  # bytes that any archive may have
_COMPRESSIONS = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\x00", lzma.open))


def unpack(
    archive: Path, root: Path, *, below: str = "", progress: Callable[[int], None] | None = None
) -> dict[str, int]:
    """Unpack an archive into a folder: into a hidden one beside the goal first, and moved when all is there.

    Args:
        archive: a zip, or a tar, plain or compressed by gzip, bzip2 or xz.
        root: the folder; others' files in it stay.
        below: take only the files below this folder of the archive, as if it were the top.
        progress: called with the bytes written since the last call.

    Returns:
        Each file's path below `root` and its bytes.

    Raises:
        InputError: naming archive and member, for a path that leads out of the folder, a link or device, a name that
            occurs twice, an encrypted member, more than 20 times the archive's bytes (and 16 MiB), a damaged archive,
            one without a file, a full disk, or a file of another size that is in the way. `root` is as before then.
    """
    hidden = root / f".{archive.name}.unpacking"
    shutil.rmtree(hidden, ignore_errors=True)  # what a killed process left
    sizes: dict[str, int] = {}
    top = PurePosixPath(below).parts
    try:
        hidden.mkdir(parents=True)
        for name, content in _members(archive):
            parts = _parts(archive, name)
            if parts[: len(top)] != top or len(parts) <= len(top):
                continue
            path = "/".join(parts[len(top) :])
            if path in sizes:
                raise InputError(f"{archive}: {name}: occurs twice in the archive; it is not unpacked.")
            sizes[path] = _write(content, hidden / path, progress)
        if not sizes:
            raise InputError(f"{archive}: no file {'below ' + below if below else 'in it'}. Fetch it again.")
        _move(sizes, hidden, root)
    except InputError:
        raise
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise InputError(f"{archive}: damaged, or no archive ({error}). Fetch it again.") from error
    except (NotImplementedError, RuntimeError, ValueError) as error:  # how zipfile says: unknown method, encrypted
        raise InputError(f"{archive}: cannot be unpacked ({error}).") from error
    except OSError as error:
        raise InputError(
            f"{archive}: cannot be unpacked into {root} ({error.strerror or error}). Free some space or choose another "
            "--root, and try again."
        ) from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return sizes


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The regular files of an archive, in its order."""
    limit = RATIO * archive.stat().st_size + SLACK
    return _of_zip(archive, limit) if zipfile.is_zipfile(archive) else _of_tar(archive, limit)


def _of_zip(archive: Path, limit: int) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as opened:
        if not all(info.filename for info in opened.infolist()):  # which zipfile itself does not expect
            raise InputError(f"{archive}: a member without a name; the archive is not unpacked.")
        infos = [info for info in opened.infolist() if not info.is_dir()]
        if sum(info.file_size for info in infos) > limit:  # more than this of a member is never read
            raise _bomb(archive, limit)
        for info in infos:
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                raise _no_file(archive, info.filename)
            with opened.open(info) as content:
                yield info.filename, content


def _of_tar(archive: Path, limit: int) -> Iterator[tuple[str, IO[bytes]]]:
    with _plain(archive) as plain:
        limited = _Limited(plain, limit, archive)
        with tarfile.open(fileobj=cast("IO[bytes]", limited), mode="r|") as opened:
            for member in opened:
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():  # a sparse one may say that it is terabytes long
                    raise _no_file(archive, member.name)
                content = opened.extractfile(member)
                assert content is not None  # a regular file has content
                yield member.name, content


@contextmanager
def _plain(archive: Path) -> Iterator[IO[bytes]]:
    """The bytes of a tar, whatever it is compressed by."""
    with archive.open("rb") as file:
        start = file.read(8)
    opener = next((opener for magic, opener in _COMPRESSIONS if start.startswith(magic)), None)
    with archive.open("rb") if opener is None else opener(archive, "rb") as plain:
        yield cast("IO[bytes]", plain)


class _Limited(io.RawIOBase):
    """Reads until there is too much, headers included, whatever the archive says of its sizes."""

    def __init__(self, plain: IO[bytes], limit: int, archive: Path) -> None:
        self.plain, self.left, self.limit, self.archive = plain, limit, limit, archive

    def read(self, size: int = -1, /) -> bytes:
        data = self.plain.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise _bomb(self.archive, self.limit)
        return data


def _parts(archive: Path, name: str) -> tuple[str, ...]:
    """The folders and the name of a member; refused where they could lead out of the folder."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or any(c in name for c in "\\:\0"):
        raise InputError(f"{archive}: {name!r} leads out of the folder; the archive is not unpacked.")
    return path.parts


def _write(content: IO[bytes], path: Path, progress: Callable[[int], None] | None) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with path.open("xb") as file:
        while chunk := content.read(CHUNK):
            file.write(chunk)
            size += len(chunk)
            if progress is not None:
                progress(len(chunk))
    return size


def _move(sizes: dict[str, int], hidden: Path, root: Path) -> None:
    """From the hidden folder to the goal; a file of the same size there is taken for an earlier copy."""
    for path, size in sizes.items():
        there = root / path
        if os.path.lexists(there) and not (there.is_file() and there.stat().st_size == size):
            raise InputError(f"{there}: in the way of the archive's {path} of {size:,} bytes. Move it away.")
    for path in sizes:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (hidden / path).replace(root / path)


def _no_file(archive: Path, name: str) -> InputError:
    return InputError(f"{archive}: {name}: a link or a device, not a file; the archive is not unpacked.")


def _bomb(archive: Path, limit: int) -> InputError:
    return InputError(f"{archive}: would take more than {limit:,} bytes; a decompression bomb, so it is not unpacked.")
