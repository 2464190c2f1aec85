"""Images in class folders inside a zip file, read from many threads at once and never unpacked to disk."""

from __future__ import annotations

import hashlib
import mmap
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pellucid.data.dataset import SourceFile
from pellucid.data.decoding.image import decode_image
from pellucid.data.readers.image_files import PICTURE_SUFFIXES, LeftOut
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pellucid.types import Pixels

_HEADER = 30  # bytes of a member's own header before its name (APPNOTE.TXT, 4.3.7)
_ENCRYPTED = 1  # the bit of the flags that says so
_OTHERS = "file(s) in the zip, hidden or not named as images are"
_WHAT_TO_DO = "Fetch the zip again."


@dataclass(frozen=True)
class ZippedImages:
    """The images of one zip file.

    The file is memory-mapped rather than opened once per image: a slice of a map has no position that threads would
    have to share, as the handles of `zipfile` do.

    Attributes:
        file: the zip as it was when it was opened.
        members: its images, as the zip's directory lists them, sorted by their names.
        content: the zip's bytes.
    """

    file: SourceFile
    members: tuple[zipfile.ZipInfo, ...]
    content: mmap.mmap

    def __len__(self) -> int:
        return len(self.members)

    @property
    def folders(self) -> tuple[str, ...]:
        """The name of each image's class folder."""
        return tuple(PurePosixPath(member.filename).parent.name for member in self.members)

    def digest(self) -> str:
        """Hash of the images' names and contents, by the checksums that the zip carries; no image is read for it."""
        digest = hashlib.sha256()
        for member in self.members:
            digest.update(f"{member.filename}|{member.file_size}|{member.CRC}\n".encode())
        return digest.hexdigest()

    def read_bytes(self, index: int) -> bytes:
        """The bytes of image `index`; safe to call from threads.

        Raises:
            InputError: naming zip and image, if it is damaged.
        """
        member = self.members[index]
        start = member.header_offset + _HEADER
        header = self.content[member.header_offset : start]
        if len(header) < _HEADER or header[:4] != b"PK\x03\x04":
            raise InputError(f"{self._place(member)}: damaged (no header where one should be). {_WHAT_TO_DO}")
        start += int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:], "little")  # name, extra field
        data = self.content[start : start + member.compress_size]
        if member.compress_type == zipfile.ZIP_DEFLATED:
            try:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, member.file_size + 1)
            except zlib.error as error:
                raise InputError(f"{self._place(member)}: damaged ({error}). {_WHAT_TO_DO}") from error
        if len(data) != member.file_size or zlib.crc32(data) != member.CRC:
            raise InputError(f"{self._place(member)}: damaged (its checksum does not fit). {_WHAT_TO_DO}")
        return data

    def read(self, index: int) -> Pixels:
        """Image `index` as uint8 (H, W) or (H, W, 3); safe to call from threads.

        Raises:
            InputError: naming zip and image, if it is damaged or is no image.
        """
        return decode_image(self.read_bytes(index), self._place(self.members[index]))

    def _place(self, member: zipfile.ZipInfo) -> str:
        return f"{self.file.path}: {member.filename}"


def open_zip(path: str | Path, parts: Sequence[str] = ("train",)) -> dict[str, ZippedImages]:
    """List the images of a zip of class folders; none is read yet.

    Images lie at `CLASS/*.jpg` or further down, as in `train/CLASS/*.jpg`, and PNG and others are read too. Hidden
    files and files of other kinds are left out.

    Args:
        path: the zip. Its images are stored or deflated, which is what zip programs do unless told otherwise.
        parts: what folders are called beside each other that hold class folders. Where all class folders lie in one
            place, whatever it is called, they are the first of these.

    Returns:
        The images of each part that there is, under its name.

    Raises:
        InputError: naming the zip, if it is not there or not a zip, or holds no image; naming the image, if one is
            encrypted, compressed in another way, listed twice, or not in a class folder; and if the class folders lie
            in several places that are not called as the parts, so that it cannot be known which of them are meant.
    """
    places = _open_places(Path(path).expanduser())
    if len(places) == 1:
        return {parts[0]: next(iter(places.values()))}
    by_name = {PurePosixPath(place).name: images for place, images in places.items()}
    if not set(by_name) <= set(parts) or len({PurePosixPath(place).parent for place in places}) > 1:
        first, second = sorted(images.members[0].filename for images in places.values())[:2]
        raise InputError(
            f"{path}: class folders in {len(places)} places, such as those of {first} and {second}. Put those to be "
            "read into a zip of their own."
        )
    return by_name


def _open_places(path: Path) -> dict[str, ZippedImages]:
    """The images of a zip by the place where their class folders lie."""
    if not path.is_file():
        raise InputError(f"{path}: {'a folder' if path.is_dir() else 'no such file'}; expected a zip of class folders.")
    try:
        with path.open("rb") as file:
            with zipfile.ZipFile(file) as archive:
                infos = archive.infolist()
            status = path.stat()
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # outlives the handle
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise InputError(f"{path}: not a zip file, or not the whole of it ({error}). {_WHAT_TO_DO}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    members: dict[str, zipfile.ZipInfo] = {}
    places: dict[str, list[zipfile.ZipInfo]] = {}  # where class folders lie → the images there
    left_out = LeftOut(path)
    for info in infos:
        parts = info.filename.split("/")
        hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
        if hidden or PurePosixPath(info.filename).suffix.lower() not in PICTURE_SUFFIXES or info.is_dir():
            if not info.filename.endswith("/"):
                left_out.add(_OTHERS, path / info.filename)
            continue
        _check(path, info, twice=info.filename in members)
        members[info.filename] = info
        places.setdefault("/".join(parts[:-2]), []).append(info)
    if not members:
        raise InputError(f"{path}: no image in it ({', '.join(sorted(PICTURE_SUFFIXES))}). Expected: CLASS/*.jpg.")
    left_out.tell()
    source = SourceFile(path, status.st_size, status.st_mtime_ns)
    return {
        place: ZippedImages(source, tuple(sorted(images, key=lambda info: info.filename)), content)
        for place, images in places.items()
    }


def _check(path: Path, info: zipfile.ZipInfo, *, twice: bool) -> None:
    """Refuse an image that could not be read, or not be told from another."""
    where = f"{path}: {info.filename}"
    if twice:
        raise InputError(f"{where}: occurs twice in the zip. Expected one file of each name; pack it anew.")
    if len(PurePosixPath(info.filename).parts) < 2:
        raise InputError(f"{where}: not in a class folder. Expected: CLASS/*.jpg.")
    if info.flag_bits & _ENCRYPTED:
        raise InputError(f"{where}: encrypted. Pack it anew without a password.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(
            f"{where}: compressed by method {info.compress_type}; images stored (0) or deflated (8) are read. "
            "Pack it anew."
        )
