"""A file is the one before or the new one, on the disk and not only in memory; what the system refuses is said."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from pellucid.types import InputError
from pellucid.utils.resources import whole_file, write_text
from pellucid.utils.system_errors import in_words


def test_contents_reach_the_disk_before_the_name_and_the_name_after_it(tmp_path, monkeypatch, no_power_cut):
    steps = []
    real_fsync, real_replace = no_power_cut, Path.replace

    def fsync(handle):
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            folders = {p.stat().st_ino: p for p in (tmp_path, *tmp_path.rglob("*")) if p.is_dir()}
            steps.append(f"folder {folders[status.st_ino].relative_to(tmp_path)}")
        else:
            steps.append(f"file of {status.st_size} bytes")
        real_fsync(handle)

    def replace(self, target):
        steps.append(f"name {Path(target).name}")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    write_text(tmp_path / "a" / "b" / "results.json", "12345")
    made, written = steps[:2], steps[2:]
    assert sorted(made) == ["folder .", "folder a"]  # the new folders' own names
    assert written == ["file of 5 bytes", "name results.json", "folder a/b"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full. Free some space"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EFBIG, "larger than the system lets one be"),
        (errno.EROFS, "can only be read"),
        (errno.EACCES, "permission denied"),
        (errno.EIO, "input/output error"),
        (errno.EMFILE, "too many files are open"),
    ],
)
@pytest.mark.parametrize("step", ["write", "fsync", "replace", "make"])
def test_what_the_system_refuses_is_one_sentence_and_nothing_is_left(tmp_path, monkeypatch, number, words, step):
    (tmp_path / "a.txt").write_text("before")

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    target, name = {
        "write": (Path, "write_text"),
        "fsync": (os, "fsync"),
        "replace": (Path, "replace"),
        "make": (__import__("tempfile"), "mkstemp"),
    }[step]
    monkeypatch.setattr(target, name, refuse)
    with pytest.raises(InputError, match=rf"cannot write .*a\.txt: .*{words}"):
        write_text(tmp_path / "a.txt", "after")
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "before"


def test_trouble_with_a_file_that_is_only_read_is_not_put_down_to_the_one_written(tmp_path):
    with pytest.raises(FileNotFoundError) as raised, whole_file(tmp_path / "a.txt"):
        (tmp_path / "source.png").read_bytes()
    assert "source.png: no such file or folder" in in_words(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_of_the_program_stays_what_it_is():
    assert in_words(KeyError("x")) is None
    assert in_words(RuntimeError("shape mismatch")) is None
    assert in_words(OSError("cannot identify image file")) is None
    for error in (MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 8 bytes")):
        assert in_words(error).startswith("there is not enough memory")
