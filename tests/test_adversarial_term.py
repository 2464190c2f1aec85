"""The adversarial images of a training step: Algorithm 1 beside its transcription, shares of a batch, and no trace."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from helpers.woods2019 import algorithm_1, half_huber, network
from pellucid.models import create_model
from pellucid.training.distributed import BatchRandom, Processes
from pellucid.training.objectives.adversarial_term import AttackSettings, perturb
from pellucid.types import InputError
from pellucid.utils.settings import validate

COUNT = 10
LABELS = torch.arange(COUNT) % 4
nan = math.nan


def small(task="multiclass", *, training=True):
    """A network with running statistics of its own, whose logits spread."""
    torch.manual_seed(0)
    net = create_model(
        "resnet44",
        classes=list("abcd"),
        task=task,
        in_channels=3,
        size=32,
        widths=[4, 6],
        blocks=[1, 1],
        strides=[1, 2],
        activation="half-huber",
    )
    with torch.no_grad():
        for name, p in net.named_parameters():
            if name.endswith("conv2.weight"):
                p.normal_(std=0.2)
            if name == "head.weight":
                p.mul_(4)
        net.train()(some_images(seed=9) * 0.9)
    return net.double().train(training)


def some_images(seed=1):
    return torch.rand(COUNT, 3, 12, 12, generator=torch.Generator().manual_seed(seed))


IMAGES = some_images().double()


def attacked(net, settings, *, seed=0, targets=LABELS, constant=None, processes=None, images=IMAGES):
    multilabel = targets.is_floating_point()

    def losses(logits, known):
        if not multilabel:
            return F.cross_entropy(logits, known, reduction="none")
        found = F.binary_cross_entropy_with_logits(logits, known.nan_to_num(0), reduction="none")
        return (found * ~known.isnan()).sum(1)

    return perturb(
        net,
        images,
        targets,
        AttackSettings.model_validate(settings),
        task="multilabel" if multilabel else "multiclass",
        losses=losses,
        random=BatchRandom(seed, processes),
        constant=constant,
    )


L2 = {"method": "woods2019", "size": {"rms": 0.02}, "steps": 7, "box": False}
L2_MIN = {"method": "woods2019-min", "size": {"rms": 0.1}, "steps": 7, "box": False}
PGD = {"method": "pgd", "size": {"linf": 0.03}, "steps": 2}


@pytest.mark.parametrize("batch_norm", ["eval", "train"])
@pytest.mark.parametrize("box", [False, True])
@pytest.mark.parametrize("settings", [L2, L2_MIN], ids=["L2", "L2 min"])
def test_algorithm_1_is_the_papers(settings, batch_norm, box):
    net = small()
    parameters = {k: v.detach() for k, v in net.named_parameters()}
    statistics = {k: v.clone() for k, v in net.named_buffers()} if batch_norm == "eval" else None
    smallest, size = settings is L2_MIN, settings["size"]["rms"]
    expected = algorithm_1(
        lambda x: network(parameters, x, half_huber, statistics=statistics),
        IMAGES,
        lambda z: F.cross_entropy(z, LABELS, reduction="none"),
        (lambda z, d, b: z.argmax() != LABELS[b]) if smallest else (lambda z, d, b: d.square().mean().sqrt() >= size),
        size=size,
        steps=7,
        smallest=smallest,
        box=box,
    )
    found = attacked(net, settings | {"batch_norm": batch_norm, "box": box})
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    assert not found.requires_grad
    outside = bool(((found < 0) | (found > 1)).any())
    assert outside != box
    if smallest:  # some are wrong as they are, some become so, and each perturbation differs
        lengths = (found - IMAGES).square().mean((1, 2, 3)).sqrt()
        assert 0 < int((lengths > 0).sum()) < COUNT


def test_a_size_in_l2_is_the_same_walk():
    same = attacked(small(), L2 | {"size": {"l2": 0.02 * (3 * 12 * 12) ** 0.5}})
    torch.testing.assert_close(same, attacked(small(), L2))


@pytest.mark.parametrize("batch_norm", ["eval", "train"])
@pytest.mark.parametrize("settings", [L2, L2_MIN, PGD], ids=["L2", "L2 min", "pgd"])
def test_buffers_mode_and_gradients_are_left_as_they_were(settings, batch_norm):
    net = small()
    net.backbone.norm.eval()  # as where one of them is frozen
    before = {k: v.clone() for k, v in net.state_dict().items()}
    modes = [m.training for m in net.modules()]
    moved = attacked(net, settings | {"batch_norm": batch_norm})
    assert not torch.equal(moved, IMAGES)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert [m.training for m in net.modules()] == modes
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


@pytest.mark.parametrize("batch_norm", ["eval", "train"])
@pytest.mark.parametrize("settings", [L2, PGD], ids=["L2", "pgd"])
def test_a_share_of_the_images_is_attacked_and_the_others_are_bit_identical(settings, batch_norm):
    net, counted = small(), 0
    for seed in range(8):
        chosen = BatchRandom(seed).uniform(COUNT) < 0.5
        found = attacked(net, settings | {"share": 0.5, "batch_norm": batch_norm}, seed=seed)
        assert torch.equal((found != IMAGES).flatten(1).any(1), chosen)
        counted += int(chosen.sum())
    assert 25 <= counted <= 55  # of 80; their deviation is 4.5


def test_with_running_statistics_no_image_sees_another():
    whole = attacked(small(), L2)
    part = attacked(small(), L2 | {"share": 0.5}, seed=3)
    chosen = BatchRandom(3).uniform(COUNT) < 0.5
    torch.testing.assert_close(part[chosen], whole[chosen])


def test_nobody_drawn_leaves_the_batch_alone():
    assert torch.equal(attacked(small(), L2 | {"share": 1e-6}), IMAGES)


def test_two_processes_attack_the_images_that_one_would():
    net, settings = small(), L2 | {"share": 0.5}
    whole = attacked(net, settings, seed=5)
    halves = [
        attacked(
            net,
            settings,
            seed=5,
            processes=Processes(rank, 2),
            images=IMAGES[rank * 5 : rank * 5 + 5],
            targets=LABELS[rank * 5 : rank * 5 + 5],
        )
        for rank in range(2)
    ]
    torch.testing.assert_close(torch.cat(halves), whole)
    assert 0 < int((whole != IMAGES).flatten(1).any(1).sum()) < COUNT


CONSTANT = torch.tensor([0.3, 0.6, 0.0, nan])


def test_a_multilabel_image_moves_until_one_label_is_no_better_than_the_constant():
    torch.manual_seed(3)
    net = small("multilabel", training=False)
    targets = (torch.rand(COUNT, 4) < 0.5).double()
    targets[torch.rand(COUNT, 4) < 0.3] = nan
    targets[2] = nan
    moved = attacked(net, L2_MIN | {"size": {"rms": 0.3}, "steps": 20}, targets=targets, constant=CONSTANT, seed=4)
    chance = BatchRandom(4)
    chance.uniform(COUNT)
    draws = chance.uniform(COUNT, 4)
    level = [0.3, 0.6, 1e-6, 0.5]
    with torch.no_grad():
        before, after = net(IMAGES).sigmoid(), net(moved).sigmoid()
    counts = {"moved": 0, "kept": 0, "good": 0}
    for b in range(COUNT):
        known = [k for k in range(4) if not targets[b, k].isnan()]
        if not known:
            continue
        k = max(known, key=lambda label: float(draws[b, label]))
        sign = 1 if targets[b, k] == 1 else -1
        changed = not torch.equal(moved[b], IMAGES[b])
        if sign * (before[b, k] - level[k]) <= 0:
            assert not changed  # no better than the constant as it is
            counts["good"] += 1
        elif changed:
            assert sign * (after[b, k] - level[k]) <= 1e-9
            assert abs(float(after[b, k]) - level[k]) < abs(float(before[b, k]) - level[k])  # and hardly beyond it
            counts["moved"] += 1
        else:
            counts["kept"] += 1
    assert counts["moved"] >= 2
    assert counts["good"] >= 1


def test_images_without_success_stay_as_they_are():
    short = attacked(small(), L2_MIN | {"size": {"rms": 1e-7}})
    assert torch.equal(short, IMAGES)
    assert not torch.equal(attacked(small(), L2_MIN), IMAGES)


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        (L2 | {"size": {"linf": 0.01}}, ["walks in L2", "rms or l2", "linf"]),
        (L2_MIN | {"step_size": 0.1}, ["woods2019-min", "its own steps", "step_size"]),
        ({"method": "fgsm", "steps": 3}, ["fgsm takes one step", "steps = 3", "pgd"]),
        ({"method": "pgd", "box": False}, ["pgd stays in the pixel box"]),
        ({"share": 0}, ["share", "greater than 0", "found 0"]),
        ({"share": 1.5}, ["share", "less than or equal to 1", "found 1.5"]),
        ({"steps": 0}, ["steps", "greater than or equal to 1"]),
        ({"batch_norm": "both"}, ["batch_norm", "'eval' or 'train'", "'both'"]),
        ({"method": "woods"}, ["method", "'woods2019'", "'woods'"]),
    ],
)
def test_settings_that_cannot_work(settings, parts):
    with pytest.raises(InputError) as caught:
        validate(AttackSettings, settings, "recipe.toml")
    for part in ("recipe.toml", *parts):
        assert part in str(caught.value)
