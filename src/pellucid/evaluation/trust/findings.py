"""What is spent on judging explanations, and what was measured, image by image, as a results store keeps it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.evaluation.manipulation.settings import BUDGETS
from pellucid.evaluation.trust.faithfulness import STEPS
from pellucid.evaluation.trust.stability import RADIUS
from pellucid.types import InputError
from pellucid.utils.resources import finite

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    from pellucid.utils.results_store import ResultsStore

    Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TrustSettings:
    """How much is spent.

    Attributes:
        samples: moved images for each image, for the maximum sensitivity.
        radius: how far their pixels move.
        curve_steps: points of the curves along which places are replaced, but one.
        attacked: images whose explanations are attacked.
        attack_steps: gradient steps of an attack, for each budget.
        certified: images whose explanations are certified; 0 for none.
        budgets: of the attacks, root mean square per pixel and channel, ascending.
        examples: images whose maps are kept to be shown.
        batch_size: images at a time.
        seed: of everything left to chance.
    """

    samples: int = 8
    radius: float = RADIUS
    curve_steps: int = STEPS
    attacked: int = 16
    attack_steps: int = 12
    certified: int = 0
    budgets: tuple[float, ...] = BUDGETS
    examples: int = 4
    batch_size: int = 16
    seed: int = 0


@dataclass(frozen=True)
class Findings:
    """What was measured of one method, or of the network.

    Attributes:
        method: its name.
        values: by measure, one value per image (or finding, mosaic, image with a shortcut); NaN where undefined.
        reasons: by measure, why it was not measured.
        curves: by name, arrays to be drawn.
        layers: the layer that each depth of the randomisation reaches.
        yardsticks: values of maps that know nothing, by name and measure: of those that serve all methods in the
            network's findings, in the method's of those that are made of its own maps, or stand where it was attacked.
        cost: gradient evaluations, forward passes of explanations, images explained, seconds.
        failed: whether some measure failed, so that another try may find more.
    """

    method: str
    values: dict[str, Numbers]
    reasons: dict[str, str]
    curves: dict[str, npt.NDArray[np.floating]]
    layers: tuple[str, ...] = ()
    yardsticks: dict[str, dict[str, Numbers]] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    failed: bool = False

    @classmethod
    def of_failure(cls, method: str, measures: Iterable[str], error: Exception) -> Findings:
        """Why none of these measures has a figure, in one sentence."""
        why = str(error) if isinstance(error, InputError) else f"it failed with {type(error).__name__}: {error}"
        return cls(method, {}, dict.fromkeys(measures, (why.splitlines() or [""])[0]), {}, failed=True)

    def joined(self, other: Findings) -> Findings:
        """Both as one; where both have a figure of the same name, the other's."""
        names = dict.fromkeys([*self.yardsticks, *other.yardsticks])
        return Findings(
            self.method,
            self.values | other.values,
            self.reasons | other.reasons,
            self.curves | other.curves,
            self.layers or other.layers,
            {name: self.yardsticks.get(name, {}) | other.yardsticks.get(name, {}) for name in names},
            self.cost | other.cost,
            self.failed or other.failed,
        )


def read_findings(store: ResultsStore, name: str) -> Findings | None:
    """What is kept under a name; None where nothing is, or, with a warning, where it is damaged."""
    stored = store.read(name)
    return None if stored is None else from_arrays(stored)


def keep_findings(store: ResultsStore, name: str, findings: Findings) -> None:
    """Keep something, whole or not at all."""
    store.write(name, to_arrays(findings))


def to_arrays(findings: Findings) -> dict[str, npt.NDArray[Any]]:
    """All of it as arrays, to be written to a file."""
    yardsticks = {(name, k): v for name, values in findings.yardsticks.items() for k, v in values.items()}
    about = {
        "method": findings.method,
        "reasons": findings.reasons,
        "layers": findings.layers,
        "yardsticks": list(yardsticks),
        "cost": findings.cost,
    }
    arrays: dict[str, npt.NDArray[Any]] = {f"value_{k}": v for k, v in findings.values.items()}
    arrays |= {f"curve_{k}": v for k, v in findings.curves.items()}
    arrays |= {f"yardstick_{number}": v for number, v in enumerate(yardsticks.values())}
    return {"about": np.array(json.dumps(finite(about))), **arrays}


def from_arrays(stored: Mapping[str, npt.NDArray[Any]]) -> Findings:
    """What `to_arrays` was given."""
    about = json.loads(str(stored["about"]))
    values = {k.removeprefix("value_"): v for k, v in stored.items() if k.startswith("value_")}
    curves = {k.removeprefix("curve_"): v for k, v in stored.items() if k.startswith("curve_")}
    yardsticks: dict[str, dict[str, npt.NDArray[np.float64]]] = {}
    for number, (yardstick, measure) in enumerate(about["yardsticks"]):
        yardsticks.setdefault(yardstick, {})[measure] = stored[f"yardstick_{number}"]
    layers = tuple(about["layers"])
    return Findings(about["method"], values, about["reasons"], curves, layers, yardsticks, about["cost"])
