"""TRADES, noise, two sets of batch norm, and the penalty among them: each by hand."""

from __future__ import annotations

import math
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.models import small
from pellucid.models import create_model
from pellucid.models.dual_norm import DualBatchNorm2d
from pellucid.training import Objective
from pellucid.training.distributed import BatchRandom, Processes
from pellucid.training.objectives import objective
from pellucid.training.objectives.losses import LabelCounts, label_counts
from pellucid.training.recipe import ObjectiveSettings
from pellucid.types import Batch, InputError

LABELS = torch.tensor([2, 0, 1, 1])
MANY = torch.tensor([[1, 0, math.nan], [0, math.nan, 1], [math.nan] * 3, [1, 1, 0]])
IMAGES = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(0))


class Smooth(nn.Module):
    """No batch norm, curved; remembers what it was shown."""

    def __init__(self, task):
        super().__init__()
        torch.manual_seed(1)
        self.task, self.classes, self.seen = task, tuple("abc"), []
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 3)).double()

    def forward(self, x):
        self.seen.append(x.detach())
        return self.body(x.double())


def made(net, targets, **values):
    return Objective(net, ObjectiveSettings.model_validate(values), targets)


def batch(targets):
    return Batch(IMAGES, targets, torch.arange(4))


def softmax(z):
    e = [math.exp(v) for v in z]
    return [v / sum(e) for v in e]


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize("targets", [LABELS, MANY], ids=["multiclass", "multilabel"])
def test_trades_by_hand(targets):
    many = targets.is_floating_point()
    net = Smooth("multilabel" if many else "multiclass")
    attack = {"method": "pgd", "size": {"linf": 0.2}, "steps": 3}
    trades = made(net, targets, form="trades", beta=5.0, attack=attack)
    torch.manual_seed(2)
    total, parts = trades(batch(targets), random=BatchRandom(0))
    fed = net.seen[-1]
    assert len(fed) == 8
    assert torch.equal(fed[:4], IMAGES)
    moved = fed[4:]
    assert 0 < float((moved - IMAGES).abs().max()) <= 0.2 + 1e-6
    apart = []
    with torch.no_grad():
        clean, other = net(IMAGES), net(moved)
    for z, w in zip(clean.tolist(), other.tolist(), strict=True):
        if many:
            pairs = [(1 / (1 + math.exp(-a)), 1 / (1 + math.exp(-b))) for a, b in zip(z, w, strict=True)]
            apart.append(sum(kl((a, 1 - a), (b, 1 - b)) for a, b in pairs) / 3)
        else:
            apart.append(kl(softmax(z), softmax(w)))
    known = ~MANY.isnan()
    task = (
        F.binary_cross_entropy_with_logits(clean[known], MANY[known].double())
        if many
        else F.cross_entropy(clean, LABELS)
    )
    mean = sum(apart) / 4
    assert float(parts["divergence"]) == pytest.approx(mean, rel=1e-4)
    assert float(total.detach()) == pytest.approx(float(task) + 5 * mean, rel=1e-5)
    # the attack drives up the divergence: further than chance does
    with torch.no_grad():
        blind = net((IMAGES + 0.2 * torch.randn(IMAGES.shape).sign()).clamp(0, 1))
    assert mean > 2 * float(objective.divergence(clean, blind, net.task).mean())


def test_noise_changes_what_is_fed_and_nothing_else():
    net, targets = Smooth("multiclass"), LABELS.clone()
    noisy = made(net, targets, noise=0.5)
    torch.manual_seed(3)
    before = IMAGES.clone()
    total, _ = noisy(batch(targets))
    (fed,) = net.seen
    assert torch.equal(IMAGES, before)
    assert torch.equal(targets, LABELS)
    assert float(total.detach()) == pytest.approx(float(F.cross_entropy(net(fed), LABELS).detach()), rel=1e-6)
    many = torch.cat([noisy._forward_pass(IMAGES, LABELS).images - IMAGES for _ in range(50)])  # 7200 numbers
    assert float(many.std()) == pytest.approx(0.5, rel=0.03)
    assert abs(float(many.mean())) < 0.02
    assert float((IMAGES + many[:4]).max()) > 1  # not clipped


def test_noise_is_fed_and_the_penalty_looks_where_it_fell():
    net = Smooth("multiclass")
    noisy = made(net, LABELS, noise=0.5, gradient_penalty={"outputs": "all", "method": "exact", "weight": 1.0})
    _, parts = noisy(batch(LABELS))
    (fed,) = net.seen
    slopes = torch.func.vmap(torch.func.jacrev(lambda x: net.body(x[None].double())[0]))(fed)
    assert float(parts["gradient_penalty"]) == pytest.approx(float(slopes.square().mean().detach()), rel=1e-5)


OUTPUTS = {"random": {"tandem": 0.5}, "all": {}, "loss": {}, "projections": {}}


