"""The weak-attack alarm: loud for a crippled attack, silent for an optimal one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from pellucid.attacks import Misclassified, label_flipped, minimal, worse_than_random
from pellucid.attacks.attack_strength import check_attack_strength, choose
from pellucid.types import InputError


def linear(classes=2, pixels=16, scale=1.0, seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(pixels, classes))
    net[1].weight.data.normal_().mul_(scale)
    net[1].bias.data.zero_()
    return net


def conv(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(8 * 64, 3),
    )  # fmt: skip


def attacked(net, count=24, side=4):
    """Images in the middle of the pixel range, their classes, and the exact distance to the other class."""
    torch.manual_seed(1)
    images = 0.5 + 0.02 * torch.randn(count, 1, side, side)
    labels = net(images).argmax(1)
    return images, labels


def closed_form(net, images, labels):
    """Distance to the hyperplane between two classes, root mean square per pixel."""
    weight = net[1].weight[0] - net[1].weight[1]
    margin = (net(images)[:, 0] - net(images)[:, 1]).abs().detach()
    return margin / weight.norm().detach() / math.sqrt(images[0].numel())


@pytest.mark.parametrize("box", [True, False])
def test_silent_where_the_radii_are_the_smallest_there_are(box):
    net = linear()
    images, labels = attacked(net)
    radius = closed_form(net, images, labels)
    assert 0 < radius.max() < 0.3  # the box is not in the way
    quiet = check_attack_strength(
        net, images, Misclassified(labels), radius, largest=float(radius.max()), method="x", box=box
    )
    assert (quiet.n, quiet.better, quiet.message) == (24, 0, None)
    # and PGD is not too weak to see anything: a tenth more, and it sees all of them
    loud = check_attack_strength(net, images, Misclassified(labels), radius * 1.1, largest=1.0, method="x", box=box)
    assert loud.better == 24
    assert 0.04 < loud.largest < 0.1


def test_loud_for_a_crippled_attack_and_says_how_much():
    net = conv()
    images, labels = attacked(net, side=8)
    criterion = Misclassified(labels)
    weak = minimal(net, images, criterion, method="woods2019", steps=3)
    alarm = check_attack_strength(
        net, images, criterion, weak.radius, largest=float(weak.radius.nanmean()), method="woods2019"
    )
    assert alarm.better > 12
    assert f"better than woods2019 on {alarm.better} of 24" in alarm.message
    assert f"by up to {100 * alarm.largest:.0f} %" in alarm.message
    assert alarm.to_json()["message"] == alarm.message


class Valleys(nn.Module):
    """Two wrong classes: the gradient at the image leads to one, the nearer way to be unsure leads to the other."""

    task = "multiclass"

    def forward(self, images):
        first, second = images.flatten(1)[:, 0] - 0.5, images.flatten(1)[:, 1] - 0.5
        # along the first value the other class rises at once and never far enough, along the second late and steeply
        return torch.stack([2 * torch.ones_like(first), 3 * first, 60 * (second - 0.05).relu() + 0.1 * second - 4], 1)


def test_worse_than_random_is_tried_by_way_of_each_class():
    net, images = Valleys(), torch.full((2, 1, 2, 2), 0.5)
    criterion = worse_than_random(torch.zeros(2, dtype=torch.int64), 3)
    loose = torch.full((2,), 0.2)
    alarm = check_attack_strength(net, images, criterion, loose, largest=0.2, method="x", advice="Look again.")
    assert alarm.better == 2
    assert alarm.message.endswith("Look again.")
    moved = torch.tensor(alarm.radius)
    assert (moved <= 0.95 * 0.2 * (1 + 1e-6)).all()


@pytest.mark.parametrize("largest", [0.3, math.nan])
def test_loud_where_an_attack_found_nothing_that_is_there(largest):
    net = linear()
    images, labels = attacked(net)
    nothing = torch.full((24,), math.nan)
    alarm = check_attack_strength(net, images, Misclassified(labels), nothing, largest=largest, method="x")
    assert alarm.better == alarm.unfound == 24
    assert alarm.largest == 0
    assert "24 where it had found nothing" in alarm.message


def test_a_label_of_a_multilabel_network_is_tried_both_ways():
    net = linear(3)
    net.task = "multilabel"
    images, _ = attacked(net)
    label = torch.arange(24) % 3
    present = net(images).gather(1, label[:, None]).squeeze(1) > 0
    assert 0 < present.sum() < 24
    criterion = label_flipped(label, present, [0.5] * 3)
    logits = net(images).gather(1, label[:, None]).squeeze(1).detach().abs()
    exact = logits / net[1].weight.detach().norm(dim=1)[label] / 4
    assert check_attack_strength(net, images, criterion, exact, largest=1.0, method="x").better == 0
    assert check_attack_strength(net, images, criterion, 1.1 * exact, largest=1.0, method="x").better == 24


def test_the_box_is_kept_only_where_the_attack_kept_it():
    """White images of a net that only more white would change: in the box nothing helps."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    net[1].weight.data.copy_(torch.tensor([[-1.0] * 4, [1.0] * 4]))
    net[1].bias.data.copy_(torch.tensor([8.8, 0.0]))  # from class 0 to 1 where the four pixels sum to 4.4
    images, labels = torch.ones(3, 1, 2, 2), torch.zeros(3, dtype=torch.int64)
    for box, better in ((True, 0), (False, 3)):
        alarm = check_attack_strength(
            net, images, Misclassified(labels), torch.full((3,), 0.2), largest=1.0, method="x", box=box
        )
        assert alarm.better == better


def test_no_trace_on_the_network_and_the_same_again():
    net = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(16, 2)).train()
    images, labels = attacked(net)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    found = [
        check_attack_strength(
            net, images, Misclassified(labels), torch.full((24,), 0.2), largest=0.2, method="x", batch_size=b
        )
        for b in (24, 24)
    ]
    assert found[0].better > 0
    np.testing.assert_equal(found[0].radius, found[1].radius)
    assert net.training
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_the_sample_is_of_those_attacked_and_depends_on_the_seed_only():
    mask = torch.arange(200) % 3 == 0
    rows = choose(mask, seed=4)
    assert len(rows) == 32
    assert mask[rows].all()
    assert rows.tolist() == choose(mask, seed=4).tolist() != choose(mask, seed=5).tolist()
    assert choose(mask[:7]).tolist() == [0, 3, 6]


def test_numbers_that_differ_are_refused():
    net = linear()
    images, labels = attacked(net)
    with pytest.raises(InputError, match="23 radii"):
        check_attack_strength(net, images, Misclassified(labels), torch.ones(23), largest=1.0, method="x")
    with pytest.raises(InputError, match="images must lie in"):
        check_attack_strength(net, images * 9, Misclassified(labels), torch.ones(24), largest=1.0, method="x")
