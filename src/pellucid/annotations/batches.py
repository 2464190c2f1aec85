"""Marks that belong together, as one thing on many images: put into a database and taken back whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import sqlalchemy as sa

from pellucid.annotations.schema import IMAGE, MARK
from pellucid.annotations.store import ForeignMarkError, mark_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pellucid.annotations.records import Mark
    from pellucid.annotations.store import AnnotationStore

PREFIX = 16
"""Characters that the ids of a batch begin with."""


def new_id(prefix: str) -> str:
    """An id of a batch's mark, as unique as any other's."""
    return f"{prefix}-{uuid4().hex[: 35 - PREFIX]}"


def batch_of(store: AnnotationStore, prefix: str) -> tuple[int, str | None]:
    """How many images a batch marks now, and who marked them; None where nobody did.

    Args:
        store: the database.
        prefix: `PREFIX` hexadecimal digits, of the batch alone.
    """
    query = sa.select(sa.func.count(sa.distinct(MARK.c.image)), sa.func.min(MARK.c.annotator)).where(_marks_of(prefix))
    with store.reading() as connection:
        row = connection.execute(query).one()
    return int(row[0]), row[1]


def replace_batch(store: AnnotationStore, prefix: str, marks: Sequence[Mark], annotator: str) -> int:
    """Take a batch's marks back and put others in their place, none to take it back; how many were taken back.

    Args:
        store: the database.
        prefix: of the batch.
        marks: with ids of `new_id`.
        annotator: who does it.

    Raises:
        ForeignMarkError: the marks that there are were made by somebody else; nothing is changed then.
    """
    with store.writing() as connection:
        makers = set(connection.execute(sa.select(MARK.c.annotator).where(_marks_of(prefix)).distinct()).scalars())
        others = sorted(makers - {annotator})
        if others:
            raise ForeignMarkError(f"{others[0]} marked this already, and only {others[0]} may change or undo it.")
        undone = connection.execute(sa.update(MARK).where(_marks_of(prefix)).values(undone=True)).rowcount
        images = {mark.image for mark in marks} - set(connection.execute(sa.select(IMAGE.c.id)).scalars())
        if images:
            connection.execute(sa.insert(IMAGE), [{"id": name} for name in sorted(images)])
        if marks:
            connection.execute(sa.insert(MARK), [mark_row(mark) for mark in marks])
    return int(undone)


def _marks_of(prefix: str) -> sa.ColumnElement[bool]:
    return MARK.c.id.startswith(f"{prefix}-", autoescape=True) & MARK.c.undone.is_(False)
