"""`tight`, the default attack: turn towards the boundary's normal, keep to the boundary, start from several places.

The smallest perturbation δ that brings the margin g to zero is parallel to −∇g there. Each step turns δ towards −∇g
and gives it the length at which the linear model of g is zero. The turns are large at first, which lets the search
leave a poor stretch of the boundary, and small at the end, which averages the gradients of networks whose boundary is
jagged.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from pellucid.attacks.epsilon import lengths, nowhere_zero

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from pellucid.attacks.attack_state import AttackState, PointEvaluation

RESCUE = (3.0, 10.0, 30.0)  # starts for images that no other start has found
RESCUE_STEPS = 20
FIRST_TURN, LAST_TURN = 2.0, 0.05  # how much of −∇g is added to a direction of length 1
LINEAR = 1e-4  # a perturbation this close to the distance of the linearised boundary is as small as it gets
SHORTEST = 1e-6  # root mean square of a first step
FARTHEST = 1e3  # root mean square; where no box bounds the search


def tight(
    search: AttackState,
    *,
    starts: Sequence[float] | None = None,
    steps: int | None = None,
    refinement: int | None = None,
) -> Tensor:
    """The smallest perturbation, from one or several starts, the best of them refined.

    A start is a first step along the gradient, as a multiple of the distance at which the linearised margin is zero.
    A decision changes near the image: two starts of 12 steps and 18 more from the better one, 43 gradient evaluations
    with the shared first one. A criterion that lies far (`Criterion.multi_start`, as worse than random) has many ways
    to it, and which one is the shortest shows late: three starts of 13 steps, then 20, 60 in all. Images that nothing
    has found get up to three more starts; an image whose perturbation is as short as the linearised boundary is near is
    finished and leaves the batch.

    Args:
        search: the images and what is wanted.
        starts: multiples of the linear distance; by the criterion by default.
        steps: gradient evaluations of a start, the one at the image itself included, which all starts share.
        refinement: gradient evaluations from the best perturbation of all starts.

    Returns:
        The best perturbation (n, C, H, W), zero where nothing was found.

    Source:
        This library's own. The length is corrected as in FMN (Pintor et al. 2021) and DDN (Rony et al. 2019), the
        linear model is DeepFool's (Moosavi-Dezfooli et al. 2016).
    """
    far = search.criterion.multi_start
    starts = starts if starts is not None else (1.0, 3.0, 8.0) if far else (1.0, 3.0)
    steps = steps if steps is not None else 14 if far else 13
    refinement = refinement if refinement is not None else 20 if far else 18
    everyone = search.everyone()
    origin = search.evaluate(torch.zeros_like(search.images), of="smooth_margin")
    normal, distance = _boundary(search, everyone, origin)
    distance = distance.clamp_min(SHORTEST * math.sqrt(normal[0].numel()))  # an image on the boundary has to leave it
    for start in starts:
        first = _step(normal, start * distance)
        _descend(search, everyone, first, range(1, steps))
    for start in RESCUE:
        lost = (~search.radius.isfinite()).nonzero().squeeze(1)
        if len(lost):
            first = _step(normal[lost], start * distance[lost])
            _descend(search, lost, first, range(1, RESCUE_STEPS))
    indices = search.radius.isfinite().nonzero().squeeze(1)
    if refinement and len(indices):
        best = (search.best - search.images)[indices]
        _descend(search, indices, best, range(refinement), within=search.radius[indices])
    return search.best - search.images


def _descend(
    search: AttackState, rows: Tensor, perturbation: Tensor, steps: range, *, within: Tensor | None = None
) -> None:
    """Turn and correct the length, with turns and corrections that shrink by cosine over `steps`.

    Args:
        search: keeps the best.
        rows: int64 (n,), the images.
        perturbation: (n, C, H, W), where to begin.
        steps: which of the schedule's steps to take; it ends at `steps.stop`.
        within: (n,), a root mean square not to be exceeded.
    """
    root = math.sqrt(search.images[0].numel())
    farthest = (search.farthest() if search.box else torch.full_like(search.radius, FARTHEST))[rows] * root
    perturbation = search.inside(perturbation, rows)
    length = lengths(perturbation, "l2")
    nearest = torch.full_like(length, torch.inf) if within is None else within * root
    for step in steps:
        cosine = (1 + math.cos(math.pi * step / steps.stop)) / 2
        evaluation = search.evaluate(perturbation, rows, of="smooth_margin")
        normal, distance = _boundary(search, rows, evaluation)
        now = lengths(perturbation, "l2")
        nearest = torch.where(evaluation.is_satisfied, torch.minimum(nearest, now), nearest)
        along = (normal * perturbation).flatten(1).sum(1)
        turned = perturbation + ((LAST_TURN + (FIRST_TURN - LAST_TURN) * cosine) * length).view(-1, 1, 1, 1) * normal
        direction = _step(turned, 1 / lengths(turned, "l2").clamp_min(1e-30))
        # where the linear model is zero along the new direction, but no farther than it can be trusted, and always
        # a little outwards where the criterion is not met and inwards where it is
        target_length = (along + distance) / (normal * direction).flatten(1).sum(1).clamp_min(0.02)
        if search.box:  # what the box cuts off does not count: twice is enough for a fixed point
            for _ in range(2):
                reached = (normal * search.inside(_step(direction, target_length), rows)).flatten(1).sum(1)
                target_length = target_length * ((along + distance) / reached.clamp_min(1e-30)).clamp(0.5, 2)
        most, least = 0.02 + 0.28 * cosine, 0.001 + 0.019 * cosine
        low = length * torch.where(evaluation.is_satisfied, 1 - most, 1 + least)
        high = length * torch.where(evaluation.is_satisfied, 1 - least, 1 + most)
        length = torch.minimum(target_length.clamp(low, high), torch.minimum(nearest * (1 - 1e-4), farthest))
        perturbation = search.inside(_step(direction, length), rows)
        if search.box:
            cut = lengths(perturbation, "l2").clamp_min(1e-30)
            perturbation = search.inside(_step(direction, length * (length / cut).clamp(1, 2)), rows)
        finished = evaluation.is_satisfied & (now <= (1 + LINEAR) * (along + distance))
        if bool(finished.any()):
            unfinished = (~finished).nonzero().squeeze(1)
            rows, perturbation, length = rows[unfinished], perturbation[unfinished], length[unfinished]
            nearest, farthest = nearest[unfinished], farthest[unfinished]
            if not len(rows):
                return


def _boundary(search: AttackState, rows: Tensor, evaluation: PointEvaluation) -> tuple[Tensor, Tensor]:
    """The linearised boundary: its unit normal (n, C, H, W), and the L2 distance (n,) to it, negative beyond it."""
    assert evaluation.gradient is not None
    gradient = nowhere_zero(evaluation.gradient, search.generator)
    slope = lengths(gradient, "l2").clamp_min(1e-30)
    limit = FARTHEST * math.sqrt(gradient[0].numel())
    distance = (search.criterion.rows(rows).margin(evaluation.logits).to(slope.dtype) / slope).clamp(-limit, limit)
    return _step(gradient, -1 / slope), distance


def _step(direction: Tensor, length: Tensor) -> Tensor:
    """Directions (n, C, H, W), each times its length (n,)."""
    return direction * length.view(-1, 1, 1, 1)
