"""The controller of the penalty's weight: published numbers, a trace by hand, and what it cannot reach."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

from helpers.training import run
from pellucid.training import Objective, TrainingError
from pellucid.training.objectives.losses import LOSSES, constant_loss
from pellucid.training.objectives.penalty_weight import AdaptiveSettings, AdaptiveWeight, target_of
from pellucid.training.recipe import ObjectiveSettings
from pellucid.types import InputError

PENALTY = "objective.gradient_penalty.{}"
ADAPTIVE = PENALTY.format("adaptive.{}")


def controller(**settings):
    return AdaptiveWeight(220.0, 1.5, AdaptiveSettings(**settings))


@pytest.mark.parametrize(("integral", "psi"), [(208.512023, 14240), (251.697416, 33778)])
def test_the_weights_that_the_authors_networks_ended_with(integral, psi):
    weight = controller(gain=0.02)
    weight.restore(integral)
    assert int(weight.weight) == psi  # published without decimals
    assert weight.state() == integral


def test_a_trace_by_hand():
    """−ln(L / 1.5), cut to −0.01 … 1; the sum never below 0; ψ = 220 e^(0.02 I)."""
    trace = [  # loss, integral after it
        (2.3026, 0.0),  # above the target: 0 − 0.01 would be negative
        (0.75, 0.693147),  # ln 2
        (0.15, 1.693147),  # ln 10 = 2.3026, cut to 1
        (1.5, 1.693147),  # at the target
        (3.0, 1.683147),  # −ln 2 = −0.69, cut to −0.01
        (1.507, 1.678491),  # −ln(1.507 / 1.5) = −0.004656, not cut
        (1.0, 2.083956),  # ln 1.5 = 0.405465
        (100.0, 2.073956),
        (0.0, 3.073956),  # ln ∞, cut to 1
        (1.4, 3.142949),  # ln(1.5 / 1.4) = 0.068993
    ]
    weight = controller()
    assert float(weight.weight) == 220
    for loss, integral in trace:
        psi = weight.update(torch.tensor(loss, requires_grad=True))
        assert not psi.requires_grad
        assert weight.state() == pytest.approx(integral, abs=2e-6)
        assert float(psi) == pytest.approx(220 * math.exp(0.02 * integral), rel=1e-6)
    again = controller()
    again.restore(weight.state())
    assert float(again.update(torch.tensor(1.0))) == float(weight.update(torch.tensor(1.0)))


def test_other_limits_and_gain():
    weight = controller(gain=0.5, rise=0.25, fall=0.125)
    found = [float(weight.update(torch.tensor(loss))) for loss in (0.1, 0.1, 9.0)]
    assert found == pytest.approx([220 * math.exp(0.5 * i) for i in (0.25, 0.5, 0.375)])


def test_the_target_is_a_share_of_the_constant_loss_or_itself():
    assert target_of(AdaptiveSettings(), math.log(10)) == pytest.approx(1.5, abs=1e-4)
    assert target_of(AdaptiveSettings(target_share=0.5), 0.8) == pytest.approx(0.4)
    assert target_of(AdaptiveSettings(target_share=0.5, target_loss=0.7), 0.8) == 0.7


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy", "weighted_cross_entropy"])
def test_the_constant_loss_is_the_smallest_that_a_constant_has(name):
    rng = np.random.default_rng(0)
    if name == "cross_entropy":
        targets = torch.from_numpy(rng.choice(3, 40, p=[0.6, 0.3, 0.1]))
    else:
        labels = (rng.random((40, 3)) < [0.1, 0.3, 0.7]).astype(np.float32)
        labels[rng.random((40, 3)) < 0.3] = np.nan
        targets = torch.from_numpy(labels)

    def loss(logits):
        constant = torch.from_numpy(logits).expand(len(targets), -1)
        return float(LOSSES[name](constant, targets, None).double().sum())

    found = minimize(loss, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-9, "maxiter": 5000})
    assert constant_loss(name, targets, 3) == pytest.approx(found.fun, rel=1e-5)


class Guess(nn.Module):
    task, classes = "multiclass", tuple("abcd")


@pytest.mark.parametrize("target", [1.3863, 2.0])
def test_a_target_that_a_constant_reaches_is_refused(target):
    def made(loss):
        values = {"gradient_penalty": {"adaptive": {"target_loss": loss}}}
        return Objective(Guess(), ObjectiveSettings.model_validate(values), torch.arange(4))

    assert made(1.3).weight.target == 1.3
    with pytest.raises(InputError) as caught:
        made(target)
    for part in (f"aims at a loss of {target:.4g}", "constant prediction has 1.386", "target_"):
        assert part in str(caught.value)


def test_labels_of_one_kind_leave_no_target():
    values = {"gradient_penalty": {"adaptive": {}}}
    with pytest.raises(InputError, match="constant prediction has 0"):
        Objective(Guess(), ObjectiveSettings.model_validate(values), torch.zeros(4, dtype=torch.int64))


def test_a_weight_that_overflows_ends_in_words(phantom, tmp_path, monkeypatch):
    real = Objective.losses  # a loss that is far below its target whatever the penalty does
    monkeypatch.setattr(Objective, "losses", lambda self, *args: real(self, *args) * 1e-12)
    overrides = [ADAPTIVE.format("gain=1.0"), ADAPTIVE.format("rise=100.0"), PENALTY.format("weight=1e-3")]
    with pytest.raises(TrainingError) as caught:
        run(phantom, tmp_path / "run", *overrides, name="standard")
    for part in ("weight of the gradient penalty overflowed", "adaptive.target_share", "epoch 1"):
        assert part in str(caught.value)


def test_a_loss_that_is_not_a_number_is_not_blamed_on_the_weight(phantom, tmp_path, monkeypatch):
    real = Objective.losses
    monkeypatch.setattr(Objective, "losses", lambda self, *args: real(self, *args) * math.nan)
    with pytest.raises(TrainingError, match=r"Lower optimizer\.lr"):
        run(phantom, tmp_path / "run", ADAPTIVE.format("gain=0.02"), name="standard")


def test_a_target_out_of_reach_is_said_after_the_first_epoch(phantom, tmp_path):
    target = ADAPTIVE.format("target_share=0.01")
    with pytest.warns(UserWarning, match="hardly ever below its target") as said:
        made = run(phantom, tmp_path / "run", target, PENALTY.format("weight=1e-3"), name="standard")
    (message,) = [str(w.message) for w in said if "hardly ever" in str(w.message)]  # once, not every epoch
    constant = constant_loss("binary_cross_entropy", torch.from_numpy(phantom["train"].targets))
    for part in (f"{0.01 * constant:.4g}", f"a constant guess has {constant:.4g}", "0.001", "adaptive.target_share"):
        assert part in message
    assert [row["penalty_weight_at_end"] for row in made.metrics()] == [1e-3, 1e-3]


def test_a_weight_that_is_still_rising_is_said_at_the_end(phantom, tmp_path, monkeypatch):
    real = Objective.losses  # a loss that is far below its target whatever the penalty does
    monkeypatch.setattr(Objective, "losses", lambda self, *args: real(self, *args) * 0.1)
    overrides = [ADAPTIVE.format("target_share=0.65"), PENALTY.format("weight=1e-3")]
    with pytest.warns(UserWarning, match="still rising at the end") as said:
        run(phantom, tmp_path / "run", *overrides, name="standard")
    (message,) = [str(w.message) for w in said if "still rising" in str(w.message)]
    assert "Start from a larger objective.gradient_penalty.weight than 0.001" in message
