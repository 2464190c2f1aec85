"""Yardsticks of trust: what knows nothing gets no yes, what is known gets one, and the best of several is no luck."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import nn

from helpers.models import small
from helpers.trust import samples_of
from pellucid.data import open_dataset
from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.metrics.statistics import mean_over_images
from pellucid.evaluation.metrics.trivial_maps import edges, mean_of_others, same_spectrum
from pellucid.evaluation.trust.findings import TrustSettings
from pellucid.evaluation.trust.grid_pointing import compose
from pellucid.evaluation.trust.judge import judge_method, judge_network
from pellucid.evaluation.trust.maps import Mapper
from pellucid.evaluation.trust.rows import WITHIN, trust_row, trust_table, verdict
from pellucid.evaluation.trust.yardsticks import GAINS, TRIVIAL_MAPS, above_best
from pellucid.explainers import explain
from pellucid.models import wrap
from pellucid.types import InputSpec

QUICK = TrustSettings(samples=1, examples=0)
PHANTOM = {"size": 32, "train": 1, "validation": 1, "test": 8, "prevalence": 0.5}
SIDE, PATCH = 32, 4
CORNERS = [(3, 2), (25, 3), (2, 24), (24, 25)]  # of the patches that the classes hang on, none in the middle


@pytest.fixture(scope="module")
def phantom():
    return open_dataset("phantom", options=PHANTOM)["test"]


def patches():
    """Of each class, where the patch is that its logit is the brightness of: (4, H, W)."""
    masks = torch.zeros(len(CORNERS), SIDE, SIDE)
    for mask, (top, left) in zip(masks, CORNERS, strict=True):
        mask[top : top + PATCH, left : left + PATCH] = 1
    return masks


class Patches(nn.Module):
    """The brightness of each class's patch is its logit; in a mosaic, that of the brightest quarter."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(0.75 * patches()), nn.Parameter(torch.full((len(CORNERS),), -8.0))

    def forward(self, images):
        count, _, height, width = images.shape
        tiles = images.view(count, height // SIDE, SIDE, width // SIDE, SIDE).amax((1, 3))
        return torch.einsum("nhw,khw->nk", tiles, self.weight) + self.bias


@pytest.fixture(scope="module")
def planted(phantom):
    """A network that looks at four patches, and images whose strongest edges lie elsewhere."""
    spec = InputSpec.square(1, SIDE)
    net = wrap(
        Patches(), mean=[0.0], std=[1.0], task="multilabel", classes=phantom.classes[: len(CORNERS)], input_spec=spec
    )
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(len(phantom)) % len(CORNERS)
    images = 0.4 + 0.1 * torch.rand(len(phantom), 1, SIDE, SIDE, generator=generator)
    images[:, :, 8:22, 8:22] = (torch.arange(14) % 4 > 1).float()  # stripes
    images += 0.4 * patches()[targets][:, None]
    whole = samples_of(small(classes=phantom.classes), phantom)
    none = "nothing is marked"
    stage = replace(whole, images=images, targets=targets, localization=none, on_findings=None, shortcut=none)
    labels = targets.numpy()
    return net, replace(stage, on_shortcuts=None, mosaics=compose(labels, labels, seed=1))


def table_of(net, stage, *mappers):
    found = [judge_method(mapper, net, stage, QUICK) for mapper in mappers]
    rows = trust_table(judge_network(net, stage, QUICK), found, stage.patients)
    return {(r.method, r.measure): r for r in rows}


def oracle(_, images, targets, __):
    """The patch of the class explained; in a mosaic, in whichever quarter it is bright."""
    masks = patches()[targets]
    if images.shape[-1] == SIDE:
        return masks
    masks = masks.repeat(1, 2, 2)
    return masks * (images[:, 0] > 0.75)


def test_the_oracle_of_a_planted_network_is_above_every_trivial_map_and_they_are_not(planted):
    net, stage = planted
    trivial = [Mapper(f"as if {name}", draw) for name, draw in TRIVIAL_MAPS.items()]
    rows = table_of(net, stage, Mapper("oracle", oracle), *trivial)
    for measure in ("flipping_gain", "insertion_gain"):
        assert rows["oracle", measure].verdict == "yes"
        assert [rows[mapper.name, measure].verdict for mapper in trivial] == ["no", "no"]
    assert rows["oracle", "dependence_rank"].value == 0  # it looks at no network


def test_the_oracles_area_is_the_closed_form(planted):
    """The patch goes in the first of sixteen steps, and then nothing that follows matters."""
    net, stage = planted
    found = judge_method(Mapper("oracle", oracle), net, stage, QUICK).values["deletion_area"]
    inside = patches()[stage.targets][:, None]
    ends = [stage.images, stage.images.mean((2, 3), keepdim=True).expand_as(stage.images)]
    before, after = ((0.75 * (end * inside).sum((1, 2, 3)) - 8).double().sigmoid() for end in ends)
    np.testing.assert_allclose(found, (before + after).numpy() / 32 + 15 / 16 * after.numpy(), rtol=1e-5)


def mean_saliency(elsewhere):
    """The mean saliency of other images as a method: it follows the weights, and never looks at the image."""

    def draw(net, images, targets, _):
        classes = torch.arange(len(elsewhere)) % len(net.classes)
        mean = explain("saliency", net, elsewhere, classes).maps.mean(0)
        return F.interpolate(mean[None, None], images.shape[2:])[0].expand(len(images), -1, -1)

    return draw


@pytest.mark.slow
@pytest.mark.parametrize("network", ["drawn 0", "drawn 1", "planted"])
def test_a_trivial_map_given_as_a_method_never_gets_a_yes(network, phantom, planted):
    net, stage = planted
    if network != "planted":
        net = small(int(network[-1]), classes=phantom.classes)
        stage = samples_of(net, phantom)
        labels = stage.targets.numpy() if len(stage.targets.unique()) > 1 else np.arange(len(phantom)) % 2
        stage = replace(stage, mosaics=compose(labels, labels))
    elsewhere = torch.rand(6, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(5))
    noise = torch.rand(1, 2 * SIDE, 2 * SIDE, generator=torch.Generator().manual_seed(6))
    mappers = [
        *(Mapper(f"as if {name}", draw) for name, draw in TRIVIAL_MAPS.items()),
        Mapper("mean saliency", mean_saliency(elsewhere)),
        Mapper("fixed noise", lambda _, x, __, ___: noise[:, : x.shape[2], : x.shape[3]].expand(len(x), -1, -1)),
        Mapper("uniform", lambda _, x, __, ___: torch.ones(len(x), *x.shape[2:])),
    ]
    rows = table_of(net, stage, *mappers)
    judged = [r for (method, _), r in rows.items() if method in {m.name for m in mappers} and r.bar is not None]
    assert {r.measure for r in judged if r.verdict} >= {"flipping_gain", "insertion_gain", "grid_gain"}
    assert [(r.method, r.measure) for r in judged if r.verdict == "yes"] == []
    for name in ("as if centred", "as if edges of the image", "fixed noise"):
        assert (rows[name, "dependence_rank"].value, rows[name, "dependence_rank"].verdict) == (0, "unclear")
    assert all(r.verdict is None for (method, _), r in rows.items() if method.startswith("trivial: "))


def test_maps_that_look_at_no_network_are_refuted_on_twenty_images():
    """That the weights do not matter shows on every image, but eight are too few to say so of others."""
    zeros = mean_over_images(np.zeros(20), Bootstrap(range(20)), within=WITHIN["dependence_rank"])
    assert trust_row("dependence_rank", "edges", zeros.estimate()).verdict == "no"


def test_a_gain_without_one_of_its_yardsticks_is_none(planted):
    net, stage = planted
    network = judge_network(net, stage, QUICK)
    del network.yardsticks["edges of the image"]["insertion_area"]
    (row,) = [
        r
        for r in trust_table(network, [judge_method(Mapper("oracle", oracle), net, stage, QUICK)], stage.patients)
        if (r.measure, r.method) == ("insertion_gain", "oracle")
    ]
    assert (row.verdict, row.reason) == (None, "not measured: edges of the image")


def test_pairs_are_of_the_same_images_and_patients():
    rng = np.random.default_rng(0)
    hard, draws = rng.normal(0, 10, 40), Bootstrap([i // 2 for i in range(40)])
    ours, theirs = hard + 0.1, hard + 0.01 * rng.normal(size=40)
    estimate, best = above_best(ours, {"only": theirs}, draws)
    assert (estimate.value, best) == (pytest.approx((ours - theirs).mean()), "only")
    assert 0.09 < estimate.low < estimate.high < 0.11
    theirs[:5] = np.nan  # whose images then say nothing of ours either
    estimate, _ = above_best(ours, {"only": theirs, "empty": np.full(40, np.nan)}, draws)
    assert estimate.value == pytest.approx((ours - theirs)[5:].mean())
    assert (estimate.n, "no value of the empty" in estimate.reason) == (35, True)
    estimate, _ = above_best(-ours, {"only": -hard}, draws, sign=-1)
    assert estimate.value == pytest.approx(0.1)
    assert above_best(ours, {"empty": np.full(40, np.nan)}, draws)[1] is None


@pytest.mark.parametrize("count", [1, 5])
def test_the_best_of_several_is_no_luck(count):
    """Where a map is as good as all its yardsticks, neither verdict comes more often than one time in twenty."""
    rng, draws = np.random.default_rng(3), Bootstrap(range(20))
    told = []
    for _ in range(200):
        common = rng.normal(size=20)
        ours, *others = common + rng.normal(size=(1 + count, 20))
        estimate, _ = above_best(ours, dict(enumerate(others)), draws)
        told.append(verdict(estimate.low, estimate.high, 0.0, estimate.n))
    assert told.count("yes") <= 10
    assert told.count("no") <= 10


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (16, 5)])
def test_surrogates_have_the_maps_spectrum_and_lie_elsewhere(size):
    maps = torch.rand(3, *size, generator=torch.Generator().manual_seed(1)).cumsum(1)
    first, second = same_spectrum(maps, 0), same_spectrum(maps, 1)
    for surrogate in (first, second):
        sizes = [np.abs(np.fft.fft2(m.double().numpy(), axes=(1, 2))) for m in (maps, surrogate)]
        np.testing.assert_allclose(sizes[1], sizes[0], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(surrogate.mean((1, 2)), maps.double().mean((1, 2)))
    assert (first - second).abs().max() > 0.1
    assert (first[0] - first[1]).abs().max() > 0.1


def test_edges_are_scipys():
    images = torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(1))
    planes = [
        [[ndimage.sobel(plane, axis, mode="nearest") for axis in (0, 1)] for plane in image] for image in images.numpy()
    ]
    power = np.square(planes).sum((1, 2))
    np.testing.assert_allclose(edges(images).numpy(), np.sqrt(power), rtol=1e-4, atol=1e-5)


def test_the_mean_of_others_is_the_loops():
    patients = ["a", "b", "a", "c", "d"]
    maps = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(1))
    maps[4] = 2.0  # the same everywhere: it says nothing
    mean = mean_of_others(maps, patients)
    for i, patient in enumerate(patients):
        parts = [maps[j] / maps[j].abs().mean() for j in range(4) if patients[j] != patient]
        torch.testing.assert_close(mean[i], torch.stack(parts).mean(0))
    assert mean_of_others(maps, ["a"] * 5).isnan().all()


def test_what_serves_all_methods_is_measured_once(planted):
    """Two methods' own yardsticks differ; the others are the network's, and the same beside both."""
    net, stage = planted
    noise = torch.rand(1, 2 * SIDE, 2 * SIDE, generator=torch.Generator().manual_seed(6))
    fixed = Mapper("noise", lambda _, x, __, ___: noise[:, : x.shape[2], : x.shape[3]].expand(len(x), -1, -1))
    network = judge_network(net, stage, QUICK)
    assert set(network.yardsticks) == {"uniform", *TRIVIAL_MAPS}
    for gain in GAINS.values():
        if gain.figure != "auprc":
            assert all(gain.figure in network.yardsticks[name] for name in gain.shared)
    one, two = (judge_method(mapper, net, stage, QUICK).yardsticks for mapper in (fixed, Mapper("oracle", oracle)))
    assert one.keys() == two.keys()
    assert (
        one["mean map of other images"]["insertion_area"] != two["mean map of other images"]["insertion_area"]
    ).any()
