"""`pellucid explain --method adversarial` as a user types it: what it writes, which classes, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from helpers.models import draw_convolutions, small
from pellucid.data.readers.phantom.findings import PHANTOM_CLASSES
from pellucid.data.registry import open_dataset
from pellucid.models.weights import save_model
from pellucid.types import InputError
from pellucid.verbs.explaining.class_choice import parse_classes

OPTIONS = {"size": 32, "train": 16, "test": 16, "prevalence": 0.4}
PHANTOM = ["--data", "phantom", *(f"--data-option={k}={v}" for k, v in OPTIONS.items())]
CPU = ["--device", "cpu"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    net = draw_convolutions(small(classes=PHANTOM_CLASSES))
    return save_model(net, tmp_path_factory.mktemp("models") / "run", extra={"thresholds": [0.5] * 8})


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "chest.png"
    Image.linear_gradient("L").resize((32, 32)).save(path)
    return path


@pytest.fixture
def pellucid(pellucid):
    """Run the command; gives its status or one message, and what it printed."""
    return lambda *arguments: pellucid(*arguments)[:2]


def explained(pellucid, out, *arguments):
    code, _ = pellucid("explain", *arguments, *CPU, "--out", out)
    assert code in (0, None)
    return json.loads((out / "explain.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(("direction", "sign"), [("raise", 1), ("lower", -1)])
def test_an_image_is_moved_for_every_class(pellucid, model, image, tmp_path, direction, sign):
    out = tmp_path / "out"
    how = ["--method", "adversarial", "--classes", "all", "--rho", "0.05", "--direction", direction]
    found = explained(pellucid, out, model, image, *how)
    assert {p.name for p in out.iterdir()} == {
        "chest-adversarial.png",
        "chest.npz",
        "explain.html",
        "explain.json",
        "slider.html",
    }
    assert found["adversarial"] == {
        "rho": 0.05,
        "direction": direction,
        "optimiser": "tight",
        "slider": "slider.html",
    }
    (row,) = found["images"]
    assert "panel" not in row
    assert row["adversarial"]["panel"] == "chest-adversarial.png"
    assert row["adversarial"]["gradient_evaluations"] <= 17
    original = np.asarray(Image.open(image), dtype=np.float32)[None] / 255
    with np.load(out / row["maps"]) as arrays:
        assert sorted(arrays.files) == sorted(f"{c}|adversarial" for c in PHANTOM_CLASSES)
        for c in PHANTOM_CLASSES:
            moved, told = arrays[f"{c}|adversarial"], row["adversarial"]["classes"][c]
            assert moved.shape == (1, 32, 32)
            assert (moved.min() >= 0) & (moved.max() <= 1)
            size = np.sqrt(((moved.astype(float) - original) ** 2).mean())
            assert size == pytest.approx(0.05, rel=1e-4)
            assert told["rms"] == pytest.approx(size, rel=1e-5)
            assert sign * (told["after"] - told["before"]) > 0
            assert told["before"] == pytest.approx(row["probabilities"][c], rel=1e-4)
            assert told["probabilities"][c] == pytest.approx(told["after"])
    with Image.open(out / row["adversarial"]["panel"]) as panel:
        panel.verify()
        assert min(panel.size) > 300


@pytest.mark.slow
def test_heat_maps_and_moved_images_together(pellucid, model, image, tmp_path):
    out = tmp_path / "out"
    how = ["--method", "cam,adversarial", "--classes", "Mass,second", "--slider", "0", "--optimiser", "woods2019"]
    (row,) = explained(pellucid, out, model, image, *how)["images"]
    assert (row["panel"], row["adversarial"]["panel"]) == ("chest.png", "chest-adversarial.png")
    assert row["adversarial"]["gradient_evaluations"] == 35
    with np.load(out / row["maps"]) as arrays:
        assert {name.split("|")[1] for name in arrays.files} == {"cam", "adversarial"}
        assert {name.split("|")[0] for name in arrays.files} == set(row["explained"])
    assert not (out / "slider.html").exists()


@pytest.mark.slow
def test_images_of_a_dataset_have_a_true_class(pellucid, model, tmp_path):
    test = open_dataset("phantom", options=OPTIONS)["test"]
    rows = [i for i, target in enumerate(test.targets) if 0 < target.sum() < 8][:2]
    names = [f"--id={test.ids[i]}" for i in rows]
    how = ["--method", "adversarial", "--classes", "true,second", "--slider", "0"]
    found = explained(pellucid, tmp_path / "out", model, *PHANTOM, *names, *how)
    assert len(found["images"]) == 2
    for row, i in zip(found["images"], rows, strict=True):
        true = [c for c, t in zip(PHANTOM_CLASSES, test.targets[i], strict=True) if t == 1]
        absent = {c: p for c, p in row["probabilities"].items() if c not in true}
        assert row["true"] == true
        assert row["explained"] == [*true, max(absent, key=absent.get)]
    limited = explained(pellucid, tmp_path / "few", model, *PHANTOM, "--limit", 1, "--method", "cam")
    assert len(limited["images"]) == 1


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--rho", "0"], ["rho must be above 0", "found 0"]),
        (["--rho", "-0.1"], ["rho must be above 0"]),
        (["--rho", "nan"], ["rho must be above 0"]),
        (["--direction", "rise"], ["unknown direction", "Did you mean 'raise'"]),
        (["--optimiser", "tigt"], ["unknown optimiser", "Did you mean 'tight'"]),
        (["--classes", "Nodul"], ["unknown class 'Nodul'", "Did you mean 'Nodule'"]),
        (["--classes", "true,second"], ["--data", "predicted,second"]),
        (["--classes", "secnd"], ["unknown class", "Did you mean 'second'"]),
        (["--id", "a"], ["--data"]),
        (["--method", "adversrial"], ["unknown method", "Did you mean 'adversarial'"]),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(pellucid, model, image, tmp_path, options, parts):
    out = tmp_path / "results" / "out"
    method = [] if "--method" in options else ["--method", "adversarial"]
    message, _ = pellucid("explain", model, image, *method, *options, *CPU, "--out", out)
    assert str(message).startswith("pellucid: ")
    assert all(part in message for part in parts)
    assert not out.parent.exists()


@pytest.mark.slow
def test_images_or_a_dataset_and_not_both(pellucid, model, image, tmp_path):
    out = tmp_path / "out"
    for arguments in ([model], [model, image, *PHANTOM]):
        message, _ = pellucid("explain", *arguments, "--method", "adversarial", *CPU, "--out", out)
        assert "one of the two" in message
    message, _ = pellucid("explain", model, *PHANTOM, "--id", "nobody", *CPU, "--out", out)
    assert "no image 'nobody'" in message
    message, _ = pellucid("localize", model, *PHANTOM, "--method", "adversarial", *CPU, "--out", out)
    assert "unknown heat map 'adversarial'" in message
    assert not out.exists()


def test_roles_of_classes():
    names = ("a", "b", "c", "true")
    choice = parse_classes("true,second", names[:3], "multiclass", truth=True)
    assert choice.of([0.2, 0.5, 0.3], [0]) == [0, 1]  # wrong: the rival is what was predicted
    assert choice.of([0.2, 0.5, 0.3], [1]) == [1, 2]
    unknown = parse_classes("predicted,second,a", names[:3], "multiclass", truth=False)
    assert unknown.of([0.2, 0.5, 0.3]) == [1, 2, 0]
    several = parse_classes("true,second", names[:3], "multilabel", truth=True)
    assert several.of([0.9, 0.1, 0.8], [0, 2]) == [0, 2, 1]
    assert several.of([0.9, 0.1, 0.8], []) == [0]
    assert several.of([0.9, 0.1, 0.8], [0, 1, 2]) == [0, 1, 2]  # no class is left to be second
    assert parse_classes("true", names, "multiclass", truth=False).of([0.1] * 4) == [3]  # a class of that name
    assert parse_classes("top2,all", names[:3], "multiclass", truth=False).of([0.1, 0.3, 0.2]) == [1, 2, 0]
    with pytest.raises(InputError, match="true class of an image file is not known"):
        parse_classes("true", names[:3], "multiclass", truth=False)
