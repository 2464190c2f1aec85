"""What keeps the database quick for a crowd: turns in order, and looks that count what one by one counting counts."""

import threading
import time

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from helpers.annotation_store import DATA, A, B, full
from pellucid.annotations.records import Note, Visit
from pellucid.annotations.schema import IMAGE, WRITES
from pellucid.annotations.store import open_store
from pellucid.annotations.turns import Turns, Writers
from pellucid.annotations.views import closed_counts, one_image


@pytest.fixture
def store(source):
    with open_store(source, create=DATA) as opened:
        full(opened)
        yield opened


def test_who_asks_first_is_first():
    turns, order, crowd = Turns(), [], []

    def write(number):
        with turns:
            order.append(number)

    with turns:
        for number in range(50):
            crowd.append(threading.Thread(target=write, args=(number,)))
            crowd[-1].start()
            while turns.waiting <= number:
                time.sleep(0.001)
        assert order == []
    for one in crowd:
        one.join()
    assert order == list(range(50))


def test_a_turn_ends_with_an_error():
    turns = Turns()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), turns:
            raise ZeroDivisionError
    assert turns.waiting == 0


def test_those_who_wait_share_a_commit_and_one_that_fails_takes_back_its_own_alone(store):
    writers = Writers(store.engine.execution_options(**{WRITES: True}), most=8)
    commits, failed = [], []
    event.listen(store.engine, "commit", lambda _: commits.append(1))

    def write(number):
        try:
            with writers.writing() as connection:
                connection.execute(sa.insert(IMAGE).values(id=f"new {number}"))
                if number % 5 == 0:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            failed.append(number)
        else:
            with store.reading() as reader:  # what was acknowledged is there for everybody
                query = sa.select(IMAGE.c.id).where(IMAGE.c.id == f"new {number}")
                assert reader.execute(query).scalar() == f"new {number}"

    with writers.writing():
        crowd = [threading.Thread(target=write, args=(number,)) for number in range(20)]
        for one in crowd:
            one.start()
        while writers.waiting < 20:
            time.sleep(0.001)
    for one in crowd:
        one.join()
    assert len(commits) == 3  # of 21 writers, at most 8 at once
    assert sorted(failed) == [0, 5, 10, 15]
    kept = {image for image in store.image_sizes() if image.startswith("new ")}
    assert kept == {f"new {number}" for number in range(20) if number % 5}


def test_a_commit_that_fails_is_told_to_all_who_shared_it(store):
    writers = Writers(store.engine.execution_options(**{WRITES: True}))
    told = []

    def refuse(_connection):
        raise OSError("the disk is gone")

    def write(before=lambda: None):
        try:
            with writers.writing():
                before()
        except OSError as error:
            told.append(str(error))

    def gather():
        for one in crowd:
            one.start()
        while writers.waiting < 3:
            time.sleep(0.001)

    event.listen(store.engine, "commit", refuse)
    crowd = [threading.Thread(target=write) for _ in range(3)]
    write(gather)
    for one in crowd:
        one.join()
    assert told == ["the disk is gone"] * 4
    event.remove(store.engine, "commit", refuse)
    with writers.writing() as connection:  # and the next one writes
        connection.execute(sa.insert(IMAGE).values(id="after"))
    assert "after" in store.image_sizes()


def test_one_look_sees_what_many_see(store):
    for image in (A, B):
        for who in ("Ann", "Bob", "Cid"):
            found, notes = one_image(store, image, who), store.notes(image, who)
            assert found.state == store.state(image, who)
            assert list(found.marks) == store.marks(image, who)
            assert found.verdicts == {v.class_name: v.present for v in store.verdicts(image, who)}
            assert found.note == (notes[0].text if notes else "")


def test_counts_are_those_of_the_visits(store):
    for number, who in enumerate(["Ann", "Bob", "Ann", "Ann", "Bob"]):
        store.put_visit(Visit(DATA.ids[2 + number], ("done", "skipped", "offered")[number % 3], who))
    store.put_note(Note(DATA.ids[20], "no visit", "Cid"))
    for images in (DATA.ids, DATA.ids[:4], (A,), ()):
        expected = {}
        for visit in store.visits():
            counts = expected.setdefault(visit.annotator, {"done": 0, "skipped": 0})
            if visit.state in counts and visit.image in images:
                counts[visit.state] += 1
        assert closed_counts(store, frozenset(images)) == expected
