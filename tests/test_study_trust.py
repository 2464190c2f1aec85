"""The table of trust in a study: judged once, kept, in results, tables and report; absent where not asked for."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

from helpers.training import TWO_VARIANTS
from pellucid.evaluation.trust import run as trust_run
from pellucid.study import load_study, run_study
from pellucid.study.context import StudyContext
from pellucid.study.evaluation_data import prepare_evaluation_data
from pellucid.study.judging import judge_again
from pellucid.study.trust import judge_trust
from pellucid.types import InputError
from pellucid.utils.resources import write_json

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("empty_charts")]

SMALL = [
    TWO_VARIANTS,
    "seeds=[0, 1]",
    "data.options={size=32, train=48, validation=24, test=12, prevalence=0.5, shortcuts={letter={finding='Nodule'}}}",
    "settings.model={name='small', size=32, options={widths=[4, 8], blocks=[1, 1], strides=[1, 2]}}",
    "settings.training={epochs=1, batch_size=8}",
    "evaluation.robustness={sizes=[], steps=2}",
    "evaluation.methods=['cam']",
    "evaluation.resamples=100",
    "evaluation.panels=0",
    "evaluation.adversarial.cases=0",
]
ASKED = "evaluation.trust={methods=['cam', 'saliency'], limit=6, samples=1, attacked=2, attack_steps=2}"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    study = load_study("demo", [*SMALL, ASKED])
    run_study(study, None, out, device="cpu", jobs=1)
    return study, out, json.loads((out / "results.json").read_text())


def test_each_variant_has_a_table_beside_other_seeds_and_variants(finished):
    _, _, results = finished
    assert [(t["variant"], t["seed"]) for t in results["trust"]] == [("baseline", 0), ("robust", 0)]
    for table, others in zip(results["trust"], (("baseline", "robust"), ("robust", "baseline")), strict=True):
        rows = table["rows"]
        beside = [r["label"].split(": ")[1] for r in rows if r["measure"] == "agreement" and r["method"] == "cam"]
        assert beside == [f"{others[0]}, seed 1", f"{others[1]}, seed 0"]
        assert {r["method"] for r in rows} >= {"cam", "saliency", "the network itself", "trivial: uniform"}
        (share,) = [r for r in rows if r["measure"] == "marker_share" and r["method"] == "cam"]
        assert share["n"] > 0  # the study's own shortcut was found
        (attacked,) = [r for r in rows if r["measure"] == "attacked_rank" and r["method"] == "saliency"]
        assert attacked["n"] == 2


def test_it_stands_in_the_report_and_in_a_table_of_its_own(finished):
    _, out, results = finished
    page = (out / "report.html").read_text()
    assert page.count('id="trust"') == 1
    assert "Whether to believe them" in page
    assert page.count("curves and all figures") == 2
    identifiers = [piece.split('"')[0] for piece in page.split('id="')[1:]]
    assert len(identifiers) == len(set(identifiers))
    lines = list(csv.DictReader((out / "tables" / "trust.csv").open()))
    assert len(lines) == sum(len(t["rows"]) for t in results["trust"])
    assert {line["variant"] for line in lines} == {"baseline", "robust"}


def test_it_is_judged_once_and_again_for_another_question_only(finished, monkeypatch, tmp_path):
    study, out, results = finished
    stage = prepare_evaluation_data(StudyContext(study, None, out, "cpu"))
    judged, judge = [], trust_run.judge_method
    monkeypatch.setattr(trust_run, "judge_method", lambda m, *a, **k: judged.append(m.name) or judge(m, *a, **k))
    write_json(tmp_path / "trust.json", judge_trust(StudyContext(study, None, out, "cpu"), stage)[0])
    assert judged == []
    assert json.loads((tmp_path / "trust.json").read_text()) == results["trust"]
    judge_trust(
        StudyContext(load_study("demo", [*SMALL, ASKED.replace("samples=1", "samples=2")]), None, out, "cpu"), stage
    )
    assert judged == ["cam", "saliency"] * 2


def test_it_is_made_again_from_what_is_kept_of_every_image(finished, tmp_path):
    study, out, results = finished
    shutil.copyfile(out / "per-image.npz", tmp_path / "per-image.npz")
    forgotten = [{**table, "rows": []} for table in results["trust"]]
    write_json(tmp_path / "results.json", results | {"trust": forgotten})
    judge_again(study, tmp_path)
    assert json.loads((tmp_path / "results.json").read_text())["trust"] == results["trust"]


def test_none_is_made_where_none_is_asked_for(finished):
    _, out, _ = finished
    run_study(load_study("demo", [*SMALL, "evaluation.trust.methods=[]"]), None, out, device="cpu", jobs=1)
    assert json.loads((out / "results.json").read_text())["trust"] == []
    assert 'id="trust"' not in (out / "report.html").read_text()
    with pytest.raises(InputError, match="Did you mean 'grad-cam'"):
        load_study("demo", ["evaluation.trust.methods=['gradcam']"])
