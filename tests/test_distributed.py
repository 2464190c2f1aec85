"""Two real processes on gloo train one network: one run folder, one voice, and the loss of the joint batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.launch import launch
from pellucid.data import open_dataset
from pellucid.data.cache.pixels import materialize
from pellucid.models import load_model
from pellucid.training import RunFolder, load_recipe
from pellucid.training.network import build_classifier
from pellucid.types import InputSpec

PHANTOM = {"size": 32, "train": 48, "validation": 16, "test": 4, "prevalence": 0.4}
OVERRIDES = [
    "model.name=small",
    "model.size=32",
    "model.options={widths=[4, 8], blocks=[1, 1], strides=[1, 2]}",
    "objective.loss=weighted_cross_entropy",
    "optimizer.lr=1e-12",  # the network stays as it was made, so that its losses can be computed again
    "training.batch_size=16",
    "training.epochs=1",
]
SEED = 3

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "two"
    options = [f"--data-option={k}={v}" for k, v in PHANTOM.items()] + [f"--set={text}" for text in OVERRIDES]
    command = ("train", "standard", "--data", "phantom", "--seed", SEED, "--out", out)
    with pytest.MonkeyPatch.context() as outside:
        outside.delenv("PELLUCID_PROGRESS", raising=False)
        done = launch(*command, *options, CUDA_VISIBLE_DEVICES="")
    return RunFolder(out), done


def test_two_processes_write_one_run(launched):
    run, _ = launched
    values = run.read()
    assert values["finished"] is True
    assert values["processes"] == 2  # they know of each other, also where nothing says --device cpu
    assert [row["epoch"] for row in run.metrics()] == [1]
    assert run.metrics()[0]["step"] == 3
    assert load_model(run.path).classes[0] == "Atelectasis"
    assert not list(run.path.rglob("*.tmp"))


def test_one_of_them_speaks(launched):
    _, done = launched
    wrote = [line for line in done.stdout.splitlines() if line.startswith("wrote ")]
    assert [line.rsplit("/", 1)[-1] for line in wrote] == ["metrics.json", "metrics.csv", "weights.safetensors"]
    assert done.stderr.count("train standard") == 1


def test_the_loss_is_wangs_over_the_joint_batch(launched):
    """The mean over the steps of equation 1 with the labels of both processes counted together."""
    run, _ = launched
    data = open_dataset("phantom", options=PHANTOM)["train"]
    torch.manual_seed(SEED)
    net = build_classifier(load_recipe("standard", OVERRIDES).model, data).train()
    images = torch.from_numpy(materialize(data, InputSpec.square(1, 32))).float() / 255
    order = np.random.default_rng((SEED, 0)).permutation(48)
    joint, apart = [], []
    for first in range(0, 48, 16):
        rows = order[first : first + 16]
        halves = [rows[:8], rows[8:]]
        with torch.no_grad():  # each process normalises its own half
            probabilities = [net(images[half]).sigmoid().double().numpy() for half in halves]
        labels = [data.targets[half] for half in halves]

        def wang(f, y):
            return -np.log(f[y == 1]).mean() - np.log(1 - f[y == 0]).mean()

        joint.append(wang(np.concatenate(probabilities), np.concatenate(labels)))
        apart.append(np.mean([wang(f, y) for f, y in zip(probabilities, labels, strict=True)]))
    assert run.metrics()[0]["loss"] == pytest.approx(np.mean(joint), rel=1e-5)
    assert abs(np.mean(joint) - np.mean(apart)) > 3e-5 * np.mean(joint)  # so that the line above can fail
