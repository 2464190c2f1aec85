"""What every reader does first, check the folder; and how it says what is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pellucid.data.dataset import Splits


class Issue(NamedTuple):
    """Something that a check of a dataset has to say of one file; serious where it must be mended."""

    file: str
    reason: str
    serious: bool = True


MISSING = "named by the dataset's lists, but there is no such file"
_NAMED = 20  # issues that an error message holds


class FaultyDataError(InputError):
    """Several things wrong with a dataset; the message names the first of them.

    Attributes:
        issues: all of them.
        usable: the parts without what is wrong, so that a check can go on.
    """

    def __init__(self, issues: Sequence[Issue], usable: Splits | None = None, message: str = "") -> None:
        self.issues = tuple(issues)
        self.usable: Splits = usable or {}
        super().__init__(message or self._message())

    def _message(self) -> str:
        lines = [f"{issue.file}: {issue.reason}" for issue in self.issues]
        if len(lines) == 1:
            return lines[0]
        more = len(lines) - _NAMED
        named = [*lines[:_NAMED], f"… and {more:,} more; `pellucid data check` names them all"] if more > 0 else lines
        return f"{len(lines):,} things are wrong:\n  " + "\n  ".join(named)


def issues_of(error: InputError, file: str | Path) -> list[Issue]:
    """What an error says, as issues; on `file`, where it is about one thing alone."""
    if isinstance(error, FaultyDataError):
        return list(error.issues)
    return [Issue(str(file), str(error).removeprefix(f"{file}, ").removeprefix(f"{file}: "))]


def collect_issues(faults: Sequence[Issue], build: Callable[[], Splits], file: str | Path) -> Splits:
    """The parts that `build` gives, where nothing is wrong; else all that is wrong in one error, with the parts.

    Args:
        faults: what is wrong already; `build` may add to it.
        build: opens the parts without what is wrong.
        file: what errors of `build` are about.

    Raises:
        FaultyDataError: with `faults` and what `build` raised beside them.
        InputError: by `build`, where there are no others.
    """
    try:
        splits = build()
    except InputError as error:
        if not faults:
            raise
        raise FaultyDataError([*faults, *issues_of(error, file)]) from error
    if faults:
        raise FaultyDataError(faults, splits)
    return splits


def check_root(root: str | Path | None, name: str, layout: str, *, file: bool = False) -> Path:
    """The dataset's folder, if it is there and holds anything; where `file`, it may also be a file.

    Raises:
        InputError: with the folder and the layout that is expected in it.
    """
    expected = f"Expected: {layout}"
    if root is None:
        raise InputError(f"{name} is read from disk: give its folder. {expected}")
    folder = Path(root).expanduser()
    if not folder.exists():
        what = "a link that leads nowhere" if folder.is_symlink() else "no such folder" + " or file" * file
        raise InputError(f"{folder}: {what}. {expected}")
    if file and folder.is_file():
        return folder
    if not folder.is_dir():
        raise InputError(f"{folder}: a file, not the folder of {name}. {expected}")
    try:
        with os.scandir(folder) as entries:
            empty = next(entries, None) is None
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}). {expected}") from error
    if empty:
        raise InputError(f"{folder}: the folder is empty. {expected}")
    return folder
