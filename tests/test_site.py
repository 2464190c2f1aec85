"""The documentation site builds without a warning, has the whole API, loads nothing from elsewhere and passes axe."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

import pellucid
from helpers.axe import violations

TOP = Path(__file__).resolve().parents[1]
pytest.importorskip("mkdocs")
if not (TOP / "mkdocs.yml").is_file():
    pytest.skip("the documentation is not here", allow_module_level=True)
if not any((TOP / "docs" / "results").rglob("*.png")):
    pytest.skip("the results' pictures, which pages show, are not in a source distribution", allow_module_level=True)

pytestmark = pytest.mark.slow


def build(config: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """As `make docs` does. Not with `--quiet`: MkDocs then counts no warning, and nothing is strict."""
    command = [sys.executable, "-m", "mkdocs", "build", "--config-file", str(config), "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=TOP, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build(TOP / "mkdocs.yml", folder)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.mark.parametrize(("link", "status"), [("other.md", 0), ("nowhere.csv", 1)])
def test_a_broken_link_stops_the_build(tmp_path: Path, link: str, status: int):
    real = (TOP / "mkdocs.yml").read_text(encoding="utf-8")
    settings = re.findall(r"^(?:strict|validation):.*\n(?: +.*\n)*", real, re.MULTILINE)
    config = tmp_path / "mkdocs.yml"
    config.write_text("site_name: A small one\n" + "".join(settings), encoding="utf-8")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"[a link]({link})\n", encoding="utf-8")
    (tmp_path / "docs" / "other.md").write_text("# Other\n", encoding="utf-8")
    built = build(config, tmp_path / "site")
    assert built.returncode == status, built.stdout + built.stderr
    assert ("nowhere.csv" in built.stderr) == bool(status)


def test_every_link_of_every_page_leads_to_a_file(site: Path):
    link_of = re.compile(r"<(?:a|img|link|script)\b[^>]*?\b(?:href|src)=[\"']?([^\"'\s>#?]+)")
    lost = []
    for page in site.rglob("*.html"):
        if "audits" in page.parts or page.name == "404.html":  # reports of their own; whose links begin at the top
            continue
        inside = [link for link in link_of.findall(page.read_text("utf-8")) if not re.match(r"[a-z]+:", link)]
        missing = [link for link in inside if not (page.parent / unquote(link)).exists()]
        lost += [f"{page.relative_to(site)}: {link}" for link in missing]
    assert lost == []


BARRIERS = {  # what axe calls a violation and a pattern can tell
    "empty-table-header": re.compile(r"<th\b[^>]*>(?:\s|&nbsp;|<[^>]*>)*?</th>"),
    "image-alt": re.compile(r"<img\b(?![^>]*\balt=)[^>]*>"),
    "link-name": re.compile(r"<a\b(?![^>]*aria-label)[^>]*\bhref[^>]*>\s*</a>"),
    "html-has-lang": re.compile(r"<html\b(?![^>]*\blang=)[^>]*>"),
}


def barriers(text: str) -> list[str]:
    ids = re.findall(r"<[a-z][^>]*?\sid=[\"']?([^\"'\s>]+)", text)
    return [name for name, pattern in BARRIERS.items() if pattern.search(text)] + ["duplicate-id"] * (
        len(ids) > len(set(ids))
    )


def test_no_page_has_a_barrier_that_can_be_told_without_a_browser(site: Path):
    """axe looks at nine of the pages; this at all of them."""
    broken = (
        "<table><th></th><th><b> </b></th></table>",
        "<img src=one.png>",
        '<a href="one.html"> </a>',
        "<html>",
        "<p id=one><p id='one'>",
    )
    assert [barriers(page) for page in broken] == [[name] for name in (*BARRIERS, "duplicate-id")]
    pages = [page for page in site.rglob("*.html") if "audits" not in page.parts or page.name == "index.html"]
    assert len(pages) > 100
    found = {page.relative_to(site).as_posix(): barriers(page.read_text("utf-8")) for page in pages}
    assert {page: names for page, names in found.items() if names} == {}


def test_every_verb_is_described(site: Path):
    page = (site / "api" / "verbs.html").read_text(encoding="utf-8")
    places = {name: place.replace(":", ".") for name, place in pellucid.VERBS.items()}
    assert [name for name, place in places.items() if f'id="{place}"' not in page and f"#{place}" not in page] == []


def test_an_example_of_a_docstring_is_shown_as_code(site: Path):
    page = (site / "api" / "attacks.html").read_text(encoding="utf-8")
    text = re.sub(r"<[^>]+>", "", page)
    assert "print(Epsilon.parse" in text
    assert re.search(r"<code>[^\n]*Epsilon", page)


def test_no_page_loads_anything_from_elsewhere(site: Path):
    loads = re.compile(r"<(?:script|img|iframe|link)[^>]+(?:src|href)=.?(?:https?:)?//")
    pages = [page for page in site.rglob("*.html") if "audits" not in page.parts]
    assert len(pages) > 50
    assert [page for page in pages if loads.search(page.read_text(encoding="utf-8"))] == []


@pytest.fixture(scope="module", params=["light", "dark"])
def tab(request: pytest.FixtureRequest, browser):
    """A tab in one colour scheme; the theme looks for it when a page opens, and keeps nothing for the next."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=request.param)
    yield opened, request.param
    opened.close()


