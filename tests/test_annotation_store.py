"""The annotation database keeps every stroke: also when killed and upgraded; whose turn it is, and whose images."""

import shutil
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from helpers.annotation import OPTIONS
from helpers.annotation_store import BOX, DATA, A, B, full
from helpers.forked import Forked
from pellucid.annotations import schema as annotation_schema
from pellucid.annotations.loading import load_annotations
from pellucid.annotations.people import NameTakenError, accept, invite, sign_in
from pellucid.annotations.records import LabelAnswer, Mark, Note, Visit
from pellucid.annotations.reservations import held_by_others, reserve
from pellucid.annotations.schema import store_name
from pellucid.annotations.store import ConflictError, ForeignMarkError, UnknownMarkError, open_store
from pellucid.data import open_dataset
from pellucid.types import InputError

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def store(source):
    with open_store(source, create=DATA) as opened:
        yield opened


def test_a_mark_is_kept_once_and_a_resend_never_revives_it(store):
    mark = Mark(A, "Nodule", "relevant", BOX, "Ann")
    assert store.add_mark(mark)
    assert not store.add_mark(replace(mark, created=NOON))
    assert store.marks() == [mark]
    assert store.undo_mark(A, mark.id, "Ann").undone
    assert not store.add_mark(mark)
    assert store.marks() == []
    assert store.undo_mark(A, mark.id, "Ann").undone
    assert [m.undone for m in store.marks(undone=True)] == [True]


def test_other_peoples_marks_and_ids_are_safe(store):
    mark = Mark(A, "Nodule", "relevant", BOX, "Ann")
    store.add_mark(mark)
    with pytest.raises(ForeignMarkError):
        store.undo_mark(A, mark.id, "Bob")
    with pytest.raises(UnknownMarkError):
        store.undo_mark(B, mark.id, "Ann")
    for other in (replace(mark, annotator="Bob"), replace(mark, image=B), replace(mark, kind="irrelevant")):
        with pytest.raises(ConflictError):
            store.add_mark(other)
    assert store.marks() == [mark]


def test_the_last_word_counts(store):
    for present in ("yes", "unsure", "no"):
        store.put_verdict(LabelAnswer(A, "Nodule", present, "Ann"))
    assert [v.present for v in store.verdicts(A, "Ann")] == ["no"]
    store.drop_verdict(A, "Nodule", "Ann")
    assert store.verdicts() == []
    store.put_note(Note(A, "first", "Ann"))
    store.put_note(Note(A, "second", "Ann"))
    assert [n.text for n in store.notes(A)] == ["second"]
    store.put_note(Note(A, "", "Ann"))
    assert store.notes() == []


def test_the_last_word_counts_though_the_clock_was_set_back(store):
    store.put_verdict(LabelAnswer(A, "Nodule", "yes", "Ann", NOON + timedelta(days=1)))
    store.put_note(Note(A, "first", "Ann", NOON + timedelta(days=1)))
    store.put_visit(Visit(A, "offered", "Ann", NOON + timedelta(days=1)))
    kept = store.content()
    store.put_verdict(LabelAnswer(A, "Nodule", "no", "Ann", NOON))
    store.put_note(Note(A, "second", "Ann", NOON))
    store.put_visit(Visit(A, "done", "Ann", NOON))

    def told():
        return store.verdicts()[0].present, store.notes()[0].text, store.state(A, "Ann")

    assert told() == ("no", "second", "done")
    later = store.content()
    store.add_all(kept)
    assert told() == ("yes", "first", "offered")  # of a file, what was said later counts
    store.add_all(later)
    assert told() == ("yes", "first", "offered")


def test_two_people_get_different_images_and_the_same_ones_again(store):
    ann = reserve(store, "Ann", DATA.ids, count=2)
    assert ann == list(DATA.ids[:2])
    assert reserve(store, "Bob", DATA.ids, count=2) == list(DATA.ids[2:4])
    assert reserve(store, "Ann", DATA.ids, count=2) == ann
    store.put_visit(Visit(ann[0], "done", "Ann"))
    assert reserve(store, "Ann", DATA.ids, count=2) == [ann[1], DATA.ids[4]]


