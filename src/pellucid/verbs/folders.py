"""The folder that a resumable verb works in, and what models are called after theirs."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pellucid.types import InputError
from pellucid.utils.resources import whole_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@contextmanager
def work_folder(out: str | Path | None) -> Iterator[Path]:
    """The folder where results are kept as they come; one that ends with the work where none is named."""
    if out is not None:
        yield Path(out)
        return
    with TemporaryDirectory(prefix="pellucid-") as folder:
        yield Path(folder)


def model_names(paths: Sequence[Path | None]) -> list[str]:
    """A name for each model: of its run folder, with the folder above where two are called alike.

    Raises:
        InputError: two that are called alike even so.

    Example:
        >>> model_names([Path("a/first"), Path("b/first"), None])
        ['a-first', 'b-first', 'model']
    """
    runs = [None if p is None else (p.parent if p.is_file() else p).resolve() for p in paths]
    names = ["model" if run is None else run.name for run in runs]
    if len(set(names)) < len(names):
        names = ["model" if run is None else f"{run.parent.name}-{run.name}" for run in runs]
    if len(set(names)) < len(names):
        raise InputError(f"two of the networks are called alike ({', '.join(names)}): measure them one by one.")
    return names


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file, whole or not at all, unless it holds the same already."""
    if not (path.is_file() and path.read_bytes() == content):
        with whole_file(path) as temporary:
            temporary.write_bytes(content)
    return path
