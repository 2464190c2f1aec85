"""A study: what is kept and what is done again, which cases are shown, and what is said in words."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch

from helpers.training import TWO_VARIANTS
from pellucid.attacks import BoundedAttack
from pellucid.attacks.under_attack import answers_under_attack
from pellucid.models import load_model
from pellucid.models.inference import predict
from pellucid.report.tables.pivot import localization
from pellucid.report.tables.results_index import ResultsIndex
from pellucid.study import evaluation as evaluation_module
from pellucid.study import load_study
from pellucid.study.cases import choose, make_panels
from pellucid.study.context import StudyContext
from pellucid.study.evaluation import evaluate_run
from pellucid.study.evaluation_data import prepare_evaluation_data
from pellucid.study.kept.finished import record_of
from pellucid.study.results import assemble
from pellucid.study.runs import open_data, plan
from pellucid.study.training import train_all
from pellucid.study.trust import judge_trust
from pellucid.training import RunFolder, TrainingError
from pellucid.types import InputError

SMALL = [
    TWO_VARIANTS,
    "data.options={size=32, train=32, validation=24, test=24, prevalence=0.4}",
    "settings.model={name='small', size=32, options={widths=[4, 8], blocks=[1, 1], strides=[1, 2]}}",
    "settings.training={epochs=1, batch_size=8}",
    "evaluation.robustness={sizes=['pgd:linf=0.01'], steps=2, limit=8}",
    "evaluation.resamples=100",
    "evaluation.trust.methods=[]",
]


@pytest.fixture(scope="module")
def study():
    return load_study("demo", SMALL)


@pytest.fixture(scope="module")
def stage(study, tmp_path_factory):
    return prepare_evaluation_data(StudyContext(study, None, tmp_path_factory.mktemp("stage")))


@pytest.fixture(scope="module")
def trained(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    train_all(StudyContext(study, None, out, "cpu"), 1)
    return out


@pytest.fixture
def counted(monkeypatch):
    """How often each costly thing is done."""
    counts = {}

    def count(name):
        real = getattr(evaluation_module, name)

        def wrapped(*args, **kwargs):
            counts[name] = counts.get(name, 0) + 1
            return real(*args, **kwargs)

        monkeypatch.setattr(evaluation_module, name, wrapped)

    for name in ("predict", "answers_under_attack", "score_explanations", "load_trained"):
        count(name)
    return counts


def test_every_variant_is_trained_with_every_seed_in_a_folder_of_its_own(tmp_path):
    study = load_study("pneumonia")
    runs = plan(study, tmp_path)
    first = runs[: len(study.variants)]
    assert [(r.seed, r.label) for r in first] == [(0, v.label) for v in study.variants]  # seed by seed
    assert {r.folder.parent for r in runs} == {tmp_path / "runs"}
    assert all(" " not in r.folder.name for r in runs)
    sizes = {r.label: str(r.recipe.objective.attack.size) for r in runs if r.recipe.robust}
    assert sizes == {
        "robust 0.005": "L∞ 0.005",
        "robust 0.01": "L∞ 0.01",
        "robust 0.03": "L∞ 0.03",
        "penalty and attacks": "RMS 0.1",
    }
    assert {r.recipe.model.name for r in runs} == {"small-wide"}


def test_the_settings_of_a_variant_are_its_own(tmp_path):
    first = (
        "{recipe='standard', label='sudden', settings={schedule={warmup=0.0}}}"  # a section that is not the recipe's
    )
    study = load_study("demo", [*SMALL, f"variants=[{first}, {{recipe='standard', label='plain'}}]"])
    assert [run.recipe.schedule.warmup for run in plan(study, tmp_path)] == [0.0, 0.1]


@pytest.mark.slow
def test_the_variants_see_the_same_data_and_start_from_the_same_weights(study, trained):
    first, second = (RunFolder(run.folder).read() for run in plan(study, trained))
    assert first["data"] == second["data"]
    assert first["seed"] == second["seed"]
    different = {k for k in first["recipe"] if first["recipe"][k] != second["recipe"][k]}
    assert different == {"name", "title", "notes", "objective"}


def test_a_verdict_is_what_the_network_says(study, trained, stage, tmp_path):
    run = plan(study, trained)[1]
    verdict = evaluate_run(study.evaluation, run, stage, tmp_path, "cpu")
    network = load_model(run.folder)
    np.testing.assert_allclose(verdict.logits, predict(network, stage.images), atol=1e-6)
    assert len(stage.attacked_images) == 8
    np.testing.assert_allclose(verdict.attacked["0"], verdict.logits[attacked_rows(stage)], atol=1e-5)
    attack = BoundedAttack.parse("pgd:linf=0.01")
    answers = answers_under_attack(
        network, stage.attacked_images, stage.attacked.targets, attack, thresholds=verdict.thresholds, steps=2
    )
    np.testing.assert_allclose(verdict.attacked[str(attack)], answers.logits, atol=1e-5)
    assert set(verdict.scores) == {("findings", "cam"), ("findings", "saliency")}
    assert verdict.scores["findings", "cam"].boxes is not None
    assert verdict.scores["findings", "saliency"].boxes is None  # not among box_methods


def attacked_rows(stage):
    return [stage.test.ids.index(i) for i in stage.attacked.ids]


def test_nothing_is_judged_twice(study, trained, stage, tmp_path, counted):
    run = plan(study, trained)[0]
    first = evaluate_run(study.evaluation, run, stage, tmp_path, "cpu")
    done = dict(counted)
    assert done["answers_under_attack"] == 1
    assert done["score_explanations"] == 2
    again = evaluate_run(study.evaluation, run, stage, tmp_path, "cpu")
    assert counted["answers_under_attack"] == 1
    assert counted["score_explanations"] == 2
    np.testing.assert_array_equal(first.logits, again.logits)
    for key, scores in first.scores.items():
        for name, values in scores.scores.items():
            np.testing.assert_array_equal(values, again.scores[key].scores[name])


@pytest.mark.slow
def test_a_method_that_a_network_refuses_has_the_reason_in_its_cells(trained, stage, tmp_path, monkeypatch):
    """No network of the study serves attention rollout, and the robust one, here, no CAM: the rest goes on."""
    why = "no class activation map today"
    more = ["evaluation.methods=['attention-rollout', 'cam']", "evaluation.robustness.sizes=[]", "evaluation.panels=1"]
    more += ["evaluation.trust={methods=['attention-rollout'], limit=2, samples=1, attacked=0}"]
    study = load_study("demo", [*SMALL, *more])
    runs, real = plan(study, trained), evaluation_module.score_explanations

    def refusing(classifier, task, method, **options):
        if method == "cam" and classifier.path == runs[1].folder:
            raise InputError(why)
        return real(classifier, task, method, **options)

    monkeypatch.setattr(evaluation_module, "score_explanations", refusing)
    evaluations = {run.label: [evaluate_run(study.evaluation, run, stage, tmp_path / run.label, "cpu")] for run in runs}
    records = {run.label: [record_of(run)] for run in runs}
    results = assemble(StudyContext(study, None, trained), stage, evaluations, records)
    cells = {}
    for row in results["rows"]:
        cells.setdefault((row["section"], row["method"], row["variant"]), []).append(row)
    for run in runs:
        refused = cells["localization", "attention-rollout", run.label]
        assert all(r["value"] is None and r["n"] == 0 and "attention" in r["reason"] for r in refused)
    for section in ("localization", "wang", "sweep"):
        refused, measured = cells[section, "cam", runs[1].label], cells[section, "cam", runs[0].label]
        assert {r["reason"] for r in refused} == {why}
        assert len(refused) == len(measured)
        assert any(r["value"] is not None for r in measured)
    line = next(line for line in localization(ResultsIndex(results), "findings").lines if line.label == "CAM")
    assert [why in cell.reason for cell in line.cells] == [False, True]
    assert (
        make_panels(study.evaluation, stage, evaluations, runs, "cpu") == []
    )  # no map to choose them by that both have
    (trusted, _), _ = judge_trust(StudyContext(study, None, trained, "cpu"), stage)
    rows = [r for r in trusted["rows"] if r["method"] == "attention-rollout"]
    assert rows
    assert all(r["value"] is None and r["reason"] for r in rows)


@pytest.fixture(scope="module")
def judged(study, trained, stage, tmp_path_factory):
    """The folder in which the first run was judged once."""
    folder = tmp_path_factory.mktemp("judged")
    evaluate_run(study.evaluation, plan(study, trained)[0], stage, folder, "cpu")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "attacks", "explanations"),
    [
        ("evaluation.robustness.steps=3", 1, 0),
        ("evaluation.robustness.limit=6", 1, 0),
        ("evaluation.targets=[{name='findings', regions={Mass=['Nodule']}}]", 0, 2),
        ("evaluation.targets=[{name='findings', boxes=false}]", 0, 1),  # of cam, the one method with boxes
        ("evaluation.box_methods=['cam', 'saliency']", 0, 1),
        ("evaluation.headline=['auprc']", 0, 0),
    ],
)
def test_what_was_kept_under_other_settings_is_not_taken_for_an_answer(
    study, trained, judged, tmp_path, counted, override, attacks, explanations
):
    shutil.copytree(judged, tmp_path, dirs_exist_ok=True)
    changed = load_study("demo", [*SMALL, override])
    other = prepare_evaluation_data(StudyContext(changed, None, tmp_path))
    evaluate_run(changed.evaluation, plan(study, trained)[0], other, tmp_path, "cpu")
    assert counted.get("answers_under_attack", 0) == attacks
    assert counted.get("score_explanations", 0) == explanations


def test_a_network_that_was_trained_again_is_judged_again(study, trained, stage, tmp_path, counted):
    first, second = plan(study, trained)
    a = evaluate_run(study.evaluation, first, stage, tmp_path, "cpu")
    b = evaluate_run(
        study.evaluation, replace(first, folder=second.folder), stage, tmp_path, "cpu"
    )  # other weights in its place
    assert counted["score_explanations"] == 4
    assert not np.array_equal(a.logits, b.logits)


@pytest.mark.parametrize(("of_target", "of_command", "expected"), [(5, None, 5), (None, 5, 5), (5, 3, 3), (3, 5, 3)])
def test_a_target_may_be_limited(stage, tmp_path, of_target, of_command, expected):
    """Fewer annotated images, each with all of its pairs, masks and boxes."""
    (whole,) = stage.tasks
    limit = f"limit={of_target}" if of_target else "boxes=true"
    study = load_study("demo", [*SMALL, f"evaluation.targets=[{{name='findings', {limit}}}]"])
    (cut,) = prepare_evaluation_data(StudyContext(study, None, tmp_path, limit=of_command)).tasks
    assert len(cut.images) == len(cut.dataset) == expected
    assert set(cut.pair_image) == set(range(expected))
    for row, name in enumerate(cut.dataset.ids):
        if name not in whole.dataset.ids:  # --limit takes other test images first
            continue
        before = whole.dataset.ids.index(name)
        np.testing.assert_array_equal(cut.images[row], whole.images[before])
        for kind in ("pair", "true"):
            now, then = (getattr(t, f"{kind}_image") == i for t, i in ((cut, row), (whole, before)))
            np.testing.assert_array_equal(getattr(cut, f"{kind}_class")[now], getattr(whole, f"{kind}_class")[then])
        now, then = cut.pair_image == row, whole.pair_image == before
        np.testing.assert_array_equal(cut.masks[now], whole.masks[then])
        now, then = cut.true_image == row, whole.true_image == before
        np.testing.assert_array_equal(cut.true_box[now], whole.true_box[then])


@pytest.mark.slow
@pytest.mark.usefixtures("forked_workers")
def test_several_at_a_time_give_the_same_networks_and_one_failure_stops_the_rest(study, trained, tmp_path):
    failing = "variants=[{recipe='standard', label='wild', settings={optimizer={name='sgd', lr=1e30}, "
    failing += "schedule={warmup=0.0}, training={epochs=3}}}, {recipe='khakzar2019-baseline', label='baseline'}"
    slow = "settings={training={epochs=8}}"
    failing += "".join(f", {{recipe='standard', label='later {i}', {slow}}}" for i in range(6)) + "]"
    several = load_study("demo", [*SMALL, failing])
    with pytest.raises(TrainingError, match="the loss became"):
        train_all(StudyContext(several, None, tmp_path, "cpu"), 2)
    later = [run for run in plan(several, tmp_path) if run.label.startswith("later")]
    assert not all(RunFolder(run.folder).finished for run in later)
    baseline = plan(several, tmp_path)[1]
    assert RunFolder(baseline.folder).finished
    one_by_one = plan(study, trained)[0].folder / "last" / "weights.safetensors"
    assert (baseline.folder / "last" / "weights.safetensors").read_bytes() == one_by_one.read_bytes()


def test_finished_networks_start_no_process(study, trained, monkeypatch):
    module = import_module("pellucid.study.training")  # pellucid.study is also the verb's name
    monkeypatch.setattr(module, "at_work", lambda *_: pytest.fail("a process was started"))
    train_all(StudyContext(study, None, trained, "cpu"), 2)


def test_a_study_without_regions_says_what_to_name(tmp_path):
    from PIL import Image

    for name in ("normal", "ill"):
        (tmp_path / name).mkdir()
        for i in range(12):
            Image.linear_gradient("L").resize((32, 32 + i)).save(tmp_path / name / f"{name}{i}.png")
    study = load_study("demo", [*SMALL, "data={name='folder', options={}}", "evaluation.targets=[{name='test'}]"])
    with pytest.raises(InputError, match=r"marks no regions; name images with regions in evaluation.targets"):
        prepare_evaluation_data(StudyContext(study, tmp_path, tmp_path / "out"))


def test_the_split_does_not_depend_on_the_seed_of_a_run(study):
    assert "seed" not in open_data.__annotations__
    prints = [{k: v.fingerprint for k, v in open_data(study.data, None).items()} for _ in range(2)]
    assert prints[0] == prints[1]


# which cases are shown


def test_the_cases_follow_the_rule():
    scores = np.array([0.3, 0.9, math.nan, 0.1, 0.5, 0.8, 0.2, 0.6])
    images = [0, 1, 2, 3, 4, 5, 6, 7]
    chosen = choose(scores, images, 2)
    assert chosen["best"] == [1, 5]
    assert chosen["worst"] == [3, 6]
    median = sorted(scores[~np.isnan(scores)])[3]
    assert scores[chosen["middle"][0]] == median
    assert list(chosen) == ["best", "middle", "worst"]


def test_an_image_is_shown_once():
    chosen = choose(np.array([0.9, 0.8, 0.7, 0.1]), [5, 5, 6, 6], 2)
    shown = [row for rows in chosen.values() for row in rows]
    assert len(shown) == 2
    assert chosen["best"] == [0, 2]


def test_fewer_cases_than_asked_for():
    assert choose(np.array([math.nan]), [0], 2) == {"best": [], "middle": [], "worst": []}
    assert choose(np.array([0.5]), [0], 2) == {"best": [0], "middle": [], "worst": []}


@pytest.mark.slow
def test_results_are_json_without_nan(study, trained, stage, tmp_path):
    from pellucid.study.results import assemble
    from pellucid.utils.resources import write_json

    runs = plan(study, trained)
    verdicts = {r.label: [evaluate_run(study.evaluation, r, stage, tmp_path / r.label, "cpu")] for r in runs}
    records = {run.label: [record_of(run)] for run in runs}
    results = assemble(StudyContext(study, None, trained), stage, verdicts, records)
    write_json(tmp_path / "results.json", results)
    text = (tmp_path / "results.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    stored = json.loads(text)
    assert all(r["reason"] for r in stored["rows"] if r["value"] is None)
    assert [v["reference"] for v in stored["variants"]] == [True, False]
    for variant, run in zip(stored["variants"], runs, strict=True):
        assert variant["runs"][0]["history"] == RunFolder(run.folder).metrics()
    auroc = [
        r for r in stored["rows"] if (r["section"], r["metric"], r["class"]) == ("classification", "auroc", "mean")
    ]
    assert auroc[0]["difference"] is None
    assert auroc[1]["difference"]["value"] == pytest.approx(auroc[1]["value"] - auroc[0]["value"])
    assert stored["data"]["parts"]["test"]["images"] == 24
    assert stored["versions"]["torch"] == torch.__version__
