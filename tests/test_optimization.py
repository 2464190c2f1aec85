"""Learning-rate schedules in closed form, seeds of steps, and what weight decay is kept off."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from helpers.training import SMALL, run
from pellucid.training import load_recipe
from pellucid.training.distributed import step_seed
from pellucid.training.network import build_classifier
from pellucid.training.optimization import build_optimizer, learning_rate
from pellucid.training.recipe import OptimizerSettings, ScheduleSettings


def test_cosine_falls_from_the_peak_to_nearly_nothing():
    schedule = ScheduleSettings(name="cosine", warmup=0.0)
    rates = [learning_rate(0.3, schedule, step, 100) for step in range(100)]
    expected = [0.15 * (1 + math.cos(math.pi * step / 100)) for step in range(100)]
    assert rates == pytest.approx(expected)
    assert rates[0] == 0.3
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.001


def test_warm_up_rises_in_equal_steps_and_never_starts_at_zero():
    schedule = ScheduleSettings(name="constant", warmup=0.1)
    rates = [learning_rate(1.0, schedule, step, 100) for step in range(100)]
    assert rates[0] > 0
    np.testing.assert_allclose(np.diff(rates[:11]), rates[0], rtol=1e-9)
    assert rates[10:] == [1.0] * 90


def test_steps_fall_at_their_milestones():
    schedule = ScheduleSettings(name="step", warmup=0.0, milestones=(0.5, 0.75), gamma=0.1)
    rates = [learning_rate(1.0, schedule, step, 8) for step in range(8)]
    assert rates == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_the_loop_follows_the_schedule(phantom, tmp_path):
    rates = []
    watch = register_optimizer_step_pre_hook(lambda o, *_: rates.append([g["lr"] for g in o.param_groups]))
    run(phantom, tmp_path / "run", "optimizer.lr=0.5", "schedule.warmup=0.0", name="standard")
    watch.remove()
    expected = [0.25 * (1 + math.cos(math.pi * step / 8)) for step in range(8)]
    np.testing.assert_allclose(rates, np.stack([expected, expected], axis=1))


def test_step_seeds_repeat_and_differ():
    assert step_seed(3, 5, 0) == step_seed(3, 5, 0)
    seeds = {step_seed(seed, step, rank) for seed in range(5) for step in range(200) for rank in range(3)}
    assert len(seeds) == 5 * 200 * 3
    assert all(0 <= s < 2**63 for s in seeds)
    torch.manual_seed(max(seeds))  # torch takes it


def test_weight_decay_is_kept_off_norms_and_biases(phantom):
    net = build_classifier(load_recipe("standard", SMALL).model, phantom["train"])
    groups = build_optimizer(net, OptimizerSettings(weight_decay=0.3)).param_groups
    decayed = {id(p) for g in groups if g["weight_decay"] == 0.3 for p in g["params"]}
    names = {name for name, p in net.named_parameters() if id(p) in decayed}
    assert names == {name for name, p in net.named_parameters() if p.ndim > 1}
    assert "head.weight" in names
    assert "head.bias" not in names
    assert sum(len(g["params"]) for g in groups) == len(list(net.parameters()))
