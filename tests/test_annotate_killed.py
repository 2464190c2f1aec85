"""A server killed a hundred times while people draw: what it acknowledged is kept, and the database is whole."""

import json
import sqlite3
import subprocess
import sys
import urllib.error
from http.client import HTTPException
from pathlib import Path
from threading import Event, Thread
from uuid import uuid4

import pytest

from annotate_example import DATA, Server, Visitor, make_network
from pellucid.data.annotation_store import open_store

POINTS = [[i / 400, 0.5] for i in range(400)]  # a long stroke: half of one would show


class Elsewhere(Server):
    """A server that somebody else starts."""

    def __init__(self, address):
        self._address = address

    @property
    def address(self):
        return self._address


class Person(Thread):
    """Draws, answers and goes on; whatever is not acknowledged is sent again, as the page does."""

    def __init__(self, server, name, over):
        super().__init__(daemon=True)
        self.server, self.name, self.over = server, name, over
        self.strokes, self.closed, self.again, self.unexpected = {}, [], 0, []

    def sent(self, *request):
        while True:
            try:
                return self.visitor.ask(*request)
            except urllib.error.HTTPError as error:
                self.unexpected.append(f"{request}: {error.code} {error.read()}")
                raise
            except (OSError, HTTPException, json.JSONDecodeError):  # it died before or while it answered
                self.again += 1

    def run(self):
        while True:
            try:
                self.visitor = Visitor(self.server, self.name)
                break
            except (OSError, HTTPException):
                self.again += 1
        turn = 0
        while not self.over.is_set():
            images = self.sent("GET", "/api/queue?count=1")["images"]
            if not images:
                return
            here = f"/api/images/{images[0]['id']}"
            for _ in range(12):
                stroke, turn = str(uuid4()), turn + 1
                shape = {"type": "brush", "points": POINTS, "radius": 0.02}
                body = {"class": images[0]["classes"][0]["class"], "kind": "relevant", "shape": shape}
                self.sent("PUT", f"{here}/marks/{stroke}", body)
                self.strokes[stroke] = False
                if turn % 3 == 0:
                    self.sent("DELETE", f"{here}/marks/{stroke}")
                    self.strokes[stroke] = True
            self.sent("PUT", f"{here}/note", {"text": f"{self.name} {turn}"})
            self.sent("PUT", f"{here}/state", {"state": "done"})
            self.closed.append((images[0]["id"], f"{self.name} {turn}"))


@pytest.mark.slow
def test_a_server_killed_at_random_moments_loses_nothing(source, tmp_path):
    kills = 20 if "://" in str(source) else 100  # a hundred killed writers of PostgreSQL: test_annotation_store
    network = make_network(tmp_path / "run")
    script = Path(__file__).with_name("annotate_killed_server.py")
    command = [sys.executable, script, network, source, kills, json.dumps(DATA | {"train": 64})]
    process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    over = Event()
    server = Elsewhere(process.stdout.readline().strip())
    people = [Person(server, f"person {i}", over) for i in range(4)]
    for person in people:
        person.start()
    killed = [line.strip() for line in iter(process.stdout.readline, "the last one\n") if line]
    over.set()
    for person in people:
        person.join(60)
    process.stdin.close()
    assert process.wait(60) == 0
    assert killed == [str(i + 1) for i in range(kills)]
    assert not any(person.is_alive() for person in people)
    assert [person.unexpected for person in people] == [[]] * 4
    assert sum(person.again for person in people) >= kills // 4  # they did meet dead servers
    with open_store(source) as store:
        marks = {mark.id: mark for mark in store.marks(undone=True)}
        notes = {(note.image, note.annotator): note.text for note in store.notes()}
        visits = [visit for visit in store.visits() if visit.state == "done"]
    for person in people:
        mine = {mark.id: mark.undone for mark in marks.values() if mark.annotator == person.name}
        assert person.strokes.items() <= mine.items()
        assert len(mine) - len(person.strokes) <= 1  # the one that was on its way at the end
        done = [visit.image for visit in visits if visit.annotator == person.name]
        assert len(done) == len(set(done)) == len(person.closed)
        assert {notes[image, person.name] for image in done} == {text for _, text in person.closed}
    assert sum(len(person.strokes) for person in people) > kills
    assert all(len(mark.shape.points) == 400 for mark in marks.values())
    if "://" not in str(source):
        with sqlite3.connect(source) as plain:
            assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert plain.execute("PRAGMA foreign_key_check").fetchall() == []
