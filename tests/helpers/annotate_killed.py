"""A server killed again and again while people draw, and what has to be true then; for the suite and the campaign."""

from __future__ import annotations

import json
import random
import sqlite3
import time
import urllib.error
from http.client import HTTPException
from pathlib import Path
from threading import Event, Thread
from uuid import uuid4

from helpers.annotate import DATA, Server, Visitor, make_network
from helpers.forked import Forked
from pellucid.annotations.store import open_store

POINTS = [[i / 400, 0.5] for i in range(400)]  # a long stroke: half of one would show
PEOPLE = 4


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
        self.strokes, self.closed, self.answers, self.again, self.unexpected = {}, [], 0, 0, []
        self.visitor = Visitor(server)

    def sent(self, method, path, body=None):
        ask = self.visitor.ask if path.startswith("/api/") else self.visitor.fetch
        while True:
            try:
                answer = ask(method, path, body)
            except urllib.error.HTTPError as error:
                self.unexpected.append(f"{method} {path}: {error.code} {error.read()}")
                raise
            except (OSError, HTTPException, json.JSONDecodeError):  # it died before or while it answered
                self.again += 1
            else:
                self.answers += 1
                return answer

    def run(self):
        self.sent("GET", "/")  # gives the cookie, so that a sign-in whose answer is lost can be sent again
        self.sent("POST", "/api/session", {"annotator": self.name})
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


def _wait_for_a_moment(people, process, rng):
    """A random moment: soon after the start, or after so many more answers, however long a busy machine takes."""
    if rng.random() < 0.25:
        time.sleep(rng.uniform(0, 0.3))
        return
    wanted = sum(person.answers for person in people) + rng.randint(1, 12 * PEOPLE)
    while sum(person.answers for person in people) < wanted:
        assert process.poll() is None
        if not any(person.is_alive() for person in people):
            return
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.01))


def kill_and_check(source, folder, kills, seed=0):
    """Kill a server so many times while four people draw, and check that nothing it acknowledged is lost.

    Nothing here waits for a time that a busy machine could miss: people are done when they notice that it is over.

    Returns:
        Counts of strokes, and of requests that met a dead server.
    """
    network = make_network(folder / "run")
    script = Path(__file__).with_name("annotate_killed_server.py")
    arguments = [network, source, kills, json.dumps(DATA | {"train": 64})]
    process = Forked(*arguments, code=script.read_text(encoding="utf-8"), asks=True)
    over = Event()
    people = []
    try:
        server = Elsewhere(process.stdout.readline().strip())
        people += [Person(server, f"person {i}", over) for i in range(PEOPLE)]
        for person in people:
            person.start()
        rng, killed = random.Random(seed), []
        for _ in range(kills):
            assert process.stdout.readline() == "up\n"
            _wait_for_a_moment(people, process, rng)
            process.stdin.write("\n")
            process.stdin.flush()
            killed.append(process.stdout.readline().strip())
        assert process.stdout.readline() == "the last one\n"
        over.set()
        for person in people:
            person.join()
        process.stdin.close()
        assert process.wait() == 0
    finally:
        over.set()
        process.kill()
    assert killed == [str(i + 1) for i in range(kills)]
    assert [person.unexpected for person in people] == [[]] * PEOPLE
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
    assert all(len(mark.shape.points) == 400 for mark in marks.values())
    if "://" not in str(source):
        with sqlite3.connect(source) as plain:
            assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert plain.execute("PRAGMA foreign_key_check").fetchall() == []
    return {
        "strokes": sum(len(person.strokes) for person in people),
        "sent again": sum(person.again for person in people),
    }
