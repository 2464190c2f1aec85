"""What an Accuracy-Robustness Area asks of each image: the criterion of its kind, and the accuracy to be above."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy  # its parts load when they are used
import torch

from pellucid.attacks import Misclassified, label_flipped, worse_than_constant, worse_than_random
from pellucid.evaluation.robustness.ara import BALANCED, MINIMUM, too_few
from pellucid.models.card import thresholds_of
from pellucid.types import InputError
from pellucid.utils.resources import check_known
from pellucid.utils.words import first_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pellucid.attacks import Criterion
    from pellucid.data.dataset import Dataset
    from pellucid.types import Task

KINDS = ("attack", "btr")
TOLERANCE = 0.1  # of a class's frequency, relative to 1/N
CHANCE = 0.01  # frequencies that a draw from balanced classes shows more often than this are balanced too


@dataclass(frozen=True)
class RobustnessTarget:
    """One kind of area for one network on one dataset.

    Attributes:
        kind: `attack`, the decision; or `btr`, "better than random", the stricter one on the probability.
        criterion: its name: misclassified, worse_than_random, worse_than_constant or label_flipped.
        naive: b, the accuracy of the best constant answer.
        task: of the network.
        levels: one probability per class, where the criterion has one; else empty.
    """

    kind: str
    criterion: str
    naive: float
    task: Task
    levels: tuple[float, ...] = ()

    @property
    def measure(self) -> str:
        """What the area lies under."""
        return "accuracy" if self.task == "multiclass" else "balanced accuracy"

    def to_json(self) -> dict[str, Any]:
        """Everything that determines the answers, as plain values."""
        return asdict(self) | {"levels": [None if np.isnan(v) else v for v in self.levels]}

    def undefined(self, targets: npt.NDArray[np.generic]) -> dict[int, str]:
        """The labels of a multi-label network that cannot be asked about, with the reason.

        Args:
            targets: float (N, K) of the images that are measured, NaN where unknown.
        """
        if self.task == "multiclass":
            return {}
        reasons = {}
        for label, level in enumerate(self.levels):
            positives, negatives = (int((targets[:, label] == value).sum()) for value in (1, 0))
            if not 0 < level < 1:  # also NaN
                name = "threshold" if self.criterion == "label_flipped" else "best constant"
                reasons[label] = f"the {name} of the label is {level:g}, no probability between 0 and 1"
            elif min(positives, negatives) < MINIMUM:
                reasons[label] = too_few(positives, negatives)
        return reasons

    def decisions(self, targets: npt.NDArray[np.generic]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """What is attacked: image and label numbers (U,); the label of a multiclass network is −1.

        Of a multi-label one every known label of every image, the labels of an image together.
        """
        if self.task == "multiclass":
            return np.arange(len(targets)), np.full(len(targets), -1)
        is_defined = ~np.isnan(np.asarray(targets, dtype=np.float64))
        is_defined[:, list(self.undefined(targets))] = False
        image, label = np.nonzero(is_defined)
        return image.astype(np.int64), label.astype(np.int64)

    def criterion_for(
        self,
        targets: npt.NDArray[np.generic],
        image: npt.NDArray[np.int64],
        label: npt.NDArray[np.int64],
        device: torch.device | str = "cpu",
    ) -> Criterion:
        """The criterion of some decisions, in their order."""
        if self.task == "multiclass":
            truth = torch.as_tensor(np.asarray(targets)[image].astype(np.int64), device=device)
            if self.criterion == "misclassified":
                return Misclassified(truth)
            if self.criterion == "worse_than_random":
                return worse_than_random(truth, len(self.levels))
            return worse_than_constant(truth, self.levels, task="multiclass")
        indices = torch.as_tensor(label, device=device)
        present = torch.as_tensor(np.asarray(targets)[image, label] == 1, device=device)
        if self.criterion == "label_flipped":
            return label_flipped(indices, present, self.levels)
        return worse_than_constant(indices, self.levels, task="multilabel", present=present)


def robustness_target_of(kind: str, dataset: Dataset, card: Mapping[str, Any]) -> RobustnessTarget:
    """The robustness target of a kind.

    Args:
        kind: `attack` or `btr`.
        dataset: the *whole* part that images are taken from, before any limit: the constant answer comes from its
            labels.
        card: of the network (`model.toml`): `thresholds`, a half each where it has none, and `best_constant`.

    Raises:
        InputError: an unknown kind; `btr` where `no_better_than_random` says why not.
    """
    check_known([kind], KINDS, "kind of area")
    if kind == "btr" and (reason := no_better_than_random(dataset, card)):
        raise InputError(f'there is no area of kind btr: {reason} Or measure --kind attack, in Python kinds="attack".')
    levels = card.get("best_constant") if kind == "btr" else None
    constant = () if levels is None else tuple(float(v) for v in levels)
    if dataset.task == "multilabel":
        if kind == "btr":
            return RobustnessTarget(kind, "worse_than_constant", BALANCED, "multilabel", constant)
        cuts = tuple(thresholds_of(card, len(dataset.classes)))
        return RobustnessTarget(kind, "label_flipped", BALANCED, "multilabel", cuts)
    classes = len(dataset.classes)
    counts = _counts(dataset)
    even = balanced(counts)
    naive = 1 / classes if even else float(counts.max() / counts.sum())
    if kind == "attack":
        return RobustnessTarget(kind, "misclassified", naive, "multiclass")
    if even and classes > 2:
        return RobustnessTarget(kind, "worse_than_random", naive, "multiclass", (naive,) * classes)
    return RobustnessTarget(kind, "worse_than_constant", naive, "multiclass", constant)


def no_better_than_random(dataset: Dataset, card: Mapping[str, Any]) -> str | None:
    """Why `btr` cannot be measured of a network, and what to do, as sentences; None where it can.

    Classes that are two, unbalanced or several at once are compared with the network's best constant answer.

    Args:
        dataset: as in `robustness_target_of`.
        card: as there.
    """
    counts = None if dataset.task == "multilabel" else _counts(dataset)
    if counts is not None and len(counts) > 2 and balanced(counts):
        return None
    levels = card.get("best_constant")
    if levels is None or len(levels) != len(dataset.classes):
        return (
            "where classes are two, unbalanced or several at once it compares with the network's best constant answer, "
            f"of which {'none' if levels is None else f'one for {len(levels)} classes'} is known. Give best_constant, "
            f"a probability for each of {first_of(dataset.classes)} (the constant that minimises the training loss): "
            'in model.toml as best_constant = [...], in Python as model.card = {**model.card, "best_constant": [...]}.'
        )
    odd = [] if counts is None else [dataset.classes[k] for k in np.nonzero(counts)[0] if not 0 < levels[k] < 1]
    if odd:
        return (
            f"the network's best_constant is no probability between 0 and 1 for {first_of(odd)}, which it was not "
            "trained on. Leave images of classes that it does not know out."
        )
    return None


def _counts(dataset: Dataset) -> npt.NDArray[np.int64]:
    """How many images show each of exclusive classes."""
    return np.bincount(np.asarray(dataset.targets, dtype=np.int64), minlength=len(dataset.classes))


def balanced(counts: npt.ArrayLike) -> bool:
    """Whether classes occur equally often.

    They do where every frequency is within 10 % of 1/N; and, with at least 5 images per class on average, where a
    random draw from balanced classes would differ as much in more than 1 % of draws (χ²), as a sample of a balanced set
    does.

    Example:
        >>> balanced([1000, 1000, 1000]), balanced([57, 41, 51, 49, 44, 50, 56, 48, 57, 59]), balanced([40, 5, 5])
        (True, True, False)
    """
    observed = np.asarray(counts, dtype=np.float64)
    expected = observed.sum() / len(observed)
    if bool((np.abs(observed / expected - 1) <= TOLERANCE).all()):
        return True
    return bool(expected >= 5 and scipy.stats.chisquare(observed).pvalue >= CHANCE)


def check_something_to_measure(
    robustness_targets: Sequence[RobustnessTarget],
    dataset: Dataset,
    what: str = "an Accuracy-Robustness Area of kind {kind}",
) -> None:
    """Refuse images on which no label has an area of the kinds asked for, called `what`.

    Raises:
        InputError: with the reason for each label.
    """
    for robustness_target in robustness_targets:
        missing = robustness_target.undefined(dataset.targets)
        if dataset.task == "multilabel" and len(missing) == len(dataset.classes):
            reasons = "; ".join(f"{dataset.classes[k]}: {why}" for k, why in missing.items())
            raise InputError(
                f"no label has {what.format(kind=robustness_target.kind)} ({reasons}). Measure more images."
            )
