"""Does it classify? Every figure of the answers of one model, with its interval; and where it is surest and wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.metrics.calibration import calibration_figures
from pellucid.evaluation.metrics.comparison import Row, accuracy_rows, classification_rows, compare
from pellucid.evaluation.metrics.confusion import Confusion, confusion, shares_confused
from pellucid.evaluation.metrics.operating_points import operating_points
from pellucid.evaluation.metrics.statistics import Replicates
from pellucid.evaluation.metrics.validation import one_hot
from pellucid.models.inference import decisions, probabilities
from pellucid.report.tables.results_index import MEAN

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import numpy.typing as npt

    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.metrics.calibration import Reliability
    from pellucid.evaluation.metrics.operating_points import ClassUse, Use

    FloatArray = npt.NDArray[np.float64]

RESAMPLES, FEWEST = 1000, 200
WORK = 5e9
"""Images × classes × resamples, at most: with thousands of classes the resamples are fewer."""
OWN, SUGGESTED, CONSTANT = "its own", "suggested", "constant"
"""The two thresholds at which sensitivity and specificity are given, and the best constant answer, which has a cost."""
CONFUSED = 10
"""Pairs of classes that are most often confused: with more classes than a matrix shows, all that is shown."""
SUREST = 6


@dataclass(frozen=True, eq=False)
class Answers:
    """What one model says of the images that it is judged on.

    Attributes:
        label: what the model is called.
        logits: (N, K).
        dataset: the images, with the model's classes.
        thresholds: the probability of each class from which on it counts as predicted; only of several labels.
    """

    label: str
    logits: npt.NDArray[np.floating]
    dataset: Dataset
    thresholds: Sequence[float]

    @cached_property
    def probabilities(self) -> FloatArray:
        """(N, K), NaN without an answer."""
        return probabilities(self.logits, self.dataset.task)

    @cached_property
    def decided(self) -> FloatArray:
        """(N, K) of 0 and 1, NaN without an answer: one class per image, or every label from its threshold on."""
        class_numbers = decisions(self.logits, self.dataset.task, self.thresholds)
        if self.dataset.task == "multilabel":
            return class_numbers
        is_decided = np.asarray(class_numbers[:, None] == np.arange(self.logits.shape[1]), dtype=np.float64)
        return np.where(np.isnan(class_numbers)[:, None], np.nan, is_decided)

    @cached_property
    def wrong(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray]:
        """Wrong decisions, the surest first: image (M,), the class decided on (M,), and how sure it was (M,).

        Of exclusive classes the class that was said; of several labels the label, and the probability of what was said
        of it.
        """
        probabilities, truth = self.probabilities, self.dataset.targets
        if self.dataset.task == "multiclass":
            class_numbers = decisions(self.logits, "multiclass")
            image = np.flatnonzero(~np.isnan(class_numbers) & (class_numbers != truth))
            number = class_numbers[image].astype(np.int64)
            sure = probabilities[image, number]
        else:
            decided = self.decided
            image, number = np.nonzero(~np.isnan(truth) & ~np.isnan(decided) & (decided != truth))
            probability = probabilities[image, number]
            sure = np.where(decided[image, number] == 1, probability, 1 - probability)
        order = np.argsort(-sure, kind="stable")
        return image[order], number[order], sure[order]


@dataclass(frozen=True, eq=False)
class Classification:
    """The figures of part 3.

    Attributes:
        rows: every figure, with its class.
        reliability: confidences beside what came true.
        confused: of exclusive classes, which are taken for which.
        shares: of the most confused pairs, the share of the class's images.
        resamples: of the bootstrap.
        baseline: the accuracy of always giving the most frequent answer.
    """

    rows: list[Row]
    reliability: Reliability | None
    confused: Confusion | None
    shares: list[Replicates]
    resamples: int
    baseline: float


def draws_for(dataset: Dataset, seed: int = 0) -> Bootstrap:
    """The bootstrap over the patients of some images, with fewer resamples where the classes are thousands."""
    resamples = int(min(RESAMPLES, max(FEWEST, WORK / (len(dataset) * len(dataset.classes)))))
    return Bootstrap(dataset.patients, resamples, seed)


def classify(answers: Answers, use: Use, draws: Bootstrap) -> Classification:
    """All figures of a model's answers.

    Args:
        answers: of N images.
        use: where the model is to be used, and what its errors cost there.
        draws: over the N images.
    """
    dataset, label = answers.dataset, answers.label
    rows = classification_rows({label: [answers.logits]}, dataset, draws)
    if dataset.task == "multilabel":
        rows += accuracy_rows({label: [answers.logits]}, {label: [answers.thresholds]}, dataset, draws)
    rows += threshold_rows(answers, use, draws)
    calibrated, figures = calibration_figures(answers.probabilities, dataset.targets, draws)
    for metric, figure in figures.items():
        rows += _row(answers, "calibration", metric, "mean", figure)
    confused, shares = None, list[Replicates]()
    if dataset.task == "multiclass":
        class_numbers = decisions(answers.logits, "multiclass")
        confused = confusion(class_numbers, dataset.targets, len(dataset.classes))
        shares = shares_confused(confused, confused.most_confused(CONFUSED), class_numbers, dataset.targets, draws)
    return Classification(rows, calibrated, confused, shares, draws.resamples, constant_accuracy(dataset))


def constant_accuracy(dataset: Dataset) -> float:
    """The accuracy of always giving the most frequent answer: of exclusive classes one class, of each label yes or no.

    Example:
        >>> from pellucid.data import open_dataset
        >>> part = open_dataset("phantom", options={"size": 32, "train": 8, "validation": 4, "test": 4})["test"]
        >>> 0.5 <= constant_accuracy(part) <= 1
        True
    """
    truth = one_hot(dataset)
    is_known = ~np.isnan(truth)
    if dataset.task == "multiclass":
        return float(truth.mean(0).max())
    present = np.nansum(truth, axis=0)
    return float(np.maximum(present, is_known.sum(0) - present).sum() / is_known.sum()) if is_known.any() else math.nan


def threshold_rows(answers: Answers, use: Use, draws: Bootstrap) -> list[Row]:
    """Sensitivity, specificity and cost of each class, at the model's own threshold and at the suggested one.

    Beside the costs stands that of the best constant answer, which no threshold need be below.

    Of more than two exclusive classes the own decision is the most probable one, and costs and a suggested threshold
    are only of those classes that were asked about, each against all others; there is no mean of them.
    """
    dataset, probabilities = answers.dataset, answers.probabilities
    truth, exclusive = one_hot(dataset), dataset.task == "multiclass"
    uses = use.of_classes(dataset.classes, _prevalence(dataset).tolist(), exclusive=exclusive)
    suggested = np.array([one.threshold for one in uses])
    with np.errstate(invalid="ignore"):
        cut = np.where(np.isnan(probabilities) | np.isnan(suggested), np.nan, probabilities >= suggested)
    if (tied := use.tied_to(dataset.classes, exclusive=exclusive)) is not None:  # at the threshold itself, too
        number = dataset.classes.index(tied)
        cut[:, 1 - number] = 1 - cut[:, number]
    own = list(answers.thresholds) if dataset.task == "multilabel" else [math.nan] * len(dataset.classes)
    apart = use.cut_apart(dataset.classes, exclusive=exclusive)
    joint = not exclusive or len(uses) == 2
    every, some = list(range(len(uses))), [k for k, name in enumerate(dataset.classes) if name in apart]
    rows = []
    for at, decided, cuts, numbers in ((OWN, answers.decided, own, every), (SUGGESTED, cut, suggested.tolist(), some)):
        if not numbers:
            continue
        points = zip(*operating_points(decided[:, numbers], truth[:, numbers], draws), strict=True)
        figures: dict[str, dict[int, Replicates]] = {"sensitivity": {}, "specificity": {}, "cost": {}}
        for number, (sensitivity, specificity) in zip(numbers, points, strict=True):
            figures["sensitivity"][number] = sensitivity
            figures["specificity"][number] = specificity
            if number in some:
                figures["cost"][number] = uses[number].cost(sensitivity, specificity)
        for metric, of_classes in figures.items():
            for number, figure in of_classes.items():
                cut_at = _or_none(cuts[number])
                rows += _row(answers, "threshold", metric, dataset.classes[number], figure, at=at, threshold=cut_at)
            if joint or (at == OWN and metric != "cost"):
                mean = Replicates.mean(list(of_classes.values()), of="classes")
                rows += _row(answers, "threshold", metric, "mean", mean, at=at)
        if dataset.task == "multilabel" and at == OWN:  # of exclusive classes it is among the rows already
            pairs = [list(figures[m].values()) for m in ("sensitivity", "specificity")]
            balanced = balanced_of_labels(pairs[0], pairs[1], truth)
            rows += _row(answers, "classification", "balanced_accuracy", "mean", balanced)
    stated = set(dataset.classes) if exclusive and use.prevalence else set(use.prevalence)  # of exclusive ones: all
    return rows + _constant_rows(answers, uses, some, draws, joint=joint, stated=stated)


_NEVER = "never saying it: cost = prevalence × cost of a miss"
_ALWAYS = "always saying it: cost = (1 − prevalence) × cost of a false alarm"


def _constant_rows(
    answers: Answers,
    uses: Sequence[ClassUse],
    numbers: Sequence[int],
    draws: Bootstrap,
    *,
    joint: bool,
    stated: Collection[str],
) -> list[Row]:
    """What the best constant answer costs of each class where there are costs, and, where there is one, their mean.

    Args:
        answers: of the images.
        uses: of every class.
        numbers: of the classes that have costs.
        draws: over the images.
        joint: whether there is a mean.
        stated: the classes whose prevalence is stated; of the others it is that of these images.
    """
    classes, here = answers.dataset.classes, ", with the prevalence of these images"
    costs = {k: uses[k].constant_cost for k in numbers if not math.isnan(uses[k].there)}
    places = {
        classes[k]: (cost, f"{_ALWAYS if says else _NEVER}{'' if classes[k] in stated else here}")
        for k, (cost, says) in costs.items()
    }
    if joint and costs:
        mean = math.fsum(cost for cost, _ in costs.values()) / len(costs)
        without = sum(classes[k] not in stated for k in costs)
        where = here if without == len(costs) else f"{here} where none is stated" if without else ""
        places[MEAN] = (mean, f"the best constant answer of each class{where}")
    figures = {
        name: replace(Replicates.undefined("", len(answers.dataset), draws), value=cost, reason=None, lacking=how)
        for name, (cost, how) in places.items()
    }
    return [row for name, one in figures.items() for row in _row(answers, "threshold", "cost", name, one, at=CONSTANT)]


def balanced_of_labels(
    sensitivities: Sequence[Replicates], specificities: Sequence[Replicates], truth: npt.NDArray[np.floating]
) -> Replicates:
    """Half of mean sensitivity and mean specificity of several labels; its n are the images with a known label.

    Args:
        sensitivities: of K labels.
        specificities: of the same.
        truth: (N, K) of 0 and 1, NaN where unknown.
    """
    halves = [Replicates.mean(of, of="classes") for of in (sensitivities, specificities)]
    return replace((halves[0] + halves[1]) / 2, n=int((~np.isnan(truth)).any(1).sum()))


def _prevalence(dataset: Dataset) -> FloatArray:
    """The share of each class among the images of which it is known; NaN where it is known of none."""
    truth = one_hot(dataset)
    counts = (~np.isnan(truth)).sum(0)
    shares: FloatArray = np.full(len(counts), np.nan)
    np.divide(np.nansum(truth, axis=0), counts, out=shares, where=counts > 0)
    return shares


def _row(answers: Answers, section: str, metric: str, name: str, figure: Replicates, **where: Any) -> list[Row]:  # noqa: ANN401
    return compare(Row.blank(section, metric, name, **where), {answers.label: [figure]}, None)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
