"""The tables of an annotation database, and opening one: SQLite by its file, PostgreSQL by its URL."""

from __future__ import annotations

import logging
import os
import stat
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import event

from pellucid.annotations.damage import check_sqlite, damage, telling_damage
from pellucid.types import InputError

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection

log = logging.getLogger("pellucid.annotator")

MIGRATIONS = Path(str(files("pellucid") / "annotations" / "migrations"))
PRIVATE = 0o600  # marks name people, and images may name patients: for the account that serves them alone
BUSY_SECONDS = 30  # how long a writer waits for another one
WRITES = "pellucid_writes"
POSTGRESQL_LOCK = 0x50454C4C  # any number, as long as all that write have the same

_METADATA = sa.MetaData()

DATASET = sa.Table(
    "dataset",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("split", sa.Text, nullable=False),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("classes", sa.Text, nullable=False),  # JSON
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("origin", sa.Text, nullable=False),
)
IMAGE = sa.Table(
    "image",
    _METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("width", sa.Integer),
    sa.Column("height", sa.Integer),
)
MARK = sa.Table(
    "mark",
    _METADATA,
    sa.Column("number", sa.Integer, primary_key=True),  # in the order of arrival
    sa.Column("id", sa.String(36), nullable=False, unique=True),
    sa.Column("image", sa.Text, sa.ForeignKey("image.id"), nullable=False, index=True),
    sa.Column("class_name", sa.Text, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("shape", sa.Text, nullable=False),  # JSON
    sa.Column("annotator", sa.Text, nullable=False),
    sa.Column("created", sa.String(32), nullable=False),  # ISO 8601, UTC, microseconds: sorts as text
    sa.Column("undone", sa.Boolean, nullable=False),
    sa.Index("ix_mark_counts", "annotator", "undone", "image"),  # all that counting needs: shapes are long
)
VERDICT = sa.Table(
    "verdict",
    _METADATA,
    sa.Column("image", sa.Text, sa.ForeignKey("image.id"), primary_key=True),
    sa.Column("class_name", sa.Text, primary_key=True),
    sa.Column("annotator", sa.Text, primary_key=True),
    sa.Column("present", sa.String(8), nullable=False),
    sa.Column("created", sa.String(32), nullable=False),
)
NOTE = sa.Table(
    "note",
    _METADATA,
    sa.Column("image", sa.Text, sa.ForeignKey("image.id"), primary_key=True),
    sa.Column("annotator", sa.Text, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("created", sa.String(32), nullable=False),
)
VISIT = sa.Table(
    "visit",
    _METADATA,
    sa.Column("image", sa.Text, sa.ForeignKey("image.id"), primary_key=True),
    sa.Column("annotator", sa.Text, primary_key=True, index=True),
    sa.Column("state", sa.String(8), nullable=False),  # offered, lapsed, done or skipped
    sa.Column("offered", sa.String(32), nullable=False),
    sa.Column("changed", sa.String(32), nullable=False),
)
SESSION = sa.Table(
    "session",
    _METADATA,
    sa.Column("secret", sa.String(64), primary_key=True),  # SHA-256 of what the browser's cookie holds
    sa.Column("annotator", sa.Text, primary_key=True),
    sa.Column("proof", sa.String(64), nullable=False),  # how it came in: by invitation, or with which token
    sa.Column("used", sa.String(32), nullable=False),  # of several names of one browser, the last one speaks
)
INVITATION = sa.Table(
    "invitation",
    _METADATA,
    sa.Column("code", sa.String(64), primary_key=True),  # SHA-256 of what the link holds
    sa.Column("annotator", sa.Text, nullable=False, index=True),
    sa.Column("created", sa.String(32), nullable=False),
    sa.Column("accepted", sa.String(64)),  # by which session
)


def connect(source: str | Path, *, create: bool) -> sa.Engine:
    """An engine on an annotation database whose tables are up to date.

    Args:
        source: a file, or a URL as ``postgresql+pg8000://user:password@host/name``.
        create: whether an SQLite file may be made.

    Raises:
        InputError: no such file or no such server; a file that is damaged, or no annotation database; a database that a
            newer version of pellucid made.
    """
    url = _url(source)
    name = store_name(source)
    local = url.get_backend_name() == "sqlite"
    if local:
        _find_sqlite(Path(str(url.database)), name, create=create)
    engine = _engine(url)
    try:
        with telling_damage(name, rows=False):
            if local:
                with engine.connect() as connection:
                    check_sqlite(connection, name)
            _upgrade(engine, name)
    except sa.exc.DBAPIError as error:
        engine.dispose()
        raise InputError(f"{name} cannot be opened as an annotation database: {error.orig}.") from error
    except InputError:
        engine.dispose()
        raise
    return engine


def store_name(source: str | Path) -> str:
    """What to call an annotation database where it is spoken of: its file, or its URL without the password."""
    url = _url(source)
    return url.set(drivername=url.get_backend_name()).render_as_string() if url.host else str(url.database)


def _url(source: str | Path) -> sa.URL:
    text = str(source)
    if "://" not in text:
        return sa.URL.create("sqlite", database=str(Path(text).expanduser()))
    try:
        url = sa.engine.make_url(text)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise InputError(f"not a database's URL (as postgresql://user:password@host/name): {error}") from error
    backend = url.get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise InputError(f"annotations are kept in SQLite or PostgreSQL; found {backend!r}.")
    if backend == "sqlite" and not url.database:
        raise InputError("an annotation database in memory would be lost: name a file.")
    return url.set(drivername="postgresql+pg8000") if backend == "postgresql" else url


def _engine(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url, pool_size=20, max_overflow=40, pool_pre_ping=url.get_backend_name() != "sqlite")
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "begin", _begin_postgresql)
    return engine


def _find_sqlite(path: Path, name: str, *, create: bool) -> None:
    """Have an SQLite file there, whole and private.

    Raises:
        InputError: there is none, and none may be made; or it is empty.
    """
    if not path.exists():
        if not create:
            raise InputError(f"no annotation database at {name}; `pellucid annotate serve` makes one.")
        _make_sqlite(path, name)
    if not path.is_file():
        raise InputError(f"no annotation database at {name}: it is no file. Name one with --store.")
    if path.stat().st_size == 0:
        raise damage(name, "the file is empty; if nothing was in it yet, delete it, and a new one is made")
    _make_private(path)


def _make_sqlite(path: Path, name: str) -> None:
    """Make an SQLite database with all tables, which has its name once it is whole: an empty file is a damaged one."""
    new = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, PRIVATE))
        engine = _engine(_url(new))
        try:
            _upgrade(engine, name)
        finally:
            engine.dispose()
        with suppress(FileExistsError):  # somebody else made it meanwhile
            os.link(new, path)
    except (OSError, sa.exc.DBAPIError) as error:
        raise InputError(f"{name} cannot be made: {getattr(error, 'strerror', None) or error}.") from error
    finally:
        for each in _files(new):
            each.unlink(missing_ok=True)


