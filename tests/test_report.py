"""The report without a browser: pivots, formatting, what is undefined, escaping, and files that read back."""

from __future__ import annotations

import base64
import copy
import csv
import io
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid.report import Panel, render, write_report
from pellucid.report.book import Book
from pellucid.report.boxes import sweep, wang
from pellucid.report.cells import compare, estimate, verdict
from pellucid.report.drawing import COLOURS, looks
from pellucid.report.figures import classification as classification_charts
from pellucid.report.metrics import metric, number
from pellucid.report.panels import LIMIT, OUTLINE, heat_picture, picture
from pellucid.report.tables import classification, headline, localization
from pellucid.types import Box, InputError

sys.path.insert(0, str(Path(__file__).parent))
import report_example as example


@pytest.fixture(scope="module")
def study():
    return example.results()


@pytest.fixture(scope="module")
def page(study):
    return render(study, example.panels())


def labels(table):
    return [line.label for line in table.lines]


def find(table, label):
    return next(line for line in table.lines if line.label == label and line.cells)


def test_a_figure_carries_its_interval_seeds_and_n():
    row = {
        "value": 0.81249,
        "low": 0.79,
        "high": 0.8333,
        "n": 460,
        "seeds": [0.8, 0.82],
        "seed_spread": 0.0141,
    }
    cell = estimate(row, metric("auroc"))
    assert (cell.value, cell.interval, cell.seeds, cell.n) == (
        "0.812",
        "[0.790, 0.833]",
        "±0.014 between seeds",
        460,
    )


@pytest.mark.parametrize("value", [None, float("nan")])
def test_what_is_undefined_says_so_and_why_and_is_never_zero(value):
    row = {
        "value": value,
        "low": None,
        "high": None,
        "n": 12,
        "reason": "no positives",
        "seeds": [None, None],
    }
    cell = estimate(row | {"difference": dict(row)}, metric("auroc"))
    assert (cell.value, cell.reason, cell.undefined, cell.difference) == (
        "undefined",
        "no positives",
        True,
        None,
    )
    assert "0" not in cell.value + cell.interval
    only_the_difference = estimate(row | {"value": 0.5, "difference": dict(row)}, metric("auroc"))
    assert only_the_difference.difference.value == "undefined"
    assert only_the_difference.interval == "[no interval]"


@pytest.mark.parametrize(
    ("name", "low", "high", "said"),
    [
        ("auroc", 0.01, 0.02, "better"),
        ("auroc", -0.02, -0.01, "worse"),
        ("afp", -0.02, -0.01, "better"),
        ("afp", 0.01, 0.02, "worse"),
        ("mean_box_area", 0.01, 0.02, "differs"),
        ("auroc", -0.01, 0.02, ""),
        ("auroc", 0.0, 0.02, ""),
        ("auroc", None, None, ""),
    ],
)
def test_a_difference_is_called_one_only_where_its_interval_excludes_zero(name, low, high, said):
    assert verdict({"low": low, "high": high}, metric(name).better) == said


def test_differences_carry_signs_and_the_range_of_the_seeds():
    row = {"value": 0.0213, "low": 0.004, "high": 0.038, "n": 5, "seeds": [0.03, None, 0.01]}
    delta = compare(row, metric("pointing"))
    assert (delta.value, delta.interval, delta.seeds) == (
        "+0.021",
        "[+0.004, +0.038]",
        "seeds +0.010 to +0.030",
    )
    assert number(-1e-9, signed=True) == "0.000"


def test_the_headline_holds_auroc_attack_and_localisation_of_every_target(study):
    table = headline(Book(study))
    assert table.columns == tuple(example.VARIANTS)
    assert labels(table)[:3] == ["Mean AUROC", "Accuracy under attack", "CAM on the phantom’s exact masks"]
    assert labels(table).count("Pointing game") == 2
    assert find(table, "Accuracy under attack").hint == "PGD, L∞ 0.01"
    wanted = next(
        r
        for r in study["rows"]
        if (r["section"], r["metric"]) == ("classification", "auroc")
        and (r["class"], r["variant"]) == ("mean", "baseline")
    )
    assert find(table, "Mean AUROC").cells[0].value == f"{wanted['value']:.3f}"
    assert find(table, "Mean AUROC").cells[0].difference is None
    assert all(cell.difference for cell in find(table, "Mean AUROC").cells[1:])
    study = {**study, "headline": ["otsu_iou"]}
    assert labels(headline(Book(study))).count("IoU at Otsu's threshold") == 2


