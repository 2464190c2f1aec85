"""A run that is killed in the middle of an epoch and resumed ends where an unbroken one ends, bit for bit."""

from __future__ import annotations

import json
import math
import time

import pytest
import torch
from safetensors.torch import load_file

from helpers.forked import Forked
from pellucid.data import open_dataset
from pellucid.evaluation.metrics.validation import ValidationScorer
from pellucid.training import RunFolder, load_recipe, train
from pellucid.types import InputError

pytestmark = pytest.mark.slow

PHANTOM = {"size": 32, "train": 160, "validation": 16, "test": 4, "prevalence": 0.4}
OVERRIDES = [  # the robust recipe: a random start for FGSM, and augmentation, from the recipe itself
    "model.name=small",
    "model.size=32",
    "model.options={widths=[4, 8], blocks=[1, 1], strides=[1, 2]}",
    "training.batch_size=8",
    "training.epochs=3",
    "training.checkpoint_seconds=0",
]
PENALTY = "objective.gradient_penalty"
ADAPTIVE = [  # a weight that grows with every batch whose loss is below that of a constant guess
    *OVERRIDES,
    "training.epochs=2",
    "optimizer.lr=0.01",
    f"{PENALTY}.weight=0.01",
    f"{PENALTY}.tandem=0.2",
    f"{PENALTY}.adaptive={{target_share=0.9999, gain=0.1, fall=0.0}}",
]
STEPS = 20  # an epoch
SEED = 5


def train_here(out, *, resume=False, overrides=OVERRIDES):
    splits = open_dataset("phantom", options=PHANTOM)
    recipe = load_recipe("khakzar2019-robust", overrides)
    return train(
        recipe,
        splits["train"],
        splits["validation"],
        out,
        scorer=ValidationScorer(),
        seed=SEED,
        device="cpu",
        resume=resume,
    )


def start_process(out, overrides):
    options = [f"--data-option={k}={v}" for k, v in PHANTOM.items()] + [f"--set={text}" for text in overrides]
    words = ["train", "khakzar2019-robust", "--data", "phantom", "--seed", SEED, "--device", "cpu", "--out", out]
    return Forked(*words, *options)


def saved_step(out):
    """The newest step of which the state is whole: `progress.json` is written last."""
    return max((int(p.parent.name.removeprefix("step-")) for p in out.glob("state/step-*/progress.json")), default=0)


def kill_one(out, overrides):
    """A run whose process was killed with SIGKILL in the middle of its second epoch."""
    process = start_process(out, overrides)
    deadline = time.monotonic() + 300
    while saved_step(out) < STEPS + 4:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.kill()
    assert process.wait() < 0
    process.communicate()
    assert STEPS < saved_step(out) < 2 * STEPS, "the kill came at another moment than these tests are about"
    return out


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    return kill_one(tmp_path_factory.mktemp("runs") / "killed", OVERRIDES)


def rows_without_seconds(run):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in run.metrics()]


def test_a_killed_run_resumed_is_the_unbroken_run(killed, tmp_path):
    step = saved_step(killed)
    progress = json.loads((killed / "state" / f"step-{step:08d}" / "progress.json").read_text())
    assert (progress["epoch"], progress["step"]) == (1, step - STEPS)
    assert not RunFolder(killed).finished
    assert [row["epoch"] for row in RunFolder(killed).metrics()] == [1]

    with pytest.raises(InputError, match=r"holds a run already\. Add --resume"):
        train_here(killed)
    with pytest.raises(InputError, match=r"another recipe: optimizer\.lr"):
        train_here(killed, resume=True, overrides=[*OVERRIDES, "optimizer.lr=0.5"])
    assert saved_step(killed) == step

    unbroken, resumed = train_here(tmp_path / "unbroken"), train_here(killed, resume=True)
    assert resumed.finished
    assert rows_without_seconds(resumed) == rows_without_seconds(unbroken)
    assert all(row["seconds"] > 0 for row in resumed.metrics())
    for name in ("weights.safetensors", "last/weights.safetensors"):
        assert (resumed.path / name).read_bytes() == (unbroken.path / name).read_bytes()
    assert (resumed.path / "model.toml").read_text() == (unbroken.path / "model.toml").read_text()
    ends = [load_file(run.state / "step-00000060" / "optimizer.safetensors") for run in (resumed, unbroken)]
    assert all(torch.equal(v, ends[1][k]) for k, v in ends[0].items())
    assert len(list(resumed.state.glob("step-*"))) == 1


def test_saving_often_changes_nothing(tmp_path):
    """What a run gives does not depend on when it was saved: the reference above is no special case."""
    overrides = [*OVERRIDES, "training.epochs=1"]
    often = train_here(tmp_path / "often", overrides=overrides)
    seldom = train_here(tmp_path / "seldom", overrides=[*overrides, "training.checkpoint_seconds=1000"])
    name = "last/weights.safetensors"
    assert (often.path / name).read_bytes() == (seldom.path / name).read_bytes()


def test_the_adaptive_weight_of_the_penalty_goes_on_where_it_was(tmp_path):
    killed = kill_one(tmp_path / "killed", ADAPTIVE)
    state = json.loads((killed / "state" / f"step-{saved_step(killed):08d}" / "progress.json").read_text())
    assert state["penalty_integral"] > 0
    unbroken = train_here(tmp_path / "unbroken", overrides=ADAPTIVE)
    resumed = train_here(killed, resume=True, overrides=ADAPTIVE)
    rows = rows_without_seconds(resumed)
    assert rows == rows_without_seconds(unbroken)
    psi = [row["penalty_weight_at_end"] for row in rows]
    assert 0.01 < psi[0] < psi[1]  # it moved, before the kill and after
    assert psi[1] > 0.01 * math.exp(0.1 * state["penalty_integral"])
    assert rows[1]["gradient_penalty"] > 0
    for name in ("weights.safetensors", "last/weights.safetensors", "last/model.toml"):
        assert (resumed.path / name).read_bytes() == (unbroken.path / name).read_bytes()
    ends = [json.loads((run.state / "step-00000040" / "progress.json").read_text()) for run in (resumed, unbroken)]
    assert ends[0]["penalty_integral"] == ends[1]["penalty_integral"] > state["penalty_integral"]
