"""Which image of a dataset another program's file means: by the whole of its path, never by a likeness."""

from __future__ import annotations

import posixpath
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pellucid.data.readers.image_files import IMAGE_SUFFIXES
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

ENDINGS = IMAGE_SUFFIXES
_SHOWN = 5  # candidates that a message lists
_TOLD = 20  # names that a message lists

Path = tuple[str, ...]


@dataclass(frozen=True)
class NameMatches:
    """Names that a file gives images, and the images that they mean.

    Attributes:
        rows: the row of each name that could be matched.
        faults: what is wrong with each of the others.
        notes: what was taken for the same although it is not, letter for letter.
    """

    rows: dict[str, int]
    faults: dict[str, str]
    notes: list[str] = field(default_factory=list)


def match_names(names: Iterable[str], images: Sequence[Sequence[str]]) -> NameMatches:
    """Match names of images with the rows of a dataset.

    A name means the image that is called exactly so; else the one whose path ends with the whole of the name, or whose
    whole path the name ends with, components being compared as a whole and the longest path counting. Backslashes
    separate as slashes do. Only where there is none, capitals and then the ending of the file (`.png`, `.jpg`) may
    differ, which is noted; a name that is an image's but for an ending that the image's has not is the same.

    Two different names may not mean one image.

    Args:
        names: as the file gives them.
        images: what each row is called; a row may have several names, such as an id and a path.

    Example:
        >>> images = [["train/cat/0.png"], ["train/dog/0.png"], ["train/dog/1.png"]]
        >>> found = match_names(["dog/0.png", "0.png", "test/dog/1.png"], images)
        >>> found.rows
        {'dog/0.png': 1}
        >>> found.faults["0.png"]
        'could be train/cat/0.png or train/dog/0.png'
        >>> found.faults["test/dog/1.png"]
        'there is no such image; another with a name like it: train/dog/1.png'
    """
    exact: dict[str, set[int]] = {}
    for row, called in enumerate(images):
        for one in called:
            exact.setdefault(one, set()).add(row)
    indices: dict[str, _Index] = {}
    rows: dict[str, int] = {}
    faults: dict[str, str] = {}
    loosely: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        matching, how = exact.get(name, set()), ""
        if not matching:
            matching, how = _search(name, images, indices)
        if len(matching) == 1:
            (rows[name],) = matching
            if how:
                loosely.setdefault(how, []).append(name)
        elif matching:
            faults[name] = f"could be {_listed([images[row][0] for row in sorted(matching)], 'or')}"
        else:
            faults[name] = _absent(name, images, indices)
    _refuse_shared(rows, faults, images)
    notes = [
        f"{number_of(len(renamed), 'name(s)')} matched with an image whose name differs in {how}, as {renamed[0]} with "
        f"{images[rows[renamed[0]]][0]}"
        for how, all_of_them in loosely.items()
        if (renamed := [name for name in all_of_them if name in rows])
    ]
    return NameMatches(rows, faults, notes)


def faults_message(faults: Mapping[str, str], whose: str, example: str) -> str:
    """What is wrong with the names of a file, in one message that names them all, or the first of very many."""
    messages = [f"{name!r}: {reason}" for name, reason in list(faults.items())[:_TOLD]]
    more = len(faults) - len(messages)
    lines = "\n  ".join([*messages, f"… and {more:,} more"] if more else messages)
    called = f" Its images are called as {example!r}." if example else ""
    return (
        f"{len(faults):,} of the images that it names cannot be found in {whose}; nothing was taken from it.{called} "
        f"Name the images in the file by paths that end alike, and leave out those of other parts:\n  {lines}"
    )


def _refuse_shared(rows: dict[str, int], faults: dict[str, str], images: Sequence[Sequence[str]]) -> None:
    """Two names of one image: the file may mean two images, of which one is not in the dataset."""
    named: dict[int, list[str]] = {}
    for name, row in rows.items():
        named.setdefault(row, []).append(name)
    for row, several in named.items():
        paths = {_path(name) for name in several}
        strange = [name for name in several if name not in images[row]]  # its own id and path may both be used
        if len(paths) > 1 and strange:
            for name in several:
                others = [other for other in several if other != name]
                faults[name] = f"would be {images[row][0]}, as would {_listed(others, 'and')}"
                del rows[name]


