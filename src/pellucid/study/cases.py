"""The cases that a report shows: chosen by a stated rule, never by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from pellucid.data.decoding.image import in_8_bits
from pellucid.explainers import adversarial, explain
from pellucid.models.inference import as_pixels, probabilities
from pellucid.models.weights import load_trained
from pellucid.report.pictures.panels import Panel
from pellucid.report.tables.metrics import method_label
from pellucid.study.runs import first_runs
from pellucid.types import Box, device_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pellucid.evaluation.metrics.explanations import LocalizationTask
    from pellucid.models.classifier import ConvolutionalClassifier
    from pellucid.study.config import EvaluationSettings
    from pellucid.study.evaluation_data import EvaluationData, RunEvaluation
    from pellucid.study.runs import PlannedRun

SCORE = "auprc"  # defined for every map, and not all or nothing as the pointing game


def choose(scores: npt.NDArray[np.float64], images: Sequence[int], count: int) -> dict[str, list[int]]:
    """The best, middle and worst `count` rows by score, each of another image.

    Example:
        >>> choose(np.array([0.1, 0.9, 0.5, 0.8]), [0, 1, 2, 1], 1)
        {'best': [1], 'middle': [2], 'worst': [0]}
    """
    order = np.array([r for r in np.argsort(-scores, kind="stable") if np.isfinite(scores[r])], dtype=np.int64)
    cases: dict[str, list[int]] = {}
    used: set[int] = set()
    from_the_middle = np.argsort(np.abs(np.arange(len(order)) - len(order) // 2), kind="stable")
    ranked = {
        "best": order.tolist(),
        "worst": order[::-1].tolist(),
        "middle": order[from_the_middle].tolist(),
    }
    for kind in ("best", "worst", "middle"):
        rows: list[int] = []
        for row in ranked[kind]:
            if len(rows) < count and images[row] not in used:
                rows.append(row)
                used.add(images[row])
        cases[kind] = rows
    return {kind: cases[kind] for kind in ("best", "middle", "worst")}


def make_panels(
    settings: EvaluationSettings,
    data: EvaluationData,
    evaluations: Mapping[str, Sequence[RunEvaluation]],
    runs: Sequence[PlannedRun],
    device: str,
) -> list[Panel]:
    """Panels of the chosen cases, with the maps of every variant's first seed."""
    if settings.panels == 0 or not data.tasks:
        return []
    first = first_runs(runs)
    networks = {label: load_trained(first[label].folder, device) for label in evaluations}
    panels: list[Panel] = []
    for task in data.tasks:
        methods = {v: [m for m in settings.methods if (task.name, m) in xs[0].scores] for v, xs in evaluations.items()}
        ruling = next(iter(served_by_all(settings, task, evaluations)), None)
        if ruling is None:
            continue
        scores = np.mean([v.scores[task.name, ruling].scores[SCORE] for vs in evaluations.values() for v in vs], axis=0)
        for kind, rows in choose(scores, task.pair_image.tolist(), settings.panels).items():
            rule = (
                f"The {kind} {len(rows)} of {len(scores)} by the AUPRC of {method_label(ruling)}, averaged over all "
                "variants and seeds; each of another image. Maps are those of the first seed."
            )
            of_kind = [_panel(methods, task, row, rule, float(scores[row]), networks) for row in rows]
            if of_kind and settings.adversarial.cases and task is data.tasks[0]:
                of_kind[0] = replace(of_kind[0], adversarial=_adversarial(settings, task, rows[0], networks))
            panels += of_kind
    return panels


def _adversarial(
    settings: EvaluationSettings, task: LocalizationTask, row: int, networks: Mapping[str, ConvolutionalClassifier]
) -> dict[str, tuple[npt.NDArray[np.uint8], float]]:
    """The image of a case as each network would have to see it to be sure, at the middle one of the sliders' sizes."""
    rhos, output = sorted(settings.adversarial.rhos), int(task.outputs[task.pair_class[row]])
    pictures = {}
    for label, network in networks.items():
        batch = as_pixels(task.images[task.pair_image[row]][None], device_of(network))
        aim = torch.tensor([output], device=batch.device)
        step = adversarial(network, batch, aim, rho=rhos[len(rhos) // 2])
        pixels = (step.maps[0].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        pictures[label] = (pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0), float(step.rms[0]))
    return pictures


def served_by_all(
    settings: EvaluationSettings, task: LocalizationTask, evaluations: Mapping[str, Sequence[RunEvaluation]]
) -> list[str]:
    """The methods that every network of a study is explained by, in the study's order."""
    every = [evaluation for seeds in evaluations.values() for evaluation in seeds]
    return [m for m in settings.methods if all((task.name, m) in e.scores for e in every)]


def _panel(
    methods: Mapping[str, Sequence[str]],
    task: LocalizationTask,
    row: int,
    rule: str,
    score: float,
    networks: Mapping[str, ConvolutionalClassifier],
) -> Panel:
    image, number = int(task.pair_image[row]), int(task.pair_class[row])
    pixels, output = task.images[image], int(task.outputs[number])
    maps, by_network = {}, {}
    for label, network in networks.items():
        batch = as_pixels(pixels[None], device_of(network))
        with torch.no_grad():
            by_network[label] = float(probabilities(network(batch).cpu().numpy(), network.task)[0, output])
        for method in methods[label]:
            maps[label, method] = explain(method, network, batch, output).maps[0].cpu().numpy()
    boxes = [Box(*map(float, b)) for b in task.true_box[(task.true_image == image) & (task.true_class == number)]]
    return Panel(
        image=in_8_bits(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)),
        boxes=[] if task.has_masks else boxes,
        maps=maps,
        target=task.name,
        class_name=task.classes[number],
        image_id=task.dataset.ids[image],
        rule=rule,
        mask=task.masks[row] if task.has_masks else None,
        score=f"AUPRC {score:.3f}",
        probabilities=by_network,
    )
