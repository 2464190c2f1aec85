"""Tables and commands on a narrow screen: each figure below the last, whatever its label; no option torn apart."""

from __future__ import annotations

import pytest

from pellucid.report.pages.page_templates import PAGES, style_sheet
from pellucid.report.tables.cells import Cell, PageTable, TableRow

pytestmark = pytest.mark.browser

PAGE = """{% from "macros.html.j2" import table %}<!doctype html><meta name="viewport" content="width=device-width">
<style>{{ css }}</style><main>{{ table(t, {}) }}<pre><code>{{ command|with_options }}</code></pre></main>"""
COMMAND = "pellucid audit models/mine " + " ".join(f"--data-option {'x' * n}=1" for n in range(1, 30))


@pytest.fixture(scope="module")
def page(browser):
    lines = (TableRow("blur", "", tuple(Cell("0.740", "[0.643, 0.823]") for _ in range(3))),)
    labels = ("A label of several words that does not fit on one line", "Severity 1", "Severity 2")
    shown = browser.new_page(viewport={"width": 390, "height": 800})
    shown.set_content(
        PAGES.from_string(PAGE).render(
            css=style_sheet("report.css"), t=PageTable("Scores", labels, lines, show_n=False), command=COMMAND
        )
    )
    yield shown
    shown.close()


def test_a_label_of_two_lines_stays_beside_its_own_figure(page):
    long, *short = page.evaluate(
        "() => [...document.querySelectorAll('td')].map(e => [e.getBoundingClientRect().top, e.offsetHeight])"
    )
    assert long[1] > 1.5 * short[0][1]  # its cell holds the whole label
    assert short[0][0] >= long[0] + long[1] - 1
    assert short[0][1] == short[1][1]


def test_no_line_ends_within_an_options_name(page):
    lines = page.evaluate("() => [...document.querySelectorAll('pre .option')].map(e => e.getClientRects().length)")
    assert lines == [1] * 29
    assert page.evaluate("() => document.querySelector('pre').textContent") == COMMAND
