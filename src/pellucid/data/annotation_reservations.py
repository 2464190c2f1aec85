"""Which images a person gets next: reserved for a while, so that two people are not given the same one."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
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
    is not older than `hold`. A person who skipped an image does not get it again; others do.

    Args:
        store: where reservations are kept.
        annotator: who asks.
        ranking: image ids, the best first; read no further than needed.
        count: how many images.
        per_image: how many people are to annotate each image.
        hold: how long a reservation lasts without a sign of life.
        now: the time, for tests.
    """
    at = now or datetime.now(UTC)
    cutoff = timestamp(at - hold)
    with store.writing() as connection:
        visits = connection.execute(sa.select(VISIT).order_by(VISIT.c.offered, VISIT.c.image)).all()
        busy = Counter(
            v.image
            for v in visits
            if v.annotator != annotator and (v.state == "done" or (v.state == "offered" and v.changed > cutoff))
        )
        mine = {v.image: v.state for v in visits if v.annotator == annotator}
        held = [image for image, state in mine.items() if state == "offered" and busy[image] < per_image]
        lost = [image for image, state in mine.items() if state == "offered" and busy[image] >= per_image]
        new: list[str] = []
        for image in ranking:
            if len(held) + len(new) >= count:
                break
            if image not in mine and busy[image] < per_image:
                new.append(image)
        here = VISIT.c.annotator == annotator
        if lost:
            connection.execute(sa.delete(VISIT).where(here & VISIT.c.image.in_(lost)))
        if held:
            connection.execute(sa.update(VISIT).where(here & VISIT.c.image.in_(held)).values(changed=timestamp(at)))
        for place, image in enumerate(new):
            know_image(connection, image)
            offered = timestamp(at + timedelta(microseconds=place))  # keeps the order of the ranking
            row = {"image": image, "annotator": annotator, "state": "offered", "offered": offered}
            connection.execute(sa.insert(VISIT).values({**row, "changed": timestamp(at)}))
    return [*held, *new][:count]
