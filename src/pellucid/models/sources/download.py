"""Published weights, fetched once and kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.types import InputError
from pellucid.utils.download import check_digest, download

if TYPE_CHECKING:
    from collections.abc import Callable


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


def fetch(url: str, *, sha256: str | None = None, progress: Callable[[int, int | None], None] | None = None) -> Path:
    """The local copy of the file at an http(s) address, downloaded unless the cache has it; see `download`.

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
    expected = sha256
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{name}"
    if target.exists():
        check_digest(target, expected)
    else:
        download(url, target, lambda path: check_digest(path, expected), progress=progress)
    return target
