"""Answers under attack: label by label, whatever the scale of the logits, with what they cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pellucid.attacks import BoundedAttack, Epsilon
from pellucid.attacks.under_attack import (
    AnswersUnderAttack,
    answers_after_ascent,
    answers_under_attack,
    check_steps,
    costs,
    masked_gradients,
)
from pellucid.types import InputError

THRESHOLDS = [0.5, 0.4, 0.7]


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(90, 166, (12, 3, 4, 4), dtype=np.uint8)


def network(task: str, by: float = 1.0) -> nn.Module:
    """A linear classifier, whose nearest boundaries are known; `by` multiplies its logits."""
    layer = nn.Linear(48, 3)
    generator = torch.Generator().manual_seed(0)
    layer.weight.data.normal_(generator=generator)
    layer.weight.data -= layer.weight.data.mean(1, keepdim=True)
    layer.bias.data.zero_()
    for parameter in layer.parameters():
        parameter.data *= by
    net = nn.Sequential(nn.Flatten(), layer)
    net.task = task
    return net


def logits_of(net, pixels):
    with torch.no_grad():
        return net(torch.from_numpy(pixels).float() / 255)


def test_each_label_falls_where_its_own_threshold_is_near(pixels):
    net = network("multilabel")
    clean = logits_of(net, pixels).double().numpy()
    chance = 1 / (1 + np.exp(-clean))
    right = chance >= THRESHOLDS
    targets = np.where(np.arange(3) == 1, ~right, right).astype(np.float32)  # the second label is wrong from the start
    targets[::5, 0] = np.nan
    weight = net[1].weight.detach().double().numpy()
    cut = np.log(np.array(THRESHOLDS) / (1 - np.array(THRESHOLDS)))
    distance = np.abs(clean - cut) / np.abs(weight).sum(1)  # L∞, to each label's boundary
    size = float(np.median(distance[:, 0]))
    answers = answers_under_attack(net, pixels, targets, BoundedAttack(linf=size), thresholds=THRESHOLDS, batch_size=9)
    wrong = (1 / (1 + np.exp(-answers.logits.astype(np.float64))) >= THRESHOLDS) != (targets == 1)
    clear = np.abs(distance / size - 1) > 0.01
    unknown = np.isnan(targets)
    for label in (0, 2):
        rows = clear[:, label] & ~unknown[:, label]
        assert (wrong[rows, label] == (distance[rows, label] < size)).all()
        assert 0 < wrong[rows, label].sum() < rows.sum()
    assert wrong[:, 1].all()
    assert (answers.radius[:, 1] == 0).all()
    np.testing.assert_array_equal(np.isnan(answers.radius), ~wrong | unknown)
    assert np.nanmax(answers.radius) <= size * (1 + 1e-5)  # a root mean square is at most the largest change
    np.testing.assert_allclose(answers.logits[unknown], clean[unknown], atol=1e-5)
    again = AnswersUnderAttack(**answers.arrays())
    assert costs(BoundedAttack(linf=size), again)["gradient_evaluations_per_image"] >= 10


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_no_scale_of_the_logits_hides_what_falls(pixels, task):
    """Cross entropy loses its gradient in float32 where logits are large; margins do not."""
    plain = network(task)
    clean = logits_of(plain, pixels)
    targets = clean.argmax(1).numpy() if task == "multiclass" else (clean > 0).float().numpy()
    size = Epsilon(linf=0.012)

    def decisions(logits):
        return logits.argmax(1) if task == "multiclass" else logits > 0

    walked = [
        decisions(answers_after_ascent(network(task, by), pixels, targets, size, steps=6))
        for by in (1.0, 2.0**-10, 2.0**10)
    ]
    changed = (walked[0] != decisions(clean.numpy())).mean()
    assert 0.1 < changed < 0.9
    for other in walked[1:]:
        np.testing.assert_array_equal(other, walked[0])
    if task == "multiclass":
        pgd = answers_under_attack(network(task, 2.0**10), pixels, targets, BoundedAttack.of("pgd:linf=0.012"))
        assert (decisions(pgd.logits) != targets).mean() < changed


def test_losses_raised_count_their_steps(pixels):
    net = network("multiclass")
    targets = logits_of(net, pixels).argmax(1).numpy()
    by_name = {name: answers_under_attack(net, pixels, targets, BoundedAttack(l2=0.3, method=name), steps=5)
               for name in ("pgd", "fgsm")}  # fmt: skip
    assert by_name["pgd"].gradient_evaluations.tolist() == [5] * 12
    assert by_name["fgsm"].gradient_evaluations.tolist() == [1] * 12
    wrong = by_name["pgd"].logits.argmax(1) != targets
    np.testing.assert_array_equal(np.isnan(by_name["pgd"].radius), ~wrong)
    assert np.nanmax(by_name["pgd"].radius) <= 0.3 / np.sqrt(48) * (1 + 1e-5)


def test_random_search_that_alone_succeeds_is_said():
    nothing = np.zeros(3, dtype=np.int64)
    quiet = AnswersUnderAttack(np.zeros((3, 2), dtype=np.float32), nothing, nothing, np.zeros(3), nothing)
    assert masked_gradients("L∞ 0.01", quiet) == []
    loud = AnswersUnderAttack(**quiet.arrays() | {"masked": np.array([0, 1, 1])})
    assert "random search alone changed 2 decisions" in masked_gradients("L∞ 0.01", loud)[0]


def test_steps_that_no_attack_takes_are_refused():
    check_steps([BoundedAttack.of("pgd:linf=0.01")], 3)
    check_steps([BoundedAttack(linf=0.01)], None)
    with pytest.raises(InputError, match="only PGD takes a number of steps"):
        check_steps([BoundedAttack(linf=0.01)], 3)
    with pytest.raises(InputError, match="at least 1; found 0"):
        check_steps([BoundedAttack.of("pgd:linf=0.01")], 0)


@pytest.mark.parametrize("attack", ["pgd:linf=1/255", "fgsm:linf=1/255", "margin:linf=1/255", "autoattack:linf=1/255"])
@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_answers_that_are_no_numbers_are_refused_or_stay_so(pixels, attack, task):
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.tensor(torch.nan))

        def forward(self, images):
            return images.mean((1, 2, 3))[:, None] * self.factor * torch.ones(2)

    count = len(pixels)
    targets = np.zeros(count, np.int64) if task == "multiclass" else np.zeros((count, 2), np.float32)
    if attack.startswith(("pgd", "fgsm")):
        assert np.isnan(answers_under_attack(Broken(), pixels, targets, BoundedAttack.parse(attack)).logits).all()
        return
    with pytest.raises(InputError, match="an attack needs numbers"):
        answers_under_attack(Broken(), pixels, targets, BoundedAttack.parse(attack))
