"""Projected gradient ascent from several random starts."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from helpers import attack as example
from pellucid.attacks import Epsilon, Misclassified, RadiusReached, label_flipped, pgd
from pellucid.attacks.under_attack import task_loss
from pellucid.types import InputError

SIZE = Epsilon(l2=0.6)


@pytest.fixture(scope="module")
def scene():
    net, images = example.network(), example.pictures(12)
    with torch.no_grad():
        return net, images, net(images).argmax(1)


def attack(scene, restarts, *, seed=0, criterion=None, **options):
    net, images, labels = scene
    generator = torch.Generator().manual_seed(seed)
    return pgd(
        net,
        images,
        labels,
        loss=cross_entropy,
        eps=SIZE,
        steps=2,
        restarts=restarts,
        criterion=criterion or Misclassified(labels),
        generator=generator,
        **options,
    )


def test_each_image_gets_the_best_of_the_single_runs(scene):
    net, images, labels = scene
    generator = torch.Generator().manual_seed(0)
    runs = [pgd(net, images, labels, loss=cross_entropy, eps=SIZE, steps=2, generator=generator) for _ in range(5)]
    with torch.no_grad():
        margins = torch.stack([Misclassified(labels).margin(net(run)) for run in runs])
    best = margins.argmin(0)
    assert len(best.unique()) > 1  # no one run is the best for all
    chosen = attack(scene, 5)
    expected = torch.stack([runs[int(best[i])][i] for i in range(len(images))])
    torch.testing.assert_close(chosen, expected)


def test_one_that_meets_it_goes_before_one_that_comes_closer(scene):
    net, images, labels = scene

    class Odd(Misclassified):
        """Met by dark images only; its margin says something else."""

        def is_satisfied(self, logits, perturbation):
            return perturbation.mean((1, 2, 3)) < 0

        def margin(self, logits):
            return super().margin(logits)

    generator = torch.Generator().manual_seed(0)
    runs = [pgd(net, images, labels, loss=cross_entropy, eps=SIZE, steps=2, generator=generator) for _ in range(5)]
    dark = torch.stack([(run - images).mean((1, 2, 3)) < 0 for run in runs])
    with torch.no_grad():
        margins = torch.stack([Misclassified(labels).margin(net(run)) for run in runs])
    mixed = dark.any(0) & ~dark.all(0)
    assert mixed.any()
    expected = torch.where(dark | ~dark.any(0), margins, torch.inf).argmin(0)
    chosen = attack(scene, 5, criterion=Odd(labels))
    torch.testing.assert_close(chosen, torch.stack([runs[int(expected[i])][i] for i in range(len(images))]))


def test_more_restarts_break_no_fewer(scene):
    net, images, labels = scene
    wrong = []
    for restarts in (1, 4, 12):
        found = attack(scene, restarts)
        assert (found - images).flatten(1).norm(dim=1).max() <= SIZE.value * (1 + 1e-5)
        assert ((found >= 0) & (found <= 1)).all()
        wrong.append(net(found).argmax(1) != labels)
    assert (wrong[1] | ~wrong[0]).all()
    assert (wrong[2] | ~wrong[1]).all()


def test_labels_of_several_as_well():
    net, images = example.network(task="multilabel"), example.pictures(6)
    with torch.no_grad():
        present = net(images) > 0
    one = torch.zeros(6, dtype=torch.int64)
    criterion = label_flipped(one, present[:, 0], [0.5] * 4)
    found = pgd(net, images, present.float(), loss=task_loss, eps=Epsilon(l2=2.0), restarts=3, criterion=criterion)
    assert criterion.is_satisfied(net(found), found - images).any()


def test_each_restart_costs_its_steps_and_one_forward_pass(scene):
    net, images, labels = scene
    counting = example.Counting(net)
    pgd(counting, images, labels, loss=cross_entropy, eps=SIZE, steps=3)
    assert (counting.forward_rows, counting.backward_rows) == (3 * 12, 3 * 12)
    counting = example.Counting(net)
    options = {"restarts": 4, "criterion": Misclassified(labels)}
    pgd(counting, images, labels, loss=cross_entropy, eps=SIZE, steps=3, **options)
    assert (counting.forward_rows, counting.backward_rows) == (4 * 4 * 12, 4 * 3 * 12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"restarts": 2}, "a criterion is needed"),
        ({"restarts": 2, "random_start": False, "criterion": Misclassified(torch.zeros(12).long())}, "random start"),
        ({"restarts": 2, "criterion": Misclassified(torch.zeros(3).long())}, "speaks of 3 images; found 12"),
        ({"criterion": Misclassified(torch.zeros(3).long())}, "speaks of 3 images; found 12"),
        (
            {"restarts": 2, "criterion": RadiusReached(Misclassified(torch.zeros(12).long()), 0.1)},
            "RadiusReached lacks aims, margin",
        ),
        ({"restarts": 0}, "at least 1; found 2 and 0"),
        ({"steps": 0}, "at least 1; found 0 and 1"),
    ],
)
def test_bad_restarts_are_refused(scene, options, message):
    net, images, labels = scene
    with pytest.raises(InputError, match=message):
        pgd(net, images, labels, loss=cross_entropy, eps=SIZE, **{"steps": 2, **options})


def test_logits_that_are_no_numbers_are_refused(scene):
    _, images, labels = scene
    net = example.network()
    net.module[-1].bias.data[0] = torch.nan
    options = {"restarts": 2, "criterion": Misclassified(labels)}
    with pytest.raises(InputError, match="not finite"):
        pgd(net, images, labels, loss=cross_entropy, eps=SIZE, steps=1, **options)
