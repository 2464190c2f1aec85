"""`pellucid evaluate` on data whose classes are called or ordered otherwise than the model's."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import accuracy_score

import pellucid as pl
from helpers.models import small
from pellucid.models import save_model

CPU = ["--device", "cpu"]
CLASSES = ("well", "ill", "other")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(small(3, task="multiclass", classes=CLASSES), tmp_path_factory.mktemp("m"))


def folders(root, names):
    """Six images of each class, each class of its own brightness."""
    for k, name in enumerate(names):
        (root / "test" / name).mkdir(parents=True)
        for i in range(6):
            pixels = np.random.default_rng([k, i]).integers(0, 256, (32, 32), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "test" / name / f"{name}{i}.png")
    return root


def right(model, root, names):
    """The accuracy, computed file by file: `names` has the model's class of each folder."""
    net = pl.load(model)
    truth, decided = [], []
    for folder, name in names.items():
        for file in sorted((root / "test" / folder).iterdir()):
            image = torch.from_numpy(np.array(Image.open(file))).float()[None, None] / 255
            truth.append(CLASSES.index(name))
            decided.append(int(net(image).argmax(1)))
    return accuracy_score(truth, decided)


def test_classes_in_another_order_and_with_other_names(model, tmp_path, pellucid):
    names = {"Healthy": "well", "ill": "ill", "other": "other"}
    root = folders(tmp_path / "data", names)
    options = ["--data", "folder", "--root", root, *CPU, "--out", tmp_path / "out"]
    code, output, messages = pellucid("evaluate", model, *options, "--map", "well=Healthy")
    assert code == 0, messages
    assert "accuracy" in output
    assert "18 (6 positives)" in output  # for every class, and of the mean the fewest of one
    assert "18 (at least 6 positives)" in output
    rows = json.loads((tmp_path / "out" / "classification.json").read_text())["rows"]
    found = [row["value"] for row in rows if row["metric"] == "accuracy" and row["section"] == "classification"]
    assert found == [pytest.approx(right(model, root, names))]
    code, _, messages = pellucid("evaluate", model, *options, "--map", "well=Healthy", "--map", "well=ill")
    assert "names 'well' more than once" in f"{code}{messages}"
    code, _, messages = pellucid("evaluate", model, *options, "--map", "well")
    assert "expected two names" in f"{code}{messages}"


def test_what_one_side_lacks_is_said(model, tmp_path, pellucid):
    root = folders(tmp_path / "data", ["ill", "well"])
    options = ["--data", "folder", "--root", root, *CPU, "--out", tmp_path / "out"]
    code, _, messages = pellucid("evaluate", model, *options)
    assert code == 0
    assert "folder/test has no other" in messages
    folders(tmp_path / "data", ["unknown"])
    code, _, messages = pellucid("evaluate", model, *options)
    assert "unknown (6 images)" in f"{code}{messages}"
    code, _, messages = pellucid("evaluate", model, *options, "--data-option", 'classes=["ill", "well"]')
    assert code == 0, messages


def test_completion_is_offered(pellucid):
    code, output, _ = pellucid("--help")
    assert code == 0
    assert "--install-completion" in output
