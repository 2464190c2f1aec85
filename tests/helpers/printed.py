"""Where things stand on paper: the page of a PDF and the height on it, read from the targets of links in it."""

from __future__ import annotations

import re

PAPER = 842  # points that an A4 page is high

_MARK = """what => [...document.querySelectorAll(what)].filter(e => e.checkVisibility()).forEach((e, i) => {
  const mark = document.createElement('a'); mark.id = 'place' + i; mark.href = '#place' + i; mark.textContent = '.';
  mark.className = 'place'; mark.style.cssText = 'position: absolute; font-size: 1px'; e.append(mark);
})"""


def places(page, what):
    """For each element that a selector finds and that is printed: its page from 1 on and its points from the top.

    `what` has no pictures or tables, which hold no links. A link is put into each for the time of printing.
    """
    page.emulate_media(media="print")
    page.evaluate(_MARK, what)
    pdf = page.pdf(format="A4").decode("latin-1")
    page.evaluate("() => document.querySelectorAll('a.place').forEach(e => e.remove())")
    page.emulate_media(media="screen")
    numbers = re.search(r"/Type /Pages\s.*?/Kids \[(.*?)\]", pdf, re.S)
    order = {int(number): place for place, number in enumerate(re.findall(r"(\d+) 0 R", numbers[1]), 1)}
    marks = re.findall(r"/place(\d+) \[(\d+) 0 R /XYZ [\d.]+ ([\d.]+)", pdf)
    return [(order[int(sheet)], PAPER - float(height)) for _, sheet, height in sorted(marks, key=lambda m: int(m[0]))]
