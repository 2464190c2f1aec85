"""Insertion, deletion, pixel flipping and infidelity, against closed forms on linear networks and captum."""

from __future__ import annotations

import pytest
import torch
from captum.metrics import infidelity as captum_infidelity

from helpers.models import small
from helpers.trust import linear
from pellucid.evaluation.trust.faithfulness import (
    WAYS,
    blurred,
    cell_numbers,
    hottest_first,
    hottest_first_curve,
    mean_colour,
    random_ranks,
    replacement_curve,
)
from pellucid.evaluation.trust.infidelity import SharedAnswers, infidelity, random_squares, square_effects
from pellucid.types import InputError

SIDE = 6
TARGETS = torch.tensor([0, 1, 1])


def example(channels=1, side=SIDE):
    generator = torch.Generator().manual_seed(4)
    images = torch.rand(3, channels, side, side, generator=generator)
    weights = torch.randn(2, channels, side, side, generator=generator)
    return images, weights, linear(weights)


def parts(images, weights, end):
    """What each pixel adds to the target's logit, beyond what it is replaced with: (N, H, W)."""
    return ((images - end) * weights[TARGETS]).sum(1)


def closed_form(worth, start):
    """The curve when pixels go in falling order of their worth: (N, P + 1)."""
    gone = worth.flatten(1).sort(1, descending=True).values.cumsum(1)
    return start[:, None] - torch.cat([torch.zeros(len(gone), 1), gone], 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_true_order_of_a_linear_network_has_the_area_known_and_no_order_has_a_smaller_one(channels):
    images, weights, net = example(channels)
    end = mean_colour(images)
    worth = parts(images, weights, end)
    ranks = hottest_first(worth, cell_numbers(SIDE, SIDE))
    options = {"start": images, "end": end, "steps": SIDE**2, "scale": "logit"}
    curve = replacement_curve(net, images, TARGETS, ranks, **options)
    logit = (images * weights[TARGETS]).sum((1, 2, 3))
    expected = closed_form(worth, logit)
    torch.testing.assert_close(curve.score, expected.double(), atol=1e-4, rtol=1e-4)
    assert torch.allclose(curve.share[0], torch.linspace(0, 1, SIDE**2 + 1).double())
    areas = (expected[:, 1:] + expected[:, :-1]).mean(1) / 2
    torch.testing.assert_close(curve.area, areas.double(), atol=1e-4, rtol=1e-4)
    for seed in range(10):
        other = replacement_curve(net, images, TARGETS, random_ranks(3, cell_numbers(SIDE, SIDE), seed), **options)
        assert (other.area > curve.area).all()


def test_random_order_takes_half_of_what_there_is_on_average():
    """Each pixel is there half of the time, so the mean area is halfway from the image to nothing."""
    images, weights, net = example()
    end, cells = mean_colour(images), cell_numbers(SIDE, SIDE)
    areas = [
        replacement_curve(
            net, images, TARGETS, random_ranks(3, cells, s), start=images, end=end, steps=36, scale="logit"
        ).area
        for s in range(60)
    ]
    logits = [(x * weights[TARGETS]).sum((1, 2, 3)) for x in (images, end)]
    spread = parts(images, weights, end).flatten(1).norm(dim=1) / 60**0.5
    assert ((torch.stack(areas).mean(0) - (logits[0] + logits[1]) / 2).abs() < 3 * spread).all()


def test_the_true_map_beats_random_order_both_ways_and_its_negative_loses():
    images, weights, net = example()
    for way, better in (("deletion", -1), ("insertion", 1)):
        end = mean_colour(images) if better < 0 else blurred(images)
        worth = parts(images, weights, end)
        right, wrong = (hottest_first_curve(way, net, images, TARGETS, sign * worth).area for sign in (1, -1))
        assert (better * (right - wrong) > 0).all()


def test_insertion_is_deletion_read_backwards_on_a_linear_network():
    images, weights, net = example()
    dark = torch.zeros_like(images)
    worth = parts(images, weights, dark)
    ranks = hottest_first(worth, cell_numbers(SIDE, SIDE))
    options = {"steps": 36, "scale": "logit"}
    out = replacement_curve(net, images, TARGETS, ranks, start=images, end=dark, **options).score
    back = replacement_curve(net, images, TARGETS, ranks, start=dark, end=images, **options).score
    whole = (images * weights[TARGETS]).sum((1, 2, 3)).double()
    torch.testing.assert_close(out + back, whole[:, None].expand_as(out), atol=1e-4, rtol=1e-4)


def test_a_constant_map_is_undefined_and_ties_do_not_profit_from_their_place():
    images, _, net = example()
    flat = torch.ones(3, SIDE, SIDE)
    assert hottest_first_curve("deletion", net, images, TARGETS, flat).area.isnan().all()
    assert hottest_first_curve("insertion", net, images, TARGETS, flat).area.isnan().all()
    assert infidelity(square_effects(net, images, TARGETS), flat).isnan().all()
    ranks = hottest_first(flat, cell_numbers(SIDE, SIDE), seed=1)[0].flatten()
    assert sorted(ranks.tolist()) == list(range(36))
    assert ranks.tolist() != list(range(36))


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (17, 33)])
def test_sides_that_do_not_divide(size):
    cells = cell_numbers(*size, 4)
    assert cells.shape == size
    assert cells.unique().tolist() == list(range(min(4, size[0]) * min(4, size[1])))
    net = linear(torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(1)))
    images = torch.rand(1, 1, *size)
    curve = hottest_first_curve("deletion", net, images, torch.tensor([0]), torch.rand(1, *size))
    assert curve.share[0, 0] == 0
    assert curve.share[0, -1] == 1
    assert bool(curve.area.isnan()) == (size == (1, 1))  # one pixel is always the same everywhere


