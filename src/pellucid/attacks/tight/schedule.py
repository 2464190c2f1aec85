"""What `tight` does with its budget: starts, walks below what they found, and refinement of the best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pellucid.attacks.ball_walk import ball_walk
from pellucid.attacks.criterion import with_margin
from pellucid.attacks.tight.descent import descend, first_steps, linearise
from pellucid.attacks.tight.rescue import rescue
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from pellucid.attacks.attack_state import AttackState, Differentiable
    from pellucid.attacks.tight.descent import Boundary

SHARE = 0.9  # of the radius so far: how far a walk may go
FIRST_STEP, LAST_STEP = 0.5, 0.05  # of a walk, as shares of that


@dataclass(frozen=True)
class Rounds:
    """Starts along the gradient at the image, then walks and refinements, by turns.

    Attributes:
        starts: first steps, as multiples of the distance at which the linearised margin is zero.
        steps: gradient evaluations of a start, the one at the image itself included, which all starts share.
        rounds: steps of a walk and of the refinement that follows; no steps, no walk.
    """

    starts: tuple[float, ...]
    steps: int
    rounds: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Aimed:
    """A start towards each class that the criterion names, the best of them continued, the best of those refined.

    Attributes:
        aim: gradient evaluations on the way to a class.
        steps: then, on the criterion itself.
        best: how many starts are continued.
        further: by how many steps.
        refinement: steps from the best of all.
    """

    aim: int
    steps: int
    best: int
    further: int
    refinement: int


NEAR = {
    1: Rounds((1.0, 3.0), 13, ((0, 18),)),
    2: Rounds((1.0, 3.0), 13, ((20, 20),)),
    4: Rounds((1.0, 3.0, 8.0), 13, ((23, 23), (23, 23))),
}
"""By effort, for criteria that are met at the decision boundary: 43, 65 and 129 gradient evaluations."""

FAR = {
    1: Rounds((1.0, 3.0, 8.0), 14, ((0, 20),)),
    2: Rounds((1.0, 3.0, 8.0), 14, ((20, 20), (20, 20))),
    4: Rounds((1.0, 2.0, 3.0, 8.0, 20.0), 20, ((30, 30), (30, 30))),
}
"""For those that lie farther (`Criterion.multi_start`) where no class can be aimed at: 60, 120 and 216."""

AIMED = {2: Aimed(3, 5, 3, 8, 20), 4: Aimed(4, 8, 5, 16, 40)}
"""For those that lie farther and may be met by way of any class (`Criterion.aims`): 117 and 229 with nine of them."""

FEW = 4  # classes to aim at that leave enough of the budget for the starts of effort 1 as well

EFFORTS = tuple(NEAR)


def tight(search: AttackState, *, effort: int = 1) -> Tensor:
    """The smallest perturbation, from several starts, the best of them refined.

    A decision changes near the image: two starts, and more steps from the better one. A criterion that lies far, as
    worse than random, has many ways to it, and which one is the shortest shows late: three starts. With more effort
    decisions get a walk down the hard margin within nine tenths of the radius, which leaves boundaries that the smooth
    margin does not, and worse than random gets a start towards each wrong class. Images that nothing has found get
    more starts and other methods (`pellucid.attacks.tight.rescue`); an image whose perturbation is as short as the
    linearised boundary is near is finished and leaves the batch.

    Args:
        search: the images and what is wanted.
        effort: 1, 2 or 4; see `NEAR`, `FAR` and `AIMED`.

    Returns:
        The best perturbation (n, C, H, W), zero where nothing was found.

    Raises:
        InputError: another effort.

    Source:
        This library's own. The length is corrected as in FMN (Pintor et al. 2021) and DDN (Rony et al. 2019), the
        linear model is DeepFool's (Moosavi-Dezfooli et al. 2016).
    """
    check_effort(effort)
    criterion = with_margin(search.criterion)
    far = criterion.multi_start
    origin = search.evaluate(torch.zeros_like(search.images), of="smooth_margin")
    boundary = linearise(search, search.everyone(), origin)
    aims = criterion.aims(origin.logits) if far and effort in AIMED else ()
    if aims:
        _towards_classes(search, boundary, aims, AIMED[effort])
    else:
        _in_rounds(search, boundary, (FAR if far else NEAR)[effort])
    return search.best - search.images


def check_effort(effort: int) -> None:
    """Refuse an effort that has no budget.

    Raises:
        InputError: with those that have one.
    """
    if effort not in EFFORTS:
        raise InputError(f"effort must be {', '.join(map(str, EFFORTS[:-1]))} or {EFFORTS[-1]}; found {effort!r}.")


def _in_rounds(search: AttackState, boundary: Boundary, plan: Rounds) -> None:
    everyone = search.everyone()
    for start in plan.starts:
        descend(search, everyone, first_steps(search, boundary, start), range(1, plan.steps))
    rescue(search, boundary)
    for walk, refinement in plan.rounds:
        if walk:
            _walk_below(search, walk)
        _refine(search, refinement)


def _walk_below(search: AttackState, steps: int) -> None:
    """Down the margin within a share of each radius; from the image, since the best lies where descents end."""
    rows = search.radius.isfinite().nonzero().squeeze(1)
    bound = SHARE * search.radius[rows]
    ball_walk(
        search, rows, bound, torch.zeros_like(search.images[rows]),
        of="margin", steps=steps, step=FIRST_STEP, last_step=LAST_STEP,
    )  # fmt: skip


def _refine(search: AttackState, steps: int) -> None:
    rows = search.radius.isfinite().nonzero().squeeze(1)
    if steps and len(rows):
        descend(search, rows, (search.best - search.images)[rows], range(steps), within=search.radius[rows])


def _towards_classes(search: AttackState, boundary: Boundary, aims: Sequence[Differentiable], plan: Aimed) -> None:
    everyone = search.everyone()
    points, ranks = [], []
    for aim in aims:
        evaluation = search.evaluate(torch.zeros_like(search.images), of=aim)
        first = first_steps(search, linearise(search, everyone, evaluation, aim))
        there = descend(search, everyone, first, range(1, plan.aim), of=aim)
        reached = descend(search, everyone, there.next, range(plan.steps))
        points.append(reached.next)
        # whatever met the criterion goes before what has yet to reach it
        ranks.append(torch.where(reached.length.isfinite(), reached.length, 2 * reached.reach))
    if len(aims) <= FEW:
        for start in FAR[1].starts:
            descend(search, everyone, first_steps(search, boundary, start), range(1, FAR[1].steps))
    best = torch.stack(ranks).argsort(0)[: plan.best]
    every = torch.stack(points)
    for choice in best:
        descend(search, everyone, every[choice, everyone], range(plan.further))
    rescue(search, boundary)
    _refine(search, plan.refinement)
