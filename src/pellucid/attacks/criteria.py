"""The criteria: small objects that say when a perturbation has succeeded, and the only place that knows it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from pellucid.attacks.criterion import OfClasses, log_odds, smooth_maximum
from pellucid.attacks.epsilon import lengths
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pellucid.attacks.criterion import Ascent
    from pellucid.types import Task

AIMS = 9  # classes that a search is aimed at: all wrong ones of ten


@dataclass(frozen=True)
class Misclassified(OfClasses):
    """The true label is no longer the most probable class: ``f_y − max_{c ≠ y} f_c ≤ 0`` of a multiclass classifier.

    Attributes:
        indices: int64 (N,), the true labels.

    Example:
        >>> criterion = Misclassified(torch.tensor([0, 1]))
        >>> logits = torch.tensor([[2.0, 1.0], [2.0, 1.0]])
        >>> criterion.is_satisfied(logits, torch.zeros(2, 1, 1, 1)), criterion.margin(logits)
        (tensor([False,  True]), tensor([ 1., -1.]))
    """

    def is_satisfied(self, logits: Tensor, perturbation: Tensor) -> Tensor:  # noqa: ARG002
        """Whether another class is the most probable: bool (N,)."""
        return logits.argmax(1) != self.indices

    def margin(self, logits: Tensor) -> Tensor:
        """The margin ``f_y − max f_j over j ≠ y`` (N,)."""
        own = logits.gather(1, self.indices[:, None]).squeeze(1)
        return own - logits.scatter(1, self.indices[:, None], -torch.inf).amax(1)

    def smooth_margin(self, logits: Tensor) -> Tensor:
        """The margin to the smooth maximum of the other logits (N,)."""
        return logits.gather(1, self.indices[:, None]).squeeze(1) - smooth_maximum(logits, self.indices)

    def loss(self, logits: Tensor) -> Tensor:
        """The cross entropy of the true label (N,)."""
        return torch.nn.functional.cross_entropy(logits, self.indices, reduction="none")

    def rows(self, index: Tensor) -> Misclassified:
        """The same for some of the images."""
        return Misclassified(self.indices[index])

    def check(self, task: Task, classes: int) -> None:
        """Refuse a multi-label classifier, whose labels are flipped one by one, and labels that it does not have."""
        if task != "multiclass":
            raise InputError("a multi-label classifier has no one class: use label_flipped, label by label.")
        self.check_indices(classes)


@dataclass(frozen=True)
class Targeted(OfClasses):
    """A chosen class becomes the most probable: ``max_{c ≠ t} f_c − f_t ≤ 0`` of a multiclass classifier.

    Attributes:
        indices: int64 (N,), the class that each image is to become.

    Example:
        >>> logits = torch.tensor([[2.0, 1.0]])
        >>> Targeted(torch.tensor([1])).margin(logits)  # met from 0 down
        tensor([1.])
    """

    def is_satisfied(self, logits: Tensor, perturbation: Tensor) -> Tensor:  # noqa: ARG002
        """Whether the chosen class is the most probable: bool (N,)."""
        return logits.argmax(1) == self.indices

    def margin(self, logits: Tensor) -> Tensor:
        """The margin ``(max f_j over j ≠ c) − f_c`` (N,)."""
        own = logits.gather(1, self.indices[:, None]).squeeze(1)
        return logits.scatter(1, self.indices[:, None], -torch.inf).amax(1) - own

    def smooth_margin(self, logits: Tensor) -> Tensor:
        """The margin of the other logits' smooth maximum (N,)."""
        return smooth_maximum(logits, self.indices) - logits.gather(1, self.indices[:, None]).squeeze(1)

    def loss(self, logits: Tensor) -> Tensor:
        """The log-probability of the chosen class (N,)."""
        return -torch.nn.functional.cross_entropy(logits, self.indices, reduction="none")

    def rows(self, index: Tensor) -> Targeted:
        """The same for some of the images."""
        return Targeted(self.indices[index])

    def check(self, task: Task, classes: int) -> None:
        """Refuse a multi-label classifier and classes that it does not have."""
        if task != "multiclass":
            raise InputError("a multi-label classifier has no one class: use confidence, label by label.")
        self.check_indices(classes)


