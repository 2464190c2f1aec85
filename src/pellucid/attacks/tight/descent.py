"""The descent of `tight`: turn towards the boundary's normal and keep to the linearised boundary, in L2 or L∞.

The smallest perturbation δ that brings the margin g to zero is the steepest one there: in L2 parallel to −∇g, in L∞ to
its sign. Each step turns δ towards that and gives it the length at which the linear model of g is zero. The turns are
large at first, which lets the search leave a poor stretch of the boundary, and small at the end, which averages the
gradients of networks whose boundary is jagged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pellucid.attacks.criterion import with_margin
from pellucid.attacks.epsilon import lengths, nowhere_zero

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.attacks.attack_state import AttackState, Differentiable, PointEvaluation

TURNS = {"rms": (2.0, 0.05), "linf": (1.0, 0.05)}  # how much of the steepest is added to a direction of length 1
LINEAR = 1e-4  # a perturbation this close to the distance of the linearised boundary is as small as it gets
SHORTEST = 1e-6  # root mean square, or largest change, of a first step
FARTHEST = 1e3  # as long; where no box bounds the search


@dataclass(frozen=True)
class Boundary:
    """The linearised boundary of a margin g.

    Attributes:
        steepest: (n, C, H, W), the perturbation of length 1 along which g falls fastest.
        fall: (n, C, H, W), −∇g, scaled so that it falls by 1 along `steepest`.
        distance: (n,), to where g is zero, negative beyond it.
    """

    steepest: Tensor
    fall: Tensor
    distance: Tensor


@dataclass(frozen=True)
class Descent:
    """What a descent came to, image by image.

    Attributes:
        next: (n, C, H, W), the perturbation to go on from.
        length: (n,), of its shortest perturbation that met the criterion; infinite where none did.
        reach: (n,), where it last saw the linearised boundary.
    """

    next: Tensor
    length: Tensor
    reach: Tensor


def descend(
    search: AttackState,
    rows: Tensor,
    perturbation: Tensor,
    steps: range,
    *,
    of: Differentiable = "smooth_margin",
    within: Tensor | None = None,
) -> Descent:
    """Turn and correct the length, with turns and corrections that shrink by cosine over `steps`.

    An image whose perturbation is as short as the linearised boundary is near is finished, and leaves.

    Args:
        search: keeps the best.
        rows: int64 (n,), the images.
        perturbation: (n, C, H, W), where to begin.
        steps: which of the schedule's steps to take; it ends at `steps.stop`.
        of: whose boundary is looked for. Of a function of one's own it ends with the steps, not earlier.
        within: (n,), a length not to be exceeded.
    """
    side = _side(search)
    farthest = (search.farthest() if search.box else torch.full_like(search.radius, FARTHEST))[rows] * side
    perturbation = search.inside(perturbation, rows)
    length = _length(search, perturbation)
    nearest = torch.full_like(length, torch.inf) if within is None else within * side
    here = torch.arange(len(rows), device=rows.device)
    ahead, shortest, reach = (
        perturbation.clone(),
        torch.full_like(length, torch.inf),
        torch.full_like(length, torch.inf),
    )
    for step in steps:
        cosine = (1 + math.cos(math.pi * step / steps.stop)) / 2
        evaluation = search.evaluate(perturbation, rows, of=of)
        boundary = linearise(search, rows, evaluation, of)
        steepest, fall, distance = boundary.steepest, boundary.fall, boundary.distance
        now = _length(search, perturbation)
        is_met = evaluation.is_satisfied
        nearest = torch.where(is_met, torch.minimum(nearest, now), nearest)
        along = (fall * perturbation).flatten(1).sum(1)
        shortest[here] = torch.where(is_met, torch.minimum(shortest[here], now), shortest[here])
        reach[here] = now + distance.clamp_min(0)
        direction = _turn(search, perturbation, steepest, length, cosine)
        # where the linear model is zero along the new direction, but no farther than it can be trusted, and always
        # a little outwards where the criterion is not met and inwards where it is
        target_length = (along + distance) / (fall * direction).flatten(1).sum(1).clamp_min(0.02)
        if search.box:  # what the box cuts off does not count: twice is enough for a fixed point
            for _ in range(2):
                reached = (fall * search.inside(scaled(direction, target_length), rows)).flatten(1).sum(1)
                target_length = target_length * ((along + distance) / reached.clamp_min(1e-30)).clamp(0.5, 2)
        low, high = _trusted(length, is_met, cosine, of)
        length = torch.minimum(target_length.clamp(low, high), torch.minimum(nearest * (1 - 1e-4), farthest))
        perturbation = search.inside(scaled(direction, length), rows)
        if search.box:
            cut = _length(search, perturbation).clamp_min(1e-30)
            perturbation = search.inside(scaled(direction, length * (length / cut).clamp(1, 2)), rows)
        ahead[here] = perturbation
        finished = is_met & (now <= (1 + LINEAR) * (along + distance))
        if isinstance(of, str) and bool(finished.any()):
            unfinished = (~finished).nonzero().squeeze(1)
            rows, perturbation, length = rows[unfinished], perturbation[unfinished], length[unfinished]
            nearest, farthest, here = nearest[unfinished], farthest[unfinished], here[unfinished]
            if not len(rows):
                break
    return Descent(ahead, shortest / side, reach / side)


def linearise(
    search: AttackState, rows: Tensor, evaluation: PointEvaluation, of: Differentiable = "smooth_margin"
) -> Boundary:
    """The boundary as it looks from the point that was evaluated.

    Args:
        search: whose norm and criterion count.
        rows: int64 (n,), the images.
        evaluation: with the gradient of `of`.
        of: a function of one's own is zero on its boundary; of the criterion's the hard margin is.
    """
    assert evaluation.gradient is not None
    gradient = nowhere_zero(evaluation.gradient, search.generator)
    slope = (lengths(gradient, "l2") if search.norm == "rms" else gradient.abs().flatten(1).sum(1)).clamp_min(1e-30)
    fall = scaled(gradient, -1 / slope)
    margin = (
        with_margin(search.criterion.rows(rows)).margin(evaluation.logits) if isinstance(of, str) else evaluation.value
    )
    limit = FARTHEST * _side(search)
    distance = (margin.to(slope.dtype) / slope).clamp(-limit, limit)
    return Boundary(fall if search.norm == "rms" else fall.sign(), fall, distance)


def first_steps(search: AttackState, boundary: Boundary, multiple: float = 1.0) -> Tensor:
    """Perturbations (n, C, H, W) so many times as far as the boundary; an image that lies on it leaves it a little."""
    return scaled(boundary.steepest, multiple * boundary.distance.clamp_min(SHORTEST * _side(search)))


def scaled(direction: Tensor, length: Tensor) -> Tensor:
    """Directions (n, C, H, W), each times its length (n,)."""
    return direction * length.view(-1, 1, 1, 1)


def _turn(search: AttackState, perturbation: Tensor, steepest: Tensor, length: Tensor, cosine: float) -> Tensor:
    """The direction of a perturbation, turned towards the steepest one; of length 1."""
    first, last = TURNS[search.norm]
    turned = perturbation + scaled(steepest, (last + (first - last) * cosine) * length)
    if search.norm == "linf":  # inside the cube as long as the perturbation was: values that agree stay where they are
        cube = length.view(-1, 1, 1, 1)
        turned = turned.clamp(-cube, cube)
    return scaled(turned, 1 / _length(search, turned).clamp_min(1e-30))


def _trusted(length: Tensor, is_met: Tensor, cosine: float, of: Differentiable) -> tuple[Tensor, Tensor]:
    """Between which lengths (n,) a step may end: less far the later, inwards where the criterion is met, else outwards.

    On the way to a class, which is short and only begins a search, anything up to a factor of two.
    """
    if not isinstance(of, str):
        return length / 2, length * 2
    most, least = 0.02 + 0.28 * cosine, 0.001 + 0.019 * cosine
    return length * torch.where(is_met, 1 - most, 1 + least), length * torch.where(is_met, 1 - least, 1 + most)


def _length(search: AttackState, perturbation: Tensor) -> Tensor:
    return lengths(perturbation, "l2" if search.norm == "rms" else search.norm)


def _side(search: AttackState) -> float:
    """How long a perturbation of length 1 in the search's norm is here, where root mean squares are Euclidean."""
    return math.sqrt(search.images[0].numel()) if search.norm == "rms" else 1.0
