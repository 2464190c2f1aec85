"""Accuracy-Robustness Areas of several networks side by side, and their accuracy on the same images, as rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.evaluation.metrics.classification import accuracy, balanced_accuracy
from pellucid.evaluation.metrics.comparison import Row, compare
from pellucid.evaluation.metrics.statistics import Replicates
from pellucid.evaluation.robustness.ara import BALANCED
from pellucid.evaluation.robustness.ara_summary import areas_of
from pellucid.evaluation.robustness.robustness_target import RobustnessTarget
from pellucid.models.inference import decisions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.metrics.bootstrap import Bootstrap
    from pellucid.evaluation.robustness.radii import Radii


def ara_rows(
    radii: Mapping[str, Sequence[Mapping[str, Radii]]],
    dataset: Dataset,
    bootstrap: Bootstrap,
    reference: str | None = None,
) -> list[Row]:
    """The area of each kind, with several labels also a label, and the differences to the reference.

    Args:
        radii: by variant, seed and kind.
        dataset: the images that were measured.
        bootstrap: over them.
        reference: the variant that the others are compared with, or None.
    """
    rows: list[Row] = []
    for kind in next(iter(radii.values()))[0]:
        areas = {v: [areas_of(one[kind], dataset, bootstrap) for one in seeds] for v, seeds in radii.items()}
        names = list(next(iter(areas.values()))[0].labels)
        for name in [*names, "mean"]:
            figures = {
                v: [(x.overall if name == "mean" else x.labels[name]).replicates for x in seeds]
                for v, seeds in areas.items()
            }
            rows += compare(Row.blank("ara", f"ara_{kind}", name), figures, reference)
    return rows


def clean_rows(
    logits: Mapping[str, Sequence[npt.NDArray[np.floating]]],
    thresholds: Mapping[str, Sequence[Sequence[float]]],
    dataset: Dataset,
    bootstrap: Bootstrap,
    reference: str | None = None,
) -> list[Row]:
    """The accuracy of the unchanged images: where the curves under attack start.

    With several labels it is the balanced accuracy of each at its threshold, for the labels that have an area.

    Args:
        logits: by variant, (N, K) a seed.
        thresholds: by variant, K probabilities per seed.
        dataset: the images that were measured.
        bootstrap: over them.
        reference: the variant that the others are compared with, or None.
    """
    if dataset.task == "multiclass":
        right = {
            v: [accuracy(decisions(x, dataset.task), dataset.targets, bootstrap) for x in xs]
            for v, xs in logits.items()
        }
        return compare(Row.blank("ara", "accuracy", "mean"), right, reference)
    rows: list[Row] = []
    tables = {
        v: [_by_label(x, cut, dataset, bootstrap) for x, cut in zip(xs, thresholds[v], strict=True)]
        for v, xs in logits.items()
    }
    for name in (*dataset.classes, "mean"):
        figures = {v: [table[name] for table in seeds] for v, seeds in tables.items()}
        rows += compare(Row.blank("ara", "balanced_accuracy", name), figures, reference)
    return rows


def _by_label(
    logits: npt.NDArray[np.floating], thresholds: Sequence[float], dataset: Dataset, bootstrap: Bootstrap
) -> dict[str, Replicates]:
    missing = RobustnessTarget("attack", "label_flipped", BALANCED, "multilabel", tuple(thresholds)).undefined(
        dataset.targets
    )
    decided = decisions(logits, dataset.task, thresholds)
    figures = {}
    for number, name in enumerate(dataset.classes):
        if number in missing:
            figures[name] = Replicates.undefined(missing[number], 0, bootstrap)
        else:
            figures[name] = balanced_accuracy(decided[:, number], dataset.targets[:, number], bootstrap)
    return {
        **figures,
        "mean": Replicates.mean(list(figures.values()), n=sum(r.n for r in figures.values()), of="labels"),
    }