def test_each_image_goes_to_as_many_people_as_asked(store):
    given = {who: reserve(store, who, DATA.ids[:2], count=2, per_image=2) for who in ("Ann", "Bob", "Cid")}
    assert given == {"Ann": list(DATA.ids[:2]), "Bob": list(DATA.ids[:2]), "Cid": []}
    store.put_visit(Visit(A, "skipped", "Bob"))
    assert reserve(store, "Cid", DATA.ids[:2], count=2, per_image=2) == [A]
    assert reserve(store, "Bob", DATA.ids[:2], count=2, per_image=2) == [B]  # what was skipped does not come back


def test_what_others_hold_may_come_back_and_what_is_done_does_not(store):
    hold, images = timedelta(minutes=10), [A, B]

    def away(who, minutes, **options):
        return held_by_others(store, who, images, hold=hold, now=NOON + timedelta(minutes=minutes), **options)

    invite(store, "Ann")
    assert away("Bob", 0) == 0  # free images are not away
    reserve(store, "Ann", images, count=2, hold=hold, now=NOON)
    assert (away("Bob", 1), away("Ann", 1)) == (2, 0)
    assert away("Bob", 1, per_image=2) == 0
    assert away("Bob", 11) == 0  # they are free again
    store.put_visit(Visit(A, "done", "Ann"))
    assert away("Bob", 1) == 1
    store.put_visit(Visit(B, "skipped", "Bob"))
    assert away("Bob", 1) == 0  # he does not get it again


def test_a_reservation_ends_without_a_sign_of_life(store):
    hold = timedelta(minutes=10)
    for who in ("Ann", "Bob"):
        invite(store, who)
    assert reserve(store, "Ann", [A], hold=hold, now=NOON) == [A]
    assert reserve(store, "Bob", [A], hold=hold, now=NOON + timedelta(minutes=9)) == []
    assert reserve(store, "Ann", [A], hold=hold, now=NOON + timedelta(minutes=9)) == [A]  # renewed
    assert reserve(store, "Bob", [A], hold=hold, now=NOON + timedelta(minutes=18)) == []
    assert reserve(store, "Bob", [A], hold=hold, now=NOON + timedelta(minutes=20)) == [A]
    assert reserve(store, "Ann", [A], hold=hold, now=NOON + timedelta(minutes=21)) == []


def test_what_went_to_somebody_else_has_lapsed_and_may_still_be_marked(store):
    hold, later = timedelta(minutes=10), NOON + timedelta(minutes=20)
    reserve(store, "Ann", [A, B], count=2, hold=hold, now=NOON)
    assert reserve(store, "Bob", [A], hold=hold, now=later) == [A]
    assert (store.state(A, "Ann"), store.state(B, "Ann")) == ("lapsed", "offered")
    store.add_mark(Mark(A, "Nodule", "relevant", BOX, "Ann"))  # drawn without the server, sent now
    assert reserve(store, "Bob", [A], hold=hold, now=later) == [A]  # which takes nothing from the one who has it
    assert reserve(store, "Ann", [A, B], count=2, hold=hold, now=later) == [B]
    store.put_visit(Visit(A, "skipped", "Bob"))
    assert reserve(store, "Ann", [A, B], count=2, hold=hold, now=later) == [B, A]  # it may come back
    assert store.state(A, "Ann") == "offered"
    store.put_visit(Visit(A, "done", "Ann"))
    assert {(v.annotator, v.state) for v in store.visits() if v.image == A} == {("Ann", "done"), ("Bob", "skipped")}


def test_only_images_that_are_offered_now_are_held(store):
    first, others = DATA.ids[:4], DATA.ids[4:]
    assert reserve(store, "Ann", first, count=4) == list(first)
    assert reserve(store, "Ann", others, count=2) == list(others[:2])  # as after a start with another seed
    assert reserve(store, "Ann", DATA.ids, count=6) == [*first, *others[:2]]


