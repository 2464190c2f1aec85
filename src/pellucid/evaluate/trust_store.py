"""What was measured for a table of trust, kept method by method."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.evaluate.kept import Kept
from pellucid.evaluate.trust import Findings
from pellucid.resources import finite
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class TrustStore:
    """One part a method, one for each attack on it, and one for the network; see `Kept`."""

    def __init__(self, folder: Path, record: Mapping[str, Any]) -> None:
        self.kept = Kept(folder, record)

    def get(self, name: str) -> Findings | None:
        """What is kept under a name, or None.

        Raises:
            InputError: a file that is none of this store's.
        """
        stored = self.kept.read(name)
        if stored is None:
            return None
        try:
            about = json.loads(str(stored["about"]))
        except (KeyError, ValueError) as error:
            path = self.kept.folder / f"{name}.npz"
            raise InputError(f"{path} cannot be read ({error}). Delete it to measure again.") from error
        values = {k.removeprefix("value_"): v for k, v in stored.items() if k.startswith("value_")}
        curves = {k.removeprefix("curve_"): v for k, v in stored.items() if k.startswith("curve_")}
        return Findings(about["method"], values, about["reasons"], curves, tuple(about["layers"]), about["cost"])

    def put(self, name: str, found: Findings) -> None:
        """Keep something, whole or not at all."""
        about = {"method": found.method, "reasons": found.reasons, "layers": found.layers, "cost": found.cost}
        arrays = {f"value_{k}": v for k, v in found.values.items()} | {f"curve_{k}": v for k, v in found.curves.items()}
        self.kept.write(name, {"about": np.array(json.dumps(finite(about))), **arrays})
