"""Every page in a real browser: axe-core finds nothing wrong, light and dark, and nothing spills on a phone."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.axe import violations
from helpers.discovery import several
from helpers.printed import places
from pellucid.evaluation.trust.rows import TrustRow
from pellucid.report.pages.audit import write_audit
from pellucid.report.pages.certified_maps import CertifiedPage, write_certified_maps
from pellucid.report.pages.discovery import write_discovery
from pellucid.report.pages.explanations import ExplainedPanel, write_explanations
from pellucid.report.pages.page_templates import PAGES, style_sheet
from pellucid.report.pages.trust import in_a_sentence, overall, trust_parts
from pellucid.report.pictures.perturbed import Moved
from pellucid.verbs.certify_explanation import LABELS

pytestmark = pytest.mark.browser

RESULTS = Path(__file__).parents[1] / "docs" / "results"
AUDIT = json.loads((RESULTS / "audits" / "plain" / "audit.json").read_text(encoding="utf-8"))


def audit(path):
    write_audit(AUDIT, [], [], path)


def trust(path):
    parts = {"title": "Trust", "about": [("Images", "64")], "parts": trust_parts(AUDIT["trust"])}
    page = PAGES.get_template("trust.html.j2")
    path.write_text(page.render(css=style_sheet("report.css"), examples=[], forged=[], **parts), encoding="utf-8")


def certified(path):
    found = json.loads((RESULTS / "certified-explanations" / "tables" / "robust-0.25.json").read_text(encoding="utf-8"))
    page = CertifiedPage("Certified", {"Images": "12"}, found["sigma"], found["top"], [], found["methods"], LABELS, [])
    write_certified_maps(page, path)


def explanations(path):
    panels, maps = [], {("cat", "cam"): np.eye(16), ("dog", "lime"): np.eye(16) - 0.5}
    for number, (predicted, truth) in enumerate((("cat", ["cat"]), ("dog", ["cat"]), ("dog", ["dog"]))):
        image = np.full((3, 16, 16), 40 * number, np.uint8)
        probabilities = {"cat": 0.3, "dog": 0.3} | {predicted: 0.7}
        moved = {"dog": Moved("dog", "", image / 255 + 0.05, 0.3, 0.9, 0.05)}
        name = f"of {predicted} {number}.png"
        what = {"truth": truth, "decided": [predicted], "maps": maps, "changes": moved}
        panels.append(ExplainedPanel.of(name, image, probabilities, **what, rho=0.05))
    about = {"title": "cam of <runs/first>", "count": 5, "left_out": 5 - len(panels), "several": False}
    write_explanations(panels, path, **about, methods=["cam", "lime"])


def several_labels(path):
    """Two networks on a normal image, on one of two findings, and on one of which one label is not known."""
    panels, maps, image = [], {("Mass", "cam"): np.eye(16)}, np.full((1, 16, 16), 90, np.uint8)
    chances = {"Mass": 0.6, "Nodule": 0.5, "Effusion": 0.1}
    for title, truth, unlabelled, decisions in (
        ("normal", [], [], ([], ["Mass"])),
        ("two", ["Mass", "Nodule"], [], (["Mass"], ["Mass", "Nodule"])),
        ("unsure", ["Mass"], ["Nodule"], (["Mass", "Nodule"], None)),
    ):
        for network, decided in zip("ab", decisions, strict=True):
            what = {"truth": truth, "unlabelled": unlabelled, "decided": decided, "maps": maps, "changes": {}}
            panels.append(ExplainedPanel.of(f"{title}, {network}", image, chances, **what, rho=0.0))
    about = {"title": "CAM", "count": 3, "left_out": 0, "several": True, "networks": 2}
    write_explanations(panels, path, **about, methods=["cam"])


def suspects(path):
    write_discovery(several(3), path)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The file of a page, which is written once."""
    folder, paths = tmp_path_factory.mktemp("pages"), {}

    def path_of(write):
        if write not in paths:
            paths[write] = folder / f"page-{len(paths)}.html"
            write(paths[write])
        return paths[write]

    return path_of


@pytest.fixture
def opened(browser, written, request):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(written(request.param).as_uri())
    yield page
    page.close()


