"""CIFAR-10's python version: its pickles read as data, by a reader that knows a few opcodes and runs nothing."""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

_WHAT_TO_DO = "Fetch the file again; one of your own is saved anew by pickle.dump(…, protocol=4)."
VALUES = 3 * 32 * 32  # of an image: the red, the green and the blue plane, row by row
# What the files name, and what is done with it here. Everything else is refused.
_RECONSTRUCT, _NDARRAY, _DTYPE = "_reconstruct", "ndarray", "dtype"
_NAMES = {
    "numpy.core.multiarray _reconstruct": _RECONSTRUCT,
    "numpy._core.multiarray _reconstruct": _RECONSTRUCT,
    "numpy ndarray": _NDARRAY,
    "numpy dtype": _DTYPE,
}
# Opcodes of text and bytes, which are the same to Python 2, and how many bytes lie between opcode and content.
_TEXTS = {
    "SHORT_BINSTRING": 2, "BINSTRING": 5, "SHORT_BINBYTES": 2, "BINBYTES": 5, "BINBYTES8": 9, "BINUNICODE": 5,
    "SHORT_BINUNICODE": 2,
}  # fmt: skip
_VALUES = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Text(str):
    """Text or bytes, with the place of its content in the file."""

    __slots__ = ("start",)
    start: int


@dataclass(frozen=True)
class _Name:
    """Something of numpy that the file names; it is not imported."""

    name: str


@dataclass
class _Object:
    """What the file says numpy should make, and the state it says to give it."""

    kind: str
    state: Any = None


