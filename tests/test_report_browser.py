"""The report in a real browser: it loads nothing from the internet, fits every screen, unfolds and prints."""

from __future__ import annotations

import re

import pytest

from helpers import report as example
from helpers.axe import violations
from helpers.charts import empty_charts
from pellucid.report import write_report

pytestmark = pytest.mark.browser

HEADINGS = [
    "Summary",
    "What was compared",
    "Classification",
    "Robustness",
    "Where the explanations fall",
    "Wang et al.’s localisation",
    "Threshold sweep",
    "Training",
    "Cases",
    "How it was made",
    "What these figures cannot show",
]
WIDTHS = (360, 390, 768, 1280)


@pytest.fixture(scope="module")
def report(made_up_report):
    return made_up_report


@pytest.fixture(scope="module")
def opened(browser, report):
    """The report, opened once from disk; whatever it asks for or complains of fails the tests."""
    asked, complaints = [], []
    page = browser.new_page()
    page.on("request", lambda r: asked.append(r.url))
    page.on("console", lambda m: complaints.append(m.text))
    page.on("pageerror", lambda e: complaints.append(str(e)))
    page.goto(report.as_uri())
    page.wait_for_load_state("networkidle")
    page.evaluate("() => document.querySelectorAll('details').forEach(d => { d.dataset.first = d.open; })")
    yield page, asked, complaints
    page.close()


@pytest.fixture
def page(opened, report, request):
    """The report as it is when it is opened, in a window of the width that the test asks for."""
    page, asked, complaints = opened
    page.set_viewport_size({"width": getattr(request, "param", 1280), "height": 900})
    page.evaluate(
        """() => { document.querySelectorAll('details').forEach(d => { d.open = d.dataset.first === 'true'; });
              scrollTo(0, 0); }"""
    )
    yield page
    assert [url for url in asked if not url.startswith(("file://", "data:"))] == []
    assert [url for url in asked if url.startswith("file://")] == [report.as_uri()]
    assert complaints == []


