"""From attacks on explanations to tables: curves against the budget, areas under them, one row per image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.evaluation.metrics.bootstrap import as_array
from pellucid.evaluation.metrics.similarity import MEASURES
from pellucid.evaluation.metrics.statistics import mean_over_images
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pellucid.evaluation.manipulation.attack import Manipulation
    from pellucid.evaluation.metrics.bootstrap import Bootstrap

    Numbers = npt.NDArray[np.float64]

INVALIDATED = (
    "mean over budgets from 0 to the largest, by the trapezoid rule, of whether an image's explanation was invalidated "
    "(0 at budget 0); 0: never, near 1: at once"
)
SIMILARITY = (
    "mean over budgets from 0 to the largest, by the trapezoid rule, of the similarity of the map to the original one "
    "(1 at budget 0); 1: nothing could be changed"
)


def mean_over_budgets(budgets: Sequence[float], values: npt.ArrayLike, at_zero: float) -> Numbers:
    """The mean (N,) of curves (B, N) over budgets from 0 to the largest; straight between the budgets measured.

    NaN for a curve with a gap.

    Raises:
        InputError: another number of budgets than of values.

    Example:
        >>> mean_over_budgets([0.01, 0.03], [[0.5], [0.5]], at_zero=1.0).round(4).tolist()
        [0.5833]
    """
    curves = np.asarray(values, dtype=np.float64)
    if curves.ndim != 2 or len(curves) != len(budgets):
        raise InputError(f"{len(budgets)} budgets need curves ({len(budgets)}, N); found {curves.shape}.")
    x = np.array([0.0, *budgets])
    y = np.concatenate([np.full((1, curves.shape[1]), at_zero), curves])
    return np.asarray(np.trapezoid(y, x, axis=0) / x[-1])


def manipulation_rows(manipulation: Manipulation, names: Sequence[str]) -> list[dict[str, Any]]:
    """One row per image and budget, for a CSV; `names` are the images'."""
    classes = manipulation.classes
    rows = []
    for b, budget in enumerate(manipulation.attack.budgets):
        for i, name in enumerate(names):
            figures = {k: float(v[b, i]) for k, v in manipulation.similarity.items()}
            figures |= {f"{k}_to_target": float(v[b, i]) for k, v in manipulation.to_target.items()}
            figures |= {f"{k}_under_noise": float(v[b, i]) for k, v in manipulation.noise.items()}
            rows.append(
                {
                    "image": name,
                    "method": manipulation.attack.method,
                    "goal": manipulation.attack.goal,
                    "budget": budget,
                    "explained": classes[int(manipulation.decision.targets[i])],
                    "constraint_met": int(manipulation.constraint_met[b, i]),
                    "invalidated": int(manipulation.found[b, i]),
                    "rms": float(manipulation.rms[b, i]),
                    "decided_before": classes[int(manipulation.decision.decided[i])],
                    "decided_after": classes[int(manipulation.decided[b, i])],
                    "probability_before": float(manipulation.decision.probability[i]),
                    "probability_after": float(manipulation.probability[b, i]),
                    **figures,
                    "gradient_evaluations": int(manipulation.gradient_evaluations[b, i]),
                    "reason": manipulation.reasons[i] or _failure(manipulation, b, i),
                }
            )
    return rows


def manipulation_summary(manipulation: Manipulation, bootstrap: Bootstrap) -> dict[str, Any]:
    """Curves and areas with their 95 % intervals over images, as JSON takes them.

    Args:
        manipulation: the attacks.
        bootstrap: over the same images.

    Raises:
        InputError: a bootstrap over another number of images.
    """
    attack, count = manipulation.attack, len(manipulation.images)
    if len(bootstrap) != count:
        raise InputError(f"{count} images were attacked, but the bootstrap is over {len(bootstrap)}.")
    usable = np.array([r is None for r in manipulation.reasons])
    reason = next((r for r in manipulation.reasons if r), None) or "the constraint was met on no image"

    def per_image(values: Any) -> Numbers:  # noqa: ANN401
        numbers = np.asarray(as_array(values), dtype=np.float64)
        return np.where(usable, numbers, np.nan)

    curves: dict[str, Numbers] = {
        "constraint_met": per_image(manipulation.constraint_met),
        "invalidated": per_image(manipulation.found),
    }
    curves |= {name: per_image(values) for name, values in manipulation.similarity.items()}
    curves |= {f"{name}_to_target": per_image(values) for name, values in manipulation.to_target.items()}
    curves |= {f"{name}_under_noise": per_image(values) for name, values in manipulation.noise.items()}
    curves["probability"] = per_image(manipulation.probability)
    return {
        "method": attack.method,
        "goal": attack.goal,
        "target_map": attack.target_map,
        "options": dict(attack.options),
        "budgets": list(attack.budgets),
        "steps": attack.steps,
        "tolerance": attack.tolerance if attack.goal == "same-decision" else None,
        "kept": attack.keep if attack.goal == "same-map" else None,
        "changed": attack.changed if attack.goal == "same-decision" and attack.target_map is None else None,
        "seed": attack.seed,
        "n": count,
        "without_figures": {
            name: manipulation.reasons.count(name) for name in dict.fromkeys(manipulation.reasons) if name
        },
        "gradient_evaluations_per_image": float(manipulation.gradient_evaluations[-1].double().mean()),
        "probability_before": _estimate("probability", per_image(manipulation.decision.probability), bootstrap, reason),
        **summarize_curves(curves, attack.budgets, attack.goal, bootstrap, reason),
        "areas_are": {"invalidated": INVALIDATED, "others": SIMILARITY},
    }


def summarize_curves(
    curves: Mapping[str, npt.ArrayLike], budgets: Sequence[float], goal: str, bootstrap: Bootstrap, reason: str
) -> dict[str, Any]:
    """Each curve's figure at each budget and the areas under the curves, with their 95 % intervals over images.

    Args:
        curves: name → (B, N), a value for each budget and image, NaN where there is none.
        budgets: the B budgets.
        goal: `same-decision` or `same-map`; of the second, where decisions change, no map has an area.
        bootstrap: over the N images.
        reason: why a figure is undefined, where no image has a value.
    """
    at_zero = {"invalidated": 0.0}
    at_zero |= dict.fromkeys(MEASURES, 1.0) if goal == "same-decision" else {}
    at_zero |= {f"{m}_under_noise": 1.0 for m in MEASURES}
    return {
        "curves": {
            name: [_estimate(name, values, bootstrap, reason) for values in np.asarray(curve, dtype=np.float64)]
            for name, curve in curves.items()
        },
        "areas": {
            name: _estimate(name, mean_over_budgets(budgets, curves[name], start), bootstrap, reason)
            for name, start in at_zero.items()
        },
    }


def _estimate(name: str, values: Numbers, bootstrap: Bootstrap, reason: str) -> dict[str, Any]:
    within = (-1, 1) if name.startswith(("rank_correlation", "ssim")) else (0, 1)
    return mean_over_images(values, bootstrap, reason=reason, within=within).estimate().to_json()


def _failure(manipulation: Manipulation, budget: int, image: int) -> str:
    """What kept an attack from its goal, or nothing where it was reached."""
    if bool(manipulation.found[budget, image]):
        return ""
    if manipulation.attack.goal == "same-map":
        changed = bool(manipulation.constraint_met[budget, image])
        return "the decision changed, and the map with it" if changed else "the decision could not be changed"
    return "the map could not be changed far enough"
