"""A study of data without regions: networks compared by accuracy and area alone, from official CIFAR-10 files."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from pellucid.data import get_split, materialize, open_dataset
from pellucid.data.readers.cifar10.reader import TRAIN
from pellucid.models import load_model
from pellucid.models.inference import predict
from pellucid.study import load_study, run_study
from pellucid.study.context import StudyContext
from pellucid.study.evaluation_data import prepare_evaluation_data
from pellucid.types import InputError, InputSpec

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_check")]

STUDY = """
name = "colours"
title = "Ten colours, three networks"
[data]
name = "cifar10"

[settings]
model = { name = "small", size = 32, channels = 3, options = { widths = [8, 16], blocks = [1, 1], strides = [2, 2] } }
optimizer = { lr = 1e-2 }
training = { epochs = 1, batch_size = 10 }

[[variants]]
label = "plain"
recipe = "standard"

[[variants]]
label = "weak"
recipe = "standard"
family = "adversarial"
settings = { objective = { mix = 0.5, attack = { method = "fgsm", size = { rms = 0.01 } } } }

[[variants]]
label = "strong"
recipe = "standard"
family = "adversarial"
settings = { objective = { mix = 0.5, attack = { method = "fgsm", size = { rms = 0.1 } } } }

[evaluation]
targets = []
resamples = 100

[evaluation.robustness]
sizes = ["pgd:rms=0.02"]
steps = 2

[evaluation.ara]
kinds = ["attack", "btr"]
limit = 24
matched = ["weak", "strong"]

[evaluation.adversarial]
cases = 1
classes = 2
rhos = [0.05]

[[comparators]]
section = "ara"
metric = "attack"
name = "Woods et al. 2019"
note = "measured on 1,000 other test images"
values = { standard = 0.0013, all = 0.0188 }
accuracy = { standard = 0.9384, all = 0.679 }

