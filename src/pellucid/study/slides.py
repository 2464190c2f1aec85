"""The sliders of a study's report: the same images moved for the same classes by every variant's network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from pellucid.data.dataset import classes_of
from pellucid.explainers import adversarial
from pellucid.models.inference import as_pixels, check_answers, predict, probabilities
from pellucid.models.weights import load_trained
from pellucid.report.pages.slider import Column, Slide
from pellucid.study.runs import first_runs
from pellucid.types import device_of
from pellucid.utils.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pellucid.study.config import AdversarialSettings
    from pellucid.study.evaluation_data import EvaluationData
    from pellucid.study.runs import PlannedRun


def make_slides(
    settings: AdversarialSettings, data: EvaluationData, runs: Sequence[PlannedRun], device: str
) -> list[Slide]:
    """Sliders of the first test images of different classes, with the networks of every variant's first seed.

    Args:
        settings: how many images, classes and sizes.
        data: the test images.
        runs: the training runs, the reference's first.
        device: where to compute.
    """
    rows = first_of_each(data.test.targets, settings.cases)
    if not rows:
        return []
    networks = {label: load_trained(run.folder, device) for label, run in first_runs(runs).items()}
    first = next(iter(networks.values()))
    slides = []
    with progress_bar("sliders", len(rows) * len(networks) * len(settings.rhos), unit="step") as advance:
        for row in rows:
            pixels = data.images[row][None]
            logits = [predict(network, pixels) for network in networks.values()]
            check_answers(np.concatenate(logits), "there is nothing to explain")
            mean_probabilities = np.mean([probabilities(x, first.task)[0] for x in logits], axis=0)
            present_classes = classes_of(data.test.targets[row])
            others = [int(c) for c in np.argsort(-mean_probabilities, kind="stable") if c not in present_classes]
            explained_classes = [*present_classes, *others][: max(settings.classes, 1)]
            columns = []
            for label, network in networks.items():
                batch = as_pixels(pixels, device_of(network)).expand(len(explained_classes), -1, -1, -1)
                aims = torch.tensor(explained_classes, device=batch.device)
                steps = []
                for rho in settings.rhos:
                    steps.append(adversarial(network, batch, aims, rho=rho))
                    advance(1)
                columns.append(Column.of(label, steps))
            slides.append(
                Slide(
                    title=data.test.ids[row],
                    note="shows " + ", ".join(first.classes[c] for c in present_classes),
                    image=as_pixels(pixels)[0].numpy(),
                    classes=first.classes,
                    explained=explained_classes,
                    rhos=settings.rhos,
                    direction="raise",
                    optimiser="tight",
                    columns=columns,
                )
            )
    return slides


def first_of_each(targets: npt.NDArray[np.generic], count: int) -> list[int]:
    """The first rows that show a class which none of the rows before them showed first.

    Example:
        >>> first_of_each(np.array([[0, 0], [1, 0], [1, 1], [0, 1]]), 2)
        [1, 3]
    """
    rows: list[int] = []
    covered: set[int] = set()
    for row, target in enumerate(targets):
        labels = classes_of(target)
        if len(rows) < count and labels and labels[0] not in covered:
            rows.append(row)
            covered.add(labels[0])
    return rows
