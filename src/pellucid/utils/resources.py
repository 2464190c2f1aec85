"""Files that the package carries (recipes, studies), and writing files so that none is ever half there."""

from __future__ import annotations

import difflib
import errno
import json
import math
import os
import shutil
import tempfile
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.types import InputError
from pellucid.utils.system_errors import why

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator


def nearest(name: str, choices: Iterable[str]) -> str:
    """The end of an error message for an unknown name: the closest choice, and all of them.

    Example:
        >>> nearest("grad-can", ["cam", "grad-cam"])
        "Did you mean 'grad-cam'? There are: cam, grad-cam."
    """
    names = list(dict.fromkeys(choices))
    close = close_to(name, names)
    hint = f"Did you mean {close!r}? " if close is not None else ""
    return f"{hint}There are: {', '.join(names) or 'none'}."


def close_to(name: str, choices: Iterable[str]) -> str | None:
    """The choice whose name is most like this one, or begins so; None where none is alike.

    Example:
        >>> close_to("grad-can", ["cam", "grad-cam"]), close_to("sick", ["Atelectasis", "Mass"])
        ('grad-cam', None)
    """
    choice_of = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(name.lower(), choice_of, n=1, cutoff=0.5)
    close = close or [choice for choice in choice_of if name and choice.startswith(name.lower())]
    return choice_of[close[0]] if close else None


def check_known(names: Iterable[str], choices: Collection[str], kind: str) -> list[str]:
    """The names, if there is one at least, and each of them known.

    Raises:
        InputError: with the nearest known one.

    Example:
        >>> check_known(["camm"], ["cam", "saliency"], "heat map")
        Traceback (most recent call last):
        ...
        pellucid.types.InputError: unknown heat map 'camm'. Did you mean 'cam'? There are: cam, saliency.
    """
    name_list = list(names)
    for name in name_list:
        if name not in choices:
            raise InputError(f"unknown {kind} {name!r}. {nearest(str(name), choices)}")
    if not name_list:
        raise InputError(f"name at least one {kind}. {nearest('', choices)}")
    return name_list


def version_of(package: str = "pellucid") -> str:
    """The version of an installed package, or `unknown`: it is read from the installation's own records.

    Example:
        >>> version_of("no-such-package")
        'unknown'
    """
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def optional(module: str, extra: str, purpose: str) -> Any:  # noqa: ANN401
    """A module of a package that only some uses need, imported.

    Args:
        module: the module.
        extra: the extra of Pellucid that installs its package.
        purpose: what needs it, as the error message begins.

    Raises:
        InputError: naming the extra to install, if the package is not there.

    Example:
        >>> optional("no_such_package", "parquet", "labels.parquet")
        Traceback (most recent call last):
        ...
        pellucid.types.InputError: labels.parquet needs the package no_such_package: in Pellucid's folder, pip install \
-c constraints.txt -e '.[parquet]'
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise InputError(f"{purpose} needs the package {package}: {how_to_install(extra)}") from error


def how_to_install(extra: str) -> str:
    """The command for what an extra holds; no index has Pellucid yet, and its name there could be anybody's.

    Example:
        >>> how_to_install("timm")
        "in Pellucid's folder, pip install -c constraints.txt -e '.[timm]'"
    """
    return f"in Pellucid's folder, pip install -c constraints.txt -e '.[{extra}]'"


def bundled(kind: str) -> dict[str, Path]:
    """The TOML files of one kind (`recipes`, `studies`) that the package carries, by name."""
    folder = Path(str(files("pellucid") / kind))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def find_toml(name: str, kind: str) -> Path:
    """The file that `name` means: a path that exists, or else a bundled file of that name.

    Raises:
        InputError: naming the nearest bundled name.
    """
    path = Path(name)
    if path.suffix == ".toml" and path.is_file():
        return path
    file_of = bundled(kind)
    if path.stem in file_of and (path.suffix in ("", ".toml")):
        return file_of[path.stem]
    raise InputError(
        f"no {'study' if kind == 'studies' else kind[:-1]} called {name!r}, and no such file. "
        f"{nearest(path.stem, file_of)}"
    )


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; it becomes `path` only once the block ends without an error.

    By then it lies on the disk, contents first and name after, so that also after a power cut the file is the new one
    or the one before.

    Raises:
        InputError: if the disk is full or the folder cannot be written; nothing is left behind.
    """
    temporary: Path | None = None
    try:
        make_folder(path.parent)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o644)
        flush(temporary)
        temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        of_another = error.filename is not None and str(error.filename) not in (str(temporary), str(path))
        if temporary is not None and (of_another or why(error) is None):  # the block read another file, perhaps
            raise
        raise InputError(f"cannot write {path}: {why(error) or error.strerror or error}.") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, and have the disk know of them."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        _flush_folder(path.parent)


def replace_folder(folder: Path, new: Path) -> None:
    """Put a folder on the same file system in the place of another, which goes: two renames, whatever its size."""
    old = new.with_name(f"{new.name}.old")
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    _flush_folder(folder.parent)
    if old.exists():
        shutil.rmtree(old)


def flush(path: Path) -> None:
    """Put a file's contents on the disk."""
    with path.open("r+b") as stream:
        os.fsync(stream.fileno())


def _flush_folder(folder: Path) -> None:
    """Put a folder's list of names on the disk, where the system does so; Windows opens no folder."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # some network file systems do it by themselves and refuse to be told
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write JSON, whole or not at all; NaN and infinity become null."""
    write_text(path, json.dumps(finite(value), indent=2, ensure_ascii=False) + "\n")


def finite(value: object) -> Any:  # noqa: ANN401
    """`value` with every NaN or infinity replaced by None, so that it is valid JSON.

    Example:
        >>> finite({"a": float("nan"), "b": (1.0, 2)})
        {'a': None, 'b': [1.0, 2]}
    """
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, (str, int)) or value is None:  # after floats, most of what there is
        return value
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    if hasattr(value, "tolist"):
        return finite(value.tolist())
    return value
