"""Where annotations are kept: every stroke in a transaction of its own, so that none is lost and none is half there."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

import sqlalchemy as sa

from pellucid.data.annotation_schema import DATASET, IMAGE, MARK, NOTE, VERDICT, VISIT, WRITES, connect
from pellucid.data.annotation_shapes import shape_from_json, shape_to_json
from pellucid.data.annotations import AnnotationSet, Mark, Note, Skip, Verdict
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from pellucid.data.dataset import Dataset

State = Literal["offered", "done", "skipped"]
STATES: tuple[State, ...] = get_args(State)


class ConflictError(InputError):
    """An id that is already taken by another mark."""


class ForeignMarkError(InputError):
    """A mark of somebody else, which only its author may undo."""


class UnknownMarkError(InputError):
    """There is no such mark."""


@dataclass(frozen=True)
class StoreInfo:
    """The dataset that a database's annotations belong to."""

    name: str
    split: str
    task: str
    classes: tuple[str, ...]
    fingerprint: str
    origin: str

    @classmethod
    def of(cls, dataset: Dataset) -> StoreInfo:
        """What identifies a part of a dataset."""
        return cls(dataset.card.name, dataset.split, dataset.task, dataset.classes, dataset.fingerprint, dataset.origin)

    def check(self, dataset: Dataset) -> None:
        """Refuse another dataset, one drawn otherwise, and one without the classes that were annotated.

        The fingerprint may differ, as it does where fewer images of the same dataset are opened.

        Raises:
            InputError: with what the database holds and what was opened.
        """
        if self.fingerprint == dataset.fingerprint:
            return
        if self.name != dataset.card.name:
            raise InputError(f"these annotations belong to the dataset {self.name}, not to {dataset.card.name}.")
        if self.origin != dataset.origin:
            raise InputError(
                f"these annotations belong to other images of {self.name}: made with {self.origin}, opened with "
                f"{dataset.origin}. Give the same --data-option as when they were annotated."
            )
        absent = [name for name in self.classes if name not in dataset.classes]
        if absent:
            raise InputError(
                f"these annotations speak of {', '.join(absent)}; {self.name} was opened with the classes "
                f"{', '.join(dataset.classes)}."
            )


