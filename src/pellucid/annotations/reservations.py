"""Which images a person gets next: reserved for a while, so that two people are not given the same one."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

import sqlalchemy as sa

from pellucid.annotations.schema import INVITATION, VISIT
from pellucid.annotations.store import know_image, timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pellucid.annotations.store import AnnotationStore

FIRST_HOLD = timedelta(minutes=3)  # how long a newcomer's reservation stands against other newcomers


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

    Names are easily invented, so a newcomer (not invited, and not done with any image yet) keeps nobody from work:
    who would get no image at all gets one that newcomers hold. Those who are no newcomers get it at once, another
    newcomer once nothing was said of it for `FIRST_HOLD`; that a newcomer asks again renews nothing.

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
    here = VISIT.c.annotator == annotator
    with store.writing() as connection:
        rows = connection.execute(
            sa.select(VISIT.c.image, VISIT.c.state).where(here).order_by(VISIT.c.offered, VISIT.c.image)
        )
        mine = {image: state for image, state in rows}  # noqa: C416 (rows are not pairs)
        live = _live(connection, annotator, cutoff)
        busy = _done(connection, annotator) + Counter(image for image, _, _ in live)
        newcomer = "done" not in mine.values() and not _known(connection, [annotator])
        mine_open = [image for image, state in mine.items() if state == "offered"]
        reserved = [image for image in mine_open if busy[image] < per_image and image in within]
        lost = [image for image in mine_open if busy[image] >= per_image]
        open_to_me = [i for i in ranked if mine.get(i, "lapsed") == "lapsed"]
        new = list(islice((i for i in open_to_me if busy[i] < per_image), max(count - len(reserved), 0)))
        gone = (here & VISIT.c.image.in_(lost)) | (
            ~here & (VISIT.c.state == "offered") & (VISIT.c.changed <= cutoff) & VISIT.c.image.in_(new)
        )
        if not reserved and not new:
            image, names = _yielded(connection, live, open_to_me, busy, per_image, None if not newcomer else at)
            new = [] if image is None else [image]
            gone |= VISIT.c.image.in_(new) & VISIT.c.annotator.in_(names) & (VISIT.c.state == "offered")
        if lost or new:
            connection.execute(sa.update(VISIT).where(gone).values(state="lapsed"))
            connection.execute(sa.delete(VISIT).where(here & VISIT.c.image.in_(new)))
        if reserved and not newcomer:
            connection.execute(sa.update(VISIT).where(here & VISIT.c.image.in_(reserved)).values(changed=timestamp(at)))
        for place, image in enumerate(new):
            know_image(connection, image)
            offered = timestamp(at + timedelta(microseconds=place))  # keeps the order of the ranking
            row = {"image": image, "annotator": annotator, "state": "offered", "offered": offered}
            connection.execute(sa.insert(VISIT).values({**row, "changed": timestamp(at)}))
    return [*reserved, *new][:count]


def held_by_others(
    store: AnnotationStore,
    annotator: str,
    ranking: Iterable[str],
    *,
    per_image: int = 1,
    hold: timedelta = timedelta(minutes=10),
    now: datetime | None = None,
) -> int:
    """How many images a person may not have now, and may once others leave them unfinished.

    Args:
        store: where reservations are kept.
        annotator: who asks.
        ranking: the image ids that may be offered.
        per_image: how many people are to annotate each image.
        hold: how long a reservation lasts without a sign of life.
        now: the time, for tests.
    """
    cutoff = timestamp((now or datetime.now(UTC)) - hold)
    here = (VISIT.c.annotator == annotator) & (VISIT.c.state != "lapsed")
    with store.reading() as connection:
        mine = set(connection.execute(sa.select(VISIT.c.image).where(here)).scalars())
        finished = _done(connection, annotator)
        busy = finished + Counter(image for image, _, _ in _live(connection, annotator, cutoff))
    return sum(i not in mine and finished[i] < per_image <= busy[i] for i in ranking)


def _live(connection: sa.Connection, annotator: str, cutoff: str) -> list[tuple[str, str, str]]:
    """Image, holder and last sign of life of what others hold."""
    others = (VISIT.c.annotator != annotator) & (VISIT.c.state == "offered") & (VISIT.c.changed > cutoff)
    rows = connection.execute(sa.select(VISIT.c.image, VISIT.c.annotator, VISIT.c.changed).where(others))
    return [(image, holder, changed) for image, holder, changed in rows]


def _done(connection: sa.Connection, annotator: str) -> Counter[str]:
    """How many others are done with each image."""
    others = (VISIT.c.annotator != annotator) & (VISIT.c.state == "done")
    rows = connection.execute(sa.select(VISIT.c.image, sa.func.count()).where(others).group_by(VISIT.c.image))
    return Counter({image: int(number) for image, number in rows})


def _known(connection: sa.Connection, names: Sequence[str]) -> set[str]:
    """Which of some people were invited, or are done with an image."""
    finished = sa.select(VISIT.c.annotator).where(VISIT.c.annotator.in_(names) & (VISIT.c.state == "done"))
    invited = sa.select(INVITATION.c.annotator).where(INVITATION.c.annotator.in_(names))
    return set(connection.execute(sa.union(finished, invited)).scalars())


def _yielded(
    connection: sa.Connection,
    live: list[tuple[str, str, str]],
    images: list[str],
    busy: Counter[str],
    per_image: int,
    newcomer_at: datetime | None,
) -> tuple[str | None, list[str]]:
    """An image that newcomers hold and have to give to somebody who has none, and who they are.

    Args:
        connection: to the database.
        live: what others hold.
        images: what may be given, the best first.
        busy: how many others hold each image, or are done with it.
        per_image: how many may.
        newcomer_at: the time, where the one who asks is a newcomer, too.
    """
    people = _known(connection, sorted({holder for _, holder, _ in live}))
    holders: dict[str, list[str]] = {}
    for image, holder, changed in live:
        quiet = newcomer_at is None or changed <= timestamp(newcomer_at - FIRST_HOLD)
        if holder not in people and quiet:
            holders.setdefault(image, []).append(holder)
    free = next((i for i in images if i in holders and busy[i] - len(holders[i]) < per_image), None)
    return free, [] if free is None else holders[free]
