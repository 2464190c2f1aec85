"""An annotation database that was damaged on disk: found when it is opened or read, told with its file and a remedy."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

import sqlalchemy as sa

from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

# what SQLite says of a file whose contents are not what it wrote
DAMAGED = (
    "malformed", "not a database", "disk I/O error", "no such table", "no such column", "unsupported file",
    "Could not decode to UTF-8",
)  # fmt: skip


class DatabaseDamageError(InputError):
    """A database that does not hold what was written into it."""


def damage(name: str, detail: object) -> DatabaseDamageError:
    """What to tell of a damaged database.

    Args:
        name: of its file.
        detail: what is wrong in it.
    """
    what = "is damaged, or never was an annotation database" if "not a database" in str(detail) else "is damaged"
    return DatabaseDamageError(
        f"{name} {what}: {detail}. Put a backup of it in its place, or keep a copy of it and save what can still be "
        f"read: `sqlite3 {name} .recover | sqlite3 recovered.db`, then --store recovered.db."
    )


@contextmanager
def telling_damage(name: str, *, rows: bool = True) -> Iterator[None]:
    """Have whatever a damaged database causes while it is read told as damage.

    Args:
        name: of its file.
        rows: whether rows are read, of which any that cannot be understood is damage.

    Raises:
        DatabaseDamageError: SQLite cannot read the file, or a row holds what is never written into one.
    """
    try:
        yield
    except sa.exc.DatabaseError as error:
        if isinstance(error.orig, sqlite3.Error) and any(words in str(error.orig) for words in DAMAGED):
            raise damage(name, error.orig) from error
        raise
    except DatabaseDamageError:
        raise
    except UnicodeDecodeError as error:  # also of what SQLite itself says, which quotes what it could not read
        raise damage(name, "it holds text that is none") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if not rows:
            raise
        raise damage(name, f"a row of it cannot be read ({error})") from error


def check_sqlite(connection: sa.Connection, name: str) -> None:
    """Read an SQLite file from end to end, indices too: a damaged index would leave rows out without a word.

    Raises:
        DatabaseDamageError: with the first thing that is wrong; what SQLite cannot read at all is its own error.
    """
    finding = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
    if finding != "ok":
        raise damage(name, " ".join(str(finding).split()))
    for table, _row, parent, _key in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        raise damage(name, f"{table} has rows without their {parent}")
