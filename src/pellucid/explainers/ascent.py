"""Perturbations of one exact size inside the pixel box, moved so that a class's log-odds rise or fall the most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pellucid.attacks.epsilon import scale_to

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.attacks.attack_state import AttackState

STEPS = 17
"""Half of the paper's 35 gradient evaluations, rounded down."""


def stretch(direction: Tensor, images: Tensor, rms: float) -> Tensor:
    """The perturbation of size `rms` inside the pixel box that goes along `direction` the furthest.

    It is ``clip(s · direction)`` with the one scale s at which the clipped perturbation has that size. Of all
    perturbations of that size inside the box it has the largest inner product with the direction, and it is the
    nearest to it: both at once, because their lengths are the same. The scale is found exactly, in a few rounds: the
    mean square grows with s² along straight pieces, each with fewer values that are still free.

    Args:
        direction: (N, C, H, W); values of 0 stay 0.
        images: (N, C, H, W) in [0, 1].
        rms: root mean square per pixel and channel.

    Returns:
        (N, C, H, W); shorter than `rms` only where the box or the direction's zeros leave no more room.

    Example:
        >>> image = torch.tensor([0.9, 0.5, 0.5, 0.5]).view(1, 1, 2, 2)
        >>> stretch(torch.ones(1, 1, 2, 2), image, 0.2).flatten()  # one value can rise by 0.1 only
        tensor([0.1000, 0.2236, 0.2236, 0.2236])
    """
    scaled = scale_to(direction, rms, "rms").flatten(1)
    pixels = images.flatten(1).clamp(0, 1)
    room = torch.where(scaled > 0, 1 - pixels, pixels)
    size = scaled.abs()
    free = torch.ones_like(size, dtype=torch.bool)
    total = rms**2 * size.shape[1]
    while True:
        remaining = (total - room.square().masked_fill(free, 0).sum(1)).clamp_min(0)
        scale = (remaining / size.square().masked_fill(~free, 0).sum(1).clamp_min(1e-30)).sqrt()
        stretched = scale[:, None] * size
        still = free & (stretched < room)  # never grows, so this ends
        if torch.equal(still, free):
            return (scaled.sign() * torch.minimum(stretched, room)).view_as(images)
        free = still


def ascend(search: AttackState, *, rms: float, steps: int = STEPS) -> Tensor:
    """Gradient steps on the shell of perturbations of size `rms` inside the pixel box; the best point is handed out.

    Each step goes down the gradient of the criterion's margin and back to the nearest point of that size inside the
    box. A margin in log-odds has a gradient also where a probability is so near 0 or 1 that its own has vanished.

    How far a step goes, and how much it keeps of the directions before it, depends on how well an image's successive
    gradients agree (their cosine, averaged). On smooth networks, as robust training makes them, they agree at 0.3 and
    more: then each step stands for itself, and from 2 · `rms` it shrinks to 0.1, both so long that early ones try
    other directions rather than stay where the first led. On rough ones each gradient is news: then 0.85 of the
    directions before are kept, and steps go from 1 to 0.05 · `rms`. In between both are mixed.

    `steps` gradient evaluations and one more forward pass per image. Where the gradient is 0 nothing moves.

    Args:
        search: the images, and a criterion with a margin; its pixel box is always kept.
        rms: root mean square per pixel and channel.
        steps: gradient evaluations.

    Returns:
        Perturbations (n, C, H, W).
    """
    here = best = average = torch.zeros_like(search.images)
    lowest = search.images.new_full((len(search),), torch.inf)
    before, agreement = None, torch.ones_like(lowest)
    for step in range(steps + 1):
        evaluation = search.evaluate(here, gradient=step < steps)
        if step > 0:  # the image itself has not the size
            better = evaluation.value < lowest
            lowest = torch.where(better, evaluation.value.to(lowest.dtype), lowest)
            best = torch.where(better.view(-1, 1, 1, 1), here, best)
        if evaluation.gradient is None:
            break
        descent = -scale_to(evaluation.gradient, 1.0, "rms")
        if before is not None:
            cosine = (descent * before).flatten(1).mean(1).clamp(0, 1)
            agreement = cosine if step == 1 else (agreement + cosine) / 2
        before = descent
        rough = (1 - 4 * agreement).clamp_min(0)  # 1: gradients are news each time; 0: they agree at 1/4 or more
        average = (0.85 * rough).view(-1, 1, 1, 1) * average + descent
        progress = step / max(steps - 1, 1)
        length = (2.0 - rough) * (1 - progress) + (0.1 - 0.05 * rough) * progress
        here = stretch(here + scale_to(average, rms * length, "rms"), search.images, rms)
    return best