@dataclass(frozen=True)
class Confidence(OfClasses):
    """The probability of one class rises to a level, or falls to it: softmax or, multi-label, the label's sigmoid.

    Attributes:
        indices: int64 (N,), the class.
        levels: float (N,), the probability to be reached, inside (0, 1).
        rising: bool (N,), from below (True) or from above.
        task: whose probability is meant.

    Example:
        >>> criterion = confidence(torch.tensor([0]), 0.5, task="multilabel", rising=False)
        >>> criterion.margin(torch.tensor([[2.0]])), criterion.margin(torch.tensor([[-1.0]]))  # met from 0 down
        (tensor([2.]), tensor([-1.]))
    """

    levels: Tensor
    rising: Tensor
    task: Task

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.levels.shape != self.indices.shape or self.rising.shape != self.indices.shape:
            raise InputError(
                f"levels and directions must be one per image, {tuple(self.indices.shape)}; found "
                f"{tuple(self.levels.shape)} and {tuple(self.rising.shape)}."
            )
        if not bool(((self.levels > 0) & (self.levels < 1)).all()):  # also refuses NaN
            raise InputError(f"a level is a probability inside (0, 1); found {self.levels.tolist()[:5]}.")

    def is_satisfied(self, logits: Tensor, perturbation: Tensor) -> Tensor:  # noqa: ARG002
        """Whether the level is reached: bool (N,)."""
        return self.margin(logits) <= 0

    def margin(self, logits: Tensor) -> Tensor:
        """How far the class's log-odds are from the level's (N,)."""
        gap = log_odds(logits, self.indices, self.task) - torch.logit(self.levels).to(logits.dtype)
        return torch.where(self.rising, -gap, gap)

    def smooth_margin(self, logits: Tensor) -> Tensor:
        """The same: it is smooth (N,)."""
        return self.margin(logits)

    @property
    def multi_start(self) -> bool:
        """Among several classes a probability changes in many ways; a label's own logit in one."""
        return self.task == "multiclass" and len(self.indices) > 0

    def loss(self, logits: Tensor) -> Tensor:
        """The log-probability of the class (N,) where it is to rise, its negative where it is to fall."""
        if self.task == "multiclass":
            chance = -torch.nn.functional.cross_entropy(logits, self.indices, reduction="none")
            return torch.where(self.rising, chance, -chance)
        own = logits.gather(1, self.indices[:, None]).squeeze(1)
        # log p or log(1 - p): of the two losses of a label, the one whose gradient lives where the climb begins
        return torch.nn.functional.logsigmoid(torch.where(self.rising, own, -own))

    def aims(self, logits: Tensor) -> Sequence[Callable[[Tensor, Tensor], Tensor]]:
        """Towards each of the likeliest other classes, at most nine, where one of several is to fall.

        ``f_y − f_c − log-odds of the level``: zero where the class c alone would make it fall so far.
        """
        if self.task != "multiclass" or logits.shape[1] < 3 or bool(self.rising.any()):
            return ()
        others = logits.scatter(1, self.indices[:, None], -torch.inf).argsort(1, descending=True)
        levels = torch.logit(self.levels).to(logits.dtype)

        def towards(classes: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
            def gap(answers: Tensor, rows: Tensor) -> Tensor:
                own, other = (answers.gather(1, which[rows][:, None])[:, 0] for which in (self.indices, classes))
                return own - other - levels[rows]

            return gap

        return [towards(classes) for classes in others[:, : min(AIMS, logits.shape[1] - 1)].unbind(1)]

    def rows(self, index: Tensor) -> Self:
        """The same for some of the images."""
        return replace(self, indices=self.indices[index], levels=self.levels[index], rising=self.rising[index])

    def check(self, task: Task, classes: int) -> None:
        """Refuse a classifier of another task, and classes that it does not have."""
        if task != self.task:
            raise InputError(f"the criterion is for a {self.task} classifier; this one is {task}.")
        self.check_indices(classes)


@dataclass(frozen=True)
class LabelFlipped(Confidence):
    """The decision on one label of a multi-label classifier changes: present where p ≥ threshold; see `label_flipped`.

    Attributes:
        levels: float64 (N,), the labels' thresholds.
    """

    def is_satisfied(self, logits: Tensor, perturbation: Tensor) -> Tensor:  # noqa: ARG002
        """Whether the decision, as evaluation makes it, is the wished one: bool (N,)."""
        own = logits.gather(1, self.indices[:, None]).squeeze(1)
        return (own.double().sigmoid() >= self.levels) == self.rising


@dataclass(frozen=True)
class RadiusReached:
    """The perturbation is as long as `rms`; on the way there it serves another criterion's loss.

    The goal of the paper's training attack and of its explanations. There is no smallest perturbation of a given
    size: it is a `WalkGoal` and no `Criterion`, and only Algorithm 1 takes it.

    Attributes:
        aim: what is pursued: a criterion, or anything with a loss to climb.
        rms: root mean square per pixel and channel to be reached, above 0.

    Example:
        >>> criterion = RadiusReached(Misclassified(torch.tensor([0])), rms=0.1)
        >>> criterion.is_satisfied(torch.zeros(1, 2), torch.full((1, 1, 2, 2), 0.1))
        tensor([True])
    """

    aim: Ascent
    rms: float

    def __post_init__(self) -> None:
        if not (self.rms > 0 and math.isfinite(self.rms)):
            raise InputError(f"a radius must be above 0; found {self.rms!r}.")

    def __len__(self) -> int:
        return len(self.aim)

    def is_satisfied(self, logits: Tensor, perturbation: Tensor) -> Tensor:  # noqa: ARG002
        """Whether the perturbation (N, C, H, W) is as long: bool (N,)."""
        return lengths(perturbation, "rms") >= self.rms

    def loss(self, logits: Tensor) -> Tensor:
        """That of what is pursued (N,)."""
        return self.aim.loss(logits)

    def rows(self, index: Tensor) -> RadiusReached:
        """The same for some of the images."""
        return RadiusReached(self.aim.rows(index), self.rms)

    def check(self, task: Task, classes: int) -> None:
        """As what is pursued."""
        self.aim.check(task, classes)


def confidence(
    indices: Tensor, level: float | Sequence[float] | Tensor, *, task: Task, rising: bool | Tensor = True
) -> Confidence:
    """The probability of one class per image reaches a level, from below or above.

    Args:
        indices: int64 (N,), the class.
        level: one probability for all images, or one per image.
        task: `multiclass` (softmax) or `multilabel` (the label's own sigmoid).
        rising: whether it is to rise to the level or to fall to it; for all, or one per image.

    Raises:
        InputError: a level outside (0, 1), or shapes that do not fit.

    Example:
        >>> criterion = confidence(torch.tensor([1]), 0.9, task="multiclass")
        >>> criterion.is_satisfied(torch.tensor([[0.0, 3.0]]), torch.zeros(1))
        tensor([True])
    """
    levels = torch.as_tensor(level, dtype=torch.float64, device=indices.device).expand(indices.shape)
    directions = torch.as_tensor(rising, dtype=torch.bool, device=indices.device).expand(indices.shape)
    return Confidence(indices, levels, directions, task)


def worse_than_random(labels: Tensor, classes: int) -> Confidence:
    """The true class is no more probable than one of N drawn blindly, ``p_y ≤ 1/N`` (multiclass).

    Args:
        labels: int64 (N,), the true labels.
        classes: their number, N.

    Source:
        Woods, Chen & Teuscher 2019, section III.A ("better than random").

    Example:
        >>> criterion = worse_than_random(torch.tensor([0]), classes=4)
        >>> logits = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
        >>> criterion.is_satisfied(logits, torch.zeros(1)), criterion.is_satisfied(-logits, torch.zeros(1))
        (tensor([False]), tensor([True]))
    """
    return confidence(labels, 1.0 / classes, task="multiclass", rising=False)


def worse_than_constant(
    indices: Tensor, constant: Sequence[float] | Tensor, *, task: Task, present: Tensor | None = None
) -> Confidence:
    """The classifier says no more of a class than the best constant answer: worse than random for unbalanced classes.

    The probability of the true class, or of a present label, falls to the constant; that of an absent label rises.

    Args:
        indices: int64 (N,): the true labels, or of a multi-label classifier one label per image.
        constant: (K,), the constant probabilities that minimise the network's own training loss
            (`best_constant` in `model.toml`).
        task: `multiclass` or `multilabel`.
        present: bool (N,), whether the image has the label; for a multi-label classifier only.

    Raises:
        InputError: `present` is missing for a multi-label classifier or given for another one; a constant outside
            (0, 1).

    Source:
        Woods, Chen & Teuscher 2019, arXiv 1906.02896 (better than random); the constant for unbalanced
        classes is our own.

    Example:
        >>> criterion = worse_than_constant(torch.tensor([0]), [0.9, 0.1], task="multiclass")
        >>> criterion.is_satisfied(torch.tensor([[2.0, 0.0]]), torch.zeros(1))  # p = 0.88: a constant answer says 0.9
        tensor([True])
    """
    if (present is None) != (task == "multiclass"):
        raise InputError("a multi-label classifier needs `present`, and no other takes it.")
    levels = torch.as_tensor(constant, dtype=torch.float64, device=indices.device)[indices]
    return confidence(indices, levels, task=task, rising=False if present is None else ~present.bool())


def label_flipped(indices: Tensor, present: Tensor, thresholds: Sequence[float] | Tensor) -> LabelFlipped:
    """The decision on one label of a multi-label classifier changes at that label's threshold.

    Args:
        indices: int64 (N,), one label per image.
        present: bool (N,), whether the image has it: a present one falls to its threshold, an absent one rises.
        thresholds: (K,), the decision thresholds of the labels, probabilities (`thresholds` in `model.toml`).

    Example:
        >>> flipped = label_flipped(torch.tensor([0, 0]), torch.tensor([True, False]), [0.5])
        >>> flipped.is_satisfied(torch.tensor([[1.0], [1.0]]), torch.zeros(2))
        tensor([False,  True])
    """
    levels = torch.as_tensor(thresholds, dtype=torch.float64, device=indices.device)[indices]
    return LabelFlipped(indices, levels, ~present.bool(), "multilabel")
