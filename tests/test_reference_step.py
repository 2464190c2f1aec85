"""Whole training steps of the Woods et al. 2019 recipes beside a transcription of the published arithmetic."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from helpers import woods2019 as by_hand
from pellucid.models import create_model
from pellucid.training import Objective, load_recipe
from pellucid.training.distributed import BatchRandom
from pellucid.training.optimization import build_optimizer
from pellucid.types import Batch

CLASSES = 10
STEPS = 3
COUNT = 12
TARGET = 2.3  # of the loss: within reach of a network that has learned nothing
SMALL = ["model.options.widths=[4, 6]", "model.options.blocks=[1, 1]", "model.options.strides=[1, 2]"]


def batches():
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(STEPS, COUNT, 3, 8, 8, generator=generator, dtype=torch.float64)
    return images, torch.randint(CLASSES, (STEPS, COUNT), generator=generator)


def ours(recipe, start):
    """The parameters, and the parts of the objective, after each step; from the state `start` in float64."""
    net = created(recipe)
    net.load_state_dict(start)
    objective = Objective(net.train(), recipe.objective, torch.arange(CLASSES).repeat(5))
    optimizer = build_optimizer(objective, recipe.optimizer)
    found = []
    for step, (images, labels) in enumerate(zip(*batches(), strict=True)):
        total, parts = objective(Batch(images, labels, torch.arange(COUNT)), random=BatchRandom(step))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        found.append(({k: v.clone() for k, v in net.state_dict().items()}, {k: float(v) for k, v in parts.items()}))
    return found


def created(recipe):
    options = {"classes": list("abcdefghij"), "task": "multiclass", "in_channels": 3, "size": 32}
    return create_model("resnet44", **options, **recipe.model.options).double()


def started(recipe):
    """A network as the recipe makes it; but its blocks do something."""
    torch.manual_seed(1)
    net = created(recipe)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if name.endswith("conv2.weight"):
                p.normal_(std=0.1)  # they start at zero: then most of the block would not be looked at
    return net.state_dict()


def by_the_paper(recipe_name, start, *, attack=None):
    """As `ours`, in plain torch: the images of a step attacked, fed, penalised; ψ; SGD."""
    robust = recipe_name in ("woods2019-robust", "woods2019-all")
    act = by_hand.half_huber if robust else F.relu
    p = {
        k: v.clone().requires_grad_()
        for k, v in start.items()
        if not k.endswith(("running_mean", "running_var", "tracked"))
    }
    integral, momenta, found = 0.0, {}, []
    for step, (images, labels) in enumerate(zip(*batches(), strict=True)):
        chance = BatchRandom(step)
        attacked = (
            chance.uniform(COUNT) < 0.5 if recipe_name == "woods2019-all" else torch.ones(COUNT, dtype=torch.bool)
        )
        if attack is not None:
            where = attacked.view(-1, 1, 1, 1)
            moved = by_hand.algorithm_1(
                lambda x: by_hand.network(p, torch.where(where, x, images), act),  # noqa: B023
                images,
                lambda z: F.cross_entropy(z, labels, reduction="none"),  # noqa: B023
                (lambda z, d, b: z.argmax() != labels[b])  # noqa: B023
                if attack["smallest"]
                else (lambda z, d, b: d.square().mean().sqrt() >= attack["size"]),
                steps=7,
                **attack,
            )
            fed = torch.where(where, moved, images).requires_grad_()
        else:
            moved, fed = images, images.clone().requires_grad_()
        logits = by_hand.network(p, fed, act)
        loss = F.cross_entropy(logits, labels)
        parts = {"loss": float(loss.detach()), "attacked": int((moved != images).flatten(1).any(1).sum())}
        total = loss
        if robust:
            integral, psi = by_hand.controller(integral, parts["loss"], target=TARGET)
            value = by_hand.penalty(logits, fed, labels, chance.uniform(COUNT, CLASSES), chance.uniform(COUNT))
            parts |= {"psi": psi, "penalty": float(value.detach())}
            total = loss + psi * value
        gradients = dict(zip(p, torch.autograd.grad(total, list(p.values())), strict=True))
        by_hand.sgd(p, gradients, momenta)
        found.append(({k: v.detach().clone() for k, v in p.items()}, parts))
    return found


ATTACKS = {
    "woods2019-robust": None,
    "woods2019-adversarial": {"size": 0.01, "smallest": False},
    "woods2019-all": {"size": 0.1, "smallest": True},
}


@pytest.mark.parametrize("name", list(ATTACKS))
def test_three_steps_are_those_of_the_paper(name):
    overrides = list(SMALL)
    if name != "woods2019-adversarial":
        penalty = "objective.gradient_penalty"
        overrides += [f"{penalty}.method=exact", f"{penalty}.adaptive.target_loss={TARGET}"]
    recipe = load_recipe(name, overrides)
    start = started(recipe)
    expected, found = by_the_paper(name, start, attack=ATTACKS[name]), ours(recipe, start)
    for (theirs, told), (mine, parts) in zip(expected, found, strict=True):
        for key, tensor in theirs.items():
            torch.testing.assert_close(mine[key], tensor, rtol=1e-5, atol=1e-6, msg=key)
        assert parts.get("loss_task", parts.get("loss_adversarial")) == pytest.approx(told["loss"], rel=1e-5)
        if "psi" in told:
            assert parts["penalty_weight"] == pytest.approx(told["psi"], rel=1e-6)
            assert parts["gradient_penalty"] == pytest.approx(told["penalty"], rel=1e-5)
    moved = max(float((found[-1][0][k] - start[k]).abs().max()) for k in expected[0][0])
    assert moved > 0.01  # so that 1e-6 is near
    if name == "woods2019-all":
        assert 0 < sum(told["attacked"] for _, told in expected) < STEPS * COUNT
    if name != "woods2019-adversarial":
        assert len({told["psi"] for _, told in expected}) > 1  # ψ moves