def _make_private(path: Path) -> None:
    """Take a database that was made before from the other accounts of this machine."""
    with suppress(OSError):  # somebody else's file is theirs to give
        if stat.S_IMODE(path.stat().st_mode) & ~PRIVATE:
            log.warning("%s could be used by other accounts of this machine; from now on by its owner alone", path)
            for each in _files(path):
                if each.exists():
                    each.chmod(PRIVATE)


def _files(path: Path) -> tuple[Path, ...]:
    """An SQLite file and its journals, which have the permissions of the file when they are made."""
    return (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal")))


def _prepare_sqlite(connection: DBAPIConnection, _record: object) -> None:
    raw: Any = connection
    raw.isolation_level = None  # transactions begin where we say, see below
    for pragma in (
        f"busy_timeout={BUSY_SECONDS * 1000}",
        "journal_mode=WAL",  # readers do not wait for writers, and a killed writer leaves the last whole transaction
        "synchronous=FULL",  # what was acknowledged is on the disk, also when the power fails
        "foreign_keys=ON",
    ):
        raw.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: sa.Connection) -> None:
    # a writer takes the lock at once: taken later, it could fail where another one wrote in between
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_postgresql(connection: sa.Connection) -> None:
    # writers come one after the other, as they do with SQLite, so that what one looks up is still so when it writes
    if connection.get_execution_options().get(WRITES):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({POSTGRESQL_LOCK})")


def _upgrade(engine: sa.Engine, name: str) -> None:
    """Take the tables to the newest version, in one transaction."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    revisions = {step.revision for step in scripts.walk_revisions()}
    head = scripts.get_current_head()
    with engine.connect() as connection:
        tables = set(sa.inspect(connection).get_table_names())
        now = (
            connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
            if ("alembic_version" in tables)
            else None
        )
    if now == head:
        return
    if now is None and tables:
        raise InputError(f"{name} is a database of something else: it has the tables {', '.join(sorted(tables)[:5])}.")
    if now is not None and now not in revisions:
        raise InputError(
            f"{name} was made by a newer version of pellucid (its tables have version {now}, this one knows "
            f"{head}): update pellucid."
        )
    logging.getLogger("alembic").setLevel(logging.WARNING)

    def steps(revision: object, _context: object) -> Any:  # noqa: ANN401
        return scripts._upgrade_revs("head", revision)  # type: ignore[arg-type]

    writing = engine.execution_options(**{WRITES: True})
    with EnvironmentContext(config, scripts, fn=steps) as environment, writing.begin() as connection:
        environment.configure(connection=connection, target_metadata=_METADATA)
        environment.run_migrations()
