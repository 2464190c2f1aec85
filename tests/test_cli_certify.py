"""`pellucid certify` as a user types it: what lies in the folder, what is said, and what is refused."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.models import small
from helpers.shapes import gray_shapes
from pellucid.attacks.under_attack import task_loss
from pellucid.data import open_dataset
from pellucid.data.cache.pixels import materialize
from pellucid.evaluation.robustness.ara import area
from pellucid.models.inference import as_pixels
from pellucid.models.weights import save_model
from pellucid.types import InputSpec

OPTIONS = {"size": 32, "train": 16, "validation": 8, "test": 30, "prevalence": 0.4}
PHANTOM = ["--data", "phantom", *(f"--data-option={k}={v}" for k, v in OPTIONS.items()), "--device", "cpu"]
QUICK = ["--samples", 40, "--selection-samples", 20, "--attack-samples", 2, "--alpha", 0.05]


def save(folder, dataset, extra):
    """A tiny network that has learned its own test images a little, under noise."""
    net = small(task=dataset.task, classes=dataset.classes).train()
    images = as_pixels(materialize(dataset, InputSpec.square(1, 32)))
    targets = torch.from_numpy(dataset.targets)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(40):
        optimizer.zero_grad()
        task_loss(net(images + 0.1 * torch.randn_like(images)), targets).backward()
        optimizer.step()
    return save_model(net.eval(), folder, extra=extra)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """One folder per class: three classes of grey noise of different brightness; and a network that names its noise."""
    top = gray_shapes(tmp_path_factory.mktemp("shapes"), test=4)
    net = save(tmp_path_factory.mktemp("network") / "net", open_dataset("folder", top)["test"], {"noise": 0.1})
    return net, ["--data", "folder", "--root", top, "--device", "cpu"]


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """A network of several labels, which names no noise."""
    dataset = open_dataset("phantom", options=OPTIONS)["test"]
    return save(tmp_path_factory.mktemp("labels") / "net", dataset, {"thresholds": [0.4] * len(dataset.classes)})


@pytest.mark.slow
def test_a_bracket_is_written_told_and_found_again(shapes, tmp_path, pellucid):
    model, data = shapes
    code, output, messages = pellucid("certify", model, *data, *QUICK, "--out", tmp_path)
    assert code == 0
    assert messages.count("\n") == 1
    assert "¹ the resamples do not differ, so there is no interval" in output  # nothing is certified
    assert "has no record of the images that it was trained on" in messages
    assert {p.name for p in tmp_path.iterdir() if p.name[0] != "."} == {
        "certify.json", "certify.csv", "curve.png", "evaluation.json",
    }  # fmt: skip
    found = json.loads((tmp_path / "certify.json").read_text())
    with (tmp_path / "certify.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert found["sigma"] == 0.1  # from model.toml
    assert (found["samples"], found["selection_samples"], found["attack_samples"]) == (40, 20, 2)
    assert (found["n"], len(rows), found["alpha"]) == (12, 12, 0.05)
    # every figure again from the rows
    right = [r["right"] == "1" for r in rows]
    assert right == [r["answer"] == r["truth"] and r["abstained"] == "0" for r in rows]
    lower = [float(r["certified_rms"]) if ok else 0.0 for r, ok in zip(rows, right, strict=True)]
    assert found["certified"]["ara"] == pytest.approx(area(lower, 1 / 3))
    assert all(float(r["certified_l2"]) == pytest.approx(32 * float(r["certified_rms"])) for r in rows)
    assert max(float(r["certified_rms"]) for r in rows) > 0
    assert found["accuracy"]["value"] == np.mean([r["predicted"] == r["truth"] for r in rows])
    assert found["abstained"] == {
        "prediction": sum(r["predicted"] == "" for r in rows),
        "certificate": sum(r["abstained"] == "1" for r in rows),
    }
    upper = [float(r["attack_rms"]) for r in rows]
    assert found["attack"]["found"] == 12
    assert all(low <= high for low, high in zip(lower, upper, strict=True))
    assert found["alarm"]["violations"] == 0
    assert found["attack"]["ara"] == pytest.approx(area(upper, 1 / 3))
    assert f"{found['certified']['ara']:.4f}" in output
    assert "confidence 95 %" in output
    assert Image.open(tmp_path / "curve.png").size[0] > 800
    # the same again is read, not measured, and says the same
    written = (tmp_path / "certify.csv").stat().st_mtime_ns
    assert pellucid("certify", model, *data, *QUICK, "--out", tmp_path)[1] == output
    assert (tmp_path / "certify.csv").stat().st_mtime_ns == written
    refused = pellucid("certify", model, *data, *QUICK, "--sigma", 0.2, "--out", tmp_path)[0]
    assert "sigma: 0.1 there, 0.2 here" in refused


@pytest.mark.slow
def test_several_labels_without_an_attack(labels, tmp_path, pellucid):
    arguments = ["--sigma", 0.05, *QUICK, "--no-attack", "--limit", 20, "--out", tmp_path]
    code, output, _ = pellucid("certify", labels, *PHANTOM, *arguments)
    assert code == 0
    found = json.loads((tmp_path / "certify.json").read_text())
    with (tmp_path / "certify.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert found["attack"] is None
    assert "attacked" not in output
    assert {r["attack_found"] for r in rows} == {""}
    assert {r["truth"] for r in rows} == {"absent", "present"}
    measured = {name for name, own in found["certified"]["labels"].items() if own["ara"] is not None}
    assert measured == {r["label"] for r in rows}
    assert len(rows) == found["n"] == 20 * len(measured)
    areas = [own["ara"] for own in found["certified"]["labels"].values() if own["ara"] is not None]
    assert found["certified"]["ara"] == pytest.approx(np.mean(areas))
    assert "labels of images" in output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--sigma", -0.1], "above 0; found -0.1"),
        (["--sigma", 0], "above 0; found 0.0"),
        (["--alpha", 2], "found 2.0"),
        (["--samples", 5], "5 samples certify nothing"),
        (["--attack-samples", 0], "at least one draw"),
        ([*PHANTOM, "--sigma", 0.1], "labelled with"),
        (["--method", "bounds", "--sigma", 0.1], "bounds need no noise; found sigma 0.1"),
    ],
)
def test_what_cannot_be_certified_is_refused_before_any_work(shapes, tmp_path, pellucid, arguments, told):
    model, data = shapes
    code, output, _ = pellucid("certify", model, *data, *arguments, "--out", tmp_path / "out")
    assert told in code
    assert code.startswith("pellucid: ")
    assert "wrote" not in output
    assert not (tmp_path / "out").exists()


def test_a_network_that_names_no_noise_needs_sigma(labels, tmp_path, pellucid):
    code, _, _ = pellucid("certify", labels, *PHANTOM, "--out", tmp_path)
    assert "names no noise" in code
    assert "--sigma 0.25" in code
    few = pellucid("certify", labels, *PHANTOM, "--sigma", 0.1, "--limit", 3, "--out", tmp_path)[0]
    assert "no label has a certified area" in few


@pytest.mark.slow
def test_bounds_lie_below_the_attack_and_need_no_noise(shapes, tmp_path, pellucid):
    (model, data), few = shapes, ["--limit", 2, "--method", "bounds"]
    code, output, messages = pellucid("certify", model, *data, *few, "--out", tmp_path / "bounds")
    assert code == 0, messages
    assert "by bounds" in output
    assert "under noise" not in output
    with (tmp_path / "bounds" / "certify.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    right = [(float(r["certified_rms"]), float(r["attack_rms"])) for r in rows if r["right"] == "1"]
    assert right
    assert all(0 < certified <= attacked for certified, attacked in right)
    summary = json.loads((tmp_path / "bounds" / "certify.json").read_text())
    assert (summary["method"], summary["confidence"], summary["alarm"]["violations"]) == ("bounds", 1.0, 0)