def test_a_crowd_asking_at_once_gets_each_image_once(store):
    given: list[str] = []

    def ask(who):
        for _ in range(4):
            found = reserve(store, who, DATA.ids, count=1)
            if found:
                given.append(found[0])
                store.put_visit(Visit(found[0], "done", who))

    crowd = [Thread(target=ask, args=(f"p{i}",)) for i in range(8)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert sorted(given) == sorted(DATA.ids)  # 24 images for 32 questions


def test_a_crowd_that_marks_the_same_image_at_once_loses_nothing(store):
    """Each one's first mark makes the image's row: nobody trips over another one's."""
    together = Barrier(8, timeout=30)
    kept: list[bool] = []

    def draw(who):
        for image in DATA.ids[:6]:
            together.wait()
            kept.append(store.add_mark(Mark(image, "Nodule", "relevant", BOX, who)))
            store.put_note(Note(image, f"of {who}", who))

    crowd = [Thread(target=draw, args=(f"p{i}",)) for i in range(8)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert kept == [True] * 48
    assert len(store.marks()) == len(store.notes()) == 48


KILLER = """
import os, random, signal, sys, time
from pellucid.annotations.shapes import Brush
from pellucid.annotations.store import open_store
from pellucid.annotations.records import Mark

source, image, rounds = sys.argv[1:]
points = tuple((i / 200, i / 200) for i in range(200))

def write(pipe):
    with open_store(source) as store:
        os.write(pipe, b"ready\\n")
        while True:
            mark = Mark(image, "Nodule", "relevant", Brush(points, 0.1), "Ann")
            store.add_mark(mark)
            os.write(pipe, mark.id.encode() + b"\\n")

rng = random.Random(0)
for _ in range(int(rounds)):
    crowd = []
    for _ in range(4):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            write(writing)
        os.close(writing)
        crowd.append((child, os.fdopen(reading)))
    for child, said in crowd:
        assert said.readline() == "ready\\n"
    for child, said in crowd:
        for _ in range(rng.randint(1, 4)):  # however long a busy machine takes for them
            sys.stdout.write(said.readline())
        time.sleep(rng.uniform(0, 0.01))
        os.kill(child, signal.SIGKILL)
    for child, said in crowd:
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        sys.stdout.write(said.read())
        print("killed", flush=True)
"""


@pytest.mark.slow
def test_killed_writers_lose_no_acknowledged_stroke(store, source):
    """Four writers at a time are killed at random moments; what they said was kept is there, the database is whole."""
    process = Forked(source, A, 3, code=KILLER)
    printed, messages = process.communicate()
    assert process.returncode == 0, messages
    said = printed.splitlines()
    assert said.count("killed") == 12
    if store.engine.name == "sqlite":
        with sqlite3.connect(source) as plain:
            assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert plain.execute("PRAGMA foreign_key_check").fetchall() == []
    kept = {mark.id: mark for mark in store.marks()}
    acknowledged = {line for line in said if line != "killed"}
    assert len(acknowledged) >= 12
    assert acknowledged <= set(kept)
    assert all(len(mark.shape.points) == 200 for mark in kept.values())


def test_a_new_database_has_the_tables_of_the_code(store):
    with store.engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), annotation_schema.DATASET.metadata)
        assert differences == []
        if store.engine.name != "sqlite":
            return
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_an_older_database_is_upgraded_and_a_newer_one_refused(store, source, tmp_path, monkeypatch):
    full(store)
    before = store.content()
    store.close()
    later = tmp_path / "migrations"
    shutil.copytree(annotation_schema.MIGRATIONS, later)
    (later / "versions" / "v9001_later.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\nrevision = '9001'\ndown_revision = '0002'\n"
        "def upgrade():\n    op.add_column('note', sa.Column('colour', sa.Text))\n"
    )
    with monkeypatch.context() as newer:
        newer.setattr(annotation_schema, "MIGRATIONS", later)
        with open_store(source) as upgraded:
            assert upgraded.content() == before
            with upgraded.engine.connect() as connection:
                assert "colour" in {c["name"] for c in sa.inspect(connection).get_columns("note")}
    with pytest.raises(InputError, match=r"newer version of pellucid .* 9001") as refused:
        open_store(source)
    assert "secret" not in str(refused.value)


