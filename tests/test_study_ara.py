"""The Accuracy-Robustness Area in a study: asked for, kept, compared and shown; absent where not asked for."""

from __future__ import annotations

import csv
import json
import re
from contextlib import nullcontext

import numpy as np
import pytest

from helpers.training import TWO_VARIANTS
from pellucid.evaluation.metrics.statistics import Bootstrap
from pellucid.evaluation.robustness import radii as radii_module
from pellucid.evaluation.robustness.ara import balanced_ara
from pellucid.models.weights import read_model_card
from pellucid.study import load_study, run_study
from pellucid.study.context import StudyContext
from pellucid.study.evaluation import evaluate_run
from pellucid.study.evaluation_data import prepare_evaluation_data
from pellucid.study.runs import plan
from pellucid.types import InputError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("empty_charts")]

SMALL = [
    TWO_VARIANTS,
    "data.options={size=32, train=48, validation=24, test=36, prevalence=0.4}",
    "settings.model={name='small', size=32, options={widths=[4, 8], blocks=[1, 1], strides=[1, 2]}}",
    "settings.training={epochs=1, batch_size=8}",
    "evaluation.robustness={sizes=[], steps=2}",
    "evaluation.methods=['cam']",
    "evaluation.resamples=100",
    "evaluation.panels=0",
    "evaluation.trust.methods=[]",
    "evaluation.adversarial.cases=0",
]
ASKED = "evaluation.ara={kinds=['attack', 'btr'], protocol='woods2019', limit=24}"


@pytest.fixture(scope="module", autouse=True)
def quick():
    """The paper's attack in twelve steps."""
    from dataclasses import replace
    from functools import partial

    from pellucid.attacks import METHODS

    with pytest.MonkeyPatch.context() as patch:
        real = METHODS["woods2019"]
        short = partial(real.algorithm, length=1.0, steps=12)
        patch.setitem(METHODS, "woods2019", replace(real, algorithm=short))
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    study = load_study("demo", [*SMALL, ASKED])
    run_study(study, None, out, device="cpu", jobs=1)
    return study, out, json.loads((out / "results.json").read_text())


class AskedError(Exception):
    """The attack was asked for."""


@pytest.fixture
def attacked(monkeypatch):
    """How many images are given to the attack, which ends there."""
    seen = []

    def counted(network, images, *rest, **options):
        seen.append(len(images))
        raise AskedError

    monkeypatch.setattr(radii_module, "minimal", counted)
    return seen


def test_every_label_and_their_mean_have_an_area_with_its_interval(finished):
    study, out, results = finished
    rows = {(r["metric"], r["class"], r["variant"]): r for r in results["rows"] if r["section"] == "ara"}
    classes = results["data"]["classes"]
    assert set(rows) == {
        (metric, c, v.label)
        for metric in ("balanced_accuracy", "ara_attack", "ara_btr")
        for c in (*classes, "mean")
        for v in study.variants
    }
    stage = prepare_evaluation_data(StudyContext(study, None, out))
    for run in plan(study, out):
        verdict = evaluate_run(study.evaluation, run, stage, out / "evaluations" / run.folder.name, "cpu")
        for kind, found in verdict.radii.items():
            for k, name in enumerate(classes):
                mine = found.label == k
                present = stage.measured.targets[found.image[mine], k] == 1
                row = rows[f"ara_{kind}", name, run.label]
                if not mine.any():
                    assert row["value"] is None
                    assert "positives" in row["reason"]
                    continue
                draws = Bootstrap(stage.measured.patients, 100).take(found.image[mine])
                area = balanced_ara(found.radius[mine], found.found[mine], present, draws)
                assert row["value"] == (pytest.approx(area.lower.value) if area.known else None)
                assert row["n"] == mine.sum()
                if kind == "attack":  # the accuracy of the unchanged images is where its curve starts
                    right = found.correct_at_start[mine]
                    start = (right[present].mean() + right[~present].mean()) / 2
                    assert rows["balanced_accuracy", name, run.label]["value"] == pytest.approx(start)
    assert len(stage.measured) == results["ara"]["images"] == 24
    other = study.variants[1].label
    assert rows["ara_attack", "mean", other]["difference"]["value"] == pytest.approx(
        rows["ara_attack", "mean", other]["value"] - rows["ara_attack", "mean", "baseline"]["value"]
    )


def test_the_page_shows_table_curve_and_alarm(finished):
    _, out, results = finished
    page = (out / "report.html").read_text()
    assert 'href="#ara"' in page
    section = re.search(r'<section id="ara">.*?</section>', page, re.DOTALL)[0]
    assert section.count("<svg") == 4  # accuracy against area, and the curves; of two kinds each
    assert "Attack ARA" in section
    assert "By label" in section
    assert "At matched clean accuracy" not in section
    assert "<code>woods2019</code>" in section
    curves = results["ara"]["curves"]
    assert {(c["variant"], c["kind"]) for c in curves} == {
        (v, k) for v in ("baseline", "robust") for k in ("attack", "btr")
    }
    for curve in curves:
        assert np.all(np.diff(curve["accuracy"]) <= 1e-9)
        assert np.all(np.array(curve["upper"]) >= np.array(curve["accuracy"]) - 1e-9)
        assert curve["naive"] == 0.5
    assert results["ara"]["alarms"]  # twelve steps are too few
    assert results["ara"]["alarms"][0].split(":")[0] in section
    with (out / "tables" / "ara.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == sum(r["section"] == "ara" for r in results["rows"])
    assert any("attack ARA" in said for said in results["conclusion"])


@pytest.mark.parametrize(
    ("override", "again"),
    [
        ("evaluation.resamples=120", False),
        ("evaluation.ara.limit=23", True),
        ("evaluation.ara.protocol=tight", True),
    ],
)
def test_what_was_measured_is_kept_for_the_same_question_only(finished, attacked, override, again):
    _, out, _ = finished
    study = load_study("demo", [*SMALL, ASKED, override])
    stage = prepare_evaluation_data(StudyContext(study, None, out))
    run = plan(study, out)[0]
    with pytest.raises(AskedError) if again else nullcontext():
        evaluate_run(study.evaluation, run, stage, out / "evaluations" / run.folder.name, "cpu")
    assert bool(attacked) == again


def test_a_trial_compares_with_the_constant_answer_of_the_whole_part(finished):
    study, out, _ = finished
    stage = prepare_evaluation_data(StudyContext(study, None, out, limit=10))
    assert (len(stage.whole), len(stage.test), len(stage.measured)) == (36, 10, 10)
    assert "best_constant" in read_model_card(plan(study, out)[0].folder)


def test_a_study_that_asks_for_none_has_none(finished, attacked):
    _, out, _ = finished
    study = load_study("demo", SMALL)
    assert study.evaluation.ara.kinds == ()
    stage = prepare_evaluation_data(StudyContext(study, None, out))
    run = plan(study, out)[0]
    verdict = evaluate_run(study.evaluation, run, stage, out / "evaluations" / run.folder.name, "cpu")
    assert verdict.radii == {}
    assert attacked == []


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("evaluation.ara={kinds=['atack']}", "attack"),
        ("evaluation.ara={protocol='thight'}", "Did you mean 'tight'"),
        ("evaluation.ara={limits=3}", "limit"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_trained(override, told):
    with pytest.raises(InputError, match=told):
        load_study("demo", [*SMALL, override])
