"""Which images a person gets next: reserved for a while, so that two people are not given the same one."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

import sqlalchemy as sa

from pellucid.data.annotation_schema import VISIT
from pellucid.data.annotation_store import know_image, timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pellucid.data.annotation_store import AnnotationStore


def reserve(
    store: AnnotationStore,
    annotator: str,
    ranking: Iterable[str],
    *,
    count: int = 1,
    per_image: int = 1,
    hold: timedelta = timedelta(minutes=10),
    now: datetime | None = None,
) -> list[str]:
    """The images that are reserved for a person, topped up to `count`; asked again, the same ones in the same order.

    An image is given to at most `per_image` people: those who are done with it, and those who hold a reservation that
    is not older than `hold`. Once it went to somebody else, an older reservation has lapsed: whoever held it may still
    say what they saw, but does not hold the image. A person who skipped an image does not get it again; others do.

    Args:
        store: where reservations are kept.
        annotator: who asks.
        ranking: the image ids that may be offered, the best first; no others are held.
        count: how many images.
        per_image: how many people are to annotate each image.
        hold: how long a reservation lasts without a sign of life.
        now: the time, for tests.
    """
    at = now or datetime.now(UTC)
    cutoff = timestamp(at - hold)
    ranked = tuple(ranking)
    within = frozenset(ranked)
    with store.writing() as connection:
        visits = connection.execute(sa.select(VISIT).order_by(VISIT.c.offered, VISIT.c.image)).all()
        busy = Counter(
            v.image
            for v in visits
            if v.annotator != annotator and (v.state == "done" or (v.state == "offered" and v.changed > cutoff))
        )
        mine = {v.image: v.state for v in visits if v.annotator == annotator}
        mine_open = [image for image, state in mine.items() if state == "offered"]
        held = [image for image in mine_open if busy[image] < per_image and image in within]
        lost = [image for image in mine_open if busy[image] >= per_image]
        free = (i for i in ranked if mine.get(i, "lapsed") == "lapsed" and busy[i] < per_image)
        new = list(islice(free, max(count - len(held), 0)))
        here = VISIT.c.annotator == annotator
        old = ~here & (VISIT.c.state == "offered") & (VISIT.c.changed <= cutoff)
        gone = (here & VISIT.c.image.in_(lost)) | (old & VISIT.c.image.in_(new))
        if lost or new:
            connection.execute(sa.update(VISIT).where(gone).values(state="lapsed"))
            connection.execute(sa.delete(VISIT).where(here & VISIT.c.image.in_(new)))
        if held:
            connection.execute(sa.update(VISIT).where(here & VISIT.c.image.in_(held)).values(changed=timestamp(at)))
        for place, image in enumerate(new):
            know_image(connection, image)
            offered = timestamp(at + timedelta(microseconds=place))  # keeps the order of the ranking
            row = {"image": image, "annotator": annotator, "state": "offered", "offered": offered}
            connection.execute(sa.insert(VISIT).values({**row, "changed": timestamp(at)}))
    return [*held, *new][:count]
