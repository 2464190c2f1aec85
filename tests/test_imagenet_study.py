"""The ImageNet study on a handful of real images: every recipe of it trains, is measured and reported."""

from __future__ import annotations

import json

import pytest

from pellucid.study import load_study, run_study

SMALL = [
    "data.options={sample_split=true}",
    "settings.model={name='small', size=32, channels=3, options={widths=[8, 16], blocks=[1, 1], strides=[1, 2]}}",
    "settings.training.epochs=1",
    "settings.training.batch_size=4",
    "settings.training.mixed_precision=no",
    "evaluation.ara.kinds=['attack']",  # worse than random is undefined for classes that a trial has not seen
    "evaluation.ara.limit=2",
    "evaluation.adversarial.cases=0",
]


@pytest.mark.slow
@pytest.mark.usefixtures("quick_check", "empty_charts")
def test_the_study_runs_on_a_sample(real_data, tmp_path):
    study = load_study("imagenet", SMALL)
    report = run_study(study, real_data / "imagenet-sample", tmp_path, device="cpu", jobs=1, limit=6)
    results = json.loads((tmp_path / "results.json").read_text())
    assert [variant["label"] for variant in results["variants"]] == ["standard", "robust", "all", "madry L2 3"]
    assert {row["variant"] for row in results["ara"]["attacks"]} == {"standard", "robust", "all", "madry L2 3"}
    page = report.read_text()
    assert "0.0053" in page  # the published comparator stands beside
