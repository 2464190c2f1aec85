"""What one network of a study gave, as named arrays and plain values: how it is kept in npz files."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.evaluation.metrics.explanations import arrays_of, scores_of
from pellucid.evaluation.training_images import SeenImages
from pellucid.study.evaluation_data import RunEvaluation

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Arrays = dict[str, npt.NDArray[Any]]

OF_RADII = ("image", "label", "found", "correct_at_start", "radius")
COSTS = ("gradient_evaluations", "forward_passes")


def run_arrays(one: RunEvaluation, place: str) -> Arrays:
    """What a network gave as arrays, each under `place` and a name.

    Args:
        one: what it gave.
        place: begins each name.
    """
    arrays: Arrays = {f"{place}/logits": one.logits, f"{place}/thresholds": one.thresholds}
    arrays |= {f"{place}/attacked {size}": logits for size, logits in one.attacked.items()}
    arrays |= {f"{place}/broken {size}": decisions for size, decisions in one.broken.items()}
    for (task, method), scores in one.scores.items():
        arrays |= {f"{place}/{task}/{method}/{name}": values for name, values in arrays_of(scores).items()}
    for kind, radii in one.radii.items():
        for name in (*OF_RADII, *COSTS):
            arrays[f"{place}/radii {kind}/{name}"] = getattr(radii, name)
    return arrays


def about_run(one: RunEvaluation) -> dict[str, Any]:
    """What `run_of` needs to know besides the arrays, as plain values."""
    return {
        "attacked": list(one.attacked),
        "broken": list(one.broken),
        "scores": [list(key) for key in one.scores],
        "refused": [[*key, why] for key, why in one.refused.items()],
        "radii": {kind: radii.robustness_target.to_json() for kind, radii in one.radii.items()},
        "alarms": one.alarms,
        "training_images": {part: asdict(seen_images) for part, seen_images in one.training_images.items()},
    }


def run_of(about: Mapping[str, Any], place: str, arrays: Mapping[str, npt.NDArray[Any]]) -> RunEvaluation:
    """What `run_arrays` and `about_run` were given."""
    scores = {}
    for task, method in about["scores"]:
        start = f"{place}/{task}/{method}/"
        scores[task, method] = scores_of({k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)})
    return RunEvaluation(
        logits=arrays[f"{place}/logits"],
        attacked={size: arrays[f"{place}/attacked {size}"] for size in about["attacked"]},
        broken={size: arrays[f"{place}/broken {size}"] for size in about["broken"]},
        thresholds=arrays[f"{place}/thresholds"],
        scores=scores,
        refused={(task, method): why for task, method, why in about["refused"]},
        radii={kind: _radii(f"{place}/radii {kind}/", target, arrays) for kind, target in about["radii"].items()},
        alarms=about["alarms"],
        training_images={part: _seen(values) for part, values in about["training_images"].items()},
    )


def _seen(values: Mapping[str, Any]) -> SeenImages:
    words = {name: tuple(values[name]) for name in ("unknown", "other_options")}
    return SeenImages(**{**values, **words})


def _radii(place: str, target: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Any:  # noqa: ANN401
    from pellucid.evaluation.robustness.radii import Radii  # needs a Unix
    from pellucid.evaluation.robustness.robustness_target import RobustnessTarget

    levels = tuple(np.nan if level is None else level for level in target["levels"])
    own_arrays = {name: arrays[f"{place}{name}"] for name in (*OF_RADII, *COSTS)}
    return Radii(RobustnessTarget(**{**target, "levels": levels}), **own_arrays, seconds=0)
