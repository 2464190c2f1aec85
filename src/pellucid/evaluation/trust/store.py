"""What was measured for a table of trust, as a results store keeps it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from pellucid.evaluation.trust.findings import Findings
from pellucid.utils.resources import finite

if TYPE_CHECKING:
    import numpy.typing as npt

    from pellucid.utils.results_store import ResultsStore


def read_findings(store: ResultsStore, name: str) -> Findings | None:
    """What is kept under a name; None where nothing is, or, with a warning, where it is damaged."""
    stored = store.read(name)
    if stored is None:
        return None
    about = json.loads(str(stored["about"]))
    values = {k.removeprefix("value_"): v for k, v in stored.items() if k.startswith("value_")}
    curves = {k.removeprefix("curve_"): v for k, v in stored.items() if k.startswith("curve_")}
    yardsticks: dict[str, dict[str, npt.NDArray[np.float64]]] = {}
    for number, (yardstick, measure) in enumerate(about["yardsticks"]):
        yardsticks.setdefault(yardstick, {})[measure] = stored[f"yardstick_{number}"]
    layers = tuple(about["layers"])
    return Findings(about["method"], values, about["reasons"], curves, layers, yardsticks, about["cost"])


def keep_findings(store: ResultsStore, name: str, findings: Findings) -> None:
    """Keep something, whole or not at all."""
    yardsticks = {(name, k): v for name, values in findings.yardsticks.items() for k, v in values.items()}
    about = {
        "method": findings.method,
        "reasons": findings.reasons,
        "layers": findings.layers,
        "yardsticks": list(yardsticks),
        "cost": findings.cost,
    }
    arrays: dict[str, npt.ArrayLike] = {f"value_{k}": v for k, v in findings.values.items()}
    arrays |= {f"curve_{k}": v for k, v in findings.curves.items()}
    arrays |= {f"yardstick_{number}": v for number, v in enumerate(yardsticks.values())}
    store.write(name, {"about": np.array(json.dumps(finite(about))), **arrays})
