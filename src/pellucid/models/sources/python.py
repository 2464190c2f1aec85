"""Networks of a person's own Python code: `FILE.py:build`, a function or class that makes the module."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from torch import nn

from pellucid.models.sources.source import Built, Request, Source
from pellucid.types import InputError
from pellucid.utils.resources import make_folder, nearest, replace_folder, whole_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

CODE = "code"
"""The folder beside a model's weights with the files that build it."""


def build(request: Request) -> Built:
    """Run a file of Python code and call what it names.

    Files that it imports from its own folder count as part of it.

    Raises:
        InputError: no such file or name; code that raises an error; something else than a module.
    """
    file, _, factory = request.name.rpartition(":")
    if not file or not factory.isidentifier():
        raise InputError(f"{request.name!r} is not FILE.py:NAME, as mymodel.py:build.")
    path = Path(file).resolve()
    if not path.is_file():
        raise InputError(f"no file {file}: give FILE.py:NAME, NAME a function of it that returns the network.")
    module, code = _run(path.parent, path.name, factory, request.options)
    return Built(module, options=request.options, code=code, name=f"{path.name}:{factory}")


def rebuild(source: Source, folder: Path) -> nn.Module:
    """The module of a model folder's own copy of the code, which `checked_code` has looked at."""
    main, _, factory = source.name.rpartition(":")
    if Path(main).name not in source.code:
        raise InputError(f"the card of {folder} does not name {main} among its code: import the model again.")
    module, _ = _run((folder / CODE).resolve(), Path(main).name, factory, source.options)
    return module


@contextmanager
def new_code(folder: Path, code: Mapping[str, bytes]) -> Iterator[None]:
    """Inside, the files of code lie ready in a model folder; they take the place of an earlier model's in the end.

    Where the block ends with an error the earlier ones stay as they were.
    """
    place = folder / CODE
    paths = [path for path in place.rglob("*") if not path.is_dir()]
    if {path.relative_to(place).as_posix(): path.read_bytes() for path in paths} == dict(code):
        yield  # a run writes its model again and again, and may be killed in between
        return
    make_folder(folder)
    with TemporaryDirectory(prefix=".code-", dir=folder) as beside:
        new = Path(beside) / CODE
        for name, content in code.items():
            with whole_file(new / name) as part:
                part.write_bytes(content)
        yield
        if code:
            replace_folder(place, new)
        else:
            shutil.rmtree(place)


def checked_code(folder: Path, digests: Mapping[str, str]) -> dict[str, bytes]:
    """The files of code in a model folder, each as its card says.

    Raises:
        InputError: a file that is missing, was altered, or that the card does not name.
    """
    place = folder / CODE
    there = {path.relative_to(place).as_posix() for path in place.rglob("*") if not path.is_dir()}
    for name in sorted(there - digests.keys()):
        raise InputError(f"{place / name} is not named by the model's card: it is not run. Take it away.")
    contents = {}
    for name, digest in digests.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise InputError(f"the card names code outside its folder: {name}.")
        if name not in there:
            raise InputError(f"the code {place / name} is missing: import the model again.")
        contents[name] = (place / name).read_bytes()
        if hashlib.sha256(contents[name]).hexdigest() != digest:
            raise InputError(
                f"{place / name} is not the code that the model was imported with (SHA-256 differs): it is not run. "
                "Put the file back, or import the model from what it is now into another folder."
            )
    return contents


def _run(root: Path, main: str, factory: str, options: Mapping[str, Any]) -> tuple[nn.Module, dict[str, bytes]]:
    """What `factory` of a file makes, and the files of its folder that took part."""
    name = Path(main).stem if Path(main).stem not in sys.modules else f"{Path(main).stem}_of_a_model"
    with _own_modules(root) as before:
        spec = importlib.util.spec_from_file_location(name, root / main)
        if spec is None or spec.loader is None:
            raise InputError(f"{root / main} is no file of Python code: its name ends in .py.")
        code_module = importlib.util.module_from_spec(spec)
        sys.modules[name] = code_module  # dataclasses look for it there
        try:
            spec.loader.exec_module(code_module)
        except Exception as error:  # anybody's code
            raise InputError(f"{root / main} raised {type(error).__name__}: {error}") from error
        except SystemExit as error:  # of argparse, for one, which reads our own arguments
            raise InputError(
                f"{root / main} ends the program when it is imported ({_ending(error)}), before its function {factory} "
                'can be called. Put what runs it as a script under `if __name__ == "__main__":`.'
            ) from error
        make = getattr(code_module, factory, None)
        if not callable(make):
            public = [key for key, value in vars(code_module).items() if callable(value) and not key.startswith("_")]
            raise InputError(f"{root / main} has no function {factory!r}. {nearest(factory, public)}")
        try:
            module = make(**options)
        except Exception as error:
            arguments = ", ".join(f"{key}={value!r}" for key, value in options.items())
            raise InputError(
                f"{factory}({arguments}) of {root / main} raised {type(error).__name__}: {error}. Mend it there, or "
                "give it other options (--option KEY=VALUE, in Python options=)."
            ) from error
        except SystemExit as error:
            raise InputError(
                f"the function {factory} of {root / main} ends the program ({_ending(error)}). Name one that only "
                'makes the network; what reads arguments or trains belongs under `if __name__ == "__main__":`.'
            ) from error
        if not isinstance(module, nn.Module):
            raise InputError(
                f"{factory}() of {root / main} must return a torch.nn.Module; it returned {type(module).__name__}."
            )
        paths = {path for new in sys.modules.keys() - before if (path := _file_in(sys.modules[new], root))}
    return module, {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted({*paths, root / main})}


def _ending(error: SystemExit) -> str:
    return f"SystemExit: {error.code}"


def _file_in(module: ModuleType, root: Path) -> Path | None:
    """The Python file of a module, where that lies in the folder; site-packages below it do not count."""
    file = getattr(module, "__file__", None)
    if not file:
        return None
    path = Path(file).resolve()
    inside = path.suffix == ".py" and path.is_relative_to(root)
    return path if inside and "site-packages" not in path.parts else None


@contextmanager
def _own_modules(root: Path) -> Iterator[set[str]]:
    """Inside, the folder's modules can be imported; afterwards they are forgotten, for another model has others.

    Gives the names of the modules that were there before.
    """
    hidden = {name: module for name, module in sys.modules.items() if _shadows(name, root)}
    for name in hidden:
        del sys.modules[name]
    before = set(sys.modules)
    sys.path.insert(0, str(root))
    setting = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        yield before
    finally:
        sys.dont_write_bytecode = setting
        sys.path.remove(str(root))
        for name in [n for n, module in sys.modules.items() if n not in before and _file_in(module, root)]:
            del sys.modules[name]
        sys.modules.update(hidden)


def _shadows(name: str, root: Path) -> bool:
    """Whether a module that was imported elsewhere stands before one of the folder's own; libraries always do."""
    first = name.partition(".")[0]
    module = sys.modules.get(first)
    own = (root / f"{first}.py").is_file() or (root / first / "__init__.py").is_file()
    file = getattr(module, "__file__", None) or ""
    return own and first != "__main__" and "site-packages" not in file and not file.startswith(sys.base_prefix)
