"""Decoupled direction and norm (DDN, Rony et al. 2019): climb along the gradient on a sphere that adapts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from pellucid.attacks.epsilon import nowhere_zero, scale_to

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.attacks.attack_state import AttackState


def decoupled_direction_norm(
    search: AttackState,
    *,
    steps: int = 100,
    gamma: float = 0.05,
    first_length: float = 1.0,
    last_step_size: float = 0.01,
) -> Tensor:
    """Climb the loss on a sphere whose radius shrinks by γ where the criterion is met and grows by γ where not.

    ``δₜ₊₁ = ρₜ₊₁ · u / ‖u‖`` with ``u = δₜ + αₜ · g / ‖g‖`` and ``ρₜ₊₁ = ρₜ (1 ∓ γ)``, kept inside the pixel box; g is
    the gradient of the criterion's loss. The steps αₜ have L2 length 1 at first and decay by cosine. A gradient that
    vanishes is replaced by a random direction. `steps` gradient evaluations per image. The publication rounds perturbed
    pixels to 8 bits at the end; that is left out here, so that radii compare with those of the other methods.

    Args:
        search: the images and what is wanted.
        steps: gradient evaluations.
        gamma: γ, share by which the radius changes in each step.
        first_length: radius of the first sphere, L2.
        last_step_size: to which the step size of 1 decays, L2.

    Returns:
        The last perturbation (n, C, H, W); `search.best` holds the smallest that met the criterion.

    Source:
        Rony et al. 2019, "Decoupling direction and norm for efficient gradient-based L2 adversarial attacks and
        defenses", Algorithm 1.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> _ = net[1].weight.data.copy_(torch.tensor([[1.0, 1, 1, 1], [-1, -1, -1, -1]]))
        >>> _ = net[1].bias.data.copy_(torch.tensor([-1.0, 1]))
        >>> from pellucid.attacks import Misclassified, minimal
        >>> result = minimal(net, torch.full((1, 1, 2, 2), 0.5), Misclassified(torch.tensor([0])), method="ddn")
        >>> round(float(result.radius), 2)  # to where the four pixels sum to 1
        0.25
    """
    farthest = math.sqrt(search.images[0].numel()) * search.farthest()
    perturbation = torch.zeros_like(search.images)
    length = torch.full_like(search.radius, first_length)
    for step in range(steps):
        cosine = (1 + math.cos(math.pi * step / steps)) / 2
        size = last_step_size + (1 - last_step_size) * cosine
        evaluation = search.evaluate(perturbation, of="loss")
        assert evaluation.gradient is not None
        perturbation = perturbation + scale_to(nowhere_zero(evaluation.gradient, search.generator), size, "l2")
        length = torch.minimum(
            torch.where(evaluation.is_satisfied, length * (1 - gamma), length * (1 + gamma)), farthest
        )
        perturbation = search.inside(scale_to(perturbation, length, "l2"))
    return perturbation