@pytest.mark.parametrize("page", WIDTHS, indirect=True)
def test_it_fits_the_screen_folded_and_unfolded(page):
    fits = "() => [document.documentElement.scrollWidth, document.body.scrollWidth, innerWidth]"
    for unfold in (False, True):
        if unfold:
            page.evaluate("() => document.querySelectorAll('details').forEach(d => d.open = true)")
        root, body, screen = page.evaluate(fits)
        assert max(root, body) <= screen
    outside = page.evaluate(
        """() => [...document.querySelectorAll('main *')].filter(e => !e.closest('.table-box, .skip, svg, pre')
              && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
    )
    assert outside == []
    beside = page.evaluate(
        """() => [...document.querySelectorAll('.table-box:has(> .figures)')]
              .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.getAttribute('aria-label'))"""
    )
    assert beside == []  # no recipe's figures are scrolled out of sight
    notes = page.locator("td .seeds").all_text_contents()
    assert "no margin stated" in notes
    assert any(re.fullmatch(r"DeLong p 0\.014, corrected \S+", text) for text in notes)
    cut = page.evaluate(
        """() => [...document.querySelectorAll('td *')].filter(e => e.checkVisibility() && e.closest('.table-box')
              && e.getBoundingClientRect().right > e.closest('.table-box').getBoundingClientRect().right + 1)
              .map(e => e.outerHTML)"""
    )
    assert cut == []  # nor is a word of them cut


@pytest.mark.parametrize("page", WIDTHS, indirect=True)
def test_no_text_is_too_small_to_read(page):
    smallest = page.evaluate(
        """() => Math.min(...[...document.querySelectorAll('main *')].filter(e => e.checkVisibility()
              && !e.closest('svg') && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
              .map(e => parseFloat(getComputedStyle(e).fontSize)))"""
    )
    assert smallest >= 11
    in_charts = page.evaluate(
        """() => Math.min(...[...document.querySelectorAll('.chart svg')].filter(e => e.checkVisibility())
              .map(s => 8.5 * s.getBoundingClientRect().width / s.viewBox.baseVal.width))"""
    )
    assert in_charts >= 8


def test_headings_pictures_and_charts_are_there(page):
    assert page.locator("h1").all_inner_texts() == [example.results()["title"]]
    assert page.locator("h2").all_inner_texts() == HEADINGS
    for link in page.locator("nav a").all():
        assert page.locator(link.get_attribute("href")).count() == 1
    pictures = page.evaluate("() => [...document.images].map(i => [i.complete, i.naturalWidth, i.alt.length])")
    shown = len(example.panels()) + 2  # the first best and the first worst case stand in the summary too
    assert len(pictures) == shown * (1 + len(example.VARIANTS) * len(example.METHODS))
    assert all(complete and width > 0 and alt > 0 for complete, width, alt in pictures)
    drawn = page.evaluate("() => [...document.querySelectorAll('svg[role=img]')].map(s => s.getBBox().width)")
    assert len(drawn) > 20
    assert all(width > 100 for width in drawn)
    levels = page.evaluate("() => [...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(h => +h.tagName[1])")
    assert levels[0] == 1


@pytest.mark.parametrize("page", [360], indirect=True)
def test_on_a_phone_every_figure_names_its_recipe(page):
    cells = page.locator("#summary tbody tr").first.locator("td")
    told = cells.evaluate_all("tds => tds.map(t => getComputedStyle(t, '::before').content)")
    assert told == [f'"{label}"' for label in (*example.VARIANTS, "n")]
    places = [page.locator(f".opening {what}").first.bounding_box()["y"] for what in ("svg", "p")]
    assert places == sorted(places)  # a picture on the first screen, and then its sentences
    gaps = page.evaluate(
        """() => [...document.querySelectorAll('.stacked td[data-label] > code')].map(e => {
              const cell = e.parentElement, label = parseFloat(getComputedStyle(cell, '::before').width);
              return e.getBoundingClientRect().left - cell.getBoundingClientRect().left - label; })"""
    )
    assert len(gaps) > 2
    assert min(gaps) > 4  # a label and its value do not touch
    box = page.locator("#summary .table-box")
    assert box.evaluate("b => b.scrollWidth <= b.clientWidth")


def test_it_opens_with_a_case_a_sentence_and_a_figure_before_any_table(page):
    places = page.evaluate(
        """() => ['.case', '.opening p', '.opening svg', '.case + .case', '.table-box'].map(
              s => document.querySelector('#summary ' + s).getBoundingClientRect().top)"""
    )
    assert places == sorted(places)
    assert places[2] < 900
    assert page.locator(".opening text").all_text_contents().count("robust ε 0.01") == 2  # its value, its difference


@pytest.mark.parametrize(
    ("page", "height"), [(390, 844), (768, 1024), (1280, 900), (1920, 1080)], indirect=["page"], ids=str
)
def test_the_first_screen_has_a_case(page, height):
    box = page.locator("#summary .case img").first.bounding_box()
    assert box["y"] + box["height"] <= height


def test_no_text_of_a_chart_covers_another(page):
    covered = page.evaluate(
        """() => [...document.querySelectorAll('.chart svg')].filter(s => s.checkVisibility()).flatMap(s => {
              const boxes = [...s.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
              return boxes.flatMap(([a, p], i) => boxes.slice(i + 1).filter(([, q]) => p.left < q.right - 1
                && q.left < p.right - 1 && p.top < q.bottom - 3 && q.top < p.bottom - 3).map(([b]) => a + ' / ' + b));
            })"""
    )
    assert covered == []


@pytest.mark.parametrize("page", [1280, 1920], indirect=True)
def test_a_wide_screen_is_filled(page):
    left, right = page.evaluate(
        """() => { const all = [...document.querySelectorAll('nav, #localization .table-box table')].map(
              e => e.getBoundingClientRect()); return [all[0].left, innerWidth - all[1].right]; }"""
    )
    assert abs(left - right) < 40


def test_details_unfold_and_fold(page):
    details = page.locator("#localization details").first
    inside = details.locator("table").first
    assert not inside.is_visible()
    details.locator("summary").click()
    assert inside.is_visible()
    details.locator("summary").click()
    assert not inside.is_visible()


def test_it_works_without_scripts(browser, report):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("h2").count() == len(HEADINGS)
    page.locator("details.long summary").first.click()
    assert page.locator("details.long table").first.is_visible()
    context.close()


def test_it_prints_with_its_short_details_open(page):
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert 5 < pages < 40
    page.emulate_media(media="print")
    shown = "d => d.lastElementChild.checkVisibility()"
    assert page.locator("#made details").evaluate(shown)
    assert not page.locator("details.long").first.evaluate(shown)
    width = page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1]
    page.emulate_media(media="screen")


@empty_charts()
def test_a_hostile_title_stays_text(browser, tmp_path):
    study = example.results() | {"title": "<script>document.title = 'taken'</script><img src=x onerror=alert(1)>"}
    study["rows"] = [r for r in study["rows"] if r["section"] == "classification"]
    page = browser.new_page()
    page.goto(write_report(study, [], tmp_path).as_uri())
    assert page.title() == study["title"]
    assert page.locator("h1").inner_text() == study["title"]
    page.close()


def test_axe_finds_nothing_in_the_light_and_in_the_dark(page):
    """The last one: it takes rows off the page."""
    assert violations(page) == []
