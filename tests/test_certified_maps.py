"""Certified heat maps: against cells whose smoothed radius is known in closed form, brute force, and the attack."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from helpers.models import draw_convolutions, small
from pellucid.evaluation import Bootstrap
from pellucid.evaluation.certified_maps.attack import attack_cells
from pellucid.evaluation.certified_maps.cells import cell_map, in_top, top_margin
from pellucid.evaluation.certified_maps.certificate import MapSmoothing, certified_cells, top_votes
from pellucid.evaluation.certified_maps.measure import CertifiedMaps, cell_maps, certify_maps
from pellucid.evaluation.certified_maps.summary import certified_summary
from pellucid.evaluation.robustness.certified import certify
from pellucid.report.pages.certified_maps import UNCERTAIN, certainty_picture
from pellucid.types import InputError, InputSpec

SIGMA = 0.02


class TwoPatches(nn.Module):
    """A linear network on grey images of 4 × 8, whose map has two cells: under noise their difference is Gaussian.

    The CAM of class 0 is w·(left half) and w·(right half).
    """

    task, classes, input_spec = "multiclass", ("a", "b"), InputSpec(1, 4, 8)

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(1, 1, 4, stride=4, bias=False)
        self.head = nn.Linear(1, 2, bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0)))
            self.head.weight.copy_(torch.tensor([[1.0], [-1.0]]))

    def forward(self, images):
        return self.head(self.features(images).mean((2, 3)))

    def at(self, distance):
        """An image whose left cell is hotter by so much that this L2 distance makes them equal."""
        kernel = self.features.weight[0].detach()
        normal = torch.cat([kernel, -kernel], 2)
        return 0.5 + distance * normal / normal.norm()


def settings(**changes):
    return MapSmoothing(**{"sigma": SIGMA, "grid": 2, "top": 0.5, **changes})


@pytest.mark.slow
@pytest.mark.parametrize("distance", [0.01, 0.03, 0.05, -0.03])
def test_certificate_and_attack_enclose_the_radius_of_a_linear_network(distance):
    """The smoothed map's cells change places exactly where the map's do: at `distance`, a closed form."""
    net, smoothing = TwoPatches(), settings(samples=4000, attack_draws=16)
    maps = certify_maps(
        cell_maps(net, ["cam"], smoothing)["cam"], net.at(distance)[None], torch.tensor([0]), ["x"], smoothing
    )
    true = abs(distance)
    assert maps.shape == (1, 2)
    assert maps.inside[0].tolist() == [distance > 0, distance < 0]
    # from below, and near: no more than what 4,000 draws cannot tell
    assert (maps.radius <= true).all()
    assert maps.radius.min() > 0.85 * min(true, 3.0 * SIGMA) - 0.1 * SIGMA
    # from above, and near: what 1,000 draws need to be certain, and steps of a tenth of what `tight` found
    assert (maps.length >= true).all()
    assert maps.length.max() < true + 0.3 * SIGMA + 0.1 * (true + 0.5 * SIGMA)
    assert not maps.violated.any()


def test_votes_are_those_of_the_gaussian():
    net = TwoPatches()
    cells = cell_map(net, "cam", grid=2, top=0.5, rows=50)
    images = torch.stack([net.at(0.5 * SIGMA), net.at(-1.0 * SIGMA)])
    votes = top_votes(cells, images, 0, SIGMA, 2000, seed=1)
    assert votes.sum(1).tolist() == [2000, 2000]  # one of two cells is always the hotter
    expected = [0.5 * (1 + math.erf(z / math.sqrt(2))) for z in (0.5, -1.0)]
    assert votes[:, 0].numpy() / 2000 == pytest.approx(expected, abs=0.04)
    assert torch.equal(votes, top_votes(replace(cells, options={"batch_size": 13}), images, 0, SIGMA, 2000, seed=1))


def test_the_top_share_is_that_of_sorting_and_the_margin_that_of_trying():
    generator = torch.Generator().manual_seed(0)
    cells = torch.randn(20, 9, generator=generator)
    cells[0] = 0.0
    cells[1, :4] = 2.0  # four alike at the limit of three
    top, margin = in_top(cells, 3), top_margin(cells, 3)
    for row, values in enumerate(cells.tolist()):
        for c, value in enumerate(values):
            others = sorted(values[:c] + values[c + 1 :], reverse=True)
            assert bool(top[row, c]) == (value > others[2])
            assert float(margin[row, c]) == pytest.approx(value - others[2])
    assert torch.equal(top, margin > 0)


def test_each_cell_has_the_certificate_of_its_votes_at_its_share_of_alpha():
    smoothing = settings(samples=500)
    selection, estimation = np.array([90, 10, 55, 50]), np.array([470, 3, 251, 400])
    result = certified_cells(selection, estimation, smoothing)
    for i, (chosen, votes) in enumerate(zip(selection, estimation, strict=True)):
        sides = (torch.tensor([100 - chosen, chosen]), torch.tensor([500 - votes, votes]))
        single = certify(*sides, SIGMA, smoothing.alpha / 4)
        assert (result.inside[i], result.bound[i]) == (bool(single.answer), pytest.approx(single.bound))
        assert result.radius[i] == pytest.approx(single.l2)
    assert result.radius[3] == 0  # the selection was wrong about it


def test_all_cells_of_an_image_hold_together_as_often_as_promised():
    """Drawn votes of known probabilities: an image is wrong if one of its cells claims more than the truth."""
    rng, smoothing = np.random.default_rng(0), settings(alpha=0.1, samples=200)
    true = rng.uniform(0.02, 0.98, 40)
    radius = SIGMA * np.abs([math.sqrt(2) * _inverse_erf(2 * p - 1) for p in true])
    wrong = 0
    for _ in range(400):
        result = certified_cells(rng.binomial(100, true), rng.binomial(200, true), smoothing)
        right_side = result.inside == (true > 0.5)
        wrong += bool(((result.radius > np.where(right_side, radius, 0)) & (result.radius > 0)).any())
    assert wrong / 400 <= 0.1 + 3 * math.sqrt(0.1 * 0.9 / 400)
    assert wrong > 0  # else alpha would be spent for nothing


def _inverse_erf(value):
    return float(torch.erfinv(torch.tensor(value, dtype=torch.float64)))


@pytest.fixture(scope="module")
def attacked():
    """A tiny network's CAM on seven images of noise; each candidate confirmed by a fifth of the draws, for speed."""
    net = draw_convolutions(small(task="multiclass"))
    images = torch.rand(7, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    smoothing = MapSmoothing(0.1, grid=4, samples=300, attack_cells=8, attack_steps=6, attack_draws=4)
    cells = cell_maps(net, ["cam"], smoothing)["cam"]
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("pellucid.evaluation.certified_maps.attack.DRAWS", 200)
        return certify_maps(cells, images, net(images).argmax(1), [f"image {i}" for i in range(7)], smoothing)


@pytest.mark.slow
def test_no_certificate_is_violated_in_a_thousand_tries_that_would_find_a_wrong_one(attacked):
    """A try is a certified cell at a perturbed image that fresh draws voted on."""
    certified, votes = attacked.radius > 0, 2 + attacked.attacked.sum(1)  # the whole map's and at least one per cell
    assert float((votes * certified.sum(1)).sum()) >= 1000
    assert not attacked.violated.any()
    assert (attacked.length > 0).all()
    assert np.isfinite(attacked.length[attacked.attacked]).mean() > 0.8
    # radii too large by a little more than the median gap would be found out
    gap = float(np.median(attacked.length[attacked.attacked] / attacked.radius[attacked.attacked]))
    assert replace(attacked, radius=1.2 * gap * attacked.radius).violated.any()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grad-cam", "saliency"])
def test_other_maps_with_a_differentiable_form_are_attacked_too(method):
    net, smoothing = (
        draw_convolutions(small()),
        MapSmoothing(0.1, grid=4, samples=60, attack_cells=1, attack_steps=2, attack_draws=2),
    )
    image = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    maps = certify_maps(cell_maps(net, [method], smoothing)[method], image, torch.tensor([1]), ["x"], smoothing)
    assert maps.not_attacked is None
    assert maps.attacked.sum() == 1
    assert maps.gradient_evaluations[0] > 0
    assert not maps.violated.any()


def test_an_attacked_cell_has_changed_sides_by_a_vote_of_our_own():
    net = TwoPatches()
    smoothing = settings(samples=1000)
    cells, image = cell_map(net, "cam", grid=2, top=0.5, rows=64), net.at(0.02)
    selection, estimation = (top_votes(cells, image[None], 0, SIGMA, n, n)[0].numpy() for n in (100, 1000))
    result = attack_cells(cells, image, 0, certified_cells(selection, estimation, smoothing), smoothing, name="x")
    moved = net.at(0.02 - float(result.length[0]))  # the shortest way is the normal
    assert int(top_votes(cells, moved[None], 0, SIGMA, 2000, 9)[0, 0]) < 1000
    assert result.attacked.all()
    assert result.candidates >= 2


def test_a_map_that_is_the_same_everywhere_is_left_out_and_says_so():
    inside = np.zeros((6, 4), dtype=bool)
    inside[1:, 0] = True
    radius = np.full((6, 4), 0.03)
    radius[1, 2:] = 0
    nothing = np.zeros(6, dtype=np.int64)
    maps = CertifiedMaps(
        "cam", (2, 2), 0.04, radius.astype(np.float32), inside, radius, np.zeros((6, 4), bool),
        np.full((6, 4), math.inf), nothing, nothing, "no cell was attacked",
    )  # fmt: skip
    assert maps.empty.tolist() == [True, *[False] * 5]
    summary = certified_summary(maps, 0.001, Bootstrap(range(6)))
    figures = summary["figures"]
    assert figures["certified"]["value"] == pytest.approx((0.5 + 4) / 5)
    assert figures["certified"]["n"] == 5
    assert figures["certified_in_top"]["value"] == pytest.approx(0.25)
    assert (figures["gap_up_to_2"]["value"], figures["gap_up_to_2"]["reason"]) == (None, "no cell was attacked")
    assert [point["value"] for point in summary["curve"]["share"]][-1] == 0
    picture = certainty_picture(maps, 1)
    assert (picture.reshape(4, 3) == np.array(UNCERTAIN)).all(1).tolist() == [False, False, True, True]
    assert picture[0, 0, 0] > picture[0, 0, 2]  # orange
    assert picture[0, 1, 0] < picture[0, 1, 2]  # blue


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sigma": 0.0}, "sigma.*must be above 0; found 0.0"),
        ({"alpha": 1.0}, "alpha must lie between 0 and 1"),
        ({"top": 0.0}, "top must lie between 0 and 1"),
        ({"selection": 0}, "selection must be at least 1"),
        ({"attack_cells": -1}, "attack_cells must be at least 0"),
        ({"attack_draws": 5}, "attack_draws come in pairs.*found 5"),
        ({"grid": 33}, r"as the image has pixels \(32\); found 33"),
        ({"grid": 4, "samples": 13}, "13 samples certify none of 16 cells together at alpha 0.001.*at least 14"),
        ({"grid": 2, "top": 0.1}, r"the top 0.1 of the 4 cells of a saliency map is 0 of them"),
    ],
)
def test_what_cannot_be_certified_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        cell_maps(small(), ["saliency"], MapSmoothing(**{"sigma": 0.1, "grid": 4, **changes}))


def test_the_fewest_samples_certify_and_one_fewer_does_not():
    for cells, fewest in ((16, 14), (144, 18)):
        smoothing = settings(samples=fewest)
        smoothing.check_samples(cells)
        everything = np.full(cells, fewest)
        assert (certified_cells(np.full(cells, 100), everything, smoothing).radius > 0).all()
        assert smoothing.largest_radius(cells) == pytest.approx(
            certified_cells(np.full(cells, 100), everything, smoothing).radius[0]
        )
        short = settings(samples=fewest - 1)
        assert (certified_cells(np.full(cells, 100), everything - 1, short).radius == 0).all()
