"""Where annotations are kept: every stroke whole, and on the disk when it is acknowledged."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from pellucid.annotations.belonging import check_same_dataset
from pellucid.annotations.content import StoreContent, StoreInfo
from pellucid.annotations.damage import telling_damage
from pellucid.annotations.records import AnnotationSet, LabelAnswer, Mark, Note, Visit
from pellucid.annotations.schema import DATASET, IMAGE, MARK, NOTE, VERDICT, VISIT, WRITES, connect, store_name
from pellucid.annotations.shapes import shape_from_json, shape_to_json
from pellucid.annotations.turns import Writers
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from pellucid.annotations.records import State
    from pellucid.data.dataset import Dataset


class ConflictError(InputError):
    """An id that is already taken by another mark."""


class ForeignMarkError(InputError):
    """A mark of somebody else, which only its author may undo."""


class UnknownMarkError(InputError):
    """There is no such mark."""


class AnnotationStore:
    """An open annotation database; see `open_store`. Threads and processes may use one database at a time.

    Every method that writes does so whole or not at all: when it returns, what it wrote is on the disk.
    """

    def __init__(self, engine: sa.Engine, info: StoreInfo) -> None:
        self.engine, self.info = engine, info
        self._writers = Writers(engine.execution_options(**{WRITES: True}))
        self.name = store_name(engine.url.render_as_string(hide_password=False))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that writes, whole or not at all; others wait, and take their turns as they came.

        When it ends, what was written is on the disk.
        """
        with self._writers.writing() as connection:
            yield connection

    @contextmanager
    def reading(self, *, rows: bool = True) -> Iterator[sa.Connection]:
        """A connection to read from.

        Args:
            rows: whether whatever goes wrong is a row that cannot be understood.

        Raises:
            DatabaseDamageError: what is read is not what was written.
        """
        with telling_damage(self.name, rows=rows), self.engine.connect() as connection:
            yield connection

    def put_image(self, image: str, width: int, height: int) -> None:
        """Know an image and its size in pixels."""
        with self.writing() as connection:
            know_image(connection, image)
            _put_size(connection, image, width, height)

    def image_sizes(self) -> dict[str, tuple[int, int] | None]:
        """Width and height of every image that was ever offered or marked, None where not known."""
        with self.reading() as connection:
            rows = connection.execute(sa.select(IMAGE).order_by(IMAGE.c.id))
            return {r.id: None if r.width is None else (r.width, r.height) for r in rows}

    def add_mark(self, mark: Mark) -> bool:
        """Keep a mark; whether it was new. The same one again changes nothing, not even whether it is undone.

        Raises:
            ConflictError: another mark has its id.
        """
        with self.writing() as connection:
            return _add_mark(connection, mark)

    def add_all(self, content: StoreContent, *, is_checked: bool = False) -> None:
        """Keep all of a file, or, if anything is wrong, nothing. Of what there is already, the later version stays.

        Args:
            content: what the file holds.
            is_checked: whether it and the database were compared with one dataset, see `check_images`.

        Raises:
            InputError: the file belongs to another dataset, or has other marks under ids that are taken.
        """
        check_same_dataset(self.info, self.image_sizes(), content, is_checked=is_checked)
        with self.writing() as connection:
            for image, size in content.sizes.items():
                know_image(connection, image)
                if size is not None:
                    _put_size(connection, image, *size)
            for mark in content.marks:
                _add_mark(connection, mark)
                if mark.undone:
                    connection.execute(sa.update(MARK).where(MARK.c.id == mark.id).values(undone=True))
            for table, entries in ((VERDICT, content.verdicts), (NOTE, content.notes), (VISIT, content.visits)):
                for one in entries:
                    _put(connection, table, one, unless_later=True)

    def content(self) -> StoreContent:
        """All that the database holds."""
        return StoreContent(
            self.info,
            self.image_sizes(),
            tuple(self.marks(undone=True)),
            tuple(self.verdicts()),
            tuple(self.notes()),
            tuple(self.visits()),
        )

    def undo_mark(self, image: str, mark: str, annotator: str) -> Mark:
        """Take a mark back; again, nothing happens. It stays in the database, marked as undone.

        Raises:
            UnknownMarkError: there is none of this id on this image.
            ForeignMarkError: somebody else drew it.
        """
        with self.writing() as connection:
            where = (MARK.c.id == mark) & (MARK.c.image == image)
            row = connection.execute(sa.select(MARK).where(where)).first()
            if row is None:
                raise UnknownMarkError(f"there is no mark {mark} on this image.")
            if row.annotator != annotator:
                raise ForeignMarkError("this mark was drawn by somebody else; only its author may undo it.")
            connection.execute(sa.update(MARK).where(MARK.c.id == mark).values(undone=True))
            _touch(connection, image, annotator)
            return replace(mark_of(row), undone=True)

    def put_verdict(self, verdict: LabelAnswer) -> None:
        """Keep a verdict, in the place of an earlier one of the same person."""
        with self.writing() as connection:
            _put(connection, VERDICT, verdict)
            _touch(connection, verdict.image, verdict.annotator)

    def drop_verdict(self, image: str, class_name: str, annotator: str) -> None:
        """Take a verdict back, if there is one."""
        here = (VERDICT.c.image == image) & (VERDICT.c.class_name == class_name) & (VERDICT.c.annotator == annotator)
        with self.writing() as connection:
            connection.execute(sa.delete(VERDICT).where(here))
            _touch(connection, image, annotator)

    def put_note(self, note: Note) -> None:
        """Keep a note, in the place of an earlier one; an empty one takes it back."""
        here = (NOTE.c.image == note.image) & (NOTE.c.annotator == note.annotator)
        with self.writing() as connection:
            if note.text:
                _put(connection, NOTE, note)
            else:
                connection.execute(sa.delete(NOTE).where(here))
            _touch(connection, note.image, note.annotator)

    def put_visit(self, visit: Visit) -> None:
        """Say that a person is done with an image, skipped it, or has it open (again)."""
        with self.writing() as connection:
            _put(connection, VISIT, visit)

    def marks(self, image: str | None = None, annotator: str | None = None, *, undone: bool = False) -> list[Mark]:
        """Marks in the order of arrival, of one image or person where given; with `undone` also those taken back."""
        query = narrow(sa.select(MARK), MARK, image, annotator).order_by(MARK.c.number)
        if not undone:
            query = query.where(MARK.c.undone.is_(False))
        with self.reading() as connection:
            return [mark_of(row) for row in connection.execute(query)]

    def verdicts(self, image: str | None = None, annotator: str | None = None) -> list[LabelAnswer]:
        """Verdicts in the order of time, of one image or person where given."""
        query = narrow(sa.select(VERDICT), VERDICT, image, annotator)
        with self.reading() as connection:
            rows = connection.execute(query.order_by(VERDICT.c.created, VERDICT.c.image, VERDICT.c.class_name))
            return [LabelAnswer(r.image, r.class_name, r.present, r.annotator, _time(r.created)) for r in rows]

    def notes(self, image: str | None = None, annotator: str | None = None) -> list[Note]:
        """Notes in the order of time, of one image or person where given."""
        query = narrow(sa.select(NOTE), NOTE, image, annotator).order_by(NOTE.c.created, NOTE.c.image)
        with self.reading() as connection:
            return [Note(r.image, r.text, r.annotator, _time(r.created)) for r in connection.execute(query)]

    def visits(self, annotator: str | None = None) -> list[Visit]:
        """How far people are with the images that were offered to them, the latest change first."""
        query = narrow(sa.select(VISIT), VISIT, None, annotator).order_by(VISIT.c.changed.desc(), VISIT.c.image)
        with self.reading() as connection:
            return [Visit(r.image, r.state, r.annotator, _time(r.changed)) for r in connection.execute(query)]

    def state(self, image: str, annotator: str) -> State | None:
        """How far a person is with an image; None where it was never offered."""
        query = narrow(sa.select(VISIT.c.state), VISIT, image, annotator)
        with self.reading() as connection:
            state: State | None = connection.execute(query).scalar()
            return state

    def mark_counts(self, annotator: str | None = None) -> dict[str, int]:
        """How many marks each person drew, or one person on each image, without those taken back."""
        by = MARK.c.annotator if annotator is None else MARK.c.image
        query = narrow(sa.select(by, sa.func.count()), MARK, None, annotator)
        query = query.where(MARK.c.undone.is_(False)).group_by(by)
        with self.reading() as connection:
            return {name: int(count) for name, count in connection.execute(query)}

    def annotations(self) -> AnnotationSet:
        """All marks and verdicts, as training reads them."""
        return AnnotationSet(self.marks(), self.verdicts())


