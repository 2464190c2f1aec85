"""The smoothed classifier attacked: what is found on a few fixed draws is handed out once fresh draws confirm it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from pellucid.attacks import Epsilon, minimal, pgd
from pellucid.attacks.criteria import label_flipped
from pellucid.attacks.epsilon import lengths
from pellucid.evaluation.robustness.certified import BLOCK, predicted, seed_of, votes
from pellucid.models.smoothing import SmoothedClassifier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from pellucid.attacks import Criterion
    from pellucid.evaluation.robustness.certified import Smoothing
    from pellucid.evaluation.robustness.robustness_target import RobustnessTarget

FACTORS = (0.1, 0.25, 0.5, 0.7, 0.8, 0.87, 0.93, 1.0, 1.07, 1.15, 1.25, 1.4, 1.7, 2.0, 3.0)
"""Lengths along a direction, as multiples of what was found: bisection evaluates four of them."""
TRIES = 2  # directions: the smallest perturbation found and, where none of its lengths is confirmed, PGD's
EVALUATIONS = 1 + TRIES * math.ceil(
    math.log2(len(FACTORS) + 1)
)  # the image itself included; each gets its share of alpha
PGD_STEPS = 10
PGD_LENGTH = 2.0  # L2, in standard deviations of the noise; its factors reach from 0.2 to 6 of them


class AttackedDecision(NamedTuple):
    """What an attack on one decision of a smoothed classifier came to.

    Attributes:
        found: whether there is an image whose smoothed answer is wrong, at confidence 1 − alpha.
        radius: root mean square of its distance; 0 where the image itself is one, NaN where none was found.
        gradient_evaluations: of the network under the noise, one per draw.
        forward_passes: of the network, those of the gradient evaluations included.
    """

    found: bool
    radius: float
    gradient_evaluations: int
    forward_passes: int


def attack_smoothed(
    classifier: nn.Module,
    image: Tensor,
    robustness_target: RobustnessTarget,
    targets: Sequence[int],
    labels: Sequence[int],
    at_image: Tensor,
    smoothing: Smoothing,
    *,
    name: str,
    rows: int = BLOCK,
) -> list[AttackedDecision]:
    """The smallest perturbation found, decision by decision, that makes the smoothed classifier answer wrongly.

    `tight` follows the mean probability over fixed draws. Lengths along what it finds are then judged by PREDICT on
    fresh draws; the smallest one that is *wrong* there is handed out. An abstention is no success: it does not show
    that the answer has changed, and would put the attack below the certificate. Each of the at most `EVALUATIONS` ones
    is made at ``alpha / EVALUATIONS``, so that all of them are right with probability 1 − alpha.

    Args:
        classifier: the network, without noise.
        image: float (C, H, W) in [0, 1].
        robustness_target: of kind `attack`; it knows the task and the thresholds.
        targets: (U,) the true side of each decision: a class, or 0 and 1 for a label.
        labels: (U,) the label's number; −1 for a multiclass network, which has one decision.
        at_image: int64 (D, C), votes on the image itself, of `smoothing.samples` draws.
        smoothing: noise, draws and confidence.
        name: of the image, which its draws belong to.
        rows: noisy images at a time.

    Returns:
        One result for each decision.

    Source:
        Salman et al. 2019 for attacking the mean probability; Cohen et al. 2019 for PREDICT.
    """
    search = _Search(classifier, image, robustness_target, at_image, smoothing, name, rows)
    return search.run(targets, labels)


class _Search:
    def __init__(
        self,
        classifier: nn.Module,
        image: Tensor,
        robustness_target: RobustnessTarget,
        at_image: Tensor,
        smoothing: Smoothing,
        name: str,
        rows: int,
    ) -> None:
        self.classifier, self.image, self.robustness_target = classifier, image, robustness_target
        self.at_image, self.smoothing, self.name, self.rows = at_image, smoothing, name, rows
        self.alpha = smoothing.alpha / EVALUATIONS
        self.several = robustness_target.task == "multilabel"
        self.thresholds = robustness_target.levels if self.several else None
        assert smoothing.attack is not None
        self.smoothed = SmoothedClassifier(
            classifier,
            smoothing.sigma,
            smoothing.attack,
            seed_of(smoothing.seed, name, "attack"),
            thresholds=self.thresholds,
            rows=rows,
        )

    def run(self, targets: Sequence[int], labels: Sequence[int]) -> list[AttackedDecision]:
        """All decisions of the image."""
        attacks: dict[int, AttackedDecision] = {}
        for index, (target, label) in enumerate(zip(targets, labels, strict=True)):
            if self._wrong(self.at_image, target, label):
                attacks[index] = AttackedDecision(True, 0.0, 0, 0)
        pending = [index for index in range(len(targets)) if index not in attacks]
        if pending:
            draws = self.smoothing.attack or 1
            criterion = self._criterion([targets[u] for u in pending], [labels[u] for u in pending])
            images = self.image.expand(len(pending), -1, -1, -1).contiguous()
            result = minimal(self.smoothed, images, criterion, batch_size=max(1, self.rows // draws))
            for place, index in enumerate(pending):
                attacks[index] = self._confirmed(
                    result.perturbation[place],
                    targets[index],
                    labels[index],
                    draws * int(result.gradient_evaluations[place]),
                    draws * int(result.forward_passes[place]),
                )
        return [attacks[index] for index in range(len(targets))]

    def _confirmed(
        self, perturbation: Tensor, target: int, label: int, gradients: int, passes: int
    ) -> AttackedDecision:
        """The shortest confirmed length along what was found, or along PGD's direction where there is none."""
        for attempt in range(TRIES):
            if attempt == 1:
                perturbation = self._pushed(target, label)
                gradients, passes = (n + PGD_STEPS * self.smoothed.samples for n in (gradients, passes))
            if not bool(perturbation.any()):  # met on the attack's draws already, or nothing found
                continue
            candidate, evaluations = self._shortest(perturbation, target, label, attempt)
            passes += evaluations * self.smoothing.samples
            if candidate is not None:
                distance = (candidate.double() - self.image.double())[None]
                return AttackedDecision(True, float(lengths(distance, "rms")), gradients, passes)
        return AttackedDecision(False, math.nan, gradients, passes)

    def _shortest(self, perturbation: Tensor, target: int, label: int, attempt: int) -> tuple[Tensor | None, int]:
        """Bisect the lengths along a direction; the image at the shortest that is wrong, and how many it took."""
        low, high, best, evaluations = 0, len(FACTORS), None, 0
        while low < high:
            middle = (low + high) // 2
            candidate = (self.image + FACTORS[middle] * perturbation).clamp(0, 1)
            seed = seed_of(self.smoothing.seed, self.name, "confirm", label, attempt, middle)
            count = votes(
                self.classifier,
                candidate,
                self.smoothing.sigma,
                self.smoothing.samples,
                seed=seed,
                thresholds=self.thresholds,
                rows=self.rows,
            )
            evaluations += 1
            if self._wrong(count, target, label):
                best, high = candidate, middle
            else:
                low = middle + 1
        return best, evaluations

    def _pushed(self, target: int, label: int) -> Tensor:
        """A perturbation (C, H, W) of a length that noise of this size needs, whatever is smallest."""
        criterion = self._criterion([target], [label])
        attacked_images = pgd(
            self.smoothed,
            self.image[None],
            torch.tensor([target], device=self.image.device),
            loss=lambda logits, _: -criterion.smooth_margin(logits).sum(),
            eps=Epsilon(l2=PGD_LENGTH * self.smoothing.sigma),
            steps=PGD_STEPS,
            random_start=False,
        )
        return attacked_images[0] - self.image

    def _criterion(self, targets: Sequence[int], labels: Sequence[int]) -> Criterion:
        device = self.image.device
        if self.several:  # the smoothed classifier has centred each decision at a half
            indices, present = torch.tensor(labels, device=device), torch.tensor(targets, device=device) == 1
            return label_flipped(indices, present, [0.5] * len(self.robustness_target.levels))
        own = np.asarray(targets, dtype=np.int64)
        return self.robustness_target.criterion_for(own, np.arange(len(own)), np.full(len(own), -1), device)

    def _wrong(self, count: Tensor, target: int, label: int) -> bool:
        """Whether the smoothed classifier's answer is certain to be another than the target."""
        return predicted(count[max(label, 0)], self.alpha) not in (None, target)
