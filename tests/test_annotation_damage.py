"""An annotation database that is damaged on disk is told with its name; nobody else on the machine may read it."""

import os
import shutil
import sqlite3
import stat

import pytest

from helpers.annotation_store import DATA, full
from helpers.forked import Forked
from pellucid.annotations.damage import DatabaseDamageError
from pellucid.annotations.loading import load_annotations
from pellucid.annotations.schema import PRIVATE
from pellucid.annotations.store import open_store
from pellucid.types import InputError

NO_UMASK = """
import os, sys
os.umask(0)
from helpers.annotation_store import DATA, full
from pellucid.annotations.store import open_store
with open_store(sys.argv[1], create=DATA) as store:
    full(store)
    folder = os.path.dirname(sys.argv[1])
    print(*(f"{name}:{os.stat(os.path.join(folder, name)).st_mode & 0o777:o}" for name in sorted(os.listdir(folder))))
"""


@pytest.fixture
def whole(tmp_path):
    """A database with something of everything, closed."""
    path = tmp_path / "whole.db"
    with open_store(path, create=DATA) as store:
        full(store)
    return path


def cut(content):
    return content[: len(content) // 2]


def emptied(_content):
    return b""


def zeroed(content):
    return bytes(len(content))


def without_a_page(content):
    return content[:8192] + bytes(4096) + content[12288:]


def of_something_else(_content):
    return b"certainly not a database, but long enough to be read as one" * 100


@pytest.mark.parametrize("harm", [cut, emptied, zeroed, without_a_page, of_something_else])
def test_a_damaged_file_is_named_when_it_is_opened(whole, harm, pellucid):
    whole.write_bytes(harm(whole.read_bytes()))
    left = whole.read_bytes()
    for create in (None, DATA):
        with pytest.raises(DatabaseDamageError, match=r"whole\.db is damaged.*backup.*\.recover"):
            open_store(whole, create=create)
    with pytest.raises(DatabaseDamageError, match=r"whole\.db is damaged"):
        load_annotations(whole, DATA)
    told = str(pellucid("annotate", "export", whole)[0])
    assert "whole.db is damaged" in told
    assert whole.read_bytes() == left  # for whoever wants to save what is left


@pytest.mark.parametrize(
    "statement",
    [
        'UPDATE mark SET shape = \'{"type": "rectangle"\' WHERE number = 1',
        "UPDATE mark SET shape = '{}' WHERE number = 1",
        "UPDATE mark SET shape = '[]' WHERE number = 1",
        "UPDATE mark SET kind = 'relevent' WHERE number = 1",
        "UPDATE mark SET created = '2026-11-31' WHERE number = 1",
        "UPDATE verdict SET present = 'yer'",
        "UPDATE dataset SET classes = '[\"Nodule'",
        "UPDATE dataset SET classes = '5'",
        "PRAGMA foreign_keys = OFF; DELETE FROM image",
        "DROP TABLE verdict",
    ],
)
def test_a_row_that_cannot_be_understood_is_damage(whole, statement):
    with sqlite3.connect(whole) as plain:
        plain.executescript(statement)
    with pytest.raises(DatabaseDamageError, match=r"whole\.db is damaged"):
        load_annotations(whole, DATA)


def test_every_single_page_zeroed_is_told_or_changes_nothing(whole, tmp_path):
    with open_store(whole) as store:
        before = store.content()
    content = whole.read_bytes()
    told = 0
    for place in range(0, len(content), 4096):
        (tmp_path / "one").mkdir(exist_ok=True)
        one = tmp_path / "one" / "whole.db"
        one.write_bytes(content[:place] + bytes(4096) + content[place + 4096 :])
        try:
            with open_store(one) as store:
                found, said = store.content(), ""
        except InputError as error:
            found, said = before, str(error)
        assert found == before
        told += "whole.db" in said
        shutil.rmtree(tmp_path / "one")
    assert told > len(content) // 4096 // 2


@pytest.mark.slow
def test_no_changed_bit_is_a_traceback(whole, tmp_path):
    """SQLite keeps no checksums: a bit may turn one text into another. What cannot be read is told, all the same."""
    content = whole.read_bytes()
    used = [place for place, byte in enumerate(content) if byte]
    told = 0
    for number, place in enumerate(used[:: max(1, len(used) // 300)]):
        one = tmp_path / f"{number}.db"
        one.write_bytes(content[:place] + bytes([content[place] ^ (128 >> number % 8)]) + content[place + 1 :])
        try:
            with open_store(one) as store:
                store.content()
        except InputError as error:
            told += one.name in str(error)
        one.unlink()
    assert told > 30


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no permissions of this kind")
def test_nobody_else_may_read_the_database_or_its_journals(tmp_path):
    folder = tmp_path / "kept"
    folder.mkdir()
    process = Forked(folder / "a.db", code=NO_UMASK)
    printed, messages = process.communicate()
    assert process.returncode == 0, messages
    assert printed.split() == ["a.db:600", "a.db-shm:600", "a.db-wal:600"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no permissions of this kind")
def test_a_database_that_others_could_read_is_taken_from_them(whole, caplog):
    whole.chmod(0o644)
    open_store(whole).close()
    assert stat.S_IMODE(whole.stat().st_mode) == PRIVATE
    assert "could be used by other accounts" in caplog.text
    caplog.clear()
    open_store(whole).close()
    assert caplog.text == ""


def test_a_database_that_cannot_be_made_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match=r"cannot be made: No such file"):
        open_store(tmp_path / "no" / "such.db", create=DATA)
    with pytest.raises(InputError, match="it is no file"):
        open_store(tmp_path, create=DATA)
    with open_store(tmp_path / "a.db", create=DATA):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a.db"]
