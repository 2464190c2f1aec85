"""Networks of timm, torchvision and torchxrayvision are fine-tuned for other classes, and their folders load again."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
import torchvision
import torchxrayvision as xrv
from PIL import Image

import pellucid as pl
from pellucid.models.split import find_head

CLASSES = ["NORMAL", "OTHER", "PNEUMONIA"]
ONE_STEP = ["training.epochs=1", "training.batch_size=3", "optimizer.lr=0.001", "training.freeze_batch_norm=true"]
XRV = "densenet121-res224-chex"
SMALL = {"growth_rate": 4, "block_config": [1, 1, 1, 1], "num_init_features": 8}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three images of three classes for training, and as many for validation."""
    top, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for split in ("train", "validation"):
        for name in CLASSES:
            (top / split / name).mkdir(parents=True)
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(top / split / name / f"{split}-{name}.png")
    options = {"classes": CLASSES, "validation": "folder"}
    return {split: pl.dataset("folder", top, split, **options) for split in ("train", "validation")}


def timm_network(folder):
    torch.save(timm.create_model("test_vit").state_dict(), folder / "w.pth")
    return pl.load("timm:test_vit.r160_in1k", weights=folder / "w.pth")


def torchvision_network(folder):
    network = torchvision.models.shufflenet_v2_x0_5(num_classes=2)
    torch.save(network.state_dict(), folder / "w.pth")
    given = {
        "classes": ["a", "b"],
        "preprocess": "stretch:32",
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "outputs": "logits",
    }
    return pl.load("torchvision:shufflenet_v2_x0_5", weights=folder / "w.pth", **given)


def torchxrayvision_network(folder):
    torch.save(xrv.models.DenseNet(num_classes=18, **SMALL).state_dict(), folder / "w.pt")
    return pl.load(f"torchxrayvision:{XRV}", weights=folder / "w.pt", options=SMALL)


@pytest.mark.parametrize("network", [timm_network, torchvision_network, torchxrayvision_network])
def test_one_step_for_other_classes(network, data, tmp_path):
    """The head is new, whatever lies before it has moved a little from where it was, and the run folder says all."""
    torch.manual_seed(0)
    start = network(tmp_path)
    head = find_head(start)
    run = pl.train("standard", data, tmp_path / "run", init=start, overrides=ONE_STEP, device="cpu")
    tuned = run.load()
    assert tuned.classes == tuple(CLASSES)
    assert tuned.input_spec == start.input_spec
    assert torch.equal(tuned.mean, start.mean)
    before, after = start.module.state_dict(), tuned.module.state_dict()
    assert before.keys() == after.keys()
    assert len(after[f"{head}.weight"]) == 3
    learnt = [name for name, tensor in start.module.named_parameters() if not name.startswith(f"{head}.")]
    assert any(not torch.equal(before[name], after[name]) for name in learnt)
    for name in learnt:
        torch.testing.assert_close(before[name], after[name], atol=0.2, rtol=0.1)
    with torch.no_grad():
        assert tuned(torch.rand(2, *tuned.input_spec.shape)).shape == (2, 3)
