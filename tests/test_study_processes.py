"""A study started as two processes on gloo: they train each network together, and one of them judges and speaks."""

from __future__ import annotations

import json

import pytest

from helpers.forked import run_together
from pellucid.training import RunFolder

STUDY = """
name = "together"
title = "Together"
seeds = [0]
[data]
name = "phantom"
options = { size = 32, train = 32, validation = 16, test = 12, prevalence = 0.4 }
[settings]
model = { name = "small", size = 32, options = { widths = [4, 8], blocks = [1, 1], strides = [1, 2] } }
training = { epochs = 1, batch_size = 16 }
[[variants]]
label = "plain"
recipe = "standard"
[[variants]]
label = "penalty"
recipe = "standard"
[variants.settings.objective.gradient_penalty]
weight = 1.0
[evaluation]
targets = []
"""


@pytest.mark.slow
def test_two_processes_train_a_study_and_one_writes_it(tmp_path):
    (tmp_path / "together.toml").write_text(STUDY)
    out = tmp_path / "out"
    both = run_together("study", tmp_path / "together.toml", "--out", out, "--device", "cpu")
    assert sum(process.stdout.count("report.html in a browser") for process in both) == 1
    for label in ("plain", "penalty"):
        values = RunFolder(out / "runs" / f"{label}-seed0").read()
        assert (values["finished"], values["processes"]) == (True, 2)
    results = json.loads((out / "results.json").read_text())
    assert [variant["label"] for variant in results["variants"]] == ["plain", "penalty"]