@pytest.mark.parametrize("opened", [audit, trust, certified, explanations, suspects, several_labels], indirect=True)
def test_axe_finds_nothing_and_nothing_spills(opened):
    opened.set_viewport_size({"width": 390, "height": 800})
    assert opened.evaluate("() => document.documentElement.scrollWidth") <= 390
    hidden = opened.evaluate(
        """() => [...document.querySelectorAll('table.figures td')].filter(e => e.checkVisibility()
              && e.getBoundingClientRect().right > innerWidth).map(e => e.outerHTML.slice(0, 80))"""
    )
    assert hidden == []  # every method of a table stays on the screen
    opened.set_viewport_size({"width": 768, "height": 900})
    opened.evaluate("() => document.querySelectorAll('details').forEach(d => d.open = true)")
    beside = opened.evaluate(
        """() => [...document.querySelectorAll('.table-box:has(> .figures)')]
              .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.getAttribute('aria-label'))"""
    )
    assert beside == []  # tables of many columns are stacked on a tablet too
    assert not re.search(r"\.\.(?!\.)\)?(?:\s|$)", opened.inner_text("main"))  # no sentence ends twice
    opened.set_viewport_size({"width": 1280, "height": 900})
    assert violations(opened) == []


def test_of_rows_alike_axe_is_shown_two_and_of_every_kind_one(browser):
    """Its own test, since nothing is found on a page that is not looked at."""
    rows = "".join(f"<tr><td>{number}</td></tr>" for number in range(9)) + "<tr><td class=pale>10</td></tr>"
    dark = "@media (prefers-color-scheme: dark) { html { background: #111; color: #eee } .pale { color: #333 } }"
    rules = f"html {{ background: #fff; color: #000 }} {dark}"
    page = browser.new_page()
    head = f"<!doctype html><html lang=en><title>T</title><style>{rules}</style>"
    page.set_content(f"{head}<main><h1>T</h1><table>{rows}</table></main>")
    ((scheme, rule, (node,)),) = violations(page)
    assert (scheme, rule) == ("dark", "color-contrast")
    assert node.startswith('<td class="pale">10</td>')
    assert page.locator("tr").count() == 3
    page.close()


EMPTY = """() => {
  const main = document.querySelector('main').getBoundingClientRect(), edge = main.left + 0.6 * main.width;
  const taken = new Uint8Array(Math.ceil(main.height));
  for (const e of document.querySelectorAll('main :is(p, li, td, th, img, svg, h1, h2, h3, summary, dd, figcaption)')) {
    if (!e.checkVisibility()) continue;
    const range = document.createRange();
    range.selectNodeContents(e);
    for (const box of e.matches('img, svg') ? [e.getBoundingClientRect()] : range.getClientRects())
      if (box.width && box.right > edge) taken.fill(1, Math.max(0, box.top - 8 - main.top), box.bottom + 8 - main.top);
  }
  return taken.filter((row) => !row).length / taken.length;
}"""


def many_maps(methods, classes, networks=1):
    """A page of six square images."""

    def write(path):
        names, image = [f"class {c}" for c in range(classes)], np.full((1, 16, 16), 90, np.uint8)
        maps = {(name, method): np.eye(16) for method in methods for name in names}
        what = {"truth": names[:1], "maps": maps, "changes": {}}
        panels = [
            ExplainedPanel.of(
                f"image {i}" + f", network {n}" * (networks > 1),
                image,
                dict.fromkeys(names, 0.5),
                decided=names[n : n + 1],
                **what,
                rho=0.0,
            )
            for i in range(6)
            for n in range(networks)
        ]
        about = {"title": "Maps", "count": 6, "left_out": 0, "networks": networks}
        write_explanations(panels, path, **about, methods=methods, several=True)

    return write


three_by_three = many_maps(["cam", "grad-cam", "saliency"], 3)
two_networks = many_maps(["cam", "grad-cam", "saliency"], 3, networks=2)
five_pictures = many_maps(["cam", "grad-cam", "saliency", "smoothgrad", "lime"], 1, networks=2)


@pytest.mark.parametrize(
    ("opened", "most"),
    [
        (trust, 0.35),
        (certified, 0.47),
        (audit, 0.48),
        (suspects, 0.52),
        (three_by_three, 0.4),
        (two_networks, 0.2),
    ],
    indirect=["opened"],
)
def test_the_right_of_a_wide_page_is_not_left_empty(opened, most):
    """The share of the height in which nothing reaches the right two fifths: what belongs together stands beside."""
    for width in (1280, 1920):
        opened.set_viewport_size({"width": width, "height": 1000})
        assert opened.evaluate(EMPTY) < most
    for width in (1280, 1400, 1536, 1920):
        opened.set_viewport_size({"width": width, "height": 1000})
        cut = opened.evaluate(
            """() => [...document.querySelectorAll('.table-box')].filter(e => e.checkVisibility()
                  && e.scrollWidth > e.clientWidth + 1).map(e => e.getAttribute('aria-label'))"""
        )
        assert cut == []  # beside something else a table is narrow, and still whole


