"""What an attack on an explanation wants: another decision under the same map, or another map under the same decision.

A goal has two halves. Its constraint is a matter of logits, must hold, and is a criterion as attacks know it; its loss
is a matter of maps, and is followed as far as the constraint allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F

from pellucid.attacks.criteria import Misclassified, label_flipped
from pellucid.attacks.criterion import log_odds
from pellucid.evaluation.metrics.similarity import spearman
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from pellucid.types import Task

Goal = Literal["same-map", "same-decision"]
GOALS: tuple[Goal, ...] = ("same-map", "same-decision")
SAFE = 1e-3
"""A constraint counts as met this far inside it (logits), so that rounding in another batch does not undo it."""


@dataclass(frozen=True)
class Decision:
    """What the classifier decided about each image, and how sure it was of the class that is explained.

    Attributes:
        task: of the classifier.
        targets: int64 (N,), the classes explained.
        decided: int64 (N,): the most probable class; of a multi-label classifier the explained label.
        present: bool (N,), whether that label is decided present; True of a multiclass classifier.
        levels: float64 (N,), that label's threshold; ½ of a multiclass classifier, which has none.
        probability: float64 (N,), of the class explained.
    """

    task: Task
    targets: Tensor
    decided: Tensor
    present: Tensor
    levels: Tensor
    probability: Tensor

    def margin(self, logits: Tensor) -> Tensor:
        """How far (N,) the decision is from changing, in logits: above 0 while it stands."""
        if self.task == "multiclass":
            return Misclassified(self.decided).margin(logits)
        return label_flipped(self.decided, self.present, self._thresholds(logits)).margin(logits)

    def changed(self, logits: Tensor) -> Tensor:
        """Whether it is another one: bool (N,), as an evaluation decides."""
        nothing = torch.empty(0, device=logits.device)
        if self.task == "multiclass":
            return Misclassified(self.decided).is_satisfied(logits, nothing)
        return label_flipped(self.decided, self.present, self._thresholds(logits)).is_satisfied(logits, nothing)

    def rows(self, index: Tensor) -> Decision:
        """The same for some of the images."""
        parts = (self.targets, self.decided, self.present, self.levels, self.probability)
        return Decision(self.task, *(part[index] for part in parts))

    def _thresholds(self, logits: Tensor) -> Tensor:
        """A table of K thresholds in which each image finds its own; images of one label share it."""
        return logits.new_full((logits.shape[1],), 0.5, dtype=torch.float64).scatter(0, self.decided, self.levels)


def probability_of(logits: Tensor, targets: Tensor, task: Task) -> Tensor:
    """The probability of one class per image, float64 (N,)."""
    return log_odds(logits.double(), targets, task).sigmoid()


def decide(logits: Tensor, targets: Tensor | None, task: Task, thresholds: Sequence[float] | None = None) -> Decision:
    """The decisions about images with these logits (N, K).

    Args:
        logits: of the unchanged images.
        targets: int64 (N,), the classes to explain; the most probable ones by default.
        task: of the classifier.
        thresholds: of a multi-label classifier's labels, K probabilities; ½ each by default.

    Raises:
        InputError: another number of thresholds, or thresholds outside (0, 1).

    Example:
        >>> decide(torch.tensor([[0.0, 2.0]]), None, "multiclass").decided
        tensor([1])
    """
    top = logits.argmax(1)
    class_index = top if targets is None else targets
    levels = torch.full_like(class_index, 0.5, dtype=torch.float64)
    if task == "multilabel" and thresholds is not None:
        limits = torch.as_tensor(list(thresholds), dtype=torch.float64, device=logits.device)
        if limits.shape != (logits.shape[1],) or not bool(((limits > 0) & (limits < 1)).all()):
            raise InputError(
                f"thresholds must be {logits.shape[1]} probabilities inside (0, 1), one per label; found "
                f"{list(thresholds)[:5]}."
            )
        levels = limits[class_index]
    probability = probability_of(logits, class_index, task)
    multiclass = task == "multiclass"
    present = torch.ones_like(class_index, dtype=torch.bool) if multiclass else probability >= levels
    return Decision(task, class_index, top if multiclass else class_index, present, levels, probability)


@dataclass(frozen=True)
class SameMap:
    """The decision changes while the map stays.

    Attributes:
        decision: about the unchanged images.
        reference: (N, h, w), the unchanged images' maps as the attack differentiates them.
        before: (N, H, W), the same as the explainer gives them.
        keep: the rank correlation with `before` from which on a map counts as the same.
    """

    decision: Decision
    reference: Tensor
    before: Tensor
    keep: float

    def margin(self, logits: Tensor) -> Tensor:
        """How far (N,) the constraint is from being met, in logits."""
        return self.decision.margin(logits)

    def is_satisfied(self, logits: Tensor) -> Tensor:
        """Whether the decision is another one: bool (N,)."""
        return self.decision.changed(logits) & (self.margin(logits) < -SAFE)

    def map_loss(self, maps: Tensor) -> Tensor:
        """What the attack lowers (N,): one less the correlation with the original map."""
        return 1 - correlation(maps, self.reference)

    def score(self, maps: Tensor) -> Tensor:
        """How well (N,) the explainer's own maps serve the goal."""
        return spearman(maps, self.before)

    def found(self, maps: Tensor) -> Tensor:
        """Whether the explanation is invalidated by maps whose image meets the constraint: bool (N,)."""
        return spearman(maps, self.before) >= self.keep

    def rows(self, index: Tensor) -> SameMap:
        """The same for some of the images."""
        return SameMap(self.decision.rows(index), self.reference[index], self.before[index], self.keep)