def test_classes_come_in_the_datasets_order_with_the_mean_last_and_published_figures_beside(study):
    auroc, precision = classification(Book(study))
    assert labels(auroc) == [*example.CLASSES, "Mean over classes"]
    assert auroc.columns[-1] == "Wang et al. 2017"
    assert "Wang et al. 2017" not in precision.columns
    assert find(auroc, "Mass").cells[-1].value == "0.760"
    assert find(auroc, "Mean over classes").cells[-1].value == "not published"
    assert [c.value for c in find(auroc, "Pneumonia").cells[:3]] == ["undefined"] * 3


def test_trivial_maps_stand_under_every_localisation_metric(study):
    table = localization(Book(study), "phantom")
    assert labels(table).count("Trivial map: mean box") == 6
    assert find(table, "Trivial map: mean box").cells[0].span == 3
    lesions = localization(Book(study), "lesions", "Mass")
    assert find(lesions, "CAM").cells[0].reason == "no mass is marked in this dataset"


def test_accuracy_is_never_shown_without_false_positives_and_area(study):
    book = Book(study)
    together = ("Accuracy", "AFP", "Mean box area")
    one = wang(book, "phantom", "cam", gate="annotated", ats=["IoBB > 0.1"], cls="Nodule")
    assert one.columns[:3] == together
    assert all(cell is not None for line in one.lines[1:4] for cell in line.cells)
    assert labels(one) == ["IoBB > 0.1", *example.VARIANTS, "Wang et al. 2017"]
    assert [c.value for c in one.lines[-1].cells[:3]] == [
        "0.165",
        "0.605",
        "not published",
    ]
    swept = sweep(book, "phantom", "cam", at="IoU > 0.1", gate="annotated")
    assert swept.columns == together
    assert all(cell is not None for line in swept.lines if line.cells for cell in line.cells)


def test_figures_with_different_n_each_say_their_own():
    rows = [
        {
            "section": "robustness",
            "metric": "auroc",
            "at": "0",
            "variant": v,
            "value": 0.5,
            "low": 0.4,
            "high": 0.6,
            "n": n,
        }
        for v, n in (("a", 10), ("b", 9))
    ]
    book = Book({"variants": [{"label": "a", "reference": True}, {"label": "b"}], "rows": rows})
    from pellucid.report.tables import robustness

    (line,) = robustness(book)[0].lines
    assert line.n == ""
    assert [c.reason for c in line.cells] == ["n = 10", "n = 9"]


def contrast(first, second):
    def luminance(colour):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_eight_variants_have_eight_looks_that_show_on_white():
    eight = looks([str(i) for i in range(8)], "3")
    assert len({look.colour for look in eight.values()}) == len({look.marker for look in eight.values()}) == 8
    assert eight["3"].colour == COLOURS[0]
    assert min(contrast(colour, "#ffffff") for colour in COLOURS) >= 4.5


def test_texts_of_the_style_sheet_meet_the_contrast_of_wcag_aa(page):
    colours = dict(re.findall(r"--(ink|soft|link|good|bad): (#\w{6})", page))
    assert len(colours) == 5
    for colour in colours.values():
        assert contrast(colour, "#ffffff") >= 4.5
        assert contrast(colour, re.search(r"--faint: (#\w{6})", page)[1]) >= 4.5


def test_charts_are_the_same_each_time_and_their_text_is_text(study):
    first, second = (classification_charts(Book(study))[0].svg for _ in range(2))
    assert first == second
    assert ">Cardiomegaly</text>" in first
    assert "AUROC with 95 % interval" in first


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
        assert text in page
    for sentence in (*study["limits"], *study["conclusion"]):
        assert sentence in page
    assert "undefined" in page
    assert example.NO_POSITIVES in page


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