def open_store(source: str | Path, *, create: Dataset | StoreInfo | None = None) -> AnnotationStore:
    """Open an annotation database; an older one is taken up to date.

    Args:
        source: its file (SQLite), or its URL (PostgreSQL, ``postgresql://user:password@host/name``).
        create: the dataset of a database that may be new; None opens only one that is there.

    Raises:
        InputError: no such database, one of something else, one of a newer pellucid, or one of another dataset.
    """
    engine = connect(source, create=create is not None)
    name = store_name(source)
    info = create if isinstance(create, StoreInfo) or create is None else StoreInfo.of(create)
    try:
        with telling_damage(name, rows=False), engine.execution_options(**{WRITES: True}).begin() as connection:
            row = connection.execute(sa.select(DATASET)).first()
            if row is None:
                if info is None:
                    raise InputError(f"{name} holds no annotations yet; `pellucid annotate serve` makes them.")
                connection.execute(
                    sa.insert(DATASET).values({**asdict(info), "classes": json.dumps(info.classes), "id": 1})
                )
                return AnnotationStore(engine, info)
        with telling_damage(name):
            classes = tuple(map(str, json.loads(row.classes)))
    except InputError:
        engine.dispose()
        raise
    return AnnotationStore(engine, StoreInfo(row.name, row.split, row.task, classes, row.fingerprint, row.origin))


