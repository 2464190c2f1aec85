"""What `tight` tries on images that its starts found nothing for, most often since gradients vanish there.

Longer first steps; noise that leaves the flat stretch; other methods; and points that have nothing to do with the
image, from which the line back to it is bisected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pellucid.attacks.decoupled_direction_norm import decoupled_direction_norm
from pellucid.attacks.epsilon import scale_to
from pellucid.attacks.fast_minimum_norm import fast_minimum_norm
from pellucid.attacks.tight.descent import descend, first_steps, scaled

if TYPE_CHECKING:
    from collections.abc import Callable

    from pellucid.attacks.attack_state import AttackState
    from pellucid.attacks.tight.descent import Boundary

STARTS = (3.0, 10.0, 30.0)
STEPS = 20
NOISE = (0.03, 0.1, 0.3)  # root mean square, or largest change
POINTS: tuple[Callable[[Tensor], Tensor], ...] = (
    torch.zeros_like,
    torch.ones_like,
    lambda images: torch.full_like(images, 0.5),
    lambda images: 1 - images,
)
CORNERS = 24  # random black and white pictures
HALVINGS = 12


def rescue(search: AttackState, boundary: Boundary) -> None:
    """Look on where nothing was found; each of the ways only for the images that the earlier ones left.

    Args:
        search: keeps the best.
        boundary: as it looks from all images.
    """
    for start in STARTS:
        rows = _lost(search)
        if len(rows):
            descend(search, rows, first_steps(search, boundary, start)[rows], range(1, STEPS))
    for size in NOISE:
        rows = _lost(search)
        if len(rows):
            noise = torch.empty_like(search.images[rows]).normal_(generator=search.generator)
            descend(search, rows, scale_to(noise, size, search.norm), range(STEPS))
    for method in (decoupled_direction_norm, fast_minimum_norm):
        rows = _lost(search)
        if len(rows):
            part = search.part(rows)
            method(part)
            search.take(rows, part)
    _from_afar(search)


def _lost(search: AttackState) -> Tensor:
    return (~search.radius.isfinite()).nonzero().squeeze(1)


def _from_afar(search: AttackState) -> None:
    """Black, white, grey, the negative, and random black and white: the line to the first that meets the criterion.

    From the corner with the lowest margin the search goes down; where that finds something the line is bisected too.
    """
    everyone = rows = _lost(search)
    lowest, best = search.images.new_full((len(search),), torch.inf), torch.zeros_like(search.images)
    for number in range(len(POINTS) + CORNERS):
        if not len(rows):
            break
        images = search.images[rows]
        noise = torch.empty_like(images).uniform_(generator=search.generator)
        far = POINTS[number](images) if number < len(POINTS) else (noise > 0.5).to(images)
        evaluation = search.evaluate(far - images, rows, gradient=False)
        lower = evaluation.value < lowest[rows]
        lowest[rows[lower]], best[rows[lower]] = evaluation.value[lower], (far - images)[lower]
        rows = _lost(search)
    if len(rows):
        descend(search, rows, best[rows], range(STEPS))
    rows = everyone[search.radius[everyone].isfinite()]
    if not len(rows):
        return
    line = (search.best - search.images)[rows]
    low, high = torch.zeros_like(search.radius[rows]), torch.ones_like(search.radius[rows])
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        is_met = search.evaluate(scaled(line, middle), rows, gradient=False).is_satisfied
        low, high = torch.where(is_met, low, middle), torch.where(is_met, middle, high)
