"""Archives of every kind unpacked, and those refused that would climb out, link, burst or are damaged."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile

import numpy as np
import pytest

from helpers.archive import files_in, tar, zipped
from pellucid.data.download.unpack import unpack
from pellucid.types import InputError

NOISE = np.random.default_rng(0).bytes(300_000)


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
def test_tars_of_every_compression(tmp_path, compression):
    members = {"./images/a.png": b"a" * 3000, "images/b.png": b"", "readme": b"c"}
    (tmp_path / "x.tar").write_bytes(tar(members, compression))
    written = []
    assert unpack(tmp_path / "x.tar", tmp_path / "o", progress=written.append) == {
        "images/a.png": 3000, "images/b.png": 0, "readme": 1,
    }  # fmt: skip
    assert sum(written) == 3001
    assert files_in(tmp_path / "o") == ["images/a.png", "images/b.png", "readme"]
    assert (tmp_path / "o/images/a.png").read_bytes() == b"a" * 3000
    assert unpack(tmp_path / "x.tar", tmp_path / "p", below="images") == {"a.png": 3000, "b.png": 0}
    with pytest.raises(InputError, match="no file below none"):
        unpack(tmp_path / "x.tar", tmp_path / "q", below="none")


def test_zips_and_what_others_put_in_the_folder_stays(tmp_path):
    (tmp_path / "x.zip").write_bytes(zipped([("a/", b""), ("a/b", b"1"), ("c", b"22")]))
    (tmp_path / "a").mkdir()
    (tmp_path / "a/mine").write_text("mine")
    (tmp_path / ".x.zip.unpacking").mkdir()  # what a killed process left
    (tmp_path / ".x.zip.unpacking/half").touch()
    assert unpack(tmp_path / "x.zip", tmp_path) == {"a/b": 1, "c": 2}
    assert files_in(tmp_path) == ["a/b", "a/mine", "c", "x.zip"]
    (tmp_path / "c").unlink()
    (tmp_path / "c").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="c: in the way"):
        unpack(tmp_path / "x.zip", tmp_path)


def link(kind):
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def zip_link():
    info = zipfile.ZipInfo("l")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def sparse():
    """A member that says it is a terabyte long, and has a few bytes."""
    info = tarfile.TarInfo("s")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:482] = b"%011o\0%011o\0" % (0, 0) + b"\0" * 72
    header[483:495] = b"%011o\0" % (1 << 32)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + b"\0" * 1024


def huge_header():
    """A name of thirty megabytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("n" * 30_000_000))
    return out.getvalue()


@pytest.mark.parametrize(
    ("archive", "match"),
    [
        (lambda: tar({"a": b"1", "../b": b"2"}), "'../b' leads out"),
        (lambda: tar({"/tmp/b": b"2"}), "'/tmp/b' leads out"),
        (lambda: tar({"a/../../b": b"2"}), "leads out"),
        (lambda: tar({"C:b": b"2"}), "leads out"),
        (lambda: zipped([("a\\..\\b", b"")]), "leads out|no file"),
        (lambda: zipped([("a", b"1"), ("../b", b"2")]), "leads out"),
        (lambda: tar({"a": b"1", "l": link(tarfile.SYMTYPE)}), "l: a link"),
        (lambda: tar({"a": b"1", "l": link(tarfile.LNKTYPE)}), "l: a link"),
        (lambda: tar({"a": b"1", "l": link(tarfile.FIFOTYPE)}), "l: a link or a device"),
        (sparse, "s: a link or a device"),
        (lambda: zipped([(zip_link(), b"/etc/passwd")]), "l: a link"),
        (lambda: zipped([("a", b"1"), ("a", b"2")]), "a: occurs twice"),
        (lambda: zipped([("a", bytes(50_000_000))]), "decompression bomb"),
        (lambda: tar({"a": bytes(50_000_000)}), "decompression bomb"),
        (lambda: gzip.compress(bytes(50_000_000)), "no file in it|decompression bomb"),
        (huge_header, "decompression bomb"),
        (lambda: zipped([("a", b"1"), ("a/b", b"2")]), "cannot be unpacked"),
        (lambda: tar({"a": NOISE})[:-100], "damaged"),
        (lambda: tar({"a": NOISE})[:150_000], "damaged"),
        (
            lambda: bytes(bytearray(zipped([("a", NOISE)], zipfile.ZIP_STORED)).replace(NOISE[:9], b"123456789")),
            "damaged",
        ),
        (lambda: b"<html>Please log in</html>", "damaged, or no archive"),
        (lambda: b"", "damaged, or no archive"),
    ],
)
def test_archives_that_are_not_unpacked(tmp_path, archive, match):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/x.tar").write_bytes(archive())
    with pytest.raises(InputError, match=match):
        unpack(tmp_path / "in/x.tar", tmp_path / "in/root")
    assert files_in(tmp_path) == ["in/x.tar"]  # nothing inside, nothing beside


def test_an_encrypted_zip(tmp_path):
    content = bytearray(zipped([("a", b"1")]))
    for at, offset in ((content.find(b"PK\x03\x04"), 6), (content.find(b"PK\x01\x02"), 8)):
        content[at + offset] |= 1
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(InputError, match="encrypted"):
        unpack(tmp_path / "x.zip", tmp_path / "root")


def test_a_member_without_a_name_is_refused(tmp_path):
    """`ZipInfo.is_dir` looks at the last letter of the name."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", b"1")
    data = (tmp_path / "a.zip").read_bytes()
    central, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    local, entry, tail = bytearray(data[:central]), bytearray(data[central:end]), bytearray(data[end:])
    local[26:28], entry[28:30] = b"\0\0", b"\0\0"  # the length of the name
    del local[30], entry[46]
    tail[12:16], tail[16:20] = len(entry).to_bytes(4, "little"), len(local).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(local + entry + tail)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == [""]
    with pytest.raises(InputError, match=r"a\.zip: a member without a name; the archive is not unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "goal")
    assert not list((tmp_path / "goal").glob("*"))