def know_image(connection: sa.Connection, image: str) -> None:
    """Have a row for an image."""
    if connection.execute(sa.select(IMAGE.c.id).where(IMAGE.c.id == image)).first() is None:
        connection.execute(sa.insert(IMAGE).values(id=image))


def timestamp(when: datetime) -> str:
    """A time as the tables hold it: UTC to the microsecond, of one length."""
    return when.astimezone(UTC).isoformat(timespec="microseconds")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _put_size(connection: sa.Connection, image: str, width: int, height: int) -> None:
    connection.execute(sa.update(IMAGE).where(IMAGE.c.id == image).values(width=width, height=height))


def _add_mark(connection: sa.Connection, mark: Mark) -> bool:
    row = connection.execute(sa.select(MARK).where(MARK.c.id == mark.id)).first()
    if row is not None:
        if _same(mark_of(row), mark):
            return False
        raise ConflictError(f"the id {mark.id} is taken by another mark; make a new one.")
    know_image(connection, mark.image)
    connection.execute(sa.insert(MARK).values(mark_row(mark)))
    _touch(connection, mark.image, mark.annotator)
    return True


def _put(
    connection: sa.Connection, table: sa.Table, entry: LabelAnswer | Note | Visit, *, unless_later: bool = False
) -> None:
    """Insert a row, or replace the one with the same keys: what arrives last counts, whatever the clock says."""
    latest = "changed" if table is VISIT else "created"
    row = asdict(entry)
    row[latest] = timestamp(row.pop("created"))
    know_image(connection, entry.image)
    here = sa.and_(*(column == row[column.name] for column in table.primary_key))
    old = connection.execute(sa.select(table.c[latest]).where(here)).scalar()
    if old is None:
        connection.execute(sa.insert(table).values({**row, "offered": row[latest]} if table is VISIT else row))
    elif not unless_later or old <= row[latest]:
        connection.execute(sa.update(table).where(here).values(row))


def _touch(connection: sa.Connection, image: str, annotator: str) -> None:
    """Renew a person's reservation of an image."""
    here = (VISIT.c.image == image) & (VISIT.c.annotator == annotator) & (VISIT.c.state == "offered")
    connection.execute(sa.update(VISIT).where(here).values(changed=timestamp(datetime.now(UTC))))


def narrow(query: sa.Select[Any], table: sa.Table, image: str | None, annotator: str | None) -> sa.Select[Any]:
    """A query for one image or person alone, where given."""
    if image is not None:
        query = query.where(table.c.image == image)
    return query if annotator is None else query.where(table.c.annotator == annotator)


def mark_row(mark: Mark) -> dict[str, Any]:
    """The row of the table that holds a mark."""
    shape = json.dumps(shape_to_json(mark.shape))
    return {**vars(mark), "shape": shape, "created": timestamp(mark.created)}


def mark_of(row: sa.Row[Any]) -> Mark:
    """The mark that a row of the table holds."""
    shape = shape_from_json(json.loads(row.shape))
    return Mark(row.image, row.class_name, row.kind, shape, row.annotator, _time(row.created), row.undone, row.id)


def _same(one: Mark, other: Mark) -> bool:
    fields = ("image", "class_name", "kind", "shape", "annotator")
    return all(getattr(one, name) == getattr(other, name) for name in fields)
