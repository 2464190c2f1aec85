"""Parts of a long evaluation, kept as they are done, so that an interrupted one goes on where it stopped."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.resources import finite, whole_file, write_json
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

KEPT = "kept"
RECORD = "settings.json"


class Kept:
    """The folder `kept` under an evaluation's own: settings.json, and one npz file a part.

    Args:
        folder: of the evaluation.
        record: everything that determines the figures of a part, as plain values.

    Raises:
        InputError: the folder holds figures of something else, naming what differs; or cannot be read.
    """

    def __init__(self, folder: Path, record: Mapping[str, Any]) -> None:
        self.folder = folder / KEPT
        self._record = given = json.loads(json.dumps(finite(dict(record))))
        path = self.folder / RECORD
        if not path.is_file():  # it is written with the first part
            return
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is not valid JSON: {error}. Choose another --out.") from error
        stored = stored if isinstance(stored, dict) else {}
        differing = [k for k in dict.fromkeys([*given, *stored]) if given.get(k) != stored.get(k)]
        if differing:
            told = "; ".join(f"{k}: {stored.get(k)} there, {given.get(k)} here" for k in differing)
            raise InputError(f"{folder} holds the figures of another evaluation ({told}). Choose another --out.")

    def read(self, name: str) -> dict[str, npt.NDArray[Any]] | None:
        """The arrays that are kept under a name, or None.

        Raises:
            InputError: a file that cannot be read.
        """
        path = self.folder / f"{name}.npz"
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as stored:
                return {key: stored[key] for key in stored.files}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} cannot be read ({error}). Delete it to measure again.") from error

    def write(self, name: str, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Keep a part, whole or not at all."""
        if not (self.folder / RECORD).is_file():
            write_json(self.folder / RECORD, self._record)
        named: dict[str, Any] = dict(arrays)
        with whole_file(self.folder / f"{name}.npz") as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, **named)
