"""The Accuracy-Robustness Area in a study: measured a network, kept, and turned into curves for the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.evaluation.metrics.statistics import Bootstrap
from pellucid.evaluation.robustness.ara_summary import curve_of, summarize_ara
from pellucid.evaluation.robustness.radii import AttackConfig, measure
from pellucid.evaluation.robustness.radius_check import as_checked
from pellucid.evaluation.robustness.robustness_target import robustness_target_of
from pellucid.utils.progress import progress_context

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pellucid.evaluation.robustness.radii import Radii
    from pellucid.models.classifier import ConvolutionalClassifier
    from pellucid.study.config import EvaluationSettings, StudyConfig
    from pellucid.study.evaluation_data import EvaluationData, RunEvaluation

DIGITS = 6  # of a radius in results.json: more than any figure shows


def measure_radii(
    settings: EvaluationSettings,
    data: EvaluationData,
    classifier: ConvolutionalClassifier,
    card: Mapping[str, Any],
    folder: Path,
) -> tuple[dict[str, Radii], dict[str, str]]:
    """The smallest perturbations by kind, found and kept as `pellucid ara` does; and the alarms, in words.

    An interrupted one goes on, and several processes may share it.
    """
    robustness_targets = [robustness_target_of(kind, data.whole, card) for kind in settings.ara.kinds]
    dataset, images = data.measured, data.measured_images
    config = AttackConfig(settings.ara.protocol, effort=settings.ara.effort)
    with progress_context(
        "smallest perturbations", sum(len(q.decisions(dataset.targets)[0]) for q in robustness_targets)
    ):
        radii = measure(
            classifier,
            images,
            dataset,
            robustness_targets,
            config,
            folder,
            weights_sha256=card["weights_sha256"],
        )
    draws = Bootstrap(dataset.patients, settings.resamples)
    summary = summarize_ara(classifier, images, dataset, radii, config, draws, folder)
    checks = {kind: summary["kinds"][kind]["alarm"] for kind in radii}
    messages = {kind: check["message"] for kind, check in checks.items()}
    return as_checked(radii, checks, dataset), {kind: message for kind, message in messages.items() if message}


def area_results(
    study: StudyConfig, data: EvaluationData, evaluations: Mapping[str, Sequence[RunEvaluation]]
) -> dict[str, Any] | None:
    """What results.json says of the areas beside their rows: what was asked, curves, what they cost, alarms.

    None where none were asked for.
    """
    if not study.evaluation.ara.kinds:
        return None
    curves, attacks, alarms = [], [], []
    for variant, seeds in evaluations.items():
        for seed, evaluation in zip(study.seeds, seeds, strict=True):
            for kind, radii in evaluation.radii.items():
                if len(radii.radius) == 0:  # no label could be measured; the rows say why
                    continue
                curve = curve_of(radii, data.measured)
                named = zip(("radius", "accuracy", "upper"), curve, strict=True)
                whose = {"variant": variant, "seed": seed, "kind": kind}
                attacks.append(
                    {
                        **whose,
                        "n": len(radii.found),
                        "found": int(radii.found.sum()),
                        "correct_at_start": int(radii.correct_at_start.sum()),
                        "gradient_evaluations": int(radii.gradient_evaluations.sum()),
                    }
                )
                curves.append(
                    {
                        **whose,
                        "naive": radii.robustness_target.naive,
                        "measure": radii.robustness_target.measure,
                        **{name: np.round(values, DIGITS).tolist() for name, values in named},
                    }
                )
            alarms += [f"{variant}, seed {seed}, {kind}: {message}" for kind, message in evaluation.alarms.items()]
    return {
        "protocol": study.evaluation.ara.protocol,
        "images": len(data.measured),
        "matched": list(study.evaluation.ara.matched),
        "curves": curves,
        "attacks": attacks,
        "alarms": alarms,
    }
