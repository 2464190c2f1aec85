"""The tables of the report: rows pivoted to what people read, and files that read back."""

from __future__ import annotations

import csv
import json

import pytest

from helpers import report as example
from helpers.charts import empty_charts
from pellucid.report import write_report
from pellucid.report.tables.boxes import sweep, wang
from pellucid.report.tables.pivot import classification, headline, localization, robustness
from pellucid.report.tables.results_index import ResultsIndex


@pytest.fixture(scope="module")
def study():
    return example.results()


def labels(table):
    return [line.label for line in table.lines]


def find(table, label):
    return next(line for line in table.lines if line.label == label and line.cells)


@pytest.mark.slow
def test_the_headline_holds_auroc_attack_and_localisation_of_every_target(study):
    table = headline(ResultsIndex(study))
    assert table.columns == tuple(example.VARIANTS)
    assert labels(table)[:3] == ["Mean AUROC", "Accuracy under attack", "CAM · the phantom’s exact masks"]
    assert labels(table).count("Pointing game") == 2
    assert find(table, "Accuracy under attack").hint == "under attack, L∞ 0.01"
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
    assert labels(headline(ResultsIndex(study))).count("IoU at Otsu's threshold") == 2


def test_classes_come_in_the_datasets_order_with_the_mean_last_and_published_figures_beside(study):
    auroc, precision = classification(ResultsIndex(study))
    assert labels(auroc) == [*example.CLASSES, "Mean over classes"]
    assert auroc.columns[-1] == "Wang et al. 2017"
    assert "Wang et al. 2017" not in precision.columns
    assert find(auroc, "Mass").cells[-1].value == "0.760"
    assert find(auroc, "Mean over classes").cells[-1].value == "not published"
    assert [c.value for c in find(auroc, "Pneumonia").cells[:3]] == ["undefined"] * 3


def test_trivial_maps_stand_under_every_localisation_metric(study):
    table = localization(ResultsIndex(study), "phantom")
    assert labels(table).count("Trivial map: mean box") == 6
    assert find(table, "Trivial map: mean box").cells[0].span == 3
    lesions = localization(ResultsIndex(study), "lesions", "Mass")
    assert find(lesions, "CAM").cells[0].reason == "no mass is marked in this dataset"


def test_accuracy_is_never_shown_without_false_positives_and_area(study):
    index = ResultsIndex(study)
    together = ("Accuracy", "AFP", "Mean box area")
    hits, drawn = wang(index, "phantom", "cam", gate="annotated", ats=["IoBB > 0.1"], cls="Nodule")
    assert (*hits.columns, *drawn.columns)[:3] == together
    assert all(cell is not None for line in (*hits.lines[1:4], *drawn.lines) for cell in line.cells)
    assert labels(hits) == ["IoBB > 0.1", *example.VARIANTS, "Wang et al. 2017"]
    assert labels(drawn) == list(example.VARIANTS)
    assert [c.value for c in hits.lines[-1].cells] == ["0.165", "0.605"]
    swept = sweep(index, "phantom", "cam", at="IoU > 0.1", gate="annotated")
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
    index = ResultsIndex({"variants": [{"label": "a", "reference": True}, {"label": "b"}], "rows": rows})
    (line,) = robustness(index)[0].lines
    assert line.n == ""
    assert [c.reason for c in line.cells] == ["n = 10", "n = 9"]


@pytest.mark.slow
@empty_charts()
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
            for question in ("networks", "recipes"):
                for key in ("low", "high", "p", "p_corrected"):
                    cell = line[f"{question}_{key}"]
                    assert (float(cell) if cell else None) == (delta and delta[question][key])
    with (tmp_path / "tables" / "training.csv").open(newline="") as stream:
        epochs = list(csv.DictReader(stream))
    assert len(epochs) == 3 * 3 * 12
    assert epochs[0]["loss_adversarial"] == ""
    assert float(epochs[-1]["loss_adversarial"]) > 0
