"""Fetch a file over HTTP: it goes on where it broke off, and gets its name only once it is whole and checked."""

from __future__ import annotations

import errno
import hashlib
import re
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import TYPE_CHECKING

from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHUNK = 1 << 20
ATTEMPTS = 4  # in a row without much coming through
MUCH = 64 << 20  # bytes
TITLES = {"sha256": "SHA-256", "md5": "MD5"}


def digest_of(path: Path, algorithm: str = "sha256") -> str:
    """The checksum of a file in hexadecimal digits: `sha256` (64 digits) or `md5` (32)."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def check_digest(path: Path, expected: str, algorithm: str = "sha256") -> None:
    """Refuse a file whose checksum does not begin with `expected`: at least 8 hexadecimal digits.

    Raises:
        InputError: with both checksums.
    """
    expected, title = expected.lower(), TITLES[algorithm]
    most = hashlib.new(algorithm, usedforsecurity=False).digest_size * 2
    if not re.fullmatch(rf"[0-9a-f]{{8,{most}}}", expected):
        raise InputError(f"a checksum ({title}) is 8 to {most} hexadecimal digits; found {expected!r}.")
    actual = digest_of(path, algorithm)
    if not actual.startswith(expected):
        raise InputError(f"{path.name} is damaged or another file: its {title} is {actual}, expected {expected}.")


def download(
    url: str,
    target: Path,
    check: Callable[[Path], None],
    *,
    progress: Callable[[int, int | None], None] | None = None,
    otherwise: str = "fetch the file by other means and give its path instead",
) -> None:
    """Download an http(s) address to `target`, by way of `target` with `.part` added.

    What an interrupted download left is gone on with. One process at a time may fetch the same file.

    Args:
        url: where the file is.
        target: what it is called once it is whole.
        check: raises an InputError for a whole file that is not the right one. A file that was gone on with and fails
            is downloaded once more from the start, since its first half may be of an older file.
        progress: called with the bytes that are there and the total, None if the server does not say.
        otherwise: what to do where the address does not answer; the end of a sentence.

    Raises:
        InputError: an address that does not answer, a full disk, or what `check` raises; a file that failed it is gone.
    """
    if not url.startswith(("http://", "https://")):
        raise InputError(f"{url}: expected an address that begins with https:// or http://.")
    part = target.with_name(target.name + ".part")
    resumed = part.exists()
    _download(url, part, progress, otherwise)
    try:
        check(part)
    except InputError:
        part.unlink()
        if not resumed:
            raise
        _download(url, part, progress, otherwise)
        try:
            check(part)
        except InputError:
            part.unlink()
            raise
    part.replace(target)


def _download(url: str, part: Path, progress: Callable[[int, int | None], None] | None, otherwise: str) -> None:
    """Append to `part` until it is whole."""
    failures = 0
    problem: Exception | str = ""
    while failures < ATTEMPTS:
        before = part.stat().st_size if part.exists() else 0
        try:
            have, total = _append(url, part, before, progress)
            if total is None or have == total:
                return
            problem = f"the connection ended after {have} of {total} bytes"
        except urllib.error.HTTPError as error:
            if error.code == 416 and before:  # nothing is left to send
                total = _number(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
                if total in (None, before):
                    return
                part.unlink()  # longer than the file: of another one
            problem = error
            if error.code < 500 and error.code not in (416, 429):
                break
            time.sleep(0.2 * 2**failures)
        except (OSError, HTTPException) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise InputError(
                    f"cannot write {part}: the disk is full. Free some space and try again (it goes on where it "
                    "stopped)."
                ) from error
            problem = error
        after = part.stat().st_size if part.exists() else 0
        failures = 0 if after - before >= MUCH else failures + 1
    raise InputError(f"could not download {url}: {problem}. Try again (it goes on where it stopped), or {otherwise}.")


def _append(
    url: str, part: Path, have: int, progress: Callable[[int, int | None], None] | None
) -> tuple[int, int | None]:
    """Ask once for what is missing; the bytes that are there then, and how many there should be."""
    request = urllib.request.Request(url, headers={"User-Agent": "pellucid"})  # noqa: S310 (http only)
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        if answer.status == 206:
            if _number(r"bytes (\d+)-", answer.headers.get("Content-Range", "")) != have:
                part.unlink(missing_ok=True)
                raise HTTPException("the server sent another part of the file than was asked for")
        else:
            have = 0  # the whole file
        length = answer.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else None
        with part.open("ab" if have else "wb") as file:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                have += len(chunk)
                if progress is not None:
                    progress(have, total)
    return have, total


def _number(pattern: str, text: str) -> int | None:
    match = re.match(pattern, text)
    return int(match.group(1)) if match else None