@pytest.mark.parametrize("opened", [explanations], indirect=True)
def test_explanations_fill_a_wide_page(opened):
    for width in (1280, 1920):
        opened.set_viewport_size({"width": width, "height": 900})
        main, *pictures = (
            opened.locator(where).evaluate_all("all => all.map(e => e.getBoundingClientRect().toJSON())")
            for where in ("main", ".explained:first-child img")
        )
        (boxes,) = pictures
        assert max(box["right"] for box in boxes) == pytest.approx(main[0]["right"], abs=2)
        assert min(box["left"] for box in boxes) == pytest.approx(main[0]["left"], abs=2)


@pytest.mark.parametrize("opened", [three_by_three], indirect=True)
@pytest.mark.parametrize("width", [1280, 1920])
def test_three_maps_of_three_classes_stand_in_one_row(opened, width):
    opened.set_viewport_size({"width": width, "height": 900})
    places = opened.locator(".explained:first-child img").evaluate_all(
        "all => all.map(e => e.getBoundingClientRect().top)"
    )
    assert len(places) == 10
    assert max(places[1:]) == min(places[1:])


@pytest.mark.parametrize("opened", [two_networks], indirect=True)
@pytest.mark.parametrize("width", [1280, 1920])
def test_two_networks_stand_side_by_side_and_classes_below_each_other(opened, width):
    """The image is there once; while a filter leaves one network alone, beside that one."""
    opened.set_viewport_size({"width": width, "height": 900})
    one = opened.locator(".networks").first
    tops = one.locator(".maps").evaluate_all(
        """all => all.map(maps => [...maps.children].map(
              c => [...c.querySelectorAll('img')].map(e => e.getBoundingClientRect().top)))"""
    )
    first, second = tops
    assert first == second
    assert [len(set(row)) for row in first] == [1, 1, 1]
    assert [len(row) for row in first] == [3, 3, 3]
    lefts = [one.locator(".maps").nth(n).bounding_box() for n in range(2)]
    assert lefts[0]["x"] + lefts[0]["width"] <= lefts[1]["x"]
    assert lefts[0]["width"] == pytest.approx(lefts[1]["width"], rel=0.05)
    images = one.locator(".original")
    assert [image.is_visible() for image in images.all()] == [True, False]
    opened.get_by_label("Answer").select_option("wrong")
    assert [image.is_visible() for image in images.all()] == [False, True]
    opened.get_by_label("Answer").select_option("")


@pytest.mark.parametrize("opened", [five_pictures], indirect=True)
@pytest.mark.parametrize("width", [1280, 1920])
def test_no_picture_of_two_networks_stands_alone_in_a_row(opened, width):
    opened.set_viewport_size({"width": width, "height": 900})
    pictures = opened.locator(".explained").first.locator(".maps img")
    rows = Counter(pictures.evaluate_all("all => all.map(e => Math.round(e.getBoundingClientRect().top / 8))"))
    assert sorted(rows.values()) == [2, 3]


def one_map(path):
    image = np.full((1, 16, 16), 90, np.uint8)
    maps = {("cat", "cam"): np.eye(16)}
    what = {"truth": None, "decided": ["cat"], "maps": maps, "changes": {}}
    panel = ExplainedPanel.of("one", image, {"cat": 0.7, "dog": 0.3}, **what, rho=0.05)
    write_explanations([panel], path, title="CAM", count=1, left_out=0, methods=["cam"], several=False)


@pytest.mark.parametrize("opened", [one_map], indirect=True)
@pytest.mark.parametrize("width", [390, 768, 1280, 1920])
def test_one_image_and_its_map_fill_the_width_side_by_side(opened, width):
    opened.set_viewport_size({"width": width, "height": 900})
    (main,), (image, heat_map) = (
        opened.locator(where).evaluate_all("all => all.map(e => e.getBoundingClientRect().toJSON())")
        for where in ("main", ".explained img")
    )
    assert image["left"] == pytest.approx(main["left"], abs=2)
    assert heat_map["right"] == pytest.approx(main["right"], abs=2)
    assert image["width"] == pytest.approx(heat_map["width"], rel=0.05)
    assert image["top"] == pytest.approx(heat_map["top"], abs=8)


