"""What the annotation page asks for again and again, each in one look at the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from pellucid.annotations.schema import MARK, NOTE, VERDICT, VISIT
from pellucid.annotations.store import mark_of, narrow

if TYPE_CHECKING:
    from collections.abc import Collection

    from pellucid.annotations.records import Mark, Present, State
    from pellucid.annotations.store import AnnotationStore


@dataclass(frozen=True)
class OneImage:
    """What one person said of one image.

    Attributes:
        state: how far they are; None where it was never offered to them.
        marks: in the order of arrival, without those taken back.
        verdicts: by class.
        note: empty where there is none.
    """

    state: State | None
    marks: tuple[Mark, ...]
    verdicts: dict[str, Present]
    note: str


def one_image(store: AnnotationStore, image: str, annotator: str) -> OneImage:
    """What one person said of one image."""
    marks = narrow(sa.select(MARK), MARK, image, annotator).where(MARK.c.undone.is_(False)).order_by(MARK.c.number)
    verdicts = narrow(sa.select(VERDICT.c.class_name, VERDICT.c.present), VERDICT, image, annotator)
    with store.reading() as connection:
        return OneImage(
            connection.execute(narrow(sa.select(VISIT.c.state), VISIT, image, annotator)).scalar(),
            tuple(mark_of(row) for row in connection.execute(marks)),
            {row.class_name: row.present for row in connection.execute(verdicts)},
            connection.execute(narrow(sa.select(NOTE.c.text), NOTE, image, annotator)).scalar() or "",
        )


def closed_counts(store: AnnotationStore, images: Collection[str]) -> dict[str, dict[str, int]]:
    """How many images each person is done with, and skipped: of all who were offered any.

    Args:
        store: the database.
        images: the ids that count; where the database knows no others, they are counted there.
    """
    with store.reading() as connection:
        visited = connection.execute(sa.select(VISIT.c.image).distinct()).scalars()
        if all(image in images for image in visited):
            query = sa.select(VISIT.c.annotator, VISIT.c.state, sa.func.count())
            rows = [tuple(r) for r in connection.execute(query.group_by(VISIT.c.annotator, VISIT.c.state))]
        else:
            visits = connection.execute(sa.select(VISIT.c.annotator, VISIT.c.state, VISIT.c.image))
            rows = [(name, state, int(image in images)) for name, state, image in visits]
    counts_of: dict[str, dict[str, int]] = {}
    for name, state, number in rows:
        counts = counts_of.setdefault(name, {"done": 0, "skipped": 0})
        if state in counts:
            counts[state] += number
    return counts_of
