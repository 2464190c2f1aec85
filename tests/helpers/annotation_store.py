"""What tests of the annotation database and its files put into it."""

from __future__ import annotations

from helpers.annotation import phantom_part
from pellucid.annotations.records import LabelAnswer, Mark, Note, Visit
from pellucid.annotations.shapes import Brush, Polygon, Rectangle

BOX = Rectangle(0.25, 0.5, 0.25, 0.125)
DATA = phantom_part()
A, B = DATA.ids[:2]


def full(store):
    """Some of everything."""
    store.put_image(A, 30, 20)
    store.put_image(B, 32, 32)
    marks = [
        Mark(A, "Nodule", "relevant", BOX, "Ann"),
        Mark(A, "Mass", "irrelevant", Polygon(((0.1, 0.2), (1 / 3, 0.7), (0.9, 2 / 3))), "=Bob"),
        Mark(B, "Nodule", "irrelevant", Brush(((0.2, 0.2), (0.8, 0.55)), 0.0625, 1.0), "Ann"),
        Mark(B, "Nodule", "relevant", BOX, "Ann"),
    ]
    for mark in marks:
        store.add_mark(mark)
    store.undo_mark(B, marks[3].id, "Ann")
    store.put_verdict(LabelAnswer(A, "Nodule", "yes", "Ann"))
    store.put_verdict(LabelAnswer(A, "Nodule", "unsure", "Bob"))
    store.put_note(Note(A, "=1+1\n\"quoted\", 'x'; DROP TABLE mark;--\r\n<script>alert(1)</script> Ünïcode 𝒳", "Ann"))
    store.put_visit(Visit(A, "done", "Ann"))
    store.put_visit(Visit(B, "skipped", "Bob"))
    store.put_visit(Visit(A, "lapsed", "Bob"))