@pytest.mark.parametrize("opened", [explanations], indirect=True)
def test_explanations_are_filtered_by_class_and_answer(opened):
    def titles():
        return opened.locator(".explained:not([hidden]) h2").all_inner_texts()

    assert opened.locator("figcaption").all_inner_texts()[:5] == [
        "image, 16 × 16 pixels",
        "CAM",
        "LIME",
        "changed, ρ\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}0.05: 30\N{NO-BREAK SPACE}% → 90\N{NO-BREAK SPACE}%",
        "the change, RMS 0.050",
    ]
    assert opened.get_by_text("The first 3 images; the pictures of the other 2 lie beside this page.").count() == 1
    assert len(titles()) == 3
    opened.get_by_label("Most probable").select_option("dog")
    assert titles() == ["of dog 1.png", "of dog 2.png"]
    opened.get_by_label("Answer").select_option("wrong")
    assert titles() == ["of dog 1.png"]
    assert opened.locator("output").inner_text() == "1 of 3"
    opened.get_by_label("Shows").select_option("dog")
    assert titles() == []


@pytest.mark.parametrize("opened", [several_labels], indirect=True)
def test_answers_of_several_labels_are_judged_by_all_decisions(opened):
    """A normal image without a decision is right, one of two findings is not enough, without thresholds nothing is."""

    def titles():
        return opened.locator(".explained:not([hidden]) h2").all_inner_texts()

    assert opened.locator(".kicker").inner_text() == "Pellucid · explanations of 3 images by 2 networks"
    assert opened.locator("output").inner_text() == "3 of 3"
    opened.get_by_label("Answer").select_option("right")
    assert titles() == ["normal, a", "two, b", "unsure, a"]
    opened.get_by_label("Answer").select_option("wrong")
    assert titles() == ["normal, b", "two, a"]
    assert opened.locator("output").inner_text() == "2 of 3"
    opened.get_by_label("Answer").select_option("")
    opened.get_by_label("Decided").select_option("none of the classes")
    assert titles() == ["normal, a"]
    opened.get_by_label("Decided").select_option("Nodule")
    assert titles() == ["two, b", "unsure, a"]
    opened.get_by_label("Decided").select_option("")
    opened.get_by_label("Shows").select_option("none of the classes")
    assert titles() == ["normal, a", "normal, b"]
    assert "; classes whose label is not known do not count." in opened.inner_text("main")
    assert opened.locator(".explained").last.locator(".better, .worse").count() == 0


@pytest.mark.parametrize(
    "opened",
    [three_by_three, many_maps(["cam"], 3), many_maps(["cam"], 1)],
    ids=["three by three", "three classes", "one map"],
    indirect=True,
)
def test_explanations_are_printed_with_their_names_beside_them(opened):
    """The first case is on page 1, no heading is left alone at the foot of a page, and pictures fill the width."""
    classes = opened.locator(".explained").first.locator("h3").count()
    titles, names, captions = (
        places(opened, f".explained {what}") for what in ("h2", "h3", ".maps figure:last-child figcaption")
    )
    assert len(titles) == 6
    assert len(names) == len(captions) == 6 * classes
    assert titles[0][0] == names[0][0] == captions[0][0] == 1
    assert [page for page, _ in names] == [page for page, _ in captions]  # a name with its pictures
    assert [page for page, _ in titles] == [page for page, _ in names[::classes]]  # and the first under the title
    opened.emulate_media(media="print")
    opened.set_viewport_size({"width": 695, "height": 900})  # between the margins of A4
    boxes = opened.locator(".explained img").evaluate_all("all => all.map(e => e.getBoundingClientRect().toJSON())")
    assert max(box["right"] for box in boxes) - min(box["left"] for box in boxes) > 0.95 * 695
    assert max(box["width"] for box in boxes) == pytest.approx(min(box["width"] for box in boxes), rel=0.05)
    opened.emulate_media(media="screen")


