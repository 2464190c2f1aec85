"""How far annotators agree: Cohen's kappa of their verdicts, mean overlap of their regions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from pellucid.annotations.records import KINDS, draw_marks
from pellucid.data.placement import Placement

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pellucid.annotations.records import AnnotationSet, LabelAnswer, Mark

SIZE = 256  # that regions are compared at


@dataclass(frozen=True)
class ClassAgreement:
    """How far annotators agree on one class.

    Attributes:
        class_name: the class.
        verdicts: pairs of verdicts of two people on one image, `unsure` left out.
        kappa: Cohen's (1960), the mean over pairs of people weighted by the images they share. NaN without such a
            pair, and where everybody always said the same thing, for then chance alone would agree as well.
        regions: of each kind of mark, how many pairs of regions of two people on one image there are, and their mean
            intersection over union (NaN without any).
    """

    class_name: str
    verdicts: int
    kappa: float
    regions: dict[str, tuple[int, float]]


def agreement(annotations: AnnotationSet, classes: Sequence[str]) -> list[ClassAgreement]:
    """The agreement on every class.

    Regions are compared where both people drew some of that kind: that one of them drew nothing may mean that they
    saw nothing, or that the time was up.

    Example:
        >>> from pellucid.annotations.records import AnnotationSet, LabelAnswer
        >>> said = {"ann": "yes yes no no", "bob": "yes no no no"}
        >>> verdicts = [LabelAnswer(str(i), "Mass", v, who) for who, s in said.items() for i, v in enumerate(s.split())]
        >>> round(agreement(AnnotationSet((), verdicts), ["Mass"])[0].kappa, 3)
        0.5
    """
    marks: dict[str, list[Mark]] = {}
    verdicts: dict[str, list[LabelAnswer]] = {}
    for mark in annotations.marks:
        marks.setdefault(mark.class_name, []).append(mark)
    for verdict in annotations.verdicts:
        verdicts.setdefault(verdict.class_name, []).append(verdict)
    return [ClassAgreement(c, *_kappa(verdicts.get(c, [])), _overlaps(marks.get(c, []))) for c in classes]


def _kappa(verdicts: Sequence[LabelAnswer]) -> tuple[int, float]:
    from sklearn.metrics import cohen_kappa_score

    answers: dict[str, dict[str, str]] = {}
    for verdict in verdicts:
        if verdict.present != "unsure":
            answers.setdefault(verdict.annotator, {})[verdict.image] = verdict.present
        else:
            answers.get(verdict.annotator, {}).pop(verdict.image, None)
    total, weights, values = 0, [], []
    for one, other in combinations(sorted(answers), 2):
        shared = sorted(answers[one].keys() & answers[other].keys())
        first, second = [answers[one][i] for i in shared], [answers[other][i] for i in shared]
        total += len(shared)
        if len({*first, *second}) == 2:
            weights.append(len(shared))
            values.append(float(cohen_kappa_score(first, second)))
    return total, float(np.average(values, weights=weights)) if values else math.nan


def _overlaps(marks: Sequence[Mark]) -> dict[str, tuple[int, float]]:
    marks_of: dict[str, dict[str, list[Mark]]] = {}
    for mark in marks:
        marks_of.setdefault(mark.image, {}).setdefault(mark.annotator, []).append(mark)
    overlaps: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for people in marks_of.values():
        if len(people) > 1:
            canvases = [draw_marks(own, Placement.whole(SIZE, SIZE)) for _, own in sorted(people.items())]
            for kind, sign in zip(KINDS, (1, -1), strict=True):
                masks = [canvas == sign for canvas in canvases if (canvas == sign).any()]
                overlaps[kind] += [overlap(a, b) for a, b in combinations(masks, 2)]
    return {kind: (len(v), float(np.mean(v)) if v else math.nan) for kind, v in overlaps.items()}


def overlap(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    """Intersection over union of two masks; NaN where both are empty.

    Example:
        >>> overlap(np.array([True, True, False]), np.array([False, True, True]))
        0.3333333333333333
    """
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else math.nan