@pytest.mark.parametrize("outputs", OUTPUTS)
def test_with_a_mix_the_penalty_is_the_mean_over_both_kinds(monkeypatch, outputs):
    """Clean and adversarial images weigh the same, and each as much as where they are alone."""
    net = Smooth("multiclass")
    moved = 1 - IMAGES
    monkeypatch.setattr(objective, "perturb", lambda *a, **k: moved)
    settings = {"gradient_penalty": {"outputs": outputs, "method": "exact", "weight": 1.0, **OUTPUTS[outputs]}}
    mixed = made(net, LABELS, mix=0.25, **settings)
    total, parts = mixed(batch(LABELS), random=BatchRandom(1))

    chance = BatchRandom(1)  # the same draws, for eight images
    alone = made(net, LABELS.repeat(2), **settings)
    _, expected = alone(Batch(torch.cat([IMAGES, moved]), LABELS.repeat(2), torch.arange(8)), random=chance)
    assert float(parts["gradient_penalty"]) == pytest.approx(float(expected["gradient_penalty"]), rel=1e-6)
    clean, adversarial = (float(F.cross_entropy(net(x), LABELS).detach()) for x in (IMAGES, moved))
    whole = 0.25 * clean + 0.75 * adversarial + float(parts["gradient_penalty"])
    assert float(total.detach()) == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("outputs", ["random", "projections"])
def test_with_a_mix_two_processes_look_at_the_outputs_that_one_would(monkeypatch, outputs):
    net = Smooth("multiclass")
    monkeypatch.setattr(objective, "perturb", lambda _, images, *a, **k: 1 - images)
    settings = {"mix": 0.5, "gradient_penalty": {"outputs": outputs, "method": "exact", "weight": 1.0}}
    whole, _ = made(net, LABELS, **settings)(batch(LABELS), random=BatchRandom(1))
    halves = []
    for rank in range(2):
        rows = slice(2 * rank, 2 * rank + 2)
        part = Batch(IMAGES[rows], LABELS[rows], torch.arange(2))
        halves.append(made(net, LABELS, **settings)(part, random=BatchRandom(1, Processes(rank, 2)))[0])
    torch.testing.assert_close(torch.stack(halves).mean(), whole)


def test_the_attack_drives_up_the_loss_with_the_joint_balance(monkeypatch):
    """Weighted cross entropy: the balance is that of the labels of all processes, for the attack as well."""
    net = Smooth("multilabel")
    asked = []
    monkeypatch.setattr(
        objective, "perturb", lambda c, x, y, *a, losses, **k: asked.append(float(losses(c(x), y).sum().detach())) or x
    )
    mixed = made(net, MANY, loss="weighted_cross_entropy", mix=0.0)
    own = label_counts(MANY)
    joint = LabelCounts(own.positives * 3, own.negatives)
    mixed(batch(MANY), counts=joint)
    mixed(batch(MANY))
    for found, counts in zip(asked, (joint, own), strict=True):
        assert found == pytest.approx(float(mixed.losses(net(IMAGES), MANY, counts).sum().detach()))
    assert asked[0] != pytest.approx(asked[1], rel=0.01)


@contextmanager
def watched(net):
    """What each set of norms sees: the numbers of images, by set."""
    seen = {0: [], 1: []}
    first = next(m for m in net.modules() if isinstance(m, DualBatchNorm2d))
    handle = first.register_forward_pre_hook(lambda m, x: seen[m.which].append(x[0].detach().clone()))
    yield seen
    handle.remove()


@pytest.mark.parametrize("method", ["exact", "finite-difference"])
def test_two_sets_of_batch_norm(method):
    net = small(task="multiclass", batch_norms=2, activation="half-huber").train()
    images = torch.rand(4, 1, 32, 32) * 0.3
    pgd = {"method": "pgd", "size": {"linf": 0.1}, "steps": 2}
    penalty = {"method": method, "weight": 10.0, "outputs": "all"}
    settings = {"mix": 0.5, "attack": pgd, "gradient_penalty": penalty}
    duals = {k: m for k, m in net.named_modules() if isinstance(m, DualBatchNorm2d)}
    before = {k: v.clone() for k, v in net.state_dict().items()}
    objective = made(net, LABELS, **settings)
    objective.resolve_method(images[:1])  # whose pass is not to be counted
    with watched(net) as seen:
        total, parts = objective(Batch(images, LABELS, torch.arange(4)), random=BatchRandom(0))
    total.backward()
    stem = net.backbone.stem(net.normalise(images))
    for which in (0, 1):
        halves = {k: m.adversarial if which else m for k, m in duals.items()}
        for name, half in halves.items():
            old = before[f"{name}{'.adversarial' if which else ''}.running_mean"]
            assert not torch.equal(half.running_mean, old)
            assert half.weight.grad is not None
            assert int(half.num_batches_tracked) == 1  # one pass each, the penalty's second one uncounted
        first = next(iter(halves.values()))
        passed = seen[which][0 if which == 0 else 2]  # after the attack's two passes
        assert (torch.allclose(passed, stem, atol=1e-6)) == (which == 0)
        expected = 0.9 * 0 + 0.1 * passed.mean((0, 2, 3))
        torch.testing.assert_close(first.running_mean, expected, rtol=1e-4, atol=1e-6)
    assert float(parts["gradient_penalty"]) > 0
    assert {m.which for m in duals.values()} == {0}


@pytest.mark.parametrize("mix", [0.0, 1.0])
def test_a_set_of_batch_norm_that_would_never_be_trained_is_refused(mix):
    net = create_model("small", classes=list("abc"), task="multiclass", size=32, batch_norms=2)
    with pytest.raises(InputError, match=f"one set would never be trained: .* found mix = {mix:g}"):
        made(net, LABELS, mix=mix)
