"""From certificates and attacks to `certify.json`: a bracket around the area of the network, or of it under noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.evaluation.metrics.statistics import Replicates, ratio
from pellucid.evaluation.robustness.ara import Area, Curve
from pellucid.evaluation.robustness.ara_summary import Areas, areas_of, curve_of
from pellucid.evaluation.robustness.radii import Radii

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.metrics.bootstrap import Bootstrap
    from pellucid.evaluation.robustness.bounds import Bounds
    from pellucid.evaluation.robustness.certified import Smoothing
    from pellucid.evaluation.robustness.certified_rows import CertifiedRow
    from pellucid.evaluation.robustness.robustness_target import RobustnessTarget


@dataclass(frozen=True)
class Bracket:
    """What is known of how large a change the network, or the smoothed classifier, withstands.

    Attributes:
        certified: from below, certificates of the images answered rightly.
        attack: from above, confirmed perturbations; None where no attack was asked for.
    """

    certified: Radii
    attack: Radii | None


def bracket_of(rows: Sequence[CertifiedRow], dataset: Dataset, robustness_target: RobustnessTarget) -> Bracket:
    """The radii of both ends.

    Args:
        rows: of all decisions of the robustness target, in its order.
        dataset: the images.
        robustness_target: of kind `attack`.
    """
    image, label = robustness_target.decisions(dataset.targets)
    radius = np.array([r.certified_rms if r.right else 0.0 for r in rows])
    right, nothing = np.array([r.right for r in rows], dtype=bool), np.zeros(len(rows), dtype=np.int64)
    certified = Radii(
        robustness_target, image, label, np.ones(len(rows), bool), right, radius, nothing, nothing, math.nan
    )
    if any(r.attack_found is None for r in rows):
        return Bracket(certified, None)
    length = np.array([r.attack_rms for r in rows])
    return Bracket(
        certified,
        replace(
            certified,
            found=np.array([bool(r.attack_found) for r in rows]),
            correct_at_start=length != 0,  # NaN too
            radius=length,
            gradient_evaluations=np.array([r.gradient_evaluations for r in rows], dtype=np.int64),
            forward_passes=np.array([r.forward_passes for r in rows], dtype=np.int64),
        ),
    )


def certified_summary(
    rows: Sequence[CertifiedRow],
    bracket: Bracket,
    dataset: Dataset,
    smoothing: Smoothing | Bounds,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """What `certify.json` says; NaN where undefined.

    Args:
        rows: as for `bracket_of`.
        bracket: its radii.
        dataset: the images.
        smoothing: noise, draws and confidence; or bounds.
        bootstrap: over the images.
    """
    certified, robustness_target = bracket.certified, bracket.certified.robustness_target
    right = [float(r.predicted == r.truth) for r in rows]
    wrong_or_none = [float(r.predicted == "") for r in rows]
    places, count = certified.image, len(dataset)
    decisions = np.bincount(places, minlength=count).astype(float)
    shares = {
        name: ratio(np.bincount(places, values, count), decisions, bootstrap, within=(0, 1)).estimate().to_json()
        for name, values in (("accuracy", right), ("abstentions", wrong_or_none))
    }
    summary: dict[str, Any] = {
        **smoothing.to_json(),
        "images": count,
        "patients": len(set(dataset.patients)),
        "resamples": bootstrap.resamples,
        "n": len(rows),
        "task": robustness_target.task,
        "naive": robustness_target.naive,
        **shares,
        "abstained": {
            "prediction": sum(r.predicted == "" for r in rows),
            "certificate": sum(r.abstained for r in rows),
        },
        "certified": _end(certified, areas_of(certified, dataset, bootstrap)),
        "attack": None,
        "alarm": alarm(rows, smoothing),
    }
    if bracket.attack is not None:
        end = _end(bracket.attack, _above(areas_of(bracket.attack, dataset, bootstrap)))
        summary["attack"] = end | {
            "found": int(bracket.attack.found.sum()),
            "not_found": int((~bracket.attack.found).sum()),
            "gradient_evaluations_per_image": float(bracket.attack.gradient_evaluations.sum() / count),
            "forward_passes_per_image": float(bracket.attack.forward_passes.sum() / count),
        }
    return summary


def curves_of(bracket: Bracket, dataset: Dataset) -> dict[str, Curve]:
    """Accuracy against radius of both ends; the attack's counts what was not found as never broken."""
    curves = {"certified": curve_of(bracket.certified, dataset)}
    if bracket.attack is not None:
        curve = curve_of(bracket.attack, dataset)
        curves["attack"] = Curve(curve.radius, curve.upper, curve.upper)
    return curves


def alarm(rows: Sequence[CertifiedRow], smoothing: Smoothing | Bounds) -> dict[str, Any]:
    """How many certificates reach beyond a confirmed attack, which no true certificate does.

    Under noise either may be wrong with probability alpha; more than a few of them mean a defect. Bounds have none.
    """
    attacked = [r for r in rows if r.attack_found]
    broken = [r for r in attacked if r.right and r.certified_rms > r.attack_rms]
    message = None
    if broken:
        names = ", ".join(f"{r.id} {r.label}".strip() for r in broken[:5])
        message = (
            f"{len(broken)} of {len(attacked)} certificates reach beyond an attack that was confirmed ({names}); at "
            f"most {2 * smoothing.alpha * len(attacked):.2g} are expected. Do not trust the bracket."
        )
    return {"n": len(attacked), "violations": len(broken), "message": message}


def _above(areas: Areas) -> Areas:
    """The upper bounds: a decision that no attack changed may hold everywhere."""
    return Areas(_upper(areas.overall), {name: _upper(area) for name, area in areas.labels.items()})


def _upper(area: Area) -> Area:
    return Area(area.upper, area.upper, area.failed)


def _end(radii: Radii, areas: Areas) -> dict[str, Any]:
    lengths = radii.radius[radii.found & radii.correct_at_start]
    return {
        **_figures(areas.overall),
        "mean_radius": float(lengths.mean()) if len(lengths) else math.nan,
        "median_radius": float(np.median(lengths)) if len(lengths) else math.nan,
        "right_at_start": int(radii.correct_at_start.sum()),
        "labels": {name: _figures(area) | {"n": area.n} for name, area in areas.labels.items()},
    }


def _figures(area: Area) -> dict[str, Any]:
    bound: Replicates = area.lower
    infinite = math.isinf(bound.value)
    reason = f"no bound: {area.failed} of {area.n} attacks found nothing" if infinite else area.reason
    return {"ara": bound.value, "interval": list(area.interval()), "reason": reason}
