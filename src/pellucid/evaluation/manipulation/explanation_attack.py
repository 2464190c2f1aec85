"""The descent itself: a batch of images on its way through the budgets, and the best that the explainer verified."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from pellucid.attacks.epsilon import lengths, project, random_within, scale_to
from pellucid.attacks.pgd import projected_ascent
from pellucid.evaluation.manipulation.goals import SameDecision, SameMap
from pellucid.evaluation.manipulation.gradient_maps import gradient_map
from pellucid.explainers import explain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from pellucid.evaluation.manipulation.goals import Decision
    from pellucid.evaluation.manipulation.settings import Attack
    from pellucid.types import Classifier

MOMENTUM = 0.75
NEAR = 0.05  # logits: closer to its limit than this, a constraint is watched before it breaks,
TOO_NEAR = 0.01  # and closer than this the step goes back from it


class ExplanationAttack:
    """A batch on its way through the budgets.

    Attributes:
        best: (N, C, H, W), the best verified perturbed images, the images themselves where none is.
        gradient_evaluations: int64 (N,), spent so far on descending and on judging what was found on the way; forward
            passes alone are not counted.
    """

    def __init__(
        self,
        classifier: Classifier,
        attack: Attack,
        images: Tensor,
        decision: Decision,
        before: Tensor,
        goal_maps: Tensor | None,
        seed: int,
    ) -> None:
        self._classifier, self._attack, self._images = classifier, attack, images
        self._differentiable_map = gradient_map(attack.method, classifier, images, attack.options)
        self._generator = torch.Generator(images.device).manual_seed(seed)
        with torch.enable_grad():
            reference = self._differentiable_map.maps(images.clone().requires_grad_(True), decision.targets).detach()
        self._goal: SameMap | SameDecision = (
            SameMap(decision, reference, before, attack.keep)
            if attack.goal == "same-map"
            else SameDecision(decision, reference, before, goal_maps, attack.tolerance, attack.changed)
        )
        self.best = images.clone()
        self.gradient_evaluations = torch.full((len(images),), self._differentiable_map.cost, device=images.device)
        # the image itself meets the constraint where the decision is to stay
        nothing = torch.full((len(images),), -math.inf, dtype=torch.float64, device=images.device)
        self._score = nothing if attack.goal == "same-map" else self._goal.score(before)
        self._last = torch.zeros_like(images)
        self._before = 0.0

    def within(self, budget: float) -> None:
        """Descend inside the ball of this budget, from where the one before ended.

        A map stays most alike where the image moves least, so what keeps the map goes on from its best in small steps.
        """
        reach = lengths(self.best - self._images, "rms")
        fine = (reach > 0) & (self._attack.goal == "same-map")
        pace = torch.where(fine, 0.4 * reach, torch.full_like(reach, budget))
        start = random_within(self._images, budget, "rms", self._generator)
        if self._before:
            start = 0.2 * start + self._last * (budget / self._before)
        start = torch.where(fine.view(-1, 1, 1, 1), self._last, start)
        self._before = budget
        average, lowest = torch.zeros_like(start), torch.full_like(self._score, math.inf)
        steps = self._attack.steps

        def downhill(here: Tensor, step: int) -> Tensor:
            nonlocal average, lowest
            point = (self._images + here).clamp(0, 1).requires_grad_(True)
            with torch.enable_grad():
                maps, logits = self._differentiable_map.forward(point, self._goal.decision.targets)
                logits = self._classifier(point) if logits is None else logits
                margin, map_loss = self._goal.margin(logits), self._goal.map_loss(maps)
                uphill = _gradient(margin, point, again=True)  # the map's comes by the same way
                slope = _gradient(map_loss, point)
            self.gradient_evaluations += 1 + self._differentiable_map.cost
            constraint_met = self._goal.is_satisfied(logits.detach())
            better = constraint_met & (map_loss.detach() < lowest)
            lowest = torch.where(better, map_loss.detach().double(), lowest)
            self._verify(point.detach(), better.nonzero().squeeze(1))
            average = MOMENTUM * average + _direction(-slope, -uphill, margin.detach())
            return scale_to(average, pace * (0.5 - 0.45 * step / max(steps - 1, 1)), "rms")

        here = projected_ascent(self._inside(start, budget), downhill, lambda x: self._inside(x, budget), steps)
        downhill(here, steps)  # the last point is judged as well; nobody goes on from it
        self._last = self.best - self._images
        nowhere = lengths(self._last, "rms") == 0
        self._last[nowhere] = here[nowhere]

    def state(self) -> dict[str, Tensor]:
        """All that the next budget goes on from."""
        return {
            "best": self.best,
            "last": self._last,
            "score": self._score,
            "spent": self.gradient_evaluations,
            "generator": self._generator.get_state(),
        }

    def restore(self, state: Mapping[str, Tensor], budget: float) -> None:
        """Take up the state that another attack had after this budget."""
        self.best, self._last = state["best"].to(self.best), state["last"].to(self._last)
        self._score = state["score"].to(self._score)
        self.gradient_evaluations = state["spent"].to(self.gradient_evaluations)
        self._generator.set_state(state["generator"].cpu())
        self._before = budget

    def _inside(self, perturbation: Tensor, budget: float) -> Tensor:
        """Inside the ball, and then the pixel box, which only shortens."""
        short = project(perturbation, budget * (1 - 1e-5), "rms")  # room for the rounding of image + perturbation
        return (self._images + short).clamp(0, 1) - self._images

    def _verify(self, points: Tensor, rows: Tensor) -> None:
        """Keep those of these rows that the explainer itself scores best."""
        if len(rows) == 0:
            return
        goal = self._goal.rows(rows)
        judged = explain(
            self._attack.method, self._classifier, points[rows], goal.decision.targets, **self._attack.options
        )
        self.gradient_evaluations[rows] += judged.gradient_evaluations
        score = goal.score(judged.maps.detach())
        better = rows[score > self._score[rows]]  # not where it is NaN: a constant map invalidates nothing
        self._score[rows] = torch.where(score > self._score[rows], score, self._score[rows])
        self.best[better] = points[better]


def _gradient(values: Tensor, point: Tensor, *, again: bool = False) -> Tensor:
    """Of values (n,), each its own image's; zero where they do not depend on it, as a linear network's saliency."""
    if not values.requires_grad:
        return torch.zeros_like(point)
    (gradient,) = torch.autograd.grad(values.sum(), point, retain_graph=again, allow_unused=True)
    return torch.zeros_like(point) if gradient is None else gradient


def _direction(to_map: Tensor, to_constraint: Tensor, margin: Tensor) -> Tensor:
    """Where to go (n, C, H, W) by the two descent directions, so that the constraint is met or stays met."""
    to_map, to_constraint = (scale_to(way, 1.0, "rms") for way in (to_map, to_constraint))
    against = (to_map * to_constraint).flatten(1).mean(1).clamp_max(0)
    against = torch.where(margin > -NEAR, against, torch.zeros_like(against))
    free = to_map - against.view(-1, 1, 1, 1) * to_constraint
    return scale_to(free + (margin > -TOO_NEAR).view(-1, 1, 1, 1) * to_constraint, 1.0, "rms")


def explained(classifier: Classifier, images: Tensor, targets: Tensor, attack: Attack) -> Tensor:
    """The explainer's own maps, (N, H, W)."""
    return explain(attack.method, classifier, images, targets, **attack.options).maps.detach()
