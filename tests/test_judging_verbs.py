"""`pl.ara`, `pl.certify`, `pl.trust` and `pl.attack_explanation` on models in memory and on disk; what results hold."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from PIL import Image

import pellucid as pl
from helpers.models import small
from helpers.notebooks import charts_of
from pellucid.audit.settings import AuditSettings
from pellucid.evaluation.discovery.settings import DiscoverySettings
from pellucid.evaluation.metrics.differences import Difference, Inference
from pellucid.evaluation.trust.findings import TrustSettings
from pellucid.models.weights import save_model
from pellucid.types import InputError
from pellucid.verbs.study import Study
from pellucid.verbs.train import Training

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("empty_charts")]

QUICK = TrustSettings(samples=1, attacked=2, attack_steps=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two colour images of each of three classes."""
    top = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        (top / "test" / name).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)).save(top / "test" / name / f"{i}.png")
    return pl.dataset("folder", top, "test")


@pytest.fixture(scope="module")
def model():
    return small(channels=3, task="multiclass")


def saved(result, folder):
    """The names of a result's files, all of which `save` returns, its JSON and its CSV."""
    assert sorted(result.save(folder)) == sorted(folder.iterdir())
    rows = list(csv.DictReader((folder / f"{result.name}.csv").open())) if result.name != "ara" else []
    return {p.name for p in folder.iterdir()}, json.loads((folder / f"{result.name}.json").read_text()), rows


def test_ara_of_a_model_in_memory_is_that_of_its_folder(data, model, tmp_path):
    path = save_model(model, tmp_path / "net")
    here = pl.ara(model, data, "attack", protocol="ddn")
    there = pl.ara(pl.load(path), data, "attack", protocol="ddn", out=tmp_path / "kept")
    assert here.kinds["attack"]["ara"] == there.kinds["attack"]["ara"] is not None
    assert here.rows[0]["ara"] == here.kinds["attack"]["ara"]
    assert (here.model, there.model) == ("model", "net")
    names, told, _ = saved(here, tmp_path / "out")
    assert names == {"ara.json", "radii.csv", "curve.png"}
    assert told["kinds"]["attack"]["ara"] == here.kinds["attack"]["ara"]
    assert (tmp_path / "out" / "radii.csv").read_bytes() == (tmp_path / "kept" / "radii.csv").read_bytes()
    assert here._repr_html_().split("<table>")[1].count('<img alt="Accuracy against') == 1
    with pytest.raises(InputError, match="unknown kind of area 'atack'"):
        pl.ara(model, data, "atack")


def test_certify_needs_a_noise_and_finds_that_of_the_training(data, model, tmp_path):
    quick = {"samples": 40, "selection_samples": 10, "alpha": 0.05, "attack_samples": None, "limit": 3}
    with pytest.raises(InputError, match="names no noise"):
        pl.certify(model, data, **quick)
    given = pl.certify(model, data, 0.25, **quick)
    trained = pl.load(save_model(model, tmp_path / "net", extra={"noise": 0.25}))
    assert pl.certify(trained, data, **quick).rows == given.rows
    names, told, rows = saved(given, tmp_path / "out")
    assert names == {"certify.json", "certify.csv", "curve.png"}
    assert told["certified"]["ara"] == given.found["certified"]["ara"]
    assert len(rows) == 3
    assert [row["figure"] for row in given.rows] == ["accuracy", "abstentions", "ara_certified"]
    unknown = {**given.found, "certified": {**given.found["certified"], "ara": None, "reason": "told why"}}
    (table,) = replace(given, found=unknown).tables()
    assert table.rows[-1][:2] == ["ARA, certified: at least", "unknown¹"]
    assert "confidence 95 %" in table.notes[0]
    assert table.notes[1:] == ["¹ told why"]


def test_trust_of_models_that_are_in_memory(data, model, tmp_path):
    told = []
    found = pl.trust(
        model,
        data,
        "saliency",
        compare=[small(1, channels=3, task="multiclass")],
        settings=QUICK,
        announce=told.append,
    )
    assert "each method draws" in told[0]
    assert any(row["label"].endswith("model (same architecture)") for row in found.rows)
    assert found.verdicts["saliency"].keys() >= {"pixel flipping, above the best trivial map"}
    assert len(charts_of(found)) == 5  # two of random layers, deletion, insertion, the attack
    names, read, rows = saved(found, tmp_path / "out")
    assert names == {"trust.json", "trust.csv", "trust.html"}
    assert len(rows) == len(found.rows) == len(read["rows"])
    undefined = {"value": math.nan, "low": math.nan, "high": math.nan, "verdict": None, "reason": "told why"}
    rows = [replace(row, **undefined) for row in found.trust.rows]
    (table,) = replace(found, trust=replace(found.trust, rows=rows)).tables()
    assert {row[1] for row in table.rows} == {"undefined¹"}
    assert table.notes == ["¹ told why"]
    assert "<p>¹ told why</p>" in table.to_html()
    with pytest.raises(InputError, match="other classes"):
        pl.trust(model, data, "saliency", compare=[small(channels=1)])
    with pytest.raises(InputError, match="Did you mean 'saliency'"):
        pl.trust(model, data, "salience")


