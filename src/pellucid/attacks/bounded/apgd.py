"""Auto-PGD (Croce & Hein 2020): projected ascent with momentum that halves its step where it does not progress."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch

from pellucid.attacks.epsilon import steepest

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.attacks.bounded.search import BoundedSearch, Objective

MOMENTUM = 0.75
PROGRESS = 0.75  # share of steps that must rise
FIRST_CHECK, SHRINK, LEAST = 0.22, 0.03, 0.06  # when it is looked at, as shares of all steps


@dataclass
class _Walk:
    """Where each row is, where it was, and the best it has seen."""

    rows: Tensor
    here: Tensor
    before: Tensor
    gradient: Tensor
    value: Tensor
    best: Tensor
    best_gradient: Tensor
    best_value: Tensor
    step: Tensor
    rises: Tensor
    checked_value: Tensor
    checked_halved: Tensor

    def only(self, index: Tensor) -> _Walk:
        return _Walk(*(getattr(self, field.name)[index] for field in fields(self)))


def checkpoints(steps: int) -> list[int]:
    """The steps after which progress is looked at.

    Example:
        >>> checkpoints(100)
        [22, 41, 57, 70, 80, 87, 93, 99]
    """
    places, gap = [FIRST_CHECK], FIRST_CHECK
    while places[-1] < 1:
        gap = max(gap - SHRINK, LEAST)
        places.append(places[-1] + gap)
    return [math.ceil(round(place * steps, 9)) for place in places if place < 1]


def apgd(
    search: BoundedSearch,
    rows: Tensor,
    objective: Objective | None,
    *,
    steps: int,
    start: Tensor,
    leave: bool = True,
) -> None:
    """Raise an objective within the ball; rows that fall leave at once.

    `steps` gradient evaluations per row that stands to the end, and one more forward pass.

    Args:
        search: keeps what falls and the lowest margins.
        rows: int64 (n,), on which.
        objective: what is raised; the criterion's margin, negative, by default.
        steps: at least 1.
        start: (n, C, H, W), where to begin.
        leave: whether rows that fall leave.

    Source:
        Croce & Hein 2020, algorithm 1: first step 2ε, momentum 0.75, step halved where fewer than three quarters of the
        steps since the last look rose, or neither step nor best value changed; then on from the best point.
    """
    if not len(rows):
        return
    here = search.inside(start, rows)
    value, gradient = search.evaluate(here, rows, objective)
    assert gradient is not None
    step = torch.full_like(value, 2 * search.length)
    none = torch.zeros_like(value)
    walk = _Walk(
        rows, here, here, gradient, value, here, gradient, value, step, none, value, torch.zeros_like(none).bool()
    )
    looks, last = set(checkpoints(steps)), 0
    for number in range(1, steps + 1):
        if leave:
            stands = ~search.fallen[walk.rows]
            if not bool(stands.all()):
                walk = walk.only(stands.nonzero().squeeze(1))
        if not len(walk.rows):
            return
        _advance(search, walk, objective, first=number == 1, final=number == steps)
        if number in looks:
            _look(walk, number - last)
            last = number


def _advance(search: BoundedSearch, walk: _Walk, objective: Objective | None, *, first: bool, final: bool) -> None:
    """One step of every row."""
    uphill = walk.here + walk.step.view(-1, 1, 1, 1) * steepest(walk.gradient, search.norm)
    ahead = search.inside(uphill, walk.rows)
    if not first:
        ahead = walk.here + MOMENTUM * (ahead - walk.here) + (1 - MOMENTUM) * (walk.here - walk.before)
        ahead = search.inside(ahead, walk.rows)
    walk.before, walk.here = walk.here, ahead
    value, gradient = search.evaluate(ahead, walk.rows, objective, gradient=not final)
    walk.rises = walk.rises + (value > walk.value)
    walk.value = value
    if gradient is None:
        return
    walk.gradient = gradient
    better = value > walk.best_value
    mask = better.view(-1, 1, 1, 1)
    walk.best = torch.where(mask, ahead, walk.best)
    walk.best_gradient = torch.where(mask, gradient, walk.best_gradient)
    walk.best_value = torch.where(better, value, walk.best_value)


def _look(walk: _Walk, count: int) -> None:
    """Halve the step where there was too little progress, and go back to the best point there."""
    stalled = ~walk.checked_halved & (walk.best_value <= walk.checked_value)
    halved = (walk.rises < PROGRESS * count) | stalled
    walk.step = torch.where(halved, walk.step / 2, walk.step)
    mask = halved.view(-1, 1, 1, 1)
    walk.here = torch.where(mask, walk.best, walk.here)
    walk.gradient = torch.where(mask, walk.best_gradient, walk.gradient)
    walk.value = torch.where(halved, walk.best_value, walk.value)
    walk.checked_halved, walk.checked_value = halved, walk.best_value
    walk.rises = torch.zeros_like(walk.rises)
