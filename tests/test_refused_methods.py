"""A method that cannot explain a model, or a measure that fails, has its reason in its cells; the rest goes on."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import pellucid as pl
from helpers.models import small
from helpers.transformer import ClassToken
from pellucid.evaluation.trust import map_measures
from pellucid.evaluation.trust.findings import TrustSettings
from pellucid.evaluation.trust.measures import MEASURES
from pellucid.types import InputError

CAM = "more follows this one's last feature map: use grad-cam"
QUICK = TrustSettings(samples=1, attacked=2, attack_steps=1, budgets=(0.02,), examples=1)


@pytest.fixture(scope="module")
def part():
    return pl.dataset("phantom", split="test", size=32, train=4, validation=2, test=6)


@pytest.fixture(scope="module")
def model(part):
    torch.manual_seed(0)
    module = ClassToken(channels=1, classes=len(part.classes))
    return pl.wrap(module, part.classes, task=part.task, size=32, channels=1, mean=[0.5], std=[0.25])


@pytest.fixture(scope="module")
def table(model, part, tmp_path_factory):
    out = tmp_path_factory.mktemp("trust")
    result = pl.trust(model, part, ["cam", "grad-cam", "saliency"], out=out, limit=4, settings=QUICK)
    result.save(out)
    return result, out


def test_explain_goes_on_with_the_methods_that_fit_and_says_why_one_is_missing(model, part, tmp_path):
    result = pl.explain(model, part, ["grad-cam", "cam", "saliency"], ids=part.ids[:1])
    assert result.methods == ("grad-cam", "saliency")
    assert {row["method"] for row in result.rows} == {"grad-cam", "saliency"}
    (warning,) = [text for text in result.warnings if CAM in text]
    assert warning.startswith("CAM is left out: ")
    result.save(tmp_path)
    record = json.loads((tmp_path / "explain.json").read_text(encoding="utf-8"))
    assert record["methods"] == ["grad-cam", "saliency"]
    assert set(record["refused_methods"]) == {"cam"}
    assert CAM in record["refused_methods"]["cam"]
    page = (tmp_path / "explain.html").read_text(encoding="utf-8")
    assert "CAM is left out: " in page
    assert "use grad-cam" in page


def test_explain_ends_where_no_method_is_left_or_an_option_is_to_blame(model, part):
    one = {"ids": part.ids[:1]}
    with pytest.raises(InputError, match=CAM):
        pl.explain(model, part, ["cam"], **one)
    with pytest.raises(InputError, match=CAM):
        pl.explain(model, part, ["cam", "cam"], **one)
    assert pl.explain(model, part, ["cam", "adversarial"], rho=0.05, **one).methods == ("adversarial",)
    with pytest.raises(InputError, match="unknown layer 'nowhere'"):  # grad-cam fits without it
        pl.explain(model, part, ["saliency", "grad-cam"], layer="nowhere", **one)
    with pytest.raises(InputError, match="samples and cells must be at least 1"):
        pl.explain(model, part, ["saliency", "rise"], samples=0, **one)


def test_of_two_networks_a_method_that_one_refuses_is_left_out_of_both(model, part):
    other = small(size=32, classes=part.classes)
    result = pl.explain(other, part, ["cam", "saliency"], ids=part.ids[:1], compare=model)
    assert result.methods == result.other.methods == ("saliency",)
    assert "CAM is left out: second: " in str(result.warnings)


@pytest.mark.slow
def test_a_transformer_has_a_table_of_trust(table):
    result, out = table
    rows = json.loads((out / "trust.json").read_text(encoding="utf-8"))["rows"]
    refused = [row for row in rows if row["method"] == "cam"]
    measured = {row["measure"] for row in rows if row["method"] == "saliency"}
    assert {row["measure"] for row in refused} == measured <= set(MEASURES)
    assert all(row["value"] is None and row["reason"] and row["verdict"] is None for row in refused)
    assert sum(CAM in row["reason"] for row in refused) >= 14
    for method in ("grad-cam", "saliency"):
        figures = {row["measure"]: row["value"] for row in rows if row["method"] == method}
        for measure in ("dependence_rank", "max_sensitivity", "flipping_gain", "attacked_rank", "auprc"):
            assert figures[measure] is not None, (method, measure)
    assert any(CAM in text for text in result.warnings)
    page = (out / "trust.html").read_text(encoding="utf-8")
    assert "use grad-cam" in page


def test_what_is_refused_is_not_kept(table):
    _, out = table
    names = {path.name for path in (out / "kept").glob("*.npz")}
    assert "saliency.npz" in names
    assert not any(name.startswith("cam") for name in names)


def test_a_measure_that_fails_says_so_and_the_others_go_on(model, part, monkeypatch):
    def broken(_work):
        raise RuntimeError("out of luck\nsecond line")

    measures = [(broken if names == ("max_sensitivity",) else m, names) for m, names in map_measures.MAP_MEASURES]
    monkeypatch.setattr("pellucid.evaluation.trust.judge.MAP_MEASURES", measures)
    settings = TrustSettings(samples=1, attacked=0, examples=0)
    rows = {row["measure"]: row for row in pl.trust(model, part, "saliency", limit=2, settings=settings).rows}
    assert rows["max_sensitivity"]["value"] is None
    assert rows["max_sensitivity"]["reason"] == "it failed with RuntimeError: out of luck"
    assert np.isfinite(rows["dependence_rank"]["value"])


def test_where_every_method_is_refused_that_is_an_error(model, part):
    with pytest.raises(InputError, match=CAM):
        pl.trust(model, part, "cam", limit=2)
    with pytest.raises(InputError, match=CAM):
        pl.localize(model, part, "cam")


def test_localisation_has_the_reason_under_its_cells(model, part):
    result = pl.localize(model, part, ["cam", "grad-cam"])
    refused = [row for row in result.rows if row["method"] == "cam"]
    explained = [row for row in result.rows if row["method"] == "grad-cam" and row["section"] == "localization"]
    assert all(row["value"] is None and CAM in row["reason"] for row in refused)
    assert {(r["metric"], r["class"]) for r in refused} == {(r["metric"], r["class"]) for r in explained}
    table = result.tables()[0]
    lines = {line[0]: line for line in table.rows}
    assert lines["cam"][1:] == ["undefined¹"] * (len(table.columns) - 1)
    assert table.notes[0].startswith("¹ ")
    assert table.notes[0].endswith("use grad-cam.")
    assert not lines["grad-cam"][1].startswith("undefined")


@pytest.mark.slow
def test_a_layer_can_be_named(model, part):
    first = pl.localize(model, part, ["grad-cam", "saliency"], layer="blocks.0.norm1")
    last = pl.localize(model, part, ["grad-cam", "saliency"], layer="blocks.1.norm1")
    own = pl.localize(model, part, ["grad-cam", "saliency"])
    assert last.rows == own.rows
    assert first.rows != own.rows
    assert [r for r in first.rows if r["method"] == "saliency"] == [r for r in own.rows if r["method"] == "saliency"]
    assert first.to_json()["layer"] == "blocks.0.norm1"
    for judge in (pl.localize, pl.trust):
        with pytest.raises(InputError, match="none of saliency takes one: grad-cam, grad-cam"):
            judge(model, part, "saliency", layer="blocks.0.norm1")
        with pytest.raises(InputError, match=r"unknown layer 'blocks.7.norm1'"):
            judge(model, part, ["grad-cam", "saliency"], layer="blocks.7.norm1")