def test_explanations_of_a_tensor_and_of_a_dataset_are_attacked_alike(data, model, tmp_path):
    images = torch.stack([image for image, _ in data])
    quick = {"budgets": (0.01,), "steps": 2}
    of_tensor = pl.attack_explanation(model, images, "saliency", **quick)
    of_data = pl.attack_explanation(model, data, "saliency", out=tmp_path / "kept", **quick)
    torch.testing.assert_close(of_tensor.manipulation.after, of_data.manipulation.after)
    assert [row["image"] for row in of_data.rows] == [f"folder/test/{name}" for name in data.ids]
    names, told, rows = saved(of_data, tmp_path / "out")
    assert names >= {"attack-explanation.json", "attack-explanation.csv", "curve.png", "images.npz"}
    assert sum(name.endswith("a_0.png.png") for name in names) == 1  # called by its id
    assert told["n"] == len(rows) == 6
    assert of_data._repr_html_().count('src="data:image/png;base64,') == 1
    curves = {name: [{**one, "value": None, "reason": "told why"} for one in c] for name, c in told["curves"].items()}
    (table,) = replace(of_data, summary={**of_data.summary, "curves": curves}).tables()
    assert set(table.rows[0][1:]) == {"undefined¹"}
    assert table.notes == ["¹ told why"]
    with pytest.raises(InputError, match="unknown class 'd'"):
        pl.attack_explanation(model, images, "saliency", class_name="d")


@pytest.mark.parametrize(("verb", "settings"), [("discover", DiscoverySettings), ("audit", AuditSettings)])
def test_the_seed_of_the_settings_holds_unless_another_is_given(data, model, monkeypatch, verb, settings):
    seeds = []

    def opened(*_, seed, **__):
        seeds.append(seed)
        raise InputError("far enough")

    monkeypatch.setattr(import_module(f"pellucid.verbs.{verb}"), "open_session", opened)
    for seed in ({}, {"seed": 0}, {"seed": 7}):
        with pytest.raises(InputError, match="far enough"):
            getattr(pl, verb)(model, data, settings=settings(seed=5), **seed)
    assert seeds == [5, 0, 7]


def test_no_table_has_a_line_for_each_of_very_many_classes():
    from pellucid.evaluation.metrics.comparison import Row
    from pellucid.verbs.evaluate import Evaluation

    def lines(count):
        names = [*(f"class {k}" for k in range(count)), "mean"]
        measured = [Row("classification", "auroc", name, "", 0.5, 0.4, 0.6, 3) for name in names]
        table, _ = Evaluation({"n": 3, "data": "d", "split": "test"}, measured, ()).tables()  # and calibration
        return table

    assert len(lines(20).rows) == 21
    (mean,) = lines(1000).rows
    assert mean[0] == "mean"
    assert "0.500 [0.400, 0.600]" in mean
    assert "each of the 1,000 classes is in classification.csv" in lines(1000).title


def study_row(metric, variant, value, difference=None, reason=None):
    place = {"section": "classification", "metric": metric, "class": "mean", "variant": variant, "target": ""}
    place |= {"method": "", "gate": "", "at": "", "threshold": None, "positives": None, "patients": None}
    ends = {"low": None, "high": None} if value is None else {"low": value - 0.1, "high": value + 0.1}
    seeds = {"seeds": [value, value], "seed_spread": 0.0}
    return place | {"value": value, "n": 9, "reason": reason, "difference": difference} | ends | seeds


def test_a_study_shows_itself_at_a_glance_and_is_saved_elsewhere_flat(tmp_path):
    own = tmp_path / "study"
    own.mkdir()
    gain = Difference(0.125, 9, *[Inference.even(0.125, 0.05, [(0.0025, 6)])] * 2).to_json()
    rows = [study_row("auroc", "plain", 0.625), study_row("auroc", "robust", 0.75, gain)]
    rows += [study_row("accuracy", "plain", None, reason="no answers"), study_row("accuracy", "robust", 0.5)]
    variants = [{"label": "plain", "reference": True}, {"label": "robust"}]
    results = {"title": "Two recipes", "variants": variants, "targets": [], "rows": rows}
    (own / "results.json").write_text(json.dumps(results), encoding="utf-8")
    (own / "report.html").write_text("<p>the report</p>", encoding="utf-8")
    study = Study(own / "report.html")
    page = study._repr_html_()
    assert repr(study).splitlines() == [
        "Two recipes",
        "mean over classes  plain                 robust                n",
        "Mean AUROC         0.625 [0.525, 0.725]  0.750 [0.650, 0.850]  9",
        "Accuracy           undefined¹            0.500 [0.400, 0.600]  9",
        "¹ no answers",
    ]
    assert "<table><caption>Two recipes</caption>" in page
    assert "report.html" in page
    assert len(charts_of(study)) == 1
    assert not any(isinstance(value, dict | list) or value == "" for row in study.rows for value in row.values())
    assert [row["difference"] for row in study.rows] == [None, 0.125, None, None]
    assert [row["seeds"] for row in study.rows] == ["0.625;0.625", "0.75;0.75", ";", "0.5;0.5"]
    assert {path.name for path in study.save(own)} == {"results.json", "report.html"}
    assert not (own / "results.csv").exists()
    paths = study.save(tmp_path / "copy")
    assert [path.name for path in paths] == ["results.json", "results.csv", "report.html"]
    assert all(path.parent == tmp_path / "copy" and path.stat().st_size for path in paths)
    with paths[1].open(newline="", encoding="utf-8") as stream:
        assert [row["value"] for row in csv.DictReader(stream)] == ["0.625", "0.75", "", "0.5"]


def test_a_training_writes_the_files_that_it_names(tmp_path):
    class Run:
        path = tmp_path / "run"

        def read(self):
            return {"seed": 1}

        def metrics(self):
            return [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": None}]

    paths = Training(Run(), "standard", "phantom").save(tmp_path / "there")
    assert [path.name for path in paths] == ["metrics.json", "metrics.csv"]
    assert json.loads(paths[0].read_text(encoding="utf-8")) == {"seed": 1, "rows": Run().metrics()}
    assert paths[1].read_text(encoding="utf-8").splitlines()[1:] == ["1,0.5", "2,"]
