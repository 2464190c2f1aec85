"""AutoAttack's standard ensemble (Croce & Hein 2020): four attacks, each on what the ones before left standing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.attacks.bounded.apgd import apgd
from pellucid.attacks.bounded.fab import fab
from pellucid.attacks.bounded.objectives import cross_entropy, likeliest, target_count, towards, towards_by_range
from pellucid.attacks.bounded.square import square

if TYPE_CHECKING:
    from pellucid.attacks.bounded.search import BoundedSearch

STEPS, TARGETS, QUERIES = 100, 9, 5000


def autoattack(search: BoundedSearch, *, steps: int = STEPS, targets: int = TARGETS, queries: int = QUERIES) -> None:
    """APGD on cross entropy, targeted APGD on the DLR, targeted FAB and Square, as the standard ensemble defines them.

    An image leaves as soon as it falls: that changes the cost, not what falls. 1,900 gradient evaluations and
    7,900 forward passes for an image of ten classes that stands to the end.

    Departures, where the standard is undefined: with fewer than four classes the DLR has too few logits and the
    difference of logits takes its place; with fewer than ten classes all wrong ones are targets. A label of a
    multi-label classifier is attacked by itself: binary cross entropy, its margin to the threshold, one target.

    Args:
        search: what is attacked.
        steps: of each run of APGD and FAB.
        targets: classes, in the order of the logits on the image as given.
        queries: of Square.

    Source:
        Croce & Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
        attacks", section 5.
    """
    search.begin("apgd-ce")
    rows = search.standing
    apgd(search, rows, cross_entropy(search), steps=steps, start=search.random_start(rows))
    search.begin("apgd-t")
    for rank in range(target_count(search, targets)):
        rows = search.standing
        objective = towards_by_range(search, likeliest(search, search.clean, rank))
        apgd(search, rows, objective, steps=steps, start=search.random_start(rows))
    search.begin("fab-t")
    for rank in range(target_count(search, targets)):
        fab(search, search.standing, towards(search, likeliest(search, search.clean, rank)), steps=steps)
    search.begin("square")
    square(search, search.standing, queries=queries)