def test_tables_read_back_from_csv_and_json(tmp_path, study):
    path = write_report(study, example.panels(1), tmp_path)
    assert path == tmp_path / "report.html"
    sections = {"classification", "robustness", "localization", "wang", "sweep", "comparators", "training"}
    assert {f.name for f in (tmp_path / "tables").iterdir()} == {f"{s}.{e}" for s in sections for e in ("csv", "json")}
    for section in ("classification", "localization", "sweep"):
        told = json.loads((tmp_path / "tables" / f"{section}.json").read_text())
        assert told["rows"] == [r for r in study["rows"] if r["section"] == section]
        assert told["reference"] == "baseline"
        with (tmp_path / "tables" / f"{section}.csv").open(newline="") as stream:
            lines = list(csv.DictReader(stream))
        assert len(lines) == len(told["rows"])
        for line, row in zip(lines, told["rows"], strict=True):
            for key in ("value", "low", "high", "threshold"):
                assert (float(line[key]) if line[key] else None) == row[key]
            assert int(line["n"]) == row["n"]
            assert line["class"] == row["class"]
            assert [float(s) if s else None for s in line["seeds"].split(";")] == row["seeds"] or not row["seeds"]
            delta = row["difference"]
            assert (float(line["difference_low"]) if line["difference_low"] else None) == (delta and delta["low"])
    with (tmp_path / "tables" / "training.csv").open(newline="") as stream:
        epochs = list(csv.DictReader(stream))
    assert len(epochs) == 3 * 3 * 12
    assert epochs[0]["loss_adversarial"] == ""
    assert float(epochs[-1]["loss_adversarial"]) > 0


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


def pixels(address):
    head, _, data = address.partition(",")
    assert head == "data:image/png;base64"
    raw = base64.b64decode(data)
    assert len(raw) <= LIMIT
    return np.asarray(Image.open(io.BytesIO(raw)).convert("RGB")).astype(int)


def panel(image, boxes=(), mask=None, heat=None):
    maps = {("a", "cam"): heat, ("a", "saliency"): heat}
    return Panel(image, list(boxes), maps, "t", "c", "i", "r", mask=mask)


def test_boxes_are_drawn_where_they_are_and_the_heat_where_it_is():
    heat = np.zeros((64, 64))
    heat[40:56, 8:24] = 1.0
    one = panel(np.full((64, 64), 100, np.uint8), [Box(32, 8, 16, 24)], heat=heat)
    shown = pixels(picture(one))
    assert shown.shape == (256, 256, 3)
    near = np.abs(shown - OUTLINE).max(axis=2) < 40
    rows, columns = np.nonzero(near)
    assert (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1) == (128, 192, 32, 128)
    warm = pixels(heat_picture(one, "a", "cam"))
    assert (warm[192, 64] - warm[192, 64].min()).max() > 60  # coloured where the map is hot
    assert np.ptp(warm[230, 230]) < 10  # gray where it is not
    alone = pixels(heat_picture(one, "a", "saliency"))
    assert alone[192, 64].sum() > 600
    assert alone[230, 230].sum() < 60


def test_the_contour_of_a_mask_follows_it():
    mask = np.zeros((64, 64), bool)
    mask[16:48, 20:30] = True
    shown = pixels(picture(panel(np.full((64, 64), 100, np.uint8), mask=mask)))
    rows, columns = np.nonzero(np.abs(shown - OUTLINE).max(axis=2) < 40)
    assert (
        np.abs(np.array([columns.min(), columns.max() + 1, rows.min(), rows.max() + 1]) - [80, 120, 64, 192]).max() <= 3
    )


@pytest.mark.parametrize(
    ("shape", "heat"),
    [
        ((1024, 800), np.ones((1024, 800))),
        ((300, 300, 3), np.full((300, 300), np.nan)),
        ((32, 32), np.random.default_rng(0).normal(size=(4, 4))),
    ],
)
def test_pictures_of_any_size_and_map_stay_small(shape, heat):
    noise = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    one = panel(noise, [Box(-5, -5, 5000, 5000)], heat=heat)
    for address in (picture(one), heat_picture(one, "a", "cam"), heat_picture(one, "a", "saliency")):
        assert max(pixels(address).shape) <= 256