[[comparators]]
section = "ara"
metric = "btr"
name = "Woods et al. 2019"
note = "measured on 1,000 other test images"
values = { all = 0.0414 }
accuracy = { all = 0.679 }
"""
LABELS = ["plain", "weak", "strong"]
LEFT_OUT = ("localization", "wang", "sweep", "cases")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """CIFAR-10's files as its description has them, holding one colour per class under noise."""
    folder = tmp_path_factory.mktemp("cifar")
    rng = np.random.default_rng(0)
    colours = rng.uniform(40, 215, (10, 3))
    for name in (*TRAIN, "test_batch"):
        labels = rng.permutation(np.arange(60) % 10).astype(np.uint8)
        pixels = colours[labels][:, :, None] + rng.normal(0, 40, (60, 3, 1024))
        records = [bytes([k]) + p.clip(0, 255).astype(np.uint8).tobytes() for k, p in zip(labels, pixels, strict=True)]
        (folder / f"{name}.bin").write_bytes(b"".join(records))
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "colours.toml"
    path.write_text(STUDY, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def finished(data, written, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    run_study(load_study(written), data, out, device="cpu", jobs=1)
    return out, json.loads((out / "results.json").read_text())


@pytest.fixture(scope="module")
def page(finished):
    return (finished[0] / "report.html").read_text(encoding="utf-8")


def section_of(page, name):
    return re.search(rf'<section id="{name}">.*?</section>', page, re.DOTALL)[0]


def rows_of(table):
    """The lines of an HTML table: the first cell's text → the texts of the others."""
    lines = {}
    for row in re.findall(r"<tr[^>]*>(.*?)</tr>", table, re.DOTALL):
        cells = [" ".join(re.sub(r"<[^>]*>", " ", c).split()) for c in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)]
        lines[cells[0].lstrip("●■◆▲▼ ")] = cells[1:]
    return lines


def test_what_would_need_regions_is_left_out_and_the_rest_is_there(finished, page):
    _, results = finished
    assert results["targets"] == []
    assert {r["section"] for r in results["rows"]} == {"classification", "robustness", "ara"}
    for name in LEFT_OUT:
        assert f'id="{name}"' not in page
        assert f'href="#{name}"' not in page
    for name in ("classification", "robustness", "ara", "training", "sliders"):
        assert f'<section id="{name}">' in page
        assert f'href="#{name}"' in page
    for word in ("Where explanations are scored", "Viviano", "finding"):
        assert word not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    assert "95 % interval over images" in page  # each is a patient of its own


def test_the_accuracy_is_that_of_the_measured_images(finished, data):
    out, results = finished
    rows = {r["variant"]: r for r in results["rows"] if (r["section"], r["metric"]) == ("ara", "accuracy")}
    measured = get_split(open_dataset("cifar10", data), "test").limit(24)
    pixels = materialize(measured, InputSpec.square(3, 32))
    for label in LABELS:
        network = load_model(out / "runs" / f"{label}-seed0")
        expected = accuracy_score(measured.targets, predict(network, pixels).argmax(1))
        assert rows[label]["value"] == pytest.approx(expected)
        assert rows[label]["n"] == 24
        assert rows[label]["low"] <= rows[label]["value"] <= rows[label]["high"]
    assert max(rows[label]["value"] for label in LABELS) > 0.3  # the colours were learnt, so there is an area at all
    assert rows["strong"]["difference"]["value"] == pytest.approx(rows["strong"]["value"] - rows["plain"]["value"])


def test_one_table_has_accuracy_areas_share_found_and_cost(finished, page):
    out, results = finished
    table = rows_of(section_of(page, "ara"))
    for label in LABELS:
        figures = {r["metric"]: r for r in results["rows"] if (r["section"], r["variant"]) == ("ara", label)}
        cells = table[f"{label} n = 24"]
        for cell, name, digits in zip(cells, ("accuracy", "ara_attack", "ara_btr"), (3, 4, 4), strict=False):
            value, low, high = (f"{figures[name][key]:.{digits}f}" for key in ("value", "low", "high"))
            assert cell.startswith(f"{value} [{low}, {high}]")
        (ledger,) = (out / "evaluations" / f"{label}-seed0").glob("ara-*/radii.csv")
        with ledger.open(newline="") as stream:
            lines = list(csv.DictReader(stream))
        for place, kind in enumerate(("attack", "btr")):
            own = [line for line in lines if line["kind"] == kind]
            assert len(own) == 24
            found = np.mean([line["found"] == "1" for line in own])
            spent = np.mean([int(line["gradient_evaluations"]) for line in own])
            assert cells[3 + place].startswith(f"{100 * found:.1f} %")
            assert cells[5 + place] == f"{spent:.1f}"
    assert "By label" not in section_of(page, "ara")


def test_published_networks_stand_under_the_studys_own_without_interval(finished, page):
    out, _ = finished
    table = rows_of(section_of(page, "ara"))
    assert table["all (published)"][:3] == ["0.679", "0.0188", "0.0414"]
    assert table["standard (published)"][:3] == ["0.938", "0.0013", "not published"]
    assert "measured on 1,000 other test images" in section_of(page, "ara")
    with (out / "tables" / "comparators.csv").open(newline="") as stream:
        lines = [(r["metric"], r["class"], r["value"], r["accuracy"]) for r in csv.DictReader(stream)]
    assert lines == [
        ("attack", "standard", "0.0013", "0.9384"),
        ("attack", "all", "0.0188", "0.679"),
        ("btr", "all", "0.0414", "0.679"),
    ]


def test_figures_of_accuracy_against_area_and_of_the_matched_curves(finished, page):
    _, results = finished
    text = section_of(page, "ara")
    assert text.count("<svg") == 6  # accuracy against area, all curves, the matched ones; of two kinds each
    matched = text.partition("At matched clean accuracy")[2]
    shown = {r["variant"]: r["value"] for r in results["rows"] if (r["section"], r["metric"]) == ("ara", "accuracy")}
    for label in ("weak", "strong"):
        assert f"{label} {100 * shown[label]:.1f} %" in matched
    spread = 100 * abs(shown["weak"] - shown["strong"])
    assert f"lie {spread:.1f} points" in matched
    assert ("are not matched" in matched) == (spread > 3.0001)
    legend = re.search(r'<ul class="legend".*?</ul>', matched, re.DOTALL)[0]
    assert "plain" not in legend
    assert [v["family"] for v in results["variants"]] == [None, "adversarial", "adversarial"]
    colours = re.findall(r'<div class="recipe" style="color:([^"]+)">', page)
    assert colours[1] == colours[2] != colours[0]
    assert any("accuracy without a perturbation on the images of the ARA" in said for said in results["conclusion"]), (
        results["conclusion"]
    )


def test_targets_that_are_not_given_are_asked_for(data, written, tmp_path):
    path = tmp_path / "again.toml"
    path.write_text(STUDY.replace("targets = []\n", ""), encoding="utf-8")
    with pytest.raises(InputError, match=r"cifar10 marks no regions; .*evaluation\.targets = \[\] leaves"):
        prepare_evaluation_data(StudyContext(load_study(str(path)), data, tmp_path))
    assert prepare_evaluation_data(StudyContext(load_study(written), data, tmp_path)).tasks == ()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('["weak", "strong"]', '["weak", "stong"]', "names no variant: 'stong'. Did you mean 'strong'"),
        ('["weak", "strong"]', '["weak", "weak"]', "only 'weak'"),
        ('metric = "btr"', 'metric = "ara_btr"', "unknown metric 'ara_btr'.*There are: attack, btr"),
        (
            "accuracy = { standard = 0.9384, all = 0.679 }",
            "accuracy = { all = 0.679 }",
            "only one of them names standard",
        ),
        ("accuracy = { standard = 0.9384, all = 0.679 }", "", "only one of them names all, standard"),
        ("accuracy = { all = 0.679 }", "accuracy = { all = 67.9 }", "between 0 and 1; found all = 67.9"),
        (
            'section = "ara"\nmetric = "btr"',
            'section = "wang"\nmetric = "afp"',
            "belongs to comparators of the section",
        ),
        ('family = "adversarial"', 'family = ""', "family"),
    ],
)
def test_a_wrong_setting_is_refused(tmp_path, old, new, told):
    assert old in STUDY
    path = tmp_path / "wrong.toml"
    path.write_text(STUDY.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=told):
        load_study(str(path))


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_opens_and_fits_the_screen(browser, finished, width):
    asked, complaints = [], []
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.on("request", lambda r: asked.append(r.url))
    page.on("console", lambda m: complaints.append(m.text))
    page.on("pageerror", lambda e: complaints.append(str(e)))
    page.goto((finished[0] / "report.html").as_uri())
    page.wait_for_load_state("networkidle")
    headings = page.locator("h2").all_inner_texts()
    assert headings[2:6] == ["Classification", "Robustness", "Accuracy-Robustness Area", "Training"]
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    drawn = page.locator("#ara svg[role=img]").evaluate_all("all => all.map(s => s.getBoundingClientRect().width)")
    assert len(drawn) == 6
    assert min(drawn) > 250
    names = page.locator("#ara svg text").filter(has_text=re.compile(r"^(all|standard)$"))
    assert names.count() == 3
    page.close()
    assert [url for url in asked if not url.startswith(("file://", "data:"))] == []
    assert complaints == []
