"""The default attack of a given size: walks down margins from several starts, then a short search without gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.attacks.bounded.apgd import apgd
from pellucid.attacks.bounded.objectives import likeliest, target_count, towards
from pellucid.attacks.bounded.square import square

if TYPE_CHECKING:
    from pellucid.attacks.bounded.search import BoundedSearch

STEPS, TARGETED_STEPS, LAST_STEPS, QUERIES = 20, 20, 40, 200
TARGETS = 9


def margin(
    search: BoundedSearch,
    *,
    steps: int = STEPS,
    targeted_steps: int = TARGETED_STEPS,
    targets: int = TARGETS,
    last_steps: int = LAST_STEPS,
    queries: int = QUERIES,
) -> None:
    """The strongest attack that is affordable: only differences of logits are climbed, so that no scale hides a fall.

    1. From the image, down the margin to whatever class is likeliest.
    2. Towards each of the likeliest classes at the point that the first walk reached, from random starts.
    3. Once more down the margin, from the lowest point of all.
    4. Square, shortly, from elsewhere: what it breaks gradients did not see.

    All by APGD. An image leaves as soon as it falls: one that stands to the end costs 240 gradient evaluations and 450
    forward passes with ten classes. Multiplying all logits by a number changes nothing.

    Args:
        search: what is attacked.
        steps: of the first walk.
        targeted_steps: of each walk towards a class.
        targets: classes, at most.
        last_steps: of the last walk.
        queries: of Square.

    Source:
        This library's own, of parts by Croce & Hein 2020 and Andriushchenko et al. 2020.
    """
    search.begin("margin")
    rows = search.standing
    downhill = None  # the criterion's own margin
    apgd(search, rows, downhill, steps=steps, start=search.images[rows])
    search.begin("targeted margin")
    reached = search.logits.clone()
    for rank in range(target_count(search, targets)):
        rows = search.standing
        objective = towards(search, likeliest(search, reached, rank))
        apgd(search, rows, objective, steps=targeted_steps, start=search.random_start(rows))
    search.begin("margin")
    rows = search.standing
    apgd(search, rows, downhill, steps=last_steps, start=search.points[rows])
    search.begin("square")
    square(search, search.standing, queries=queries)
