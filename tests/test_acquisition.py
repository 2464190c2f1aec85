"""Acquisition: the scores against closed forms, the orders, and those of a service that follows what was marked."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.annotation import NODULE, phantom_part, small_network
from pellucid.annotations.records import Mark
from pellucid.annotations.shapes import Rectangle
from pellucid.annotator.acquisition import arrange, disagreement, mixed, outside, rank, uncertainty, usual_place
from pellucid.annotator.setup import ServiceOptions, open_service
from pellucid.data.cache.pixels import materialize
from pellucid.explainers import class_activation_maps
from pellucid.models.inference import as_pixels, predict, probabilities
from pellucid.types import InputError, InputSpec


@pytest.fixture(scope="module")
def dataset():
    return phantom_part()


@pytest.fixture(scope="module")
def network(dataset):
    return small_network(dataset)


def test_uncertainty_is_entropy():
    p = np.array([[0.5, 0.25, 0.25], [1, 0, 0], [1 / 3] * 3])
    assert uncertainty(p, "multiclass") == pytest.approx([1.5 / np.log2(3), 0, 1])
    q = np.array([[0.1, 0.9], [0.5, 0.0], [0.0, 1.0]])
    assert uncertainty(q, "multilabel") == pytest.approx([0.4689955935892812, 1, 0])


def test_disagreement_is_the_jensen_shannon_divergence():
    from scipy.spatial.distance import jensenshannon

    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(4), 20), rng.dirichlet(np.ones(4), 20)
    expected = [jensenshannon(a, b, base=2) ** 2 for a, b in zip(p, q, strict=True)]
    assert disagreement(p, q, "multiclass") == pytest.approx(expected)
    labels = [
        [jensenshannon([a, 1 - a], [b, 1 - b], base=2) ** 2 for a, b in zip(*r, strict=True)]
        for r in zip(p, q, strict=True)
    ]
    assert disagreement(p, q, "multilabel") == pytest.approx(np.max(labels, axis=1))
    assert disagreement(p, p, "multilabel") == pytest.approx(np.zeros(20), abs=1e-12)


def test_outside_is_the_share_of_positive_heat_where_no_region_is():
    heat = np.array([[[[3.0, 1.0], [-5.0, 0.0]], [[0.0, 4.0], [0.0, 0.0]]]])  # one image, two classes
    regions = np.array([[[1.0, 0.0], [0.0, 0.0]], [[1.0, 0.5], [0.0, 0.0]]])
    assert outside(heat, regions, np.array([[1.0, 0.0]])).tolist() == [0.25]
    assert outside(heat, regions, np.array([[0.0, 1.0]])).tolist() == [0.5]
    assert outside(heat, regions, np.array([[1.0, 3.0]])) == pytest.approx([(0.25 + 3 * 0.5) / 4])
    assert np.isnan(outside(heat, np.zeros((2, 2, 2)), np.ones((1, 2)))).all()
    nothing_for_the_second = regions * np.array([1, 0])[:, None, None]
    assert outside(heat, nothing_for_the_second, np.ones((1, 2))).tolist() == [0.25]


def test_the_usual_place_of_a_class():
    masks = np.zeros((4, 2, 1, 2), dtype=bool)
    masks[:, 0, 0, 0], masks[0, 0, 0, 1] = True, True
    assert usual_place(masks).tolist() == [[[1.0, 0.25]], [[0.0, 0.0]]]
    assert usual_place(masks[:0]).tolist() == [[[0.0, 0.0]], [[0.0, 0.0]]]


def test_orders_are_seeded_and_complete():
    scores = {"uncertainty": np.array([0.1, 0.9, 0.5, np.nan]), "outside": np.array([1.0, 0, 0, 0])}
    assert arrange("uncertainty", scores, 4, seed=0) == [1, 2, 0, 3]
    assert arrange("outside", scores, 4, seed=3)[0] == 0
    assert arrange("random", {}, 50, seed=1) == arrange("random", {}, 50, seed=1) != arrange("random", {}, 50, seed=2)
    assert sorted(arrange("mixed", scores, 4, seed=5)) == [0, 1, 2, 3]
    assert mixed([[0, 1, 2, 3], [3, 2, 1, 0]]) == [0, 3, 1, 2]
    ties = {tuple(rank(np.zeros(3), seed)) for seed in range(60)}
    assert len(ties) == 6  # every order of equal ones comes up
    with pytest.raises(InputError, match="--compare"):
        arrange("disagreement", scores, 4, seed=0)


def test_the_order_follows_what_was_marked(dataset, network, tmp_path):
    """Against the score worked out by hand from the network's own maps."""
    options = ServiceOptions(order="outside")
    service = open_service(dataset, network, tmp_path / "a.db", options=options)
    place = Rectangle(0.0, 0.0, 0.5, 0.5)
    service.store.add_mark(Mark(dataset.ids[0], "Nodule", "relevant", place, "Ann"))
    service.rearrange()
    batch = as_pixels(materialize(dataset, InputSpec.square(1, 32)))
    heat = class_activation_maps(network, batch)[:, NODULE].clamp(min=0).numpy()
    half = heat.shape[1] // 2
    total = heat.sum((1, 2))
    share = np.where(total > 0, 1 - heat[:, :half, :half].sum((1, 2)) / np.where(total > 0, total, 1), -1)
    found = [dataset.ids.index(name) for name in service.ranking.ids]
    assert (np.diff(share[found]) < 2e-3).all()  # the server keeps its maps in half precision
    service.close()


def test_two_networks_can_disagree(dataset, network, tmp_path):
    other = small_network(dataset, seed=5)
    options = ServiceOptions(order="disagreement", limit=9, seed=3)
    service = open_service(dataset, network, tmp_path / "a.db", compare=other, options=options)
    offered = dataset.limit(9, seed=3)
    pictures = materialize(offered, InputSpec.square(1, 32))
    p, q = (probabilities(predict(net, pictures), "multilabel") for net in (network, other))
    score = dict(zip(offered.ids, disagreement(p, q, "multilabel"), strict=True))
    assert list(service.ranking.ids) == sorted(offered.ids, key=lambda name: -score[name])
    service.close()
    with pytest.raises(InputError, match="--compare"):
        open_service(dataset, network, tmp_path / "b.db", options=ServiceOptions(order="disagreement"))


def test_classes_of_the_data_and_of_two_networks_are_matched_by_name(dataset, network, tmp_path):
    """Each in an order of its own gives what one order gives."""
    order = np.arange(len(dataset.classes))[::-1]
    card = replace(dataset.card, classes=tuple(dataset.classes[k] for k in order))
    turned = replace(dataset, card=card, targets=dataset.targets[:, order])
    other, options = small_network(dataset, seed=5), ServiceOptions(order="disagreement", limit=9, seed=3)
    service = open_service(dataset, network, tmp_path / "a.db", compare=other, options=options)
    second = small_network(dataset, seed=5)
    second.classes = card.classes
    second.head.weight.data, second.head.bias.data = other.head.weight[order.copy()], other.head.bias[order.copy()]
    again = open_service(turned, network, tmp_path / "b.db", compare=second, options=options)
    assert again.ranking.ids == service.ranking.ids
    assert again.dataset.classes == network.classes
    assert np.array_equal(again.dataset.targets, service.dataset.targets)
    service.close()
    again.close()
    fewer = replace(dataset, card=replace(dataset.card, classes=("other", *dataset.classes[1:])))
    with pytest.raises(InputError, match="is labelled with other"):
        open_service(fewer, network, tmp_path / "c.db")
    assert not (tmp_path / "c.db").exists()