class AnnotationStore:
    """An open annotation database; see `open_store`. Threads and processes may use one database at a time.

    Every method that writes is one transaction: when it returns, what it wrote is on the disk.
    """

    def __init__(self, engine: sa.Engine, info: StoreInfo) -> None:
        self.engine, self.info = engine, info
        self._writing = engine.execution_options(**{WRITES: True})

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
        """A transaction that writes; the others wait."""
        with self._writing.begin() as connection:
            yield connection

    def put_image(self, image: str, width: int | None = None, height: int | None = None) -> None:
        """Know an image, and its size in pixels where it is given."""
        with self.writing() as connection:
            know_image(connection, image)
            if width is not None and height is not None:
                connection.execute(sa.update(IMAGE).where(IMAGE.c.id == image).values(width=width, height=height))

    def image_sizes(self) -> dict[str, tuple[int, int] | None]:
        """Width and height of every image that was ever offered or marked, None where not known."""
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(IMAGE).order_by(IMAGE.c.id))
            return {r.id: None if r.width is None else (r.width, r.height) for r in rows}

    def add_mark(self, mark: Mark) -> bool:
        """Keep a mark; whether it was new. The same one again changes nothing, not even whether it is undone.

        Raises:
            ConflictError: another mark has its id.
        """
        with self.writing() as connection:
            found = connection.execute(sa.select(MARK).where(MARK.c.id == mark.id)).first()
            if found is not None:
                if _same(_mark(found), mark):
                    return False
                raise ConflictError(f"the id {mark.id} is taken by another mark; make a new one.")
            know_image(connection, mark.image)
            connection.execute(sa.insert(MARK).values(_row(mark)))
            _touch(connection, mark.image, mark.annotator)
            return True

    def undo_mark(self, image: str, mark: str, annotator: str) -> Mark:
        """Take a mark back; again, nothing happens. It stays in the database, marked as undone.

        Raises:
            UnknownMarkError: there is none of this id on this image.
            ForeignMarkError: somebody else drew it.
        """
        with self.writing() as connection:
            where = (MARK.c.id == mark) & (MARK.c.image == image)
            found = connection.execute(sa.select(MARK).where(where)).first()
            if found is None:
                raise UnknownMarkError(f"there is no mark {mark} on this image.")
            if found.annotator != annotator:
                raise ForeignMarkError("this mark was drawn by somebody else; only its author may undo it.")
            connection.execute(sa.update(MARK).where(MARK.c.id == mark).values(undone=True))
            _touch(connection, image, annotator)
            return replace(_mark(found), undone=True)

    def put_verdict(self, verdict: Verdict) -> None:
        """Keep a verdict, in the place of an earlier one of the same person."""
        self._put(VERDICT, ("image", "class_name", "annotator"), asdict(verdict))

    def drop_verdict(self, image: str, class_name: str, annotator: str) -> None:
        """Take a verdict back, if there is one."""
        here = (VERDICT.c.image == image) & (VERDICT.c.class_name == class_name) & (VERDICT.c.annotator == annotator)
        with self.writing() as connection:
            connection.execute(sa.delete(VERDICT).where(here))
            _touch(connection, image, annotator)

    def put_note(self, note: Note) -> None:
        """Keep a note, in the place of an earlier one; an empty one takes it back."""
        if note.text:
            self._put(NOTE, ("image", "annotator"), asdict(note))
            return
        with self.writing() as connection:
            connection.execute(
                sa.delete(NOTE).where((NOTE.c.image == note.image) & (NOTE.c.annotator == note.annotator))
            )

    def put_state(self, image: str, annotator: str, state: State, when: datetime | None = None) -> None:
        """Say that a person is done with an image, skipped it, or has it open (again)."""
        if state not in STATES:
            raise InputError(f"an image is {', '.join(STATES[:-1])} or {STATES[-1]}; found {state!r}.")
        now = timestamp(when or datetime.now(UTC))
        values = {"image": image, "annotator": annotator, "state": state, "offered": now, "changed": now}
        self._put(VISIT, ("image", "annotator"), values, keep=("offered",))

    def marks(self, image: str | None = None, annotator: str | None = None, *, undone: bool = False) -> list[Mark]:
        """Marks in the order of arrival, of one image or person where given; with `undone` also those taken back."""
        query = _narrow(sa.select(MARK), MARK, image, annotator).order_by(MARK.c.number)
        if not undone:
            query = query.where(MARK.c.undone.is_(False))
        with self.engine.connect() as connection:
            return [_mark(row) for row in connection.execute(query)]

    def verdicts(self, image: str | None = None, annotator: str | None = None) -> list[Verdict]:
        """Verdicts in the order of time, of one image or person where given."""
        query = _narrow(sa.select(VERDICT), VERDICT, image, annotator)
        with self.engine.connect() as connection:
            rows = connection.execute(query.order_by(VERDICT.c.created, VERDICT.c.image, VERDICT.c.class_name))
            return [Verdict(r.image, r.class_name, r.present, r.annotator, _time(r.created)) for r in rows]

    def notes(self, image: str | None = None, annotator: str | None = None) -> list[Note]:
        """Notes in the order of time, of one image or person where given."""
        query = _narrow(sa.select(NOTE), NOTE, image, annotator).order_by(NOTE.c.created, NOTE.c.image)
        with self.engine.connect() as connection:
            return [Note(r.image, r.text, r.annotator, _time(r.created)) for r in connection.execute(query)]

    def skips(self) -> list[Skip]:
        """Who left which image, in the order of time."""
        query = sa.select(VISIT).where(VISIT.c.state == "skipped").order_by(VISIT.c.changed, VISIT.c.image)
        with self.engine.connect() as connection:
            return [Skip(r.image, r.annotator, _time(r.changed)) for r in connection.execute(query)]

    def states(self, annotator: str | None = None) -> list[tuple[str, str, State]]:
        """Image, person and state of every image that was offered, the latest change first."""
        query = _narrow(sa.select(VISIT), VISIT, None, annotator).order_by(VISIT.c.changed.desc(), VISIT.c.image)
        with self.engine.connect() as connection:
            return [(r.image, r.annotator, r.state) for r in connection.execute(query)]

    def state(self, image: str, annotator: str) -> State | None:
        """Whether an image is open to a person, done or skipped; None where it was never offered."""
        query = _narrow(sa.select(VISIT.c.state), VISIT, image, annotator)
        with self.engine.connect() as connection:
            found: State | None = connection.execute(query).scalar()
            return found

    def mark_counts(self) -> dict[str, int]:
        """How many marks each person drew, without those taken back."""
        query = sa.select(MARK.c.annotator, sa.func.count()).where(MARK.c.undone.is_(False)).group_by(MARK.c.annotator)
        with self.engine.connect() as connection:
            return {name: int(count) for name, count in connection.execute(query)}

    def annotations(self) -> AnnotationSet:
        """All marks and verdicts, as training reads them."""
        return AnnotationSet(self.marks(), self.verdicts())

    def _put(self, table: sa.Table, keys: Sequence[str], values: Mapping[str, Any], keep: Sequence[str] = ()) -> None:
        """Insert a row or replace the one with the same keys, except for the columns `keep`."""
        row = {k: timestamp(v) if isinstance(v, datetime) else v for k, v in values.items()}
        here = sa.and_(*(table.c[k] == row[k] for k in keys))
        rest = {k: v for k, v in row.items() if k not in (*keys, *keep)}
        with self.writing() as connection:
            know_image(connection, row["image"])
            if not connection.execute(sa.update(table).where(here).values(rest)).rowcount:
                connection.execute(sa.insert(table).values(row))
            if table is not VISIT:
                _touch(connection, row["image"], row["annotator"])


