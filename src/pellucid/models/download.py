"""Fetch a published file once: resumable, checked, kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK = 1 << 20
ATTEMPTS = 4


def cache_folder() -> Path:
    """Where downloads are kept: `$PELLUCID_CACHE`, or `pellucid` in the user's cache folder."""
    named = os.environ.get("PELLUCID_CACHE")
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pellucid"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def check_sha256(path: Path, expected: str) -> None:
    """Refuse a file whose SHA-256 does not begin with `expected` (8 to 64 hexadecimal digits).

    Raises:
        InputError: with both checksums.
    """
    expected = expected.lower()
    if not re.fullmatch(r"[0-9a-f]{8,64}", expected):
        raise InputError(f"a SHA-256 checksum is 8 to 64 hexadecimal digits; found {expected!r}.")
    found = sha256_of(path)
    if not found.startswith(expected):
        raise InputError(f"{path.name} is damaged or another file: its SHA-256 is {found}, expected {expected}.")


def fetch(url: str, *, sha256: str | None = None, progress: Callable[[int, int | None], None] | None = None) -> Path:
    """The local copy of the file at an http(s) address, downloaded unless the cache has it.

    An interrupted download goes on where it stopped. The file gets its name only once its checksum is right.
    One process at a time may fetch the same address.

    Args:
        url: where the file is.
        sha256: its checksum, or at least its first 8 digits. May be left out where the file's name carries
            them, as PyTorch's do (`densenet121-a639ec97.pth`).
        progress: called with the bytes that are there and the total, None if the server does not say.

    Raises:
        InputError: no checksum, a wrong one, or an address that does not answer.
    """
    name = Path(url.split("?", maxsplit=1)[0]).name or "download"
    if sha256 is None:
        in_name = re.search(r"-([0-9a-f]{8,64})\.", name)
        if in_name is None:
            raise InputError(f"give the SHA-256 of {url}: a download is not used unchecked.")
        sha256 = in_name.group(1)
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{name}"
    if target.exists():
        check_sha256(target, sha256)
        return target
    part = target.with_name(target.name + ".part")
    resumed = part.exists()
    _download(url, part, progress)
    try:
        check_sha256(part, sha256)
    except InputError:
        part.unlink()
        if not resumed:
            raise
        # the first half may be of an older file, or damaged: once more from the start
        _download(url, part, progress)
        try:
            check_sha256(part, sha256)
        except InputError:
            part.unlink()
            raise
    part.replace(target)
    return target


def _download(url: str, part: Path, progress: Callable[[int, int | None], None] | None) -> None:
    """Append to `part` until it is whole, in up to four attempts."""
    problem: Exception | str = ""
    for _ in range(ATTEMPTS):
        have = part.stat().st_size if part.exists() else 0
        request = urllib.request.Request(url, headers={"User-Agent": "pellucid"})  # noqa: S310 (http only)
        if have:
            request.add_header("Range", f"bytes={have}-")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
                have = have if goes_on else 0
                length = answer.headers.get("Content-Length")
                total = None if length is None else have + int(length)
                with part.open("ab" if goes_on else "wb") as file:
                    while chunk := answer.read(CHUNK):
                        file.write(chunk)
                        have += len(chunk)
                        if progress is not None:
                            progress(have, total)
            if total is None or have == total:
                return
            problem = f"the connection ended after {have} of {total} bytes"
        except urllib.error.HTTPError as error:
            if error.code == 416 and have:  # nothing left to send: it is all there, or not this file; see checksum
                return
            problem = error
            if error.code < 500:
                break
        except (OSError, HTTPException) as error:
            problem = error
    raise InputError(
        f"could not download {url}: {problem}. Try again (it goes on where it stopped), or fetch the file by "
        "other means and give its path instead."
    )