def read_batch(path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """The labels and the pixels of a file of the python version, as `data_batch_1`.

    Args:
        path: a pickle of a dictionary whose `labels` are a list and whose `data` is an array: by Python 2 and protocol
            2, as the official ones, or by Python 3 and protocol 3 or 4.

    Returns:
        uint8 (n,) and, memory-mapped, uint8 (n, 3072).

    Raises:
        InputError: naming the file, if it is damaged, holds anything else, or asks for anything to be run.
    """
    content = _read(path)
    labels, data = content.get("labels"), content.get("data")
    if not isinstance(labels, list) or not isinstance(data, _Object):
        raise InputError(f"{path}: no `labels` and `data` in it. Expected a file of cifar-10-python.tar.gz.")
    pixels, count = _place(data), len(labels)
    if pixels is None or pixels[1] != (count, VALUES) or count == 0:
        raise InputError(
            f"{path}: expected as many rows of {VALUES} bytes in `data` as there are labels ({count:,}), and at least "
            "one. Fetch the file again."
        )
    if not all(type(label) is int and 0 <= label <= 255 for label in labels):
        raise InputError(f"{path}: a label that is no small whole number. Fetch the file again.")
    array = np.memmap(path, dtype=np.uint8, mode="r", offset=pixels[0], shape=pixels[1])
    return np.array(labels, dtype=np.uint8), array


def read_class_names(path: Path) -> tuple[str, ...]:
    """The class names in `batches.meta`.

    Raises:
        InputError: see `read_batch`.
    """
    names = _read(path).get("label_names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: no `label_names` in it. Expected a file of cifar-10-python.tar.gz.")
    return tuple(map(str, names))


def _place(array: _Object) -> tuple[int, tuple[int, int]] | None:
    """Where in the file an array of bytes lies, and its shape; None for any other."""
    match array.state:
        case (1, (int() as rows, int() as columns), _Object(kind="u1"), False | 0, _Text() as raw):
            if array.kind == _NDARRAY and min(rows, columns) >= 0 and len(raw) == rows * columns:
                return raw.start, (rows, columns)
    return None


def _read(path: Path) -> dict[Any, Any]:
    try:
        content = _interpret(path.read_bytes(), path)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # a stack that is empty, a memo without it …
        raise InputError(f"{path}: damaged, or no pickle ({error}). Fetch the file again.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: no dictionary. Expected a file of cifar-10-python.tar.gz.")
    return content


def _interpret(data: bytes, path: Path) -> Any:  # noqa: ANN401
    """What the pickle describes: plain values, and `_Object` for what numpy would be called for."""
    machine = _Machine()
    for opcode, argument, position in pickletools.genops(data):
        name = opcode.name
        if name == "STOP":
            return machine.stack[-1]
        if name in ("GLOBAL", "STACK_GLOBAL"):
            asked = str(argument) if name == "GLOBAL" else " ".join(_expect(part, str) for part in machine.pop(2))
            if asked not in _NAMES:
                raise InputError(
                    f"{path}: names {asked.replace(' ', '.')}, which no file of CIFAR-10 does; it could run code, so "
                    f"it is not read. {_WHAT_TO_DO}"
                )
            machine.stack.append(_Name(_NAMES[asked]))
        elif not (machine.push(name, argument, position or 0) or machine.build(name, argument)):
            raise InputError(
                f"{path}: the pickle opcode {name}, which no file of CIFAR-10 has; it is not read. {_WHAT_TO_DO}"
            )
    raise ValueError("no end")


class _Machine:
    """The pickle's stack, marks and memo. Its methods say whether they know an opcode; none runs anything."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # what was on the stack at each mark
        self.memo: dict[int, Any] = {}

    def pop(self, count: int) -> list[Any]:
        """The last values."""
        if count > len(self.stack):
            raise ValueError("the stack is empty")
        at = len(self.stack) - count
        taken = self.stack[at:]
        del self.stack[at:]
        return taken

    def pop_mark(self) -> list[Any]:
        """The values since the last mark."""
        taken, self.stack = self.stack, self.below.pop()
        return taken

    def push(self, name: str, argument: Any, position: int) -> bool:  # noqa: ANN401
        """The opcodes that put one value on the stack."""
        if name in _TEXTS:
            text = _Text(argument.decode("latin-1") if isinstance(argument, bytes) else argument)
            text.start = position + _TEXTS[name]
            self.stack.append(text)
        elif name in ("BININT", "BININT1", "BININT2"):
            self.stack.append(argument)
        elif name in _VALUES:
            self.stack.append(_VALUES[name])
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name == "EMPTY_LIST":
            self.stack.append([])
        elif name == "EMPTY_DICT":
            self.stack.append({})
        elif name == "TUPLE":
            taken = self.pop_mark()
            self.stack.append(tuple(taken))
        elif name in _TUPLES:
            self.stack.append(tuple(self.pop(_TUPLES[name])))
        else:
            return False
        return True

    def build(self, name: str, argument: Any) -> bool:  # noqa: ANN401
        """The opcodes that mark, remember, fill and call."""
        if name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name == "MARK":
            self.below.append(self.stack)
            self.stack = []
        elif name in ("APPEND", "APPENDS"):
            taken = self.pop_mark() if name == "APPENDS" else self.pop(1)
            _expect(self.stack[-1], list).extend(taken)
        elif name in ("SETITEM", "SETITEMS"):
            taken = self.pop_mark() if name == "SETITEMS" else self.pop(2)
            _expect(self.stack[-1], dict).update(zip(taken[::2], taken[1::2], strict=True))
        elif name == "REDUCE":
            self.stack.append(_call(*self.pop(2)))
        elif name == "BUILD":
            (state,) = self.pop(1)
            _expect(self.stack[-1], _Object).state = state
        else:
            return name in ("PROTO", "FRAME")
        return True


def _call(function: object, arguments: object) -> _Object:
    """What the two calls of these files would make."""
    match function, arguments:
        case _Name(name="_reconstruct"), (_Name(name="ndarray"), (0,), str()):
            return _Object(_NDARRAY)
        case _Name(name="dtype"), (str() as kind, *_):
            return _Object(str(kind))
    raise ValueError(f"a call of {function} that these files do not have")


def _expect(value: Any, kind: type) -> Any:  # noqa: ANN401
    if not isinstance(value, kind):
        raise TypeError(f"{type(value).__name__} where a {kind.__name__} should be")
    return value
