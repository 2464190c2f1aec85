"""A network that answers NaN or infinity: what is measured of it is undefined, with the reason, and never a figure."""

from __future__ import annotations

import csv
import json
import math
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from helpers.models import small
from helpers.training import run, small_phantom
from pellucid.cli.app import main
from pellucid.data.readers.phantom.findings import PHANTOM_CLASSES
from pellucid.evaluation.metrics.classification import accuracy, balanced_accuracy, classification_table
from pellucid.evaluation.metrics.comparison import classification_rows, robustness_rows
from pellucid.evaluation.metrics.statistics import Bootstrap
from pellucid.evaluation.metrics.validation import ValidationScorer
from pellucid.evaluation.robustness.ara_rows import clean_rows
from pellucid.models.inference import check_answers, decisions, probabilities, unanswered
from pellucid.models.weights import save_model
from pellucid.training import TrainingError
from pellucid.types import InputError

PHANTOM = [
    "--data",
    "phantom",
    "--data-option=size=32",
    "--data-option=train=16",
    "--data-option=test=40",
    "--data-option=prevalence=0.4",
]
NOTHING = [math.nan, math.inf, -math.inf]


def data(task, count=40, classes=3):
    rng = np.random.default_rng(0)
    targets = np.zeros(count, dtype=np.int64) if task == "multiclass" else rng.integers(0, 2, (count, classes)) * 1.0
    names = tuple("abc"[:classes])
    return SimpleNamespace(task=task, targets=targets, classes=names, patients=tuple(map(str, range(count))))


def answers(count=40, classes=3):
    return np.random.default_rng(1).normal(size=(count, classes))


@pytest.mark.parametrize("value", NOTHING)
@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_no_answer_is_no_decision_and_no_probability(value, task):
    logits = answers()
    whole = decisions(logits, task), probabilities(logits, task)
    expected = torch.from_numpy(logits)
    expected = expected.softmax(1).argmax(1) if task == "multiclass" else (expected.sigmoid() >= 0.5).int()
    assert np.array_equal(whole[0], expected.numpy())
    logits[4, 1] = value
    assert unanswered(logits).tolist() == [i == 4 for i in range(40)]
    for before, after in zip(whole, (decisions(logits, task), probabilities(logits, task)), strict=True):
        assert np.isnan(after[4]).all()
        assert np.array_equal(np.delete(before, 4, 0), np.delete(after, 4, 0))
    with pytest.raises(InputError, match=r"1 logits that are not finite, of 120 \(the first on e\); nothing"):
        check_answers(logits, "nothing", list("abcdefghij" * 4))


@pytest.mark.parametrize("value", NOTHING)
@pytest.mark.parametrize("bad", [[4], list(range(40))])
@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_every_figure_is_undefined_with_its_reason(value, bad, task):
    dataset, logits = data(task), answers()
    logits[bad, 1] = value
    draws = Bootstrap(dataset.patients)
    reason = f"no answer (NaN or infinite) on {len(bad)} of 40 images"
    cuts = {"": [[0.5] * 3]}
    rows = classification_rows({"": [logits]}, dataset, draws)
    rows += robustness_rows({"": [{"0": logits}]}, cuts, dataset, draws)
    rows += clean_rows({"": [logits]}, cuts, dataset, draws)
    assert {r.metric for r in rows} >= {"auroc", "average_precision", "accuracy"}
    for row in rows:
        assert math.isnan(row.value), row
        assert math.isnan(row.low), row
        if task == "multilabel" or row.metric in ("accuracy", "balanced_accuracy", "recall"):
            assert reason in row.reason
    metrics = ValidationScorer().metrics(logits, dataset)
    assert all(math.isnan(v) for v in metrics.values())
    assert np.isnan(ValidationScorer().thresholds(logits, dataset)).all()


def test_an_image_whose_truth_is_unknown_needs_no_answer():
    dataset, logits = data("multilabel"), answers()
    draws = Bootstrap(dataset.patients)
    dataset.targets[4] = math.nan
    expected = classification_table(logits, dataset.targets, dataset.classes, "multilabel", draws)
    logits[4] = math.nan
    found = classification_table(logits, dataset.targets, dataset.classes, "multilabel", draws)
    assert found["a"]["auroc"].value == expected["a"]["auroc"].value
    truth = [0, 1, math.nan]
    assert accuracy([0, 1, math.nan], truth, Bootstrap(range(3))).value == 1
    assert balanced_accuracy([0, 1, math.nan], truth, Bootstrap(range(3))).value == 1


def spoiled(folder, value=math.nan):
    net = small(classes=PHANTOM_CLASSES)
    with torch.no_grad():
        net.head.bias[1] = value
    return save_model(net, folder, extra={"thresholds": [0.5] * len(PHANTOM_CLASSES)})


@pytest.fixture
def command(monkeypatch, capsys):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setenv("PELLUCID_PROGRESS", "0")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["pellucid", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return str(ended.value.code)

    return call


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_evaluate_writes_why_and_ends_with_an_error(value, tmp_path, command):
    net, out = spoiled(tmp_path / "net", value), tmp_path / "out"
    said = command(
        "evaluate", net, *PHANTOM, "--device", "cpu", "--attack", "pgd:linf=0.01", "--steps", "1", "--out", out
    )
    assert "40 logits that are not finite" in said
    rows = json.loads((out / "classification.json").read_text())["rows"]
    assert all(row["value"] is None and row["reason"] for row in rows)
    assert any("no answer (NaN or infinite) on 40 of 40 images" in row["reason"] for row in rows)
    with (out / "classification.csv").open(newline="") as stream:
        assert {row["value"] for row in csv.DictReader(stream)} == {""}


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["localize", "trust", "certify", "certify-explanation", "ara", "explain"])
def test_commands_that_need_answers_refuse(verb, tmp_path, command):
    net, out = spoiled(tmp_path / "net"), tmp_path / "out"
    more = {
        "certify": ["--sigma", "0.1", "--samples", "100", "--no-attack"],
        "explain": ["--limit", "2"],
        "ara": ["--kind", "attack"],
        "trust": ["--method", "saliency"],
    }
    said = command(verb, net, *PHANTOM, "--device", "cpu", *more.get(verb, []), "--out", out)
    assert "logits that are not finite" in said
    assert not list(out.glob("*.json")) or [p.name for p in out.glob("*.json")] == ["evaluation.json"]


def test_training_does_not_go_on_with_a_network_without_answers(tmp_path, monkeypatch):
    from pellucid.training import validation as held_out

    honest, calls = held_out.predict, []

    def predict(classifier, images):
        calls.append(1)
        logits = honest(classifier, images)
        if len(calls) > 1:
            logits[3, 0] = np.nan
        return logits

    monkeypatch.setattr(held_out, "predict", predict)
    with pytest.raises(TrainingError, match=r"after epoch 2 .* NaN or infinite on 1 of 48 validation images"):
        run(small_phantom(), tmp_path / "run", name="standard")
    kept = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in kept] == [1]
    assert (tmp_path / "run" / "weights.safetensors").is_file()
