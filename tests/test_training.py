"""The training loop on a small phantom: it learns, it repeats itself, and a loss that is not finite stops it."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file

from helpers.training import run
from pellucid.models.weights import read_model_card
from pellucid.training import Objective, RunFolder, TrainingError


@pytest.mark.slow
def test_a_few_epochs_lower_the_loss(phantom, tmp_path):
    made = run(phantom, tmp_path / "run", "training.epochs=8", "optimizer.lr=0.05", name="standard")
    losses = [row["loss"] for row in made.metrics()]
    assert len(losses) == 8
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.slow
def test_mixed_precision_learns_nearly_the_same_in_another_arithmetic(phantom, tmp_path):
    whole = run(phantom, tmp_path / "no", seed=3)
    mixed = run(phantom, tmp_path / "bf16", "training.mixed_precision=bf16", seed=3)
    for ours, theirs in zip(mixed.metrics(), whole.metrics(), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=0.05)
        assert ours["loss"] != theirs["loss"]
    assert all(t.dtype != torch.bfloat16 for t in load_file(mixed.path / "weights.safetensors").values())


@pytest.mark.slow
def test_the_same_seed_gives_the_same_network_and_another_another(finished, phantom, tmp_path):
    again = run(phantom, tmp_path / "again", seed=7)
    other = run(phantom, tmp_path / "other", seed=8)
    weights = {made: load_file(made.path / "last" / "weights.safetensors") for made in (finished, again, other)}
    assert all(torch.equal(v, weights[again][k]) for k, v in weights[finished].items())
    assert any(not torch.equal(v, weights[other][k]) for k, v in weights[finished].items())


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(phantom, tmp_path, monkeypatch):
    steps = []
    real = Objective.__call__

    def spoilt(self, *args):
        steps.append(1)
        loss, parts = real(self, *args)
        return (loss * math.nan if len(steps) == 6 else loss), parts

    monkeypatch.setattr(Objective, "__call__", spoilt)
    out = tmp_path / "run"
    with pytest.raises(TrainingError) as caught:
        run(phantom, out, name="standard")
    for part in ("loss became nan", "epoch 2, step 6", str(out), "optimizer.lr"):
        assert part in str(caught.value)
    assert len(steps) == 6  # at once
    assert read_model_card(out)["epoch"] == 1
    assert all(v.isfinite().all() for v in load_file(out / "weights.safetensors").values())
    (latest,) = (p.name for p in (out / "state").iterdir())
    assert latest == "step-00000004"
    assert all(v.isfinite().all() for v in load_file(out / "state" / latest / "model.safetensors").values())
    assert [row["epoch"] for row in RunFolder(out).metrics()] == [1]
    assert not RunFolder(out).finished


def test_an_absurd_learning_rate_ends_in_words(phantom, tmp_path):
    with pytest.raises(TrainingError, match="the loss became"):
        run(phantom, tmp_path / "run", "optimizer.name=sgd", "optimizer.lr=1e30", "schedule.warmup=0.0")
