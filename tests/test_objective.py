"""The training objective by hand: the mix of clean and adversarial loss, and the attack that the recipe names."""

from __future__ import annotations

import math

import pytest
import torch

from pellucid.training import Objective
from pellucid.training.distributed import BatchRandom
from pellucid.training.objectives import adversarial_term
from pellucid.training.recipe import ObjectiveSettings
from pellucid.types import Batch


class Stub(torch.nn.Module):
    """Logits that are 2 · the mean pixel; remembers what it was shown."""

    task = "multilabel"
    classes = ("a",)

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x)
        return 2 * x.mean((1, 2, 3), keepdim=False)[:, None]


@pytest.mark.parametrize(("mix", "shown"), [(1.0, [3]), (0.5, [6]), (0.25, [6]), (0.0, [3])])
def test_the_mix_by_hand(monkeypatch, mix, shown):
    images = torch.rand(3, 1, 4, 4)
    targets = torch.tensor([[1.0], [0.0], [math.nan]])
    moved = 1 - images
    calls = []

    def attack(classifier, x, y, *, loss, eps, step_size, random_start):
        calls.append((x, eps.value, random_start, float(loss(classifier(x), y))))
        net.seen.clear()
        return moved

    monkeypatch.setattr(adversarial_term, "fgsm", attack)
    net = Stub()
    objective = Objective(net, ObjectiveSettings(loss="weighted_cross_entropy", mix=mix), targets)
    total, parts = objective(Batch(images, targets, torch.arange(3)))

    def by_hand(x):  # one label 1 and one label 0: the sum of the two losses
        first, second = (2 * float(v.mean()) for v in x[:2])
        return math.log1p(math.exp(-first)) + math.log1p(math.exp(second))

    expected = mix * by_hand(images) + (1 - mix) * by_hand(moved)
    assert float(total) == pytest.approx(expected, rel=1e-5)
    assert [len(x) for x in net.seen] == shown  # clean and adversarial images go through in one batch
    assert len(calls) == (0 if mix == 1 else 1)
    if mix < 1:
        assert calls[0][1:3] == (0.005, True)
        assert calls[0][3] == pytest.approx(by_hand(images), rel=1e-5)  # the attack raises the same loss
        assert float(parts["loss_adversarial"]) == pytest.approx(by_hand(moved), rel=1e-5)
    if mix > 0:
        assert float(parts["loss_clean"]) == pytest.approx(by_hand(images), rel=1e-5)


@pytest.mark.parametrize(("method", "steps", "calls"), [("fgsm", 1, 1), ("pgd", 3, 3)])
def test_the_attack_of_the_recipe_is_the_one_that_runs(method, steps, calls):
    settings = ObjectiveSettings.model_validate(
        {"mix": 0, "attack": {"method": method, "steps": steps, "size": {"linf": 0.1}, "random_start": False}}
    )
    net = Stub()
    images, targets = torch.full((2, 1, 4, 4), 0.5), torch.tensor([[0.0], [1.0]])
    objective = Objective(net, settings, targets)
    found = objective.perturb(Batch(images, targets, torch.arange(2)), BatchRandom(0))
    assert len(net.seen) == calls
    torch.testing.assert_close(found[0], images[0] + 0.1)  # a larger logit is worse for label 0
    torch.testing.assert_close(found[1], images[1] - 0.1)
