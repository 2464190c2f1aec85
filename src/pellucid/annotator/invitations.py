"""Links that let people in under their own names, one for each."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pellucid.annotations.people import check_name, invite
from pellucid.annotations.store import open_store
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def make_links(
    source: str | Path, names: Sequence[str], address: str, *, sign_out: bool = False
) -> list[tuple[str, str]]:
    """One link for each name, or none at all where anything is wrong.

    Args:
        source: the annotation database, which must be there.
        names: who is invited.
        address: where annotators reach the server, as ``https://annotate.hospital.example``.
        sign_out: whether the browsers that speak under these names now may no longer do so.

    Returns:
        Names and links, in the order given.

    Raises:
        InputError: no such database, a name that cannot be one, or an address that is none.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise InputError(f"--address is as http://host:8000 or https://annotate.example; found {address!r}.")
    names = [check_name(name) for name in names]
    with open_store(source) as store:
        return [(name, f"{address.rstrip('/')}/invite/{invite(store, name, sign_out=sign_out)}") for name in names]
