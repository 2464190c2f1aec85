"""`pellucid attack-explanation` as a user types it: what it writes, and what it refuses before any work."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from helpers.manipulation import convolutional
from pellucid.data.readers.phantom.findings import PHANTOM_CLASSES
from pellucid.explainers import explain
from pellucid.models import load_model
from pellucid.models.weights import save_model

CPU = ["--device", "cpu"]
THRESHOLDS = [0.3, 0.5, 0.7]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(convolutional(), tmp_path_factory.mktemp("models") / "run", extra={"thresholds": THRESHOLDS})


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"chest{number}.png")
    return folder


@pytest.mark.slow
def test_what_it_writes(pellucid, model, images, tmp_path):
    out = tmp_path / "out"
    how = ["--method", "grad-cam", "--budget", 0.02, "--budget", 0.08, "--steps", 4, "--pictures", 1]
    code, told, _ = pellucid("attack-explanation", model, images, *how, *CPU, "--out", out)
    assert code == 0
    assert "same-decision: 3 images" in told
    names = {"attack-explanation.json", "attack-explanation.csv", "curve.png", "images.npz", "chest0.png", "kept"}
    assert {p.name for p in out.iterdir()} == names
    for name in ("curve.png", "chest0.png"):
        with Image.open(out / name) as picture:
            picture.verify()
            assert min(picture.size) > 300
    found = json.loads((out / "attack-explanation.json").read_text())
    assert (found["method"], found["goal"], found["n"], found["budgets"]) == (
        "grad-cam",
        "same-decision",
        3,
        [0.02, 0.08],
    )
    with (out / "attack-explanation.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6
    net = load_model(model)
    with np.load(out / "images.npz") as arrays:
        assert [n.rsplit("/", 1)[-1] for n in arrays["names"]] == [f"chest{i}.png" for i in range(3)]
        for place, row in enumerate(rows):
            budget, i = divmod(place, 3)
            moved, target = torch.from_numpy(arrays["perturbed"][budget, i]), int(arrays["targets"][i])
            assert row["image"].endswith(f"chest{i}.png")
            assert row["explained"] == net.classes[target]
            assert float(row["rms"]) <= float(row["budget"])
            chance = net(moved[None]).sigmoid()[0, target].item()
            assert float(row["probability_after"]) == pytest.approx(chance, abs=1e-5)
            assert abs(chance - float(row["probability_before"])) <= 0.05
            assert (chance >= THRESHOLDS[target]) == (float(row["probability_before"]) >= THRESHOLDS[target])
            maps = [
                explain("grad-cam", net, x[None], target).maps.numpy().ravel()
                for x in (torch.from_numpy(arrays["images"][i]), moved)
            ]
            expected = stats.spearmanr(*maps).statistic
            assert float(row["rank_correlation"]) == pytest.approx(expected, abs=2e-3)
    area = found["areas"]["rank_correlation"]
    assert area["n"] == 3
    assert (area["low"], area["high"]) == (None, None)
    assert "3 images only" in area["reason"]  # three say nothing of others


@pytest.mark.slow
def test_the_other_goal_on_a_dataset(pellucid, tmp_path):
    folder = save_model(convolutional(classes=8), tmp_path / "run")
    path = folder / "model.toml"
    text = path.read_text()
    for number, name in enumerate(PHANTOM_CLASSES):
        text = text.replace(f'"c{number}"', f'"{name}"')
    path.write_text("".join(line for line in text.splitlines(keepends=True) if not line.startswith("sha256")))
    options = {"size": 32, "train": 8, "validation": 8, "test": 8}
    data = ["--data", "phantom", *(f"--data-option={k}={v}" for k, v in options.items()), "--limit", 2]
    how = ["--goal", "same-map", "--method", "saliency", "--class", PHANTOM_CLASSES[2], "--budget", 0.1, "--steps", 3]
    code, _, _ = pellucid("attack-explanation", folder, *data, *how, *CPU, "--out", tmp_path / "out")
    assert code == 0
    found = json.loads((tmp_path / "out" / "attack-explanation.json").read_text())
    assert found["goal"] == "same-map"
    assert found["data"] == "phantom"
    with (tmp_path / "out" / "attack-explanation.csv").open(newline="") as stream:
        assert [row["explained"] for row in csv.DictReader(stream)] == [PHANTOM_CLASSES[2]] * 2


def test_a_layer_can_be_named(pellucid, model, images, tmp_path):
    net, out = load_model(model), tmp_path / "out"
    layer = next(name for name, part in net.named_modules() if isinstance(part, torch.nn.Conv2d))
    how = ["--layer", layer, "--budget", 0.02, "--steps", 1, "--pictures", 0]
    code, _, _ = pellucid("attack-explanation", model, images / "chest0.png", *how, *CPU, "--out", out)
    assert code == 0
    with np.load(out / "images.npz") as arrays:
        pixels, target = torch.from_numpy(arrays["images"]), int(arrays["targets"][0])
        np.testing.assert_allclose(arrays["before"], explain("grad-cam", net, pixels, target, layer=layer).maps)
        assert not np.allclose(arrays["before"], explain("grad-cam", net, pixels, target).maps)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--layer", "nowhere"], ["unknown layer 'nowhere'"]),
        (["--layer", "backbone", "--method", "saliency"], ["saliency has no option 'layer'"]),
        (["--layer", "backbone", "--option", "layer=head"], ["two layers are named, 'backbone' and 'head'"]),
        (["--method", "gradcam"], ["no attack on the explanation 'gradcam'", "Did you mean 'grad-cam'"]),
        (["--goal", "same"], ["unknown goal 'same'", "same-map"]),
        (["--budget", "0"], ["budgets must be ascending", "found 0"]),
        (["--budget", "nan"], ["budgets must be ascending"]),
        (["--target-map", "center"], ["no target map 'center'", "Did you mean 'centre'"]),
        (["--goal", "same-map", "--target-map", "centre"], ["a target map is for the goal same-decision"]),
        (["--target-map", "other-image"], ["one image only"]),
        (["--class", "c9"], ["unknown class 'c9'"]),
        (["--tolerance", "2"], ["tolerance"]),
        (["--keep", "2"], ["rank correlation from -1 to 1"]),
        (["--method", "lime", "--option", "sample=3"], ["lime has no option 'sample'", "Did you mean 'samples'"]),
        (["--method", "lime", "--option", "samples=abc"], ["samples of lime is a whole number; found 'abc'"]),
        (["--method", "integrated-gradients", "--option", "steps=4.5"], ["is a whole number; found 4.5"]),
        (["--data", "phantom"], ["one of the two"]),
        (["--root", "/nowhere"], ["--root is where the dataset of --data lies"]),
        (["--data-option", "positive=x"], ["options of image files (--data-option; in Python: file_options=)"]),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(pellucid, model, images, tmp_path, options, parts):
    out = tmp_path / "results" / "out"
    message, _, _ = pellucid("attack-explanation", model, images / "chest0.png", *options, *CPU, "--out", out)
    assert str(message).startswith("pellucid: ")
    assert all(part in message for part in parts), message
    assert not out.parent.exists()


def test_no_image_and_no_dataset(pellucid, model, tmp_path):
    message, _, _ = pellucid("attack-explanation", model, *CPU, "--out", tmp_path / "out")
    assert "one of the two" in message


@pytest.mark.slow
def test_an_interrupted_attack_goes_on(pellucid, model, images, tmp_path, monkeypatch):
    from pellucid.evaluation.manipulation import attack as manipulation

    monkeypatch.setattr(manipulation, "LARGEST_BATCH", 1)
    asked = [
        model,
        images,
        "--method",
        "saliency",
        "--budget",
        0.01,
        "--budget",
        0.02,
        *CPU,
        "--pictures",
        0,
        "--steps",
    ]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert pellucid("attack-explanation", *asked, 2, "--out", whole)[0] == 0
    climbed, within = [], manipulation.ExplanationAttack.within

    def failing(climb, budget):
        climbed.append(budget)
        if len(climbed) == 4:
            raise KeyboardInterrupt
        within(climb, budget)

    monkeypatch.setattr(manipulation.ExplanationAttack, "within", failing)
    assert pellucid("attack-explanation", *asked, 2, "--out", cut)[0] == 130
    assert [p.name for p in cut.iterdir()] == ["kept"]
    assert pellucid("attack-explanation", *asked, 2, "--out", cut)[0] == 0
    assert climbed == [0.01, 0.02, 0.01, 0.02, 0.02, 0.01, 0.02]  # the second image goes on from its first budget
    for name in ("attack-explanation.json", "attack-explanation.csv"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()
    status, *_ = pellucid("attack-explanation", *asked, 3, "--out", cut)
    assert "steps: 2 there, 3 here" in str(status)