def test_a_database_of_the_first_version_keeps_all_and_its_names(source, tmp_path, monkeypatch):
    first = tmp_path / "migrations"
    shutil.copytree(annotation_schema.MIGRATIONS, first)
    for step in (first / "versions").glob("v0*"):
        if not step.name.startswith("v0001"):
            step.unlink()
    with monkeypatch.context() as older:
        older.setattr(annotation_schema, "MIGRATIONS", first)
        with open_store(source, create=DATA) as store:
            full(store)
            before = store.content()
            with store.engine.connect() as connection:
                assert "session" not in sa.inspect(connection).get_table_names()
    with open_store(source) as store:
        assert store.content() == before
        for name in ("Ann", " ann", "BOB", "=Bob"):
            with pytest.raises(NameTakenError):
                sign_in(store, name, "a" * 43)
        assert accept(store, invite(store, "ann"), "a" * 43) == "Ann"
        assert sign_in(store, "Cid", "b" * 43) == "Cid"
        with store.engine.connect() as connection:
            metadata = annotation_schema.DATASET.metadata
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_what_is_no_annotation_database_is_refused(tmp_path):
    text, other, empty = tmp_path / "a.db", tmp_path / "b.db", tmp_path / "c.db"
    text.write_text("certainly not a database, but long enough to be read as one" * 20)
    with sqlite3.connect(other) as plain:
        plain.execute("CREATE TABLE patients (name TEXT)")
    with pytest.raises(InputError, match="never was an annotation database: file is not a database"):
        open_store(text)
    with pytest.raises(InputError, match="something else: it has the tables patients"):
        open_store(other, create=DATA)
    with pytest.raises(InputError, match="no annotation database"):
        open_store(empty)
    assert not empty.exists()
    for url in ("mysql://localhost/x", "sqlite://", "://"):
        with pytest.raises(InputError, match=r"SQLite or PostgreSQL|name a file|URL"):
            open_store(url, create=DATA)


def test_annotations_belong_to_a_dataset(store, source):
    full(store)
    store.put_image(A, 32, 32)  # as large as the dataset's
    found = load_annotations(source, DATA)
    assert found.image_ids == (A, B)
    assert found.masks([A], ["Nodule"], 8)[0].sum() == 2
    assert load_annotations(source, DATA.subset([1, 0])).image_ids == (A, B)
    with pytest.raises(InputError, match=rf"1 of 2 annotated images are not in .*{A}") as refused:
        load_annotations(source, DATA.subset([1, 2]))
    assert "secret" not in str(refused.value)
    with pytest.raises(InputError, match="other images of phantom"):
        load_annotations(source, open_dataset("phantom", seed=1, options=OPTIONS)["train"])
    with pytest.raises(InputError, match="not to toy"):
        load_annotations(source, replace(DATA, card=replace(DATA.card, name="toy")))
    fewer = replace(DATA, card=replace(DATA.card, classes=("Nodule",)), targets=DATA.targets[:, :1])
    with pytest.raises(InputError, match="speak of"):
        load_annotations(source, fewer)


@pytest.mark.slow
def test_a_postgresql_server_that_went_down_is_found_again(postgres):
    source = postgres.new_database()
    with open_store(source, create=DATA) as store:
        full(store)
        before = store.content()
        postgres.stop()
        with pytest.raises(sa.exc.DBAPIError):
            store.marks()
        with pytest.raises(InputError, match="cannot be opened") as refused:
            open_store(source)
        assert "secret" not in str(refused.value)
        postgres.start()
        assert store.content() == before  # the same store: connections that were cut are made anew


@pytest.mark.slow
def test_a_postgresql_database_of_something_else_is_refused(postgres):
    source = postgres.new_database()
    with pytest.raises(InputError, match="no annotations yet") as refused:
        open_store(source)
    assert "secret" not in str(refused.value)
    other = postgres.new_database()
    engine = sa.create_engine(other.replace("postgresql:", "postgresql+pg8000:"))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE patients (name TEXT)")
    engine.dispose()
    with pytest.raises(InputError, match="something else: it has the tables patients"):
        open_store(other, create=DATA)
    with pytest.raises(InputError, match="cannot be opened"):
        open_store(source.replace("secret", "wrong"))


@pytest.mark.slow
def test_the_commands_take_a_url_and_keep_its_password(postgres, tmp_path, pellucid):
    first, second, out = postgres.new_database(), postgres.new_database(), tmp_path / "out.csv"
    with open_store(first, create=DATA) as store:
        full(store)
        status, said, complaint = pellucid("annotate", "export", first, "--format", "csv", "--out", out)
        assert (status, "secret" in said + complaint, "3 marks" in said) == (0, False, True)
        status, said, complaint = pellucid("annotate", "import", out, "--store", second)
        assert (status, "secret" in said + complaint, "postgresql://ann:***@" in said) == (0, False, True)
        with open_store(second) as again:
            assert again.content() == store.content()
    assert load_annotations(second, DATA).image_ids == (A, B)


def test_a_database_is_named_without_its_password(tmp_path):
    assert store_name("postgresql://ann:secret@db.example:5433/marks") == "postgresql://ann:***@db.example:5433/marks"
    assert store_name(tmp_path / "a.db") == str(tmp_path / "a.db")