def test_probabilities_are_the_networks_own():
    net = small(task="multiclass")
    images = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    curve = hottest_first_curve("deletion", net, images, TARGETS, torch.rand(3, 32, 32))
    with torch.no_grad():
        expected = net(images).double().softmax(1).gather(1, TARGETS[:, None])[:, 0]
    torch.testing.assert_close(curve.score[:, 0], expected)
    assert curve.score.shape == (3, 17)


@pytest.mark.parametrize("channels", [1, 3])
def test_heat_that_adds_up_has_no_infidelity(channels):
    images, weights, net = example(channels)
    worth = parts(images, weights, mean_colour(images))
    effects = square_effects(net, images, TARGETS)
    assert infidelity(effects, worth).tolist() == pytest.approx([0.0] * 3, abs=1e-6)
    assert infidelity(effects, 17 * worth).tolist() == pytest.approx([0.0] * 3, abs=1e-6)
    assert infidelity(effects, -worth).tolist() == pytest.approx([1.0] * 3)


def test_infidelity_is_captums():
    net = small(task="multiclass")
    generator = torch.Generator().manual_seed(1)
    images, maps = (torch.rand(3, *shape, generator=generator) for shape in ((1, 32, 32), (32, 32)))
    masks = random_squares(20, 32, 32, seed=3)

    def remove(inputs):
        share = len(inputs) // 3  # captum repeats each image in a row, mask by mask
        pattern = masks.repeat(3, 1, 1)[:, None] if share == 20 else None
        base = images.mean((2, 3), keepdim=True).repeat_interleave(share, 0)
        return pattern.float(), torch.where(pattern, base, inputs)

    with torch.no_grad():
        theirs = captum_infidelity(
            net, remove, images, maps[:, None], target=TARGETS, n_perturb_samples=20, normalize=True
        )
        gone = torch.where(masks[:, None, None], images.mean((2, 3), keepdim=True), images).flatten(0, 1)
        effect = net(images)[range(3), TARGETS] - net(gone)[range(60), TARGETS.repeat(20)].view(20, 3)
    ours = infidelity(square_effects(net, images, TARGETS, masks=masks), maps)
    heat = torch.einsum("shw,nhw->sn", masks.float(), maps)
    positive = (heat * effect).sum(0) > 0
    assert positive.any()
    torch.testing.assert_close(
        (ours * effect.square().mean(0))[positive].float(), theirs[positive], rtol=1e-3, atol=1e-7
    )
    assert ours[~positive].tolist() == [1.0] * int((~positive).sum())


def test_no_effect_at_all_is_undefined():
    net = linear(torch.zeros(2, 1, SIDE, SIDE))
    effects = square_effects(net, torch.rand(3, 1, SIDE, SIDE), TARGETS)
    assert infidelity(effects, torch.rand(3, SIDE, SIDE)).isnan().all()


def test_squares_are_squares_of_places():
    masks = random_squares(40, 32, 48, seed=1)
    assert masks.any((1, 2)).all()
    assert int(masks.sum((1, 2)).max()) <= 16 * 24
    assert random_squares(2, 1, 1).all()
    assert torch.equal(masks, random_squares(40, 32, 48, seed=1))


def test_bad_input():
    images, _, net = example()
    ranks = random_ranks(3, cell_numbers(SIDE, SIDE))
    with pytest.raises(InputError, match="at least one step; found"):
        replacement_curve(net, images, TARGETS, ranks, start=images, end=images, steps=0)
    with pytest.raises(InputError, match=r"one map per image is needed, \(3, 6, 6\)"):
        infidelity(square_effects(net, images, TARGETS), torch.rand(3, 5, 6))
    with pytest.raises(InputError, match=r"masks \(S, 6, 6\)"):
        square_effects(net, images, TARGETS, masks=torch.ones(2, 5, 6, dtype=torch.bool))
    with pytest.raises(InputError, match="at least one place"):
        cell_numbers(4, 4, 0)


def test_blurring_keeps_the_range_and_takes_detail_away():
    images = torch.rand(2, 3, 9, 14, generator=torch.Generator().manual_seed(1))
    soft = blurred(images)
    assert soft.shape == images.shape
    assert float(soft.min()) >= 0
    assert soft.std() < 0.3 * images.std()


def test_what_no_order_changes_is_passed_once():
    """Of a curve of 5 points 3 images are passed for each of the N, and both ends are those that were handed in."""
    images, _, net = example()
    passed = []
    net.register_forward_pre_hook(lambda _, inputs: passed.append(len(inputs[0])))
    shared = SharedAnswers(net, images, TARGETS)
    maps = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    whole = {way: hottest_first_curve(way, net, images, TARGETS, maps, steps=4) for way in WAYS}
    assert sum(passed) == 2 * 5 * 3
    passed.clear()
    curves = {way: hottest_first_curve(way, net, images, TARGETS, maps, steps=4, ends=shared.ends[way]) for way in WAYS}
    assert sum(passed) == (3 + 2 * 3) * 3  # the image, its colour and its blur serve both ways, and all maps
    for way, curve in curves.items():
        torch.testing.assert_close(curve, whole[way])
