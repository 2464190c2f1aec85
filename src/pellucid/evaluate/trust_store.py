"""What was measured, kept method by method, so that an interrupted table goes on where it stopped."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.evaluate.trust import Findings
from pellucid.resources import finite, whole_file, write_json
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEPT = "kept"
RECORD = "settings.json"


class TrustStore:
    """The folder `kept` under a table's own: settings.json, and one npz file a method and for the network.

    Args:
        folder: of the table.
        record: everything that determines the figures of a method, as plain values.

    Raises:
        InputError: the folder holds figures of something else, naming what differs; or cannot be written.
    """

    def __init__(self, folder: Path, record: Mapping[str, Any]) -> None:
        self.folder = folder / KEPT
        given = json.loads(json.dumps(finite(dict(record))))
        path = self.folder / RECORD
        if not path.is_file():
            write_json(path, given)
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

    def get(self, name: str) -> Findings | None:
        """What is kept under a name, or None.

        Raises:
            InputError: a file that is none of this store's.
        """
        path = self.folder / f"{name}.npz"
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as stored:
                about = json.loads(str(stored["about"]))
                values = {k.removeprefix("value_"): stored[k] for k in stored.files if k.startswith("value_")}
                curves = {k.removeprefix("curve_"): stored[k] for k in stored.files if k.startswith("curve_")}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} cannot be read ({error}). Delete it to measure again.") from error
        return Findings(about["method"], values, about["reasons"], curves, tuple(about["layers"]), about["cost"])

    def put(self, name: str, found: Findings) -> None:
        """Keep something, whole or not at all."""
        about = {"method": found.method, "reasons": found.reasons, "layers": found.layers, "cost": found.cost}
        arrays: dict[str, Any] = {f"value_{k}": v for k, v in found.values.items()}
        arrays |= {f"curve_{k}": v for k, v in found.curves.items()}
        with whole_file(self.folder / f"{name}.npz") as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, about=np.array(json.dumps(finite(about))), **arrays)