class _Index:
    """The paths of all images by their last component, compared in one way."""

    def __init__(self, images: Sequence[Sequence[str]], key: Callable[[str], Path]) -> None:
        self.key = key
        self.by_last: dict[str, list[tuple[Path, int]]] = {}
        for row, called in enumerate(images):
            for path in {key(one) for one in called}:
                if path:
                    self.by_last.setdefault(path[-1], []).append((path, row))

    def find(self, name: str) -> set[int]:
        """The rows that a name may mean: one, none, or several where it cannot be said."""
        path = self.key(name)
        alike = self.by_last.get(path[-1], []) if path else []
        same = {row for other, row in alike if other == path}
        if same:
            return same
        longer = {row for other, row in alike if _ends_with(other, path)}
        if longer:
            return longer
        shorter = [(other, row) for other, row in alike if _ends_with(path, other)]
        if not shorter:
            return set()
        most = max(len(other) for other, _ in shorter)
        longest = {row for other, row in shorter if len(other) == most}
        # an image of the same name in a folder of its own shows that the folders count: cat/0.png is not 0.png then
        inside = {row for other, row in alike if len(other) > most and _ends_with(other, path[-most:])}
        return longest | inside


def _ends_with(path: Path, end: Path) -> bool:
    return len(path) >= len(end) and path[len(path) - len(end) :] == end


def _path(name: str) -> Path:
    """The components of a path, however it is written."""
    text = unicodedata.normalize("NFC", name).replace("\\", "/")
    return tuple(part for part in posixpath.normpath(text).split("/") if part not in ("", ".")) if text else ()


def _folded(name: str) -> Path:
    return tuple(unicodedata.normalize("NFC", part.casefold()) for part in _path(name))


def _without_ending(name: str) -> Path:
    path = _path(name)
    if not path:
        return path
    stem, dot, ending = path[-1].rpartition(".")
    return (*path[:-1], stem) if stem and dot + ending.lower() in ENDINGS else path


def _bare(name: str) -> Path:
    return tuple(unicodedata.normalize("NFC", part.casefold()) for part in _without_ending(name))


_WAYS: tuple[tuple[str, Callable[[str], Path]], ...] = (
    ("", _path),
    ("capitals", _folded),
    ("the file's ending", _without_ending),
    ("capitals and the file's ending", _bare),
)


def _search(name: str, images: Sequence[Sequence[str]], indices: dict[str, _Index]) -> tuple[set[int], str]:
    """The rows that a name may mean, and in what it differs from theirs."""
    for how, key in _WAYS:
        rows = _index(how, key, images, indices).find(name)
        if rows:
            row = next(iter(rows))
            added = how == "the file's ending" and any(_without_ending(one) == _path(one) for one in images[row])
            return rows, "" if added else how
    return set(), ""


def _index(how: str, key: Callable[[str], Path], images: Sequence[Sequence[str]], indices: dict[str, _Index]) -> _Index:
    if how not in indices:
        indices[how] = _Index(images, key)
    return indices[how]


def _absent(name: str, images: Sequence[Sequence[str]], indices: dict[str, _Index]) -> str:
    how, key = _WAYS[-1]
    path = key(name)
    alike = _index(how, key, images, indices).by_last.get(path[-1], []) if path else []
    if not alike:
        return "there is no such image"

    def common(other: Path) -> int:
        pairs = zip(reversed(path), reversed(other), strict=False)
        return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(path), len(other)))

    ranked = sorted(alike, key=lambda pair: (-common(pair[0]), pair[1]))
    nearest = list(dict.fromkeys(images[row][0] for _, row in ranked))
    what = "another with a name like it" if len(nearest) == 1 else "others with a name like it"
    return f"there is no such image; {what}: {_listed(nearest, 'and')}"


def _listed(names: Sequence[str], word: str) -> str:
    first = list(names[:_SHOWN])
    if len(names) > _SHOWN:
        return f"{', '.join(first)} {word} {len(names) - _SHOWN:,} more"
    return f" {word} ".join([", ".join(first[:-1]), first[-1]]) if len(first) > 1 else first[0]
