"""`pellucid ara` as a user types it: what lies in the folder, what is said, and what is refused."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.models import small
from helpers.shapes import gray_shapes
from pellucid.attacks import Misclassified, minimal
from pellucid.attacks.under_attack import task_loss
from pellucid.data import open_dataset
from pellucid.data.cache.pixels import materialize
from pellucid.evaluation.robustness.ara import area
from pellucid.models import load_model
from pellucid.models.inference import as_pixels
from pellucid.models.weights import save_model
from pellucid.report.charts.curves import AraCurve, write_curves
from pellucid.types import InputSpec

OPTIONS = {"size": 32, "train": 16, "validation": 8, "test": 30, "prevalence": 0.4}
PHANTOM = ["--data", "phantom", *(f"--data-option={k}={v}" for k, v in OPTIONS.items()), "--device", "cpu"]
KEYS = {
    "ara", "interval", "lower", "upper", "mean_radius", "median_radius", "found", "n", "failed", "protocol", "seconds",
    "gradient_evaluations_per_image", "forward_passes_per_image", "naive", "criterion", "alarm",
}  # fmt: skip


def save(folder, seed, dataset, extra=None):
    """A tiny network that has learned its own test images a little: one that has learned nothing has no area."""
    net = small(seed, task=dataset.task, classes=dataset.classes).train()
    images = as_pixels(materialize(dataset, InputSpec.square(1, 32)))
    targets = torch.from_numpy(dataset.targets)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(40):
        optimizer.zero_grad()
        task_loss(net(images), targets).backward()
        optimizer.step()
    count = len(dataset.classes)
    card = {"thresholds": [0.5] * count, "best_constant": [0.4] * count}
    return save_model(net.eval(), folder, extra=card if extra is None else extra)


@pytest.fixture(scope="module")
def phantom():
    return open_dataset("phantom", options=OPTIONS)["test"]


@pytest.fixture(scope="module")
def networks(tmp_path_factory, phantom):
    top = tmp_path_factory.mktemp("networks")
    return [save(top / name, seed, phantom) for seed, name in enumerate(("plain", "robust"))]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """One folder per class: three classes of grey noise of different brightness, 12 test images each; and a network."""
    top = gray_shapes(tmp_path_factory.mktemp("shapes"), test=12)
    return top, save(tmp_path_factory.mktemp("network") / "net", 2, open_dataset("folder", top)["test"], {})


@pytest.mark.slow
def test_one_network_writes_its_files_straight_into_the_folder(shapes, tmp_path, pellucid):
    data, model = shapes
    code, output, _ = pellucid(
        "ara", model, "--data", "folder", "--root", data, "--device", "cpu", "--batch-size", 8, "--out", tmp_path
    )
    assert code == 0
    assert {p.name for p in tmp_path.iterdir() if p.name[0] != "."} == {
        "ara.json", "radii.csv", "curve.png", "evaluation.json",
    }  # fmt: skip
    found = json.loads((tmp_path / "ara.json").read_text())
    test = open_dataset("folder", data)["test"]
    images = as_pixels(materialize(test, InputSpec.square(1, 32)))
    parts = [
        minimal(load_model(model), images[i : i + 8], Misclassified(torch.from_numpy(test.targets[i : i + 8])), seed=i)
        for i in range(0, 36, 8)
    ]
    radius = torch.cat([p.radius for p in parts]).numpy()
    told = found["kinds"]["attack"]
    assert set(told) >= KEYS
    assert told["naive"] == pytest.approx(1 / 3)
    for one in told["alarm"]["shorter"]:  # what the check found counts
        row = test.ids.index(one["id"])
        assert one["radius"] <= 0.95 * np.nan_to_num(radius[row], nan=np.inf) * (1 + 1e-6)
        radius[row] = one["radius"]
    assert (told["n"], told["failed"]) == (36, int(np.isnan(radius).sum()))
    assert told["lower"] == pytest.approx(area(np.nan_to_num(radius), 1 / 3))
    assert told["lower"] > 0
    assert f"{told['lower']:.4f}" in output
    assert found["kinds"]["btr"]["criterion"] == "worse_than_random"
    with (tmp_path / "radii.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {r["id"] for r in rows} == set(test.ids)
    assert len(rows) == 72
    assert Image.open(tmp_path / "curve.png").size[0] > 800


@pytest.mark.slow
def test_several_networks_get_a_folder_each_and_one_figure(networks, phantom, tmp_path, pellucid):
    arguments = ["ara", *networks, *PHANTOM, "--kind", "attack", "--limit", 20]
    code, output, _ = pellucid(*arguments, "--out", tmp_path)
    assert code == 0
    assert {p.name for p in tmp_path.iterdir()} == {"plain", "robust", "curve.png"}
    results = [json.loads((tmp_path / name / "ara.json").read_text()) for name in ("plain", "robust")]
    assert [r["images"] for r in results] == [20, 20]
    assert all(list(r["kinds"]) == ["attack"] for r in results)
    areas = [r["kinds"]["attack"]["lower"] for r in results]
    assert areas[0] != areas[1]
    assert all(f"{a:.4f}" in output for a in areas)
    labels = results[0]["kinds"]["attack"]["labels"]
    assert set(labels) == set(phantom.classes)
    # the same again is read, not measured, and says the same
    written = (tmp_path / "plain" / "radii.csv").stat().st_mtime_ns
    _, again, _ = pellucid(*arguments, "--out", tmp_path)
    assert again == output
    assert (tmp_path / "plain" / "radii.csv").stat().st_mtime_ns == written


def test_an_attack_that_pgd_beats_is_warned_of(shapes, tmp_path, pellucid, monkeypatch):
    from dataclasses import replace
    from functools import partial

    from pellucid.attacks import METHODS

    data, model = shapes
    weak = replace(METHODS["woods2019"], algorithm=partial(METHODS["woods2019"].algorithm, steps=3))
    monkeypatch.setitem(METHODS, "woods2019", weak)
    arguments = ["ara", model, "--data", "folder", "--root", data, "--device", "cpu", "--kind", "attack"]
    code, _, messages = pellucid(*arguments, "--protocol", "woods2019", "--out", tmp_path)
    assert code == 0
    found = json.loads((tmp_path / "ara.json").read_text())
    assert found["box"] is False
    alarm = found["kinds"]["attack"]["alarm"]
    assert alarm["better"] > 0
    assert f"note: net, attack: {alarm['message']}" in messages


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--kind", "atack"], "Did you mean 'attack'"),
        (["--protocol", "thight"], "Did you mean 'tight'"),
        (["--effort", 3], "effort must be 1, 2 or 4"),
        (["--effort", 2, "--protocol", "ddn"], "ddn has one budget only"),
        (["--norm", "linf", "--protocol", "ddn"], "linf is known to tight and fmn"),
        (["--norm", "l2"], "the norms are rms and linf"),
        (["--limit", 3], "no label has an Accuracy-Robustness Area"),
    ],
)
def test_what_cannot_be_measured_is_refused(networks, tmp_path, pellucid, arguments, told):
    code, output, _ = pellucid("ara", networks[0], *PHANTOM, *arguments, "--out", tmp_path / "out")
    assert told in code
    assert code.startswith("pellucid: ")
    assert "wrote" not in output
    assert not (tmp_path / "out" / "ara.json").exists()


@pytest.mark.slow
def test_a_folder_of_another_network_or_dataset_is_refused(networks, shapes, tmp_path, pellucid):
    data, model = shapes
    quick = ["--kind", "attack", "--limit", 20]
    assert pellucid("ara", networks[0], *PHANTOM, *quick, "--out", tmp_path)[0] == 0
    before = (tmp_path / "radii.csv").read_text()
    assert "weights_sha256" in pellucid("ara", networks[1], *PHANTOM, *quick, "--out", tmp_path)[0]
    other = pellucid("ara", networks[0], *PHANTOM, "--kind", "attack", "--limit", 21, "--out", tmp_path)[0]
    assert "fingerprint" in other
    elsewhere = ["--data", "folder", "--root", data, "--device", "cpu", "--kind", "attack"]
    assert "data" in pellucid("ara", model, *elsewhere, "--out", tmp_path)[0]
    assert (tmp_path / "radii.csv").read_text() == before


def test_networks_that_are_called_alike_are_refused(networks, tmp_path, pellucid):
    code, _, _ = pellucid("ara", networks[0], networks[0], *PHANTOM, "--out", tmp_path)
    assert "called alike" in code


def test_better_than_random_needs_the_best_constant_of_a_multilabel_network(tmp_path, pellucid, phantom):
    model = save(tmp_path / "net", 0, phantom, extra={})
    code, _, _ = pellucid("ara", model, *PHANTOM, "--out", tmp_path / "out", "--kind", "btr")
    assert "best_constant" in code
    assert "--kind attack" in code
    code, _, messages = pellucid("ara", model, *PHANTOM, "--protocol", "ddn", "--out", tmp_path / "out")
    assert code == 0, messages
    assert "btr: the area of this kind is left out" in messages
    assert "best_constant = [...]" in messages
    path = tmp_path / "out" / "ara.json"
    stored = json.loads(path.read_text())
    assert list(stored["kinds"]) == ["attack"]
    (note,) = [note for note in stored["notes"] if "btr: the area of this kind is left out" in note]
    assert note in messages
    assert pellucid("ara", model, *PHANTOM, "--protocol", "ddn", "--kind", "attack", "--out", path.parent)[0] == 0
    again = json.loads(path.read_text())  # the same radii; that kind was not asked for
    assert again["notes"] == [one for one in stored["notes"] if one != note]
    assert again["kinds"] == stored["kinds"]


def test_a_figure_shows_the_curve_the_band_and_the_guess(tmp_path):
    """Against pixels: the curve's colour at its height, the dashed guess, nothing of it elsewhere."""
    radius, accuracy = np.array([0.0, 0.01, 0.02]), np.array([0.8, 0.5, 0.0])
    curve = AraCurve("net", "attack", radius, accuracy, 0.1, accuracy + 0.1)
    write_curves([curve], tmp_path / "one.png")
    write_curves([curve, AraCurve("other", "attack", radius, accuracy / 2, 0.1)], tmp_path / "two.png")
    one, two = (np.asarray(Image.open(tmp_path / f"{n}.png").convert("RGB")) for n in ("one", "two"))
    gray, blue = (0x4A, 0x4A, 0x4A), (0x00, 0x67, 0xA5)

    def drawn(image, colour):
        return (np.abs(image.astype(int) - colour).max(2) <= 2).sum()

    assert drawn(one, gray) > 500
    assert drawn(one, blue) == 0
    assert drawn(two, blue) > 500
    assert curve.end == 0.02