@dataclass(frozen=True)
class SameDecision:
    """The map changes, away from the original or towards a chosen one, while decision and confidence stay.

    Attributes:
        decision: about the unchanged images.
        reference: (N, h, w), the unchanged images' maps as the attack differentiates them.
        before: (N, H, W), the same as the explainer gives them.
        target_maps: (N, H, W), the maps to come close to, or None for whichever is far from the original.
        tolerance: how far the probability of the class explained may move.
        changed: without `target_maps`, the rank correlation with `before` up to which a map counts as another one.
    """

    decision: Decision
    reference: Tensor
    before: Tensor
    target_maps: Tensor | None
    tolerance: float
    changed: float

    def margin(self, logits: Tensor) -> Tensor:
        """How far (N,) decision and confidence are from what they were, in logits and log-odds; up to 0 is near."""
        own = log_odds(logits, self.decision.targets, self.decision.task)
        probability = self.decision.probability
        low, high = ((probability + s * self.tolerance).clamp(0, 1).logit().to(own.dtype) for s in (-1, 1))
        return torch.maximum(torch.maximum(low - own, own - high), SAFE - self.decision.margin(logits))

    def is_satisfied(self, logits: Tensor) -> Tensor:
        """Whether the decision is the same and its confidence within the tolerance: bool (N,)."""
        now = probability_of(logits, self.decision.targets, self.decision.task)
        near = (now - self.decision.probability).abs() <= self.tolerance * (1 - 1e-4)
        return near & (self.decision.margin(logits) > 0) & ~self.decision.changed(logits)

    def map_loss(self, maps: Tensor) -> Tensor:
        """What the attack lowers (N,): correlation with the original, or its lack with the wanted map."""
        if self.target_maps is None:
            return 1 + correlation(maps, self.reference)
        size = (maps.shape[1], maps.shape[2])
        return 1 - correlation(maps, F.adaptive_avg_pool2d(self.target_maps.to(maps.dtype)[:, None], size)[:, 0])

    def score(self, maps: Tensor) -> Tensor:
        """How well (N,) the explainer's own maps serve the goal."""
        return -spearman(maps, self.before) if self.target_maps is None else spearman(maps, self.target_maps)

    def found(self, maps: Tensor) -> Tensor:
        """Whether the map is another one: bool (N,). With a wanted map, whether it is more like that."""
        to_original = spearman(maps, self.before)
        return (
            to_original <= self.changed if self.target_maps is None else spearman(maps, self.target_maps) > to_original
        )

    def rows(self, index: Tensor) -> SameDecision:
        """The same for some of the images."""
        goal_maps = None if self.target_maps is None else self.target_maps[index]
        parts = (self.decision.rows(index), self.reference[index], self.before[index], goal_maps)
        return SameDecision(*parts, self.tolerance, self.changed)


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation (N,) of maps (N, h, w), differentiable; 0 of a constant map."""
    x, y = (maps.flatten(1) - maps.flatten(1).mean(1, keepdim=True) for maps in (a, b))
    return F.cosine_similarity(x, y, dim=1, eps=1e-20)
