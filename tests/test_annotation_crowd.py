"""What keeps the database quick for a crowd: turns in order, and looks that count what one by one counting counts."""

import threading
import time

import pytest

from helpers.annotation_store import DATA, A, B, full
from pellucid.annotations.records import Note, Visit
from pellucid.annotations.store import open_store
from pellucid.annotations.turns import Turns
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
