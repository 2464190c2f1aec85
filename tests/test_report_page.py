"""The report's page without a browser: well formed, asking nothing of the network, escaped, and legible."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from helpers import report as example
from helpers.charts import empty_charts
from pellucid.report import Panel, render, write_report
from pellucid.report.charts.drawing import COLOURS, styles_of
from pellucid.report.charts.figures import classification as classification_charts
from pellucid.report.pages.page_templates import PAGES
from pellucid.report.tables.cells import Cell, PageTable, TableRow
from pellucid.report.tables.results_index import ResultsIndex
from pellucid.types import InputError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study():
    return example.results()


@pytest.fixture(scope="module")
def page(made_up_report):
    return made_up_report.read_text(encoding="utf-8")


def contrast(first, second):
    def luminance(colour):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_eight_variants_have_eight_looks_that_show_on_white():
    eight = styles_of([str(i) for i in range(8)], "3")
    assert len({look.colour for look in eight.values()}) == len({look.marker for look in eight.values()}) == 8
    assert eight["3"].colour == COLOURS[0]
    assert min(contrast(colour, "#ffffff") for colour in COLOURS) >= 4.5


def test_texts_of_the_style_sheet_meet_the_contrast_of_wcag_aa(page):
    light, dark = (
        dict(re.findall(r"--([a-z0-9-]+): (#\w{6})", rules)) for rules in re.findall(r":root {(.*?)}", page, re.DOTALL)
    )
    texts = ["ink", "soft", "link", "good", "bad"]
    for colours, also in ((light, []), (dark, [f"series-{number}" for number in range(len(COLOURS))])):
        for name in [*texts, *also]:
            assert contrast(colours[name], colours["paper"]) >= 4.5
            assert contrast(colours[name], colours["faint"]) >= 4.5


def test_how_the_cases_are_coloured_is_said_of_the_methods_that_they_show(study, page):
    assert "Over the image: CAM, Grad-CAM. Alone" in page
    assert "99th percentile: Saliency." in page
    assert "With a zero" not in page
    shown = [
        replace(
            panel,
            maps={(variant, "lime"): maps - 0.5 for (variant, method), maps in panel.maps.items() if method == "cam"},
        )
        for panel in example.panels(2)
    ]
    rows = [row for row in study["rows"] if row["section"] == "classification"]
    other = render({**study, "methods": ["lime"], "rows": rows}, shown)
    assert "Over the image: LIME. With a zero, which has no colour: LIME." in other
    assert "Alone, since" not in other
    assert "From the least" not in other


def test_charts_are_the_same_each_time_and_their_text_is_text(study):
    first, second = (classification_charts(ResultsIndex(study))[0].svg for _ in range(2))
    assert first == second
    assert ">Cardiomegaly</text>" in first
    assert "AUROC with 95 % interval" in first


def test_of_very_many_classes_a_chart_shows_the_mean(study, monkeypatch):
    monkeypatch.setattr("pellucid.report.charts.figures.MOST_CLASSES", len(example.CLASSES))
    chart = classification_charts(ResultsIndex(study))[0]
    assert ">Mean</text>" in chart.svg
    assert ">Cardiomegaly</text>" not in chart.svg


class Page(HTMLParser):
    """Collects every element, and checks that what is opened is closed."""

    void = frozenset({"meta", "link", "img", "br", "wbr", "hr", "input"})

    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_loads_nothing(page):
    parsed = Page(page)
    assert parsed.open == []
    for tag, attributes in parsed.elements:
        for name in ("src", "href", "xlink:href", "srcset", "poster", "data", "action"):
            value = attributes.get(name)
            if value is not None and not (tag == "a" and name == "href"):
                assert value.startswith(("data:", "#")), (tag, name, value[:80])
        assert tag not in {"iframe", "object", "embed", "base"}
    assert not re.search(r"@import|url\((?!#)", page)
    ids = [a["id"] for _, a in parsed.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in parsed.elements:
        target = attributes.get("href") or attributes.get("xlink:href") or ""
        assert not target.startswith("#") or target[1:] in ids
    assert set(re.findall(r"url\(#([^)]*)\)", page)) <= set(ids)
    assert all(a.get("alt") for t, a in parsed.elements if t == "img")
    assert all(a.get("aria-label") for t, a in parsed.elements if t == "svg")


def test_every_text_of_the_study_is_escaped():
    study = example.results()
    attack = '<script>alert("x")</script>'
    label = 'bad"><img src=x onerror=alert(1)>'
    text = json.dumps(study).replace(json.dumps("baseline"), json.dumps(label))
    study = json.loads(text)
    study["rows"] = [row for row in study["rows"] if row["class"] in ("Mass", "mean")]
    study |= {
        "title": attack,
        "description": attack,
        "command": attack,
        "conclusion": [attack],
        "limits": [attack],
    }
    study["data"] |= {"url": "javascript:alert(1)", "title": attack}
    study["targets"][0]["title"] = attack
    panels = example.panels(1)
    panels = [
        Panel(
            image=p.image,
            boxes=p.boxes,
            maps={(label if v == "baseline" else v, m): x for (v, m), x in p.maps.items()},
            target=attack,
            class_name=attack,
            image_id=attack,
            rule=attack,
            score=attack,
        )
        for p in panels
    ]
    page = render(study, panels)
    parsed = Page(page)
    assert sum(tag == "script" for tag, _ in parsed.elements) == 1
    assert "onerror" not in {name for _, attributes in parsed.elements for name in attributes}
    assert "javascript:" not in page
    assert "&lt;script&gt;" in page


def test_the_page_says_what_a_reader_needs(page, study):
    for text in (
        "Threshold sweep",
        "5be1" * 16,
        "a91f",
        "pellucid demo --out",
        "torch 2.13.0",
        "1,000",
        "CPU, 2 cores",
    ):
        assert text in re.sub("</?span[^>]*>", "", page)  # an option stands in one, so that no line breaks it
    for sentence in (*study["limits"], *study["conclusion"]):
        assert sentence in page
    assert "undefined" in page
    assert example.NO_POSITIVES in page


@empty_charts()
def test_many_exploratory_comparisons_are_folded_away_and_few_are_not(study):
    def sentences(count):
        told = [f"Exploratory: difference {i}." for i in range(count)]
        page = render(study | {"conclusion": ["Primary comparison: none.", "It is small.", *told]}, [])
        return page, re.findall(r"<details><summary>(\d+) exploratory comparisons</summary>(.*?)</details>", page, re.S)

    page, folded = sentences(5)
    assert [(number, text.count("<p>Exploratory")) for number, text in folded] == [("5", 5)]
    assert page.count("<p>Exploratory") == 5
    page, folded = sentences(4)
    assert (page.count("<p>Exploratory"), folded) == (4, [])


@empty_charts()
def test_a_small_study_leaves_out_what_it_did_not_measure():
    study = example.results()
    study["rows"] = [r for r in study["rows"] if r["section"] == "classification" and not r["difference"]]
    study["variants"] = study["variants"][:1]
    study |= {"targets": [], "comparators": [], "limits": []}
    study["variants"][0]["runs"] = []
    page = render(study, [])
    for left_out in ("robustness", "localization", "wang", "sweep", "training", "cases"):
        assert f'id="{left_out}"' not in page
        assert f'href="#{left_out}"' not in page
    study["rows"] = []
    assert "How it was made" in render(study, [])


@empty_charts()
def test_a_report_that_cannot_be_written_leaves_nothing_half_written(tmp_path, study):
    study = {**study, "rows": [r for r in study["rows"] if r["section"] == "classification"]}
    blocked = tmp_path / "out"
    blocked.write_text("a file where the folder should be")
    with pytest.raises(InputError, match="cannot write"):
        write_report(study, [], blocked)
    broken = copy.deepcopy(study)
    del broken["versions"]
    with pytest.raises(Exception, match="versions"):
        write_report(broken, [], tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(("columns", "is_under_the_name"), [(5, False), (6, True)])
def test_beside_six_columns_n_stands_under_the_name_of_its_row(columns, is_under_the_name):
    lines = [TableRow(name, cells=(Cell("0.5"),) * columns, n=n) for name, n in (("AUROC", "460"), ("Accuracy", "100"))]
    table = PageTable("Figures", tuple("abcdef"[:columns]), tuple(lines))
    page = str(PAGES.get_template("macros.html.j2").module.table(table, {}))
    assert page.count('<span class="hint"><i>n</i> = 460</span>') == is_under_the_name
    assert page.count('<td data-label="n">460</td>') == (not is_under_the_name)
