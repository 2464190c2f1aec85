"""Locks on files and folders that end with the process that holds them, on POSIX systems and on Windows.

A lock is the system's own (`flock`, or a locked byte on Windows), never a file whose being there means something: after
a kill, a crash or a power cut it is free. On a network file system it reaches as far as the system's locks do: NFS
(Linux, since 2.6.12), CIFS, GPFS and Lustre mounted with `flock` lock between machines; where a file system has no
locks at all that is said, and nobody is kept out.
"""

from __future__ import annotations

import errno
import os
import socket
import time
import warnings
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING

from pellucid.types import InputError
from pellucid.utils.resources import make_folder
from pellucid.utils.system_errors import why

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = ".lock"
_PLACE = 1 << 30  # of the byte that is locked on Windows: what a holder writes stays readable
_ATTEMPTS = 10  # at a holder that has not written its name yet
_MISSES = 1000  # of a folder that others take away between its making and its use: each of a crowd may
_PAUSE = 0.1  # seconds between two looks
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}


def lock(stream: IO[bytes] | IO[str], *, wait: bool) -> bool:
    """Lock an open file until it is closed or the process ends; whether it is locked now.

    Args:
        stream: open for writing.
        wait: for whoever holds it; otherwise a file that is held gives False.

    Raises:
        OSError: a file system without locks.
    """
    try:
        import fcntl
    except ImportError:
        return _lock_on_windows(stream, wait=wait)
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


@contextmanager
def hold(folder: Path, *, wait: bool | None = None) -> Iterator[None]:
    """Be the only process that works in a folder, from now until the block ends or the process does.

    The folder is made if it is missing, and goes again if it is still empty in the end. While it is held, `.lock` in
    it says by whom.

    Args:
        folder: to hold.
        wait: for the process that holds it; otherwise that is refused, naming the option `--wait` unless this is None:
            not every command has it.

    Raises:
        InputError: naming the process and the machine that hold it; a path that is a file, or cannot be written.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder, hold(Path(folder)):
        ...     print(sorted(p.name for p in Path(folder).iterdir()))
        ['.lock']
    """
    folders: dict[Path, None] = {}
    try:
        stream = _held(folder, folders, wait=wait)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {why(error) or error.strerror or error}.") from error
    with stream:
        try:
            yield
        finally:
            with suppress(OSError):  # Windows deletes no open file: there it stays, and means nothing
                (folder / NAME).unlink()
            for path in sorted(folders, key=lambda path: len(path.parts), reverse=True):
                with suppress(OSError):  # there is something in it
                    path.rmdir()


def _held(folder: Path, folders: dict[Path, None], *, wait: bool | None) -> IO[str]:
    """The locked file; `folders` gets the folders that were made for it."""
    path = folder / NAME
    has_told, missed = False, 0
    while True:
        if folder.is_file():
            raise InputError(f"{folder} is a file; --out names a folder.")
        folders.update(dict.fromkeys(path for path in (folder, *folder.parents) if not path.exists()))
        try:
            make_folder(folder)
            stream = path.open("a+", encoding="utf-8")
        except (FileNotFoundError, FileExistsError):  # whoever had it before took the empty folder away meanwhile
            missed += 1
            if missed > _MISSES:
                raise
            time.sleep(_PAUSE / 100)
            continue
        try:
            free = _lock_or_say(stream, folder)
            if not free:
                holder = _holder(path)
                if not wait:
                    remedy = "Wait for it" if wait is None else "Wait for it (or give --wait)"
                    raise InputError(
                        f"{folder} is held by {holder}, which is still at work there. {remedy}, or choose another "
                        "--out."
                    )
                if not has_told:
                    warnings.warn(f"{folder} is held by {holder}; waiting for it.", stacklevel=4)
                    has_told = True
                lock(stream, wait=True)
            if is_at(stream, path):
                stream.truncate(0)
                stream.write(f"process {os.getpid()} on {socket.gethostname()}")
                stream.flush()
                return stream
        except BaseException:
            stream.close()
            raise
        stream.close()


def _lock_or_say(stream: IO[str], folder: Path) -> bool:
    try:
        return lock(stream, wait=False)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        warnings.warn(
            f"the file system of {folder} has no locks: see to it that no other process writes there.", stacklevel=5
        )
        return True


def _holder(path: Path) -> str:
    for _ in range(_ATTEMPTS):
        with suppress(OSError, UnicodeDecodeError):
            if text := path.read_text(encoding="utf-8").strip():
                return text[:200]
        time.sleep(_PAUSE)
    return "another process"


def is_at(stream: IO[bytes] | IO[str], path: Path) -> bool:
    """Whether an open file still stands at its path: whoever held it before deletes it in the end."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except OSError:
        return False


def _lock_on_windows(stream: IO[bytes] | IO[str], *, wait: bool) -> bool:
    import msvcrt

    while True:
        before = os.lseek(stream.fileno(), 0, os.SEEK_CUR)
        os.lseek(stream.fileno(), _PLACE, os.SEEK_SET)
        try:
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            return True
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EDEADLK):
                raise
        finally:
            os.lseek(stream.fileno(), before, os.SEEK_SET)
        if not wait:
            return False
        time.sleep(_PAUSE)
