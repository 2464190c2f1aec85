"""Fast minimum-norm attack (FMN, Pintor et al. 2021): descend the margin within a ball that adapts to the boundary."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from pellucid.attacks.epsilon import lengths, project, scale_to

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.attacks.attack_state import AttackState
    from pellucid.attacks.epsilon import Norm


def fast_minimum_norm(
    search: AttackState,
    *,
    steps: int = 100,
    step_size: float = 1.0,
    last_step_size: float = 0.01,
    gamma: float = 0.05,
    last_gamma: float = 0.001,
) -> Tensor:
    """Walk down the criterion's margin in an L2 or L∞ ball that shrinks where the criterion is met and grows where not.

    ``δₜ₊₁ = Π(δₜ − αₜ · ∇m / ‖∇m‖)`` with the margin m; Π projects onto the ball of radius ``εₜ₊₁`` and the pixel box.
    ``εₜ₊₁ = min(εₜ (1 − γₜ), ‖δ*‖)`` where the criterion is met, δ* the smallest so far, and ``εₜ (1 + γₜ)`` elsewhere.
    Until an image is first found its ball reaches to the linearised boundary, ``‖δₜ‖ + |m| / ‖∇m‖`` (∇m in the dual
    norm); where that would no longer widen it, as on a boundary that is hit exactly or where the pixel box cuts the
    step, it grows as the others do. Step size and γ decay by cosine; `steps` gradient evaluations per image. For
    misclassification the margin is the authors' loss.

    Args:
        search: the images and what is wanted.
        steps: gradient evaluations.
        step_size: length of the first step, L2.
        last_step_size: to which it decays, L2.
        gamma: share by which the ball's radius changes in the first step.
        last_gamma: to which it decays.

    Returns:
        The last perturbation (n, C, H, W); `search.best` holds the smallest that met the criterion.

    Source:
        Pintor et al. 2021, "Fast minimum-norm adversarial attacks through adaptive norm constraints", Algorithm 1;
        the defaults are those of its authors' implementation in foolbox. That a ball which no longer widens grows is
        ours: without it the search waits on a linear boundary for ever.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> _ = net[1].weight.data.copy_(torch.tensor([[1.0, 1, 1, 1], [-1, -1, -1, -1]]))
        >>> _ = net[1].bias.data.copy_(torch.tensor([-1.0, 1]))
        >>> from pellucid.attacks import Misclassified, minimal
        >>> result = minimal(net, torch.full((1, 1, 2, 2), 0.1), Misclassified(torch.tensor([1])), method="fmn")
        >>> round(float(result.radius), 2)  # to where the four pixels sum to 1
        0.15
    """
    norm: Norm = "linf" if search.norm == "linf" else "l2"
    side = 1.0 if norm == "linf" else math.sqrt(search.images[0].numel())  # from root mean square to L2
    farthest = side * search.farthest()
    perturbation = torch.zeros_like(search.images)
    limit = torch.full_like(search.radius, torch.inf)
    for step in range(steps):
        cosine = (1 + math.cos(math.pi * step / steps)) / 2
        change = last_gamma + (gamma - last_gamma) * cosine
        size = last_step_size + (step_size - last_step_size) * cosine
        evaluation = search.evaluate(perturbation)
        assert evaluation.gradient is not None
        flat = evaluation.gradient.flatten(1)
        slope = flat.abs().sum(1) if norm == "linf" else flat.norm(dim=1)  # in the dual norm
        to_boundary = evaluation.value.abs() / slope.clamp_min(1e-12)
        linear = lengths(perturbation, norm) + to_boundary
        grown = limit * (1 + change)
        is_stuck = limit.isfinite() & (linear < limit * (1 + last_gamma))
        outside = torch.where(search.radius.isfinite() | is_stuck, grown, linear)
        inside = torch.minimum(limit * (1 - change), side * search.radius)
        limit = torch.minimum(torch.where(evaluation.is_satisfied, inside, outside), farthest)
        perturbation = perturbation - scale_to(evaluation.gradient, size, "l2")
        perturbation = search.inside(project(perturbation, limit, norm))
    return perturbation
