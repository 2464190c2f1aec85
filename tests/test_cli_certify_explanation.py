"""`pellucid certify-explanation` as a user types it: what it writes, how it goes on, and what it refuses."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest

import pellucid as pl
from helpers.models import draw_convolutions, small
from helpers.notebooks import charts_of
from pellucid.evaluation.certified_maps import measure
from pellucid.models.weights import save_model
from pellucid.verbs import certify_explanation

OPTIONS = {"size": 32, "train": 1, "validation": 1, "test": 3, "prevalence": 0.5}
CLASSES = pl.dataset("phantom", split="test", **OPTIONS).classes
PHANTOM = ["--data", "phantom", *(f"--data-option={k}={v}" for k, v in OPTIONS.items()), "--device", "cpu"]
QUICK = ["--grid", 4, "--samples", 40, "--selection-samples", 20, "--attack-cells", 1]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(draw_convolutions(small(classes=CLASSES)), tmp_path_factory.mktemp("network") / "net")


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    """The result of `pl.certify_explanation`, and the folder that it kept results and wrote its files in."""
    out = tmp_path_factory.mktemp("whole")
    data = pl.dataset("phantom", split="test", **OPTIONS)
    methods = ["cam", "guided-backprop"]
    quick = {"grid": 4, "samples": 40, "selection_samples": 20, "attack_cells": 1}
    result = pl.certify_explanation(pl.load(model), data, methods, out=out, limit=2, **quick)
    result.save(out)
    return result, out


@pytest.mark.slow
def test_every_figure_follows_from_the_rows_of_cells(whole):
    result, out = whole
    told = json.loads((out / "certify-explanation.json").read_text())
    with (out / "certify-explanation.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 * 2 * 16
    assert {row["class"] for row in rows} <= set(CLASSES)
    assert (told["sigma"], told["images"], list(told["methods"])) == (0.02, 2, ["cam", "guided-backprop"])
    for method, summary in told["methods"].items():
        own = [row for row in rows if row["method"] == method]
        certified = np.array([row["certified"] == "True" for row in own])
        radii = np.array([float(row["certified_l2"]) for row in own])
        assert (certified == (radii > 0)).all()
        assert summary["empty"] == 0
        figures = summary["figures"]
        assert figures["certified"]["value"] == pytest.approx(certified.mean())
        assert figures["mean_radius"]["value"] == pytest.approx(radii.mean())
        assert figures["certified"]["reason"]  # two images have no interval
        top = [row["side"] == "top" for row in own]
        assert figures["certified_in_top"]["value"] == pytest.approx((certified & np.array(top)).mean())
        aimed = sum(row["attacked"] == "True" for row in own)
        assert summary["attack"].get("cells_attacked", 0) == aimed == (0 if method == "guided-backprop" else 2)
        assert summary["attack"].get("violations", 0) == 0
    assert "no differentiable form" in told["methods"]["guided-backprop"]["attack"]["reason"]
    assert {row["figure"] for row in result.rows} >= {"certified", "gap_up_to_2"}
    assert "<table>" in result._repr_html_()
    (drawn,) = charts_of(result)
    assert "cells certified beyond it" in drawn


def test_the_page_needs_nothing_else_and_shows_each_image_and_method(whole):
    result, out = whole
    page = (out / "certify-explanation.html").read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
    assert page.count('<article class="case">') == 2
    assert page.count("smoothed map: certain cells") == 4
    for maps in result.maps:
        uncertain = int((maps.radius[0] == 0).sum())
        assert f"{uncertain} uncertain" in page


@pytest.mark.slow
def test_the_command_does_the_same_and_goes_on_where_it_was(whole, model, tmp_path, pellucid, monkeypatch):
    _, out = whole
    arguments = [model, *PHANTOM, "--method", "cam", *QUICK, "--limit", 2]
    votes, calls = measure.top_votes, []

    def interrupted(*given):
        calls.append(given)
        if len(calls) == 3:  # two for each image
            raise KeyboardInterrupt
        return votes(*given)

    monkeypatch.setattr(measure, "top_votes", interrupted)
    assert pellucid("certify-explanation", *arguments, "--out", tmp_path)[0] == 130
    code, output, _ = pellucid("certify-explanation", *arguments, "--out", tmp_path)
    assert code == 0
    assert len(calls) == 3 + 2  # the first image was kept
    assert "cells certified" in output
    own, earlier = (json.loads((f / "certify-explanation.json").read_text()) for f in (tmp_path, out))
    assert own["methods"]["cam"] == earlier["methods"]["cam"]
    code, *_ = pellucid("certify-explanation", *arguments, "--sigma", 0.1, "--out", tmp_path)
    assert "holds the results of another evaluation (sigma: 0.02 there, 0.1 here)" in code
    monkeypatch.setattr(certify_explanation, "RULES", 999)
    code, *_ = pellucid("certify-explanation", *arguments, "--out", tmp_path)
    assert "there, 999 here" in code  # cells would be attacked otherwise than those that are kept


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--sigma", "0"],
            "sigma, the standard deviation of the noise on pixels in [0, 1], must be above 0; found 0.0",
        ),
        (["--grid", "40"], "as the image has pixels (32); found 40"),
        (["--method", "saliency", "--samples", "5"], "5 samples certify none of 144 cells together at alpha 0.001"),
        (["--method", "attention-rollout"], "attention rollout needs a transformer on tokens"),
        (["--method", "camm"], "unknown heat map 'camm'. Did you mean 'cam'?"),
        (["--class", "Mas"], "unknown class 'Mas'. Did you mean 'Mass'?"),
        (["--method", "saliency", "--layer", "stem"], "a layer is named (stem), and none of saliency takes one"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(options, message, model, tmp_path, pellucid):
    code, *_ = pellucid("certify-explanation", model, *PHANTOM, *options, "--out", tmp_path / "out")
    assert message in str(code)
    assert not (tmp_path / "out").exists()