def open_store(source: str | Path, *, create: Dataset | StoreInfo | None = None) -> AnnotationStore:
    """Open an annotation database; an older one is taken up to date.

    Args:
        source: its file (SQLite), or its URL (PostgreSQL, ``postgresql://user:password@host/name``).
        create: the dataset of a database that may be new; None opens only one that is there.

    Raises:
        InputError: no such database, one of something else, one of a newer pellucid, or one of another dataset.
    """
    engine = connect(source, create=create is not None)
    info = create if isinstance(create, StoreInfo) or create is None else StoreInfo.of(create)
    try:
        with engine.execution_options(**{WRITES: True}).begin() as connection:
            found = connection.execute(sa.select(DATASET)).first()
            if found is None:
                if info is None:
                    raise InputError(f"{source} holds no annotations yet; `pellucid annotate serve` makes them.")
                connection.execute(
                    sa.insert(DATASET).values({**asdict(info), "classes": json.dumps(info.classes), "id": 1})
                )
                return AnnotationStore(engine, info)
    except InputError:
        engine.dispose()
        raise
    return AnnotationStore(
        engine,
        StoreInfo(
            found.name, found.split, found.task, tuple(json.loads(found.classes)), found.fingerprint, found.origin
        ),
    )


def know_image(connection: sa.Connection, image: str) -> None:
    """Have a row for an image."""
    if connection.execute(sa.select(IMAGE.c.id).where(IMAGE.c.id == image)).first() is None:
        connection.execute(sa.insert(IMAGE).values(id=image))


def timestamp(when: datetime) -> str:
    """A time as the tables hold it: UTC to the microsecond, of one length."""
    return when.astimezone(UTC).isoformat(timespec="microseconds")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _touch(connection: sa.Connection, image: str, annotator: str) -> None:
    """Renew a person's reservation of an image."""
    here = (VISIT.c.image == image) & (VISIT.c.annotator == annotator) & (VISIT.c.state == "offered")
    connection.execute(sa.update(VISIT).where(here).values(changed=timestamp(datetime.now(UTC))))


def _narrow(query: sa.Select[Any], table: sa.Table, image: str | None, annotator: str | None) -> sa.Select[Any]:
    if image is not None:
        query = query.where(table.c.image == image)
    return query if annotator is None else query.where(table.c.annotator == annotator)


def _row(mark: Mark) -> dict[str, Any]:
    shape = json.dumps(shape_to_json(mark.shape))
    return {**vars(mark), "shape": shape, "created": timestamp(mark.created)}


def _mark(row: sa.Row[Any]) -> Mark:
    shape = shape_from_json(json.loads(row.shape))
    return Mark(row.image, row.class_name, row.kind, shape, row.annotator, _time(row.created), row.undone, row.id)


def _same(one: Mark, other: Mark) -> bool:
    fields = ("image", "class_name", "kind", "shape", "annotator")
    return all(getattr(one, name) == getattr(other, name) for name in fields)
