"""What the tables of trust of a study were made of, image by image: enough to make them again."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.evaluation.trust.findings import from_arrays, to_arrays
from pellucid.evaluation.trust.rows import TrustRow, trust_table
from pellucid.evaluation.trust.samples import TrustPatients
from pellucid.utils.digests import read_arrays

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    from pellucid.evaluation.trust.findings import Findings
    from pellucid.evaluation.trust.run import Trust

    Arrays = dict[str, npt.NDArray[Any]]


def trust_arrays(number: int, trust: Trust, patients: TrustPatients) -> Arrays:
    """The values of a study's table of that number, and whose they are; curves are not kept."""
    place = _place(number)
    arrays = {f"{place}patients/{name}": np.array(v) for name, v in asdict(patients).items() if v is not None}
    parts = {"network": trust.network} | {f"method {i}": one for i, one in enumerate(trust.methods.values())}
    for part, findings in parts.items():
        arrays |= {f"{place}{part}/{name}": v for name, v in to_arrays(replace(findings, curves={})).items()}
    return arrays


def read_trust(path: Path) -> list[list[TrustRow]]:
    """The rows of each table of trust that a study's file of images keeps, made again; none of an earlier version's."""
    arrays = read_arrays(path, "Run the study again: what its networks gave is still there.")
    tables: list[list[TrustRow]] = []
    while f"{_place(len(tables))}network/about" in arrays:
        own = _under(_place(len(tables)), arrays)
        patients: dict[str, Any] = {
            name: v if v.dtype.kind == "i" else tuple(v.tolist()) for name, v in _under("patients/", own).items()
        }
        methods: list[Findings] = []
        while f"method {len(methods)}/about" in own:
            methods.append(from_arrays(_under(f"method {len(methods)}/", own)))
        tables.append(trust_table(from_arrays(_under("network/", own)), methods, TrustPatients(**patients)))
    return tables


def _place(number: int) -> str:
    return f"trust {number}/"


def _under(place: str, arrays: Mapping[str, npt.NDArray[Any]]) -> Arrays:
    return {name.removeprefix(place): values for name, values in arrays.items() if name.startswith(place)}