@pytest.mark.parametrize("opened", [audit, trust, certified], indirect=True)
def test_a_page_that_is_sent_alone_is_printed_with_all_its_tables(opened):
    opened.emulate_media(media="print")
    assert opened.locator("table").count() >= 1
    assert [t for t in opened.locator("table").all() if not t.is_visible()] == []
    told = opened.locator("summary").evaluate_all("all => all.map(e => getComputedStyle(e, '::after').content)")
    assert [words for words in told if "left closed" in words] == []
    opened.emulate_media(media="screen")


@pytest.mark.parametrize("opened", [audit], indirect=True)
def test_the_verdict_of_an_audit_begins_on_the_first_printed_page(opened):
    """Though its longest column would not fit there: three columns of sentences may be broken between them."""
    opened.locator(".side.fails ul").evaluate("e => { for (let i = 0; i < 3; i++) e.innerHTML += e.innerHTML; }")
    titles, statements = (places(opened, f".side.fails {what}") for what in ("h3", "li"))
    assert titles[0][0] == statements[0][0] == 1
    assert statements[-1][0] > 1


@pytest.mark.parametrize("opened", [suspects], indirect=True)
def test_an_atlas_has_a_card_for_each_suspect_and_a_section_below(opened):
    cards = opened.locator("#atlas .suspect")
    assert cards.count() == 3
    assert opened.locator("#marked .suspect").count() == 1
    first = cards.first
    assert "40 % of what tells Pneumonia from the rest goes through <place number 1>." in first.inner_text()
    assert first.locator(".strip img").count() == 3 + 2  # exemplars, and the mean patch with and without
    widths = first.locator(".bars i").evaluate_all("bars => bars.map(b => b.style.width)")
    assert widths == ["90%", "60%", "85%", "70%"]
    first.locator("h3 a").click()
    assert opened.url.endswith("#suspect1")
    assert opened.locator("#suspect1 .strip.all img").count() == 4 + 4 + 2
    assert opened.locator("#suspect3").get_by_text("a column cannot be exchanged").count() == 4


def test_what_no_intervention_confirmed_is_listed_apart(tmp_path):
    discovery = several(3)
    last = replace(discovery.suspects[1], confirmed=False)
    discovery = replace(discovery, suspects=[discovery.suspects[0], last, discovery.suspects[3]])
    page = write_discovery(discovery, tmp_path / "discover.html").read_text(encoding="utf-8")
    atlas, apart = page.index('id="atlas"'), page.index('id="unconfirmed"')
    assert atlas < page.index('href="#suspect1">1 · ', atlas) < apart < page.index('href="#suspect2">2 · ', apart)
    assert 'href="#suspect2"' not in page[atlas:apart]
    assert "objective.annotations.weight=1" in page


@pytest.mark.parametrize("count", [0, 24])
def test_no_suspects_and_many_have_their_page(tmp_path, count):
    page = write_discovery(several(count), tmp_path / "discover.html").read_text(encoding="utf-8")
    assert page.count('class="suspect') == count + bool(count)
    assert ("18 times one was tested for a class. That nothing was found does not show" in page) == (count == 0)
    assert "Mass</b>: 3 images of it, and 20 are needed." in page


def test_a_table_of_trust_is_one_sentence_that_can_be_quoted():
    rows = [TrustRow.from_json(row) for row in AUDIT["trust"]["rows"]]
    text = overall(rows)
    methods = {row.method for row in rows if row.verdict is not None}
    assert text.startswith(
        f"None of these {len(methods)} explanations passes every test: Grad-CAM comes nearest, shown "
    )
    assert text.endswith(".")
    assert overall([]) == "Nothing here says whether these explanations can be relied on."


ABOVE, ONLY_REFUTES = ("flipping_gain", "insertion_gain", "grid_gain"), "attacked_rank"


def judged(**verdicts):
    """Rows of methods: the verdicts of three tests against trivial maps, and of one that can only refute."""
    row = next(r for r in AUDIT["trust"]["rows"] if r["verdict"])
    return [
        TrustRow.from_json(row | {"method": method, "measure": measure, "label": measure, "verdict": verdict})
        for method, own in verdicts.items()
        for measure, verdict in zip((*ABOVE, ONLY_REFUTES), own.split(","), strict=False)
    ]


