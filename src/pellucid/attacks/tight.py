"""The default attack."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from pellucid.attacks.magnitude import scale_to

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.attacks.search import Search


def tight(search: Search, *, steps: int = 40) -> Tensor:
    """To be written: a first try in the manner of FMN."""
    side = math.sqrt(search.images[0].numel())
    delta = torch.zeros_like(search.images)
    radius = torch.full_like(search.radius, torch.inf)
    for step in range(steps):
        seen = search.look(delta)
        assert seen.gradient is not None
        cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
        gamma = 0.001 + (0.05 - 0.001) * cosine
        alpha = (0.2 + (8.0 - 0.2) * cosine) / side
        now = delta.flatten(1).norm(dim=1) / side
        slope = seen.gradient.flatten(1).norm(dim=1).clamp_min(1e-20)
        guess = now + seen.value / slope / side
        radius = torch.where(
            seen.met,
            torch.minimum(radius * (1 - gamma), search.radius * (1 - gamma)),
            torch.where(search.radius.isfinite(), radius * (1 + gamma), guess),
        )
        delta = delta - alpha * scale_to(seen.gradient, 1.0, "rms")
        now = (delta.flatten(1).norm(dim=1) / side).clamp_min(1e-20)
        delta = search.inside(delta * (radius / now).clamp_max(1).view(-1, 1, 1, 1))
    return delta