@pytest.mark.browser
@pytest.mark.parametrize(
    "page",
    [
        "index",
        "quickstart",
        "questions",
        "attacks",
        "audit",
        "metrics",
        "recipes",
        "api/types",
        "project/benchmarks/index",
    ],
)
def test_axe_finds_nothing(site: Path, tab, page: str):
    opened, scheme = tab
    opened.goto((site / f"{page}.html").as_uri())
    assert opened.evaluate("document.body.dataset.mdColorScheme") == {"light": "default", "dark": "slate"}[scheme]
    assert violations(opened, scheme) == []


@pytest.mark.browser
def test_axe_finds_nothing_on_a_phone_either(site: Path, browser):
    """Where the sections are landmarks of a drawer."""
    tab = browser.new_page(viewport={"width": 390, "height": 844})
    tab.goto((site / "questions.html").as_uri())
    tab.wait_for_function("() => document.querySelectorAll('nav[aria-labelledby]').length > 3")
    assert violations(tab, "light") == []
    tab.close()


@pytest.mark.browser
def test_the_check_of_every_page_finds_what_is_wrong_in_each_view_and_goes_on(tmp_path: Path):
    """`docs/check_accessibility.py` on a site of two pages; the grey text can be read on white only."""
    style = "body { background: white } @media (prefers-color-scheme: dark) { body { background: #111; color: #eee } }"
    page = f"<html lang=en><title>T</title><style>{style}</style><main><h1>One</h1>BODY</main>"
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "good.html").write_text(page.replace("BODY", "<p>Text.</p>"), encoding="utf-8")
    bad = '<img src="x.png"><p style="color: #666">Grey.</p>'
    (tmp_path / "site" / "bad.html").write_text(page.replace("BODY", bad), encoding="utf-8")
    out = tmp_path / "looked-at.jsonl"
    command = [sys.executable, str(TOP / "docs" / "check_accessibility.py"), str(tmp_path / "site"), "--out", str(out)]
    done = {
        "page": "good.html",
        "view": "light",
        "broken": [{"rule": "kept", "where": []}],
    }  # and is not looked at again
    out.write_text(json.dumps(done) + "\n", encoding="utf-8")
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stderr
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [(one["page"], one["view"], [rule["rule"] for rule in one["broken"]]) for one in lines] == [
        ("good.html", "light", ["kept"]),
        ("bad.html", "light", ["image-alt"]),
        ("bad.html", "dark", ["color-contrast"]),
        ("good.html", "dark", []),
        ("bad.html", "phone", ["image-alt"]),
        ("good.html", "phone", []),
    ]
    assert "bad.html (dark): color-contrast" in ended.stdout
    assert "2 of 2 pages" in ended.stdout


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 768, 1280])
def test_no_line_ends_within_an_option_and_a_question_stands_beside_or_above_its_command(site: Path, browser, width):
    tab = browser.new_page(viewport={"width": width, "height": 900})
    tab.goto((site / "questions.html").as_uri())
    lines = tab.evaluate("() => [...document.querySelectorAll('.option')].map(e => e.getClientRects().length)")
    assert len(lines) > 40
    assert set(lines) == {1}
    rows = tab.evaluate(
        """() => [...document.querySelectorAll('.questions tbody tr')].map(
              r => [...r.cells].map(c => c.getBoundingClientRect().toJSON()))"""
    )
    assert len(rows) > 20
    for question, command, _ in rows:
        assert command["top"] >= question["bottom"] - 1 if width == 390 else command["left"] >= question["right"] - 1
    assert tab.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    if width == 390:
        box = "document.querySelectorAll('.questions .md-typeset__scrollwrap')"
        assert tab.evaluate(f"() => [...{box}].map(e => e.scrollWidth - e.clientWidth)") == [0, 0, 0, 0]
    tab.close()


@pytest.mark.browser
def test_the_search_works_without_a_server_and_asks_the_glossary_first(site: Path, browser):
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    requests: list[str] = []
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto((site / "index.html").as_uri())
    tab.locator("input.md-search__input").fill("ARA")
    tab.wait_for_function(
        "() => document.querySelector('.md-search-result__item a')?.href.includes('/glossary.html')", timeout=60_000
    )
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    tab.close()
