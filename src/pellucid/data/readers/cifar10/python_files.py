"""CIFAR-10's python version: its pickles, by an unpickler that calls nothing the file names, numpy included."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

VALUES = 3 * 32 * 32  # of an image: the red, the green and the blue plane, row by row


class _Described:
    """What the file says numpy should make: the arguments and the state, as they stand there."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


# The one that is written in Python: that in C makes a table as long as the largest number that a file asks it to
# remember something by, so that ten bytes could take all memory.
class _Unpickler(pickle._Unpickler):
    """Plain values, and `_Described` for the three things of numpy that an array of bytes takes."""

    def find_class(self, module: str, name: str) -> type[_Described]:
        if f"{module}.{name}".replace("_core", "core") not in (
            "numpy.core.multiarray._reconstruct",
            "numpy.ndarray",
            "numpy.dtype",
        ):
            raise InputError(
                f"names {module}.{name}, which no file of CIFAR-10 does; it could run code, so it is not read. Fetch "
                "the file again; one of your own is saved anew by pickle.dump(…, protocol=4)."
            )
        return _Described


def read_batch(path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """The labels and the pixels of a file of the python version, as `data_batch_1`.

    Args:
        path: a pickle of a dictionary whose `labels` are a list and whose `data` is an array: by Python 2 and protocol
            2, as the official ones, or by Python 3 and protocol 3 or 4.

    Returns:
        uint8 (n,) and uint8 (n, 3072).

    Raises:
        InputError: naming the file, if it is damaged, holds anything else, or asks for anything to be run.
    """
    content = _read(path)
    labels, data = content.get("labels"), content.get("data")
    if not isinstance(labels, list) or not isinstance(data, _Described):
        raise InputError(f"{path}: no `labels` and `data` in it. Expected a file of cifar-10-python.tar.gz.")
    pixels, count = _bytes_of(data), len(labels)
    if pixels is None or count == 0 or len(pixels) != count * VALUES:
        raise InputError(
            f"{path}: expected as many rows of {VALUES} bytes in `data` as there are labels ({count:,}), and at least "
            "one. Fetch the file again."
        )
    if not all(type(label) is int and 0 <= label <= 255 for label in labels):
        raise InputError(f"{path}: a label that is no small whole number. Fetch the file again.")
    return np.array(labels, dtype=np.uint8), np.frombuffer(pixels, dtype=np.uint8).reshape(count, VALUES)


def read_class_names(path: Path) -> tuple[str, ...]:
    """The class names in `batches.meta`.

    Raises:
        InputError: see `read_batch`.
    """
    names = _read(path).get("label_names")
    if not isinstance(names, list) or not all(isinstance(name, str | bytes) for name in names):
        raise InputError(f"{path}: no `label_names` in it. Expected a file of cifar-10-python.tar.gz.")
    return tuple(map(_as_text, names))


def _bytes_of(array: _Described) -> bytes | None:
    """The bytes of rows of `VALUES` bytes each, one row after the other; None for any other array."""
    match array.arguments, array.state:
        case (_, (0,), "b" | b"b"), (1, (int(rows), int(columns)), _Described(arguments=("u1", *_)), False | 0, raw):
            raw = raw.encode("latin-1") if isinstance(raw, str) else raw
            if isinstance(raw, bytes) and columns == VALUES and len(raw) == rows * columns:
                return raw
    return None


def _read(path: Path) -> dict[object, Any]:
    try:
        with path.open("rb") as file:
            content = _Unpickler(file, encoding="latin-1").load()  # the text of Python 2 is bytes
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except Exception as error:  # a damaged pickle may raise any
        raise InputError(f"{path}: damaged, or no pickle ({error or type(error).__name__}). Fetch it again.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: no dictionary. Expected a file of cifar-10-python.tar.gz.")
    return {_as_text(key): value for key, value in content.items()}


def _as_text(value: Any) -> Any:  # noqa: ANN401
    """Bytes as text: what Python 2 wrote and Python 3 saved anew may be either."""
    return value.decode("latin-1") if isinstance(value, bytes) else value
