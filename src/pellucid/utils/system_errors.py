"""What the operating system refuses (a full disk, no memory, no permission), in one sentence that says what to do."""

from __future__ import annotations

import errno

_ADVICE = {
    errno.ENOSPC: "the disk is full. Free some space, or choose another folder",
    errno.EDQUOT: "the disk quota is used up: for you, the disk is full. Free some space, or choose another folder",
    errno.EFBIG: "the file would be larger than the system lets one be. Raise that limit (ulimit -f), or choose "
    "another folder",
    errno.EROFS: "the file system can only be read. Choose a folder that can be written to",
    errno.EACCES: "permission denied. Ask for the right to use it, or choose another place",
    errno.EPERM: "operation not permitted. Ask for the right to do it, or choose another place",
    errno.EIO: "the disk reports an input/output error, so what lies there may be damaged. Look after that disk first",
    errno.EMFILE: "too many files are open in this process. Raise that limit (ulimit -n), or use fewer workers",
    errno.ENFILE: "too many files are open on this machine. Close other programs",
    errno.ENOMEM: "there is not enough memory. Close other programs, or take smaller batches or fewer jobs",
    errno.ENOENT: "no such file or folder (any more). See whether another program moves or deletes files there",
    errno.ENOTDIR: "a part of this path is a file where a folder is expected. Choose another path",
    errno.EISDIR: "this is a folder where a file is expected. Choose another path",
    errno.ENAMETOOLONG: "the name is longer than the file system can hold. Choose a shorter one",
    errno.ESTALE: "the network file system lost it. See whether it is still mounted",
    errno.ENOTCONN: "the network file system is not connected. See whether it is still mounted",
    errno.ETIMEDOUT: "the network file system did not answer. See whether it is still mounted",
    errno.EHOSTDOWN: "the network file system did not answer. See whether it is still mounted",
    errno.ENODEV: "the device is gone. See whether it is still there and mounted",
    errno.ENXIO: "the device is gone. See whether it is still there and mounted",
}
_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
_NO_MEMORY = "there is not enough memory. Close other programs, or take smaller batches, images or fewer jobs."
_NO_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory")


def in_words(error: BaseException) -> str | None:
    """A trouble of the system as one sentence, with the file where it is known; None for any other error.

    Args:
        error: what was raised; of torch's RuntimeErrors those that mean that memory ran out count too, and a process
            pool that broke because one of its processes was killed.

    Example:
        >>> in_words(OSError(errno.EROFS, "Read-only file system", "runs/first"))
        'runs/first: the file system can only be read. Choose a folder that can be written to.'
        >>> in_words(ValueError("a mistake in a program")) is None
        True
    """
    if isinstance(error, MemoryError):
        return _NO_MEMORY
    if isinstance(error, OSError):
        return None if (reason := why(error)) is None else f"{f'{error.filename}: ' if error.filename else ''}{reason}."
    if type(error).__name__ == "BrokenProcessPool":
        return (
            "one of the processes of this job was killed, most often because memory ran out. What was finished is "
            "kept: give the same command again, with fewer --jobs."
        )
    if isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _NO_MEMORY_WORDS):
        return _NO_MEMORY
    return None


def of_the_disk(error: BaseException | None) -> bool:
    """Whether a disk that is full, cannot be written or fails is behind an error, whatever else was said of it since.

    Example:
        >>> of_the_disk(OSError(errno.ENOSPC, "No space left on device")), of_the_disk(FileNotFoundError(2, "gone"))
        (True, False)
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
            return True
        error = error.__cause__
    return False


def why(error: OSError) -> str | None:
    """What the system says and what to do about it, without file and full stop; None where it is no trouble of its.

    Example:
        >>> why(OSError(errno.ENOSPC, "No space left on device"))
        'the disk is full. Free some space, or choose another folder'
    """
    return _ADVICE.get(error.errno) if error.errno is not None else None