@pytest.mark.parametrize(
    ("verdicts", "sentence", "counts"),
    [
        (
            {"cam": "unclear,unclear,unclear,not refuted"},
            "In none of 3 tests is CAM shown to be above every trivial map; no test refutes it.",
            "",
        ),
        (
            {"cam": "unclear,yes,unclear,not refuted"},
            "CAM is shown to be above every trivial map in 1 of 3 tests; no test refutes it.",
            "",
        ),
        (
            {"cam": "yes,yes,yes,no"},
            "CAM is shown to be above every trivial map in 3 of 3 tests; it is refuted by “attacked_rank”.",
            "",
        ),
        (
            {"cam": "no,unclear,unclear,no"},
            "In none of 3 tests is CAM shown to be above every trivial map; it is refuted by “flipping_gain” "
            "and “attacked_rank”.",
            "",
        ),
        (
            {"cam": "unclear,unclear,unclear", "saliency": "no,unclear,unclear"},
            "None of these 2 explanations is shown to be above every trivial map in any test; no test refutes CAM.",
            "CAM in 0 of 3, Saliency in 0 of 3. Refuted: Saliency (flipping_gain).",
        ),
        (
            {"cam": "unclear,unclear,unclear", "saliency": "unclear,unclear,unclear"},
            "None of these 2 explanations is shown to be above every trivial map in any test; no test refutes one of "
            "them.",
            "CAM in 0 of 3, Saliency in 0 of 3.",
        ),
        (
            {"cam": "no,unclear,unclear", "saliency": "unclear,unclear,no"},
            "None of these 2 explanations is shown to be above every trivial map in any test; each is refuted by a "
            "test.",
            "CAM in 0 of 3, Saliency in 0 of 3. Refuted: CAM (flipping_gain), Saliency (grid_gain).",
        ),
        (
            {"cam": "yes,unclear,yes,not refuted", "saliency": "yes,yes,yes,no"},
            "None of these 2 explanations passes every test: CAM comes nearest, shown to be above every trivial map in "
            "2 of 3; no test refutes it.",
            "CAM in 2 of 3, Saliency in 3 of 3. Refuted: Saliency (attacked_rank).",
        ),
        (
            {"cam": "unclear,yes,unclear", "saliency": "yes,unclear,unclear"},
            "None of these 2 explanations passes every test: CAM and Saliency are each shown to be above every trivial "
            "map in 1 of 3; no test refutes them.",
            "CAM in 1 of 3, Saliency in 1 of 3.",
        ),
        (
            {"saliency": "yes,unclear,unclear", "cam": "unclear,yes,unclear"},
            "None of these 2 explanations passes every test: Saliency and CAM are each shown to be above every trivial "
            "map in 1 of 3; no test refutes them.",
            "Saliency in 1 of 3, CAM in 1 of 3.",
        ),
        (
            {"lime": "yes,unclear,no", "cam": "yes,yes,no", "grad-cam": "yes,yes,unclear,no"},
            "None of these 3 explanations passes every test: CAM and Grad-CAM come nearest, each shown to be above "
            "every trivial map in 2 of 3; each is refuted by a test.",
            "LIME in 1 of 3, CAM in 2 of 3, Grad-CAM in 2 of 3. Refuted: LIME (grid_gain), CAM (grid_gain), Grad-CAM "
            "(attacked_rank).",
        ),
        (
            {"cam": "yes,yes", "saliency": "yes,yes,unclear", "lime": "yes,yes,not refuted"},
            "CAM is shown to be above every trivial map in 2 of 2 tests; no test refutes it.",
            "CAM in 2 of 2, Saliency in 2 of 3, LIME in 2 of 3.",
        ),
        (
            {"cam": "yes,yes,yes", "saliency": "yes,yes,yes,not refuted", "lime": "yes,yes,yes,no"},
            "CAM and Saliency are each shown to be above every trivial map in 3 of 3 tests; no test refutes them.",
            "CAM in 3 of 3, Saliency in 3 of 3, LIME in 3 of 3. Refuted: LIME (attacked_rank).",
        ),
        (
            {"cam": "yes,yes,yes,not refuted", "saliency": "unclear,unclear,unclear"},
            "CAM is shown to be above every trivial map in 3 of 3 tests; no test refutes it.",
            "CAM in 3 of 3, Saliency in 0 of 3.",
        ),
    ],
)
def test_the_sentence_says_no_more_than_was_measured_and_not_twice(verdicts, sentence, counts):
    """Unclear is no refutation, and a refutation is named; of one method the counts stand in the sentence already."""
    rows = judged(**verdicts)
    assert overall(rows) == sentence
    assert in_a_sentence(rows) == (
        counts and f"Tests in which an explanation is shown to be above every trivial map: {counts}"
    )
