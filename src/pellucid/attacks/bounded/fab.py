"""Targeted FAB (Croce & Hein 2020): steps to the linearised boundary, biased towards the image; ends at what it finds.

It looks for the smallest perturbation. Here an image leaves as soon as one lies within the size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pellucid.attacks.bounded.hyperplane import onto_hyperplane
from pellucid.attacks.epsilon import lengths

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.attacks.bounded.search import BoundedSearch, Objective

MOST_BIAS, OVERSHOOT, BACKWARD = 0.1, 1.05, 0.9
LINE_STEPS = 3


def fab(search: BoundedSearch, rows: Tensor, objective: Objective, *, steps: int = 100) -> None:
    """Approach the boundary where an objective is 0, from the image itself; rows that fall leave at once.

    `steps` gradient evaluations and as many forward passes per row that stands to the end, and five more.

    Args:
        search: keeps what falls.
        rows: int64 (n,), on which.
        objective: negative at the image, 0 on the boundary: a difference of logits.
        steps: at least 1.

    Source:
        Croce & Hein 2020, "Minimally distorted adversarial examples with a fast adaptive boundary attack", algorithm 1,
        with one target as in AutoAttack; α_max = 0.1, η = 1.05, β = 0.9 and the final search of 3 steps are theirs.
    """
    here = search.images[rows]
    beyond = torch.full((len(rows),), torch.inf, device=here.device, dtype=here.dtype)
    best = here.clone()
    for _ in range(steps):
        stands = (~search.fallen[rows]).nonzero().squeeze(1)
        rows, here, best, beyond = rows[stands], here[stands], best[stands], beyond[stands]
        if not len(rows):
            return
        images = search.images[rows]
        value, gradient = search.evaluate(here, rows, objective)
        assert gradient is not None
        here = _forward(search, here, images, value, gradient)
        # the hyperplane is that of one class; any class that takes the lead will do
        search.evaluate(here, rows, gradient=False)
        crossed = search.met_last
        distance = lengths(here - images, search.norm)
        nearer = crossed & (distance < beyond)
        beyond = torch.where(nearer, distance, beyond)
        best = torch.where(nearer.view(-1, 1, 1, 1), here, best)
        back = images + BACKWARD * (here - images)
        here = torch.where(crossed.view(-1, 1, 1, 1), back, here)
    _line_search(search, rows, objective, best, beyond)


def _forward(search: BoundedSearch, here: Tensor, images: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
    """Overshoot the boundary's linear model, from here and from the image, and mix the two by their lengths."""
    from_here = onto_hyperplane(here, gradient, -value, search.norm)
    at_image = value + (gradient * (images - here)).flatten(1).sum(1)
    from_image = onto_hyperplane(images, gradient, -at_image, search.norm)
    own, other = lengths(from_here, search.norm), lengths(from_image, search.norm)
    bias = (own / (own + other).clamp_min(1e-12)).clamp(0, MOST_BIAS).view(-1, 1, 1, 1)
    mixed = (1 - bias) * (here + OVERSHOOT * from_here) + bias * (images + OVERSHOOT * from_image)
    return mixed.clamp(0, 1)


def _line_search(search: BoundedSearch, rows: Tensor, objective: Objective, best: Tensor, beyond: Tensor) -> None:
    """Along the line from the image to the best point that lies outside the ball, where it crosses the boundary."""
    outside = (~search.fallen[rows] & beyond.isfinite()).nonzero().squeeze(1)
    if not len(outside):
        return
    rows, far = rows[outside], best[outside]
    near = search.images[rows]
    value_near, _ = search.evaluate(near, rows, objective, gradient=False)
    value_far, _ = search.evaluate(far, rows, objective, gradient=False)
    for _ in range(LINE_STEPS):
        share = (value_near / (value_near - value_far).clamp_max(-1e-12)).clamp(0, 1).view(-1, 1, 1, 1)
        middle = near + share * (far - near)
        value, _ = search.evaluate(middle, rows, objective, gradient=False)
        crossed = search.met_last
        mask = crossed.view(-1, 1, 1, 1)
        far, near = torch.where(mask, middle, far), torch.where(mask, near, middle)
        value_far, value_near = torch.where(crossed, value, value_far), torch.where(crossed, value_near, value)
