"""How a dataset is published: its files, their checksums, and what must be accepted or fetched by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pellucid.types import InputError
from pellucid.utils.resources import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence


_SHOWN = 5  # names of optional files


@dataclass(frozen=True)
class ReleaseFile:
    """One published file.

    Attributes:
        url: where it is.
        name: what it is called on disk.
        size: its bytes; None where they are not known.
        md5: its MD5 as published, if any is.
        unpack: whether it is a tar or zip whose files are wanted rather than it.
        below: of an archive, the folder whose files are wanted, as if it were the archive's top; all for none.
        optional: fetched only when it is asked for by name.
    """

    url: str
    name: str
    size: int | None = None
    md5: str = ""
    unpack: bool = True
    below: str = ""
    optional: bool = False


@dataclass(frozen=True)
class Release:
    """What `pellucid data fetch` needs to know of a dataset.

    Attributes:
        files: those at a fixed address that anyone may download.
        by_hand: patterns of files that have none, as they are to lie in the dataset's folder.
        instructions: what to accept, where to find the files of `by_hand`, and where to put them: whole sentences.
    """

    files: tuple[ReleaseFile, ...] = ()
    by_hand: tuple[str, ...] = ()
    instructions: str = ""

    def summary(self) -> str:
        """What there is to fetch, for lists."""
        patterns = ", ".join(pattern.removeprefix("**/") for pattern in self.by_hand)
        by_hand = f"by hand: {patterns}" if patterns else ""
        if not self.files:
            return by_hand
        first = [file for file in self.files if not file.optional]
        size = sum(file.size or 0 for file in first)
        offer = (
            f"{len(first)} file{'s' if len(first) > 1 else ''}, {size / 1e9:.1f} GB" if first else "choose by --file"
        )
        others = [file.name for file in self.files if file.optional]
        named = ", ".join(others[:_SHOWN]) + (f" … ({len(others)} in all)" if len(others) > _SHOWN else "")
        return "; ".join(filter(None, (offer, f"also {named}" if first and named else named, by_hand)))

    def choose(self, names: Sequence[str], dataset: str) -> tuple[ReleaseFile, ...]:
        """The files called `names`; all that are not optional for none.

        Raises:
            InputError: for an unknown name, or where one must be chosen.
        """
        file_of = {file.name: file for file in self.files}
        for name in names:
            if name not in file_of:
                raise InputError(f"{dataset} has no file {name!r}. {nearest(name, file_of)}")
        choice = tuple(file_of[name] for name in dict.fromkeys(names))
        choice = choice or tuple(file for file in self.files if not file.optional)
        if self.files and not choice:
            raise InputError(f"{dataset}: choose files by --file NAME. There are: {', '.join(file_of)}.")
        return choice
