"""A search for small perturbations of a batch: it counts what is spent and keeps the best that was ever verified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from pellucid.attacks.epsilon import lengths
from pellucid.models.inference import check_answers

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from pellucid.attacks.criterion import WalkGoal
    from pellucid.attacks.epsilon import Norm

    Differentiable = Literal["margin", "smooth_margin", "loss"] | Callable[[Tensor, Tensor], Tensor]
    """What is differentiated: something of the criterion's, or (logits (n, K), rows (n,)) → (n,), one per image."""


@dataclass(frozen=True)
class PointEvaluation:
    """What one forward pass showed of some images.

    Attributes:
        is_satisfied: bool (n,), whether the criterion is met.
        value: (n,), what was differentiated, detached.
        gradient: (n, C, H, W), its gradient with respect to the image, or None where none was asked for.
        logits: (n, K), detached.
    """

    is_satisfied: Tensor
    value: Tensor
    gradient: Tensor | None
    logits: Tensor


class AttackState:
    """What an algorithm works with: images, criterion, the pixel box, and the best perturbation so far.

    Only what `evaluate` has seen meet the criterion becomes the best, so that the best radius never grows, and no
    failure is ever handed out. An algorithm needs no other way to the network.

    Attributes:
        images: (n, C, H, W), the images.
        criterion: of these images; a goal without a margin for a walk of a given length.
        box: whether perturbed images stay in [0, 1].
        norm: of all lengths here: `rms` or `linf`.
        generator: on the images' device; the only source of chance.
        best: (n, C, H, W), the closest perturbed images that meet the criterion; the images where there are none.
        radius: (n,), their distance in `norm`, infinite where there are none.
        gradient_evaluations: int64 (n,).
        forward_passes: int64 (n,).
        first_met: int64 (n,), the number of gradient evaluations before it was first met; −1 where it never was.
    """

    def __init__(
        self,
        classifier: nn.Module,
        images: Tensor,
        criterion: WalkGoal,
        *,
        box: bool = True,
        norm: Norm = "rms",
        generator: torch.Generator | None = None,
    ) -> None:
        self.images, self.criterion, self.box, self.norm = images, criterion, box, norm
        self.generator = generator or torch.Generator(images.device).manual_seed(0)
        self._classifier = classifier
        count = len(images)
        self.best = images.clone()
        self.radius = images.new_full((count,), torch.inf)
        self.gradient_evaluations = torch.zeros(count, dtype=torch.int64, device=images.device)
        self.forward_passes = torch.zeros_like(self.gradient_evaluations)
        self.first_met = torch.full_like(self.gradient_evaluations, -1)

    def __len__(self) -> int:
        return len(self.images)

    def everyone(self) -> Tensor:
        """The rows of all images, int64 (n,)."""
        return torch.arange(len(self), device=self.images.device)

    def inside(self, perturbation: Tensor, rows: Tensor | None = None) -> Tensor:
        """The perturbation (n, C, H, W), cut so that the images stay in the pixel box if they are to."""
        if not self.box:
            return perturbation
        images = self.images if rows is None else self.images[rows]
        return (images + perturbation).clamp(0, 1) - images

    def farthest(self) -> Tensor:
        """The length (n,) of the longest perturbation that the pixel box allows; infinite without it."""
        if not self.box:
            return torch.full_like(self.radius, torch.inf)
        return lengths(torch.maximum(self.images, 1 - self.images), self.norm)

    def evaluate(
        self,
        perturbation: Tensor,
        rows: Tensor | None = None,
        *,
        gradient: bool = True,
        of: Differentiable = "margin",
    ) -> PointEvaluation:
        """Run the network on some images moved by `perturbation`, and keep what meets the criterion if it is closer.

        Args:
            perturbation: (n, C, H, W) of these images; cut to the box if it is to be kept.
            rows: int64 (n,), which images; all by default.
            gradient: also compute the gradient: one gradient evaluation per image.
            of: what is differentiated: the criterion's margin, its smooth form, its loss, or a function of logits and
                rows.

        Raises:
            InputError: logits that are not numbers.
        """
        images = self.images if rows is None else self.images[rows]
        criterion = self.criterion if rows is None else self.criterion.rows(rows)
        rows = self.everyone() if rows is None else rows
        points = (images + perturbation).detach()
        if self.box:
            points = points.clamp(0, 1)
        with torch.set_grad_enabled(gradient):
            points.requires_grad_(gradient)
            logits = self._classifier(points)
            value = getattr(criterion, of)(logits) if isinstance(of, str) else of(logits, rows)
            (slope,) = torch.autograd.grad(value.sum(), points) if gradient else (None,)
        points, logits = points.detach(), logits.detach()
        check_logits(logits)
        is_satisfied = criterion.is_satisfied(logits, points - images)
        self._keep(points, images, is_satisfied, rows, gradient)
        return PointEvaluation(is_satisfied, value.detach(), slope, logits)

    def part(self, rows: Tensor) -> AttackState:
        """A search of its own for some images (int64 (n,)), with the same generator, that has found nothing yet."""
        return AttackState(
            self._classifier,
            self.images[rows],
            self.criterion.rows(rows),
            box=self.box,
            norm=self.norm,
            generator=self.generator,
        )

    def take(self, rows: Tensor, part: AttackState) -> None:
        """What a `part` for these images found and spent."""
        first = (part.first_met >= 0) & (self.first_met[rows] < 0)
        self.first_met[rows[first]] = (self.gradient_evaluations[rows] + part.first_met)[first]
        self.gradient_evaluations[rows] += part.gradient_evaluations
        self.forward_passes[rows] += part.forward_passes
        closer = part.radius < self.radius[rows]
        self.radius[rows[closer]], self.best[rows[closer]] = part.radius[closer], part.best[closer]

    def _keep(self, points: Tensor, images: Tensor, is_satisfied: Tensor, rows: Tensor, gradient: bool) -> None:
        first = rows[is_satisfied & (self.first_met[rows] < 0)]
        self.first_met[first] = self.gradient_evaluations[first]
        self.forward_passes[rows] += 1
        if gradient:
            self.gradient_evaluations[rows] += 1
        radius = lengths(points - images, self.norm)
        closer = is_satisfied & (radius < self.radius[rows])
        self.radius[rows[closer]] = radius[closer]
        self.best[rows[closer]] = points[closer]


def check_logits(logits: Tensor) -> None:
    """Refuse logits that are not finite numbers: no attack can climb them.

    Raises:
        InputError: with how many.
    """
    check_answers(logits, "an attack needs numbers")
