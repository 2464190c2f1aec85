"""A walk within a ball of each image's own size, until the criterion is met there."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from pellucid.attacks.epsilon import nowhere_zero, project, scale_to, steepest
from pellucid.attacks.pgd import projected_ascent

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.attacks.attack_state import AttackState, Differentiable


def ball_walk(
    search: AttackState,
    rows: Tensor,
    bound: Tensor,
    start: Tensor,
    *,
    of: Differentiable,
    steps: int,
    step: float,
    last_step: float | None = None,
) -> Tensor:
    """Projected descent of a margin, or ascent of a loss; an image leaves once it meets the criterion.

    `steps` gradient evaluations, and one more forward pass, per image that never does.

    Args:
        search: keeps the best.
        rows: int64 (n,), the images.
        bound: (n,), the ball's size in the search's norm.
        start: (n, C, H, W), the perturbation to begin with, in the ball.
        of: what is followed: `loss` is raised, anything else lowered.
        steps: at most so many.
        step: length of a step, as a share of the bound.
        last_step: to which it shrinks by cosine; it does not by default.

    Returns:
        Where the walk ended (n, C, H, W).
    """
    is_met = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    sign = 1.0 if of == "loss" else -1.0
    last = step if last_step is None else last_step

    def uphill(here: Tensor, number: int) -> Tensor | None:
        unmet = (~is_met).nonzero().squeeze(1)
        if len(unmet) == 0:
            return None
        evaluation = search.evaluate(here[unmet], rows[unmet], of=of)
        assert evaluation.gradient is not None
        is_met[unmet] = evaluation.is_satisfied
        share = last + (step - last) * (1 + math.cos(math.pi * number / steps)) / 2
        gradient = nowhere_zero(evaluation.gradient, search.generator)
        change = torch.zeros_like(here)
        change[unmet] = sign * scale_to(steepest(gradient, search.norm), share * bound[unmet], search.norm)
        change[is_met] = 0  # an image that was met stays where it is
        return change

    def inside(candidate: Tensor) -> Tensor:
        return search.inside(project(candidate, bound, search.norm), rows)

    ended = projected_ascent(start, uphill, inside, steps)
    unmet = (~is_met).nonzero().squeeze(1)
    if len(unmet):
        search.evaluate(ended[unmet], rows[unmet], gradient=False, of=of)
    return ended
