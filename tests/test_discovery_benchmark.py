"""The benchmark of discover: its truth is what was planted, and its page counts what the files say."""

from __future__ import annotations

import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from discovery import networks, retraining, scoring
from discovery.grid import Cell, Plant, cells_of
from discovery.page import page
from discovery.spray import clusters
from pellucid.data.readers.phantom.findings import PHANTOM_CLASSES
from pellucid.data.readers.phantom.shortcuts import KINDS

CELL = Cell("5000-tube", 5000, 0.3, (Plant("tube", "Effusion", 0.9, 0.1, 0.34),), True)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    for module in (networks, scoring):
        monkeypatch.setattr(module, "TEST", 30)
    monkeypatch.setattr(networks, "TRAIN", 20)
    monkeypatch.setattr(networks, "PAIRS", 8)


def test_twenty_seeds_have_the_networks_that_the_targets_ask_for():
    cells = [cell for seed in range(5000, 5020) for cell in cells_of(seed)]
    assert len({cell.name for cell in cells}) == len(cells)
    groups = Counter(cell.group for cell in cells)
    assert groups == {"none": 20, "unused": 40, "one": 160, "two": 40}
    assert Counter(cell.plants[0].kind for cell in cells if cell.group == "one") == dict.fromkeys(KINDS, 20)
    assert {plant.strength for cell in cells for plant in cell.plants} >= {0.6, 0.8, 0.95}
    frequencies = [plant.frequency for cell in cells for plant in cell.plants]
    assert min(frequencies) < 0.1
    assert max(frequencies) > 0.45
    for cell in cells:
        if cell.group == "two":
            assert len({plant.finding for plant in cell.plants}) == len({plant.kind for plant in cell.plants}) == 2


def test_what_is_judged_hides_the_truth_and_shows_the_same_pixels(tmp_path):
    drawings = networks.plain_drawings(CELL, tmp_path)
    images = networks.with_shortcuts(drawings["test"], CELL, "test", seen="judged")
    data, truth = scoring.judged_images(CELL), scoring.Truth.of(CELL)
    assert data.metadata == {}
    assert set(data.regions.labels) <= set(PHANTOM_CLASSES)
    np.testing.assert_array_equal(images[:, 0], np.stack([data.read(i) for i in range(30)]))
    np.testing.assert_array_equal(truth.has["tube"], (images != drawings["test"].images).any((1, 2, 3)))
    assert sorted(truth.masks["tube"]) == np.flatnonzero(truth.has["tube"]).tolist()
    everywhere = np.ones(30, bool)
    assert truth.tells("tube", truth.has["tube"].astype(float), everywhere) == 1
    assert truth.overlap("tube", np.any(list(truth.masks["tube"].values()), axis=0)) == 1
    assert truth.overlap("tube", np.zeros((64, 64), bool)) == 0


def test_use_is_the_rise_of_the_logit_over_the_distance_of_positives(tmp_path):
    """A network whose logits are the mean grey level: the rise follows from the pixels alone."""
    cell = Cell("5000-brightness", 5000, 0.3, (Plant("brightness", "Effusion", 0.9, 0.1, 0.34),), True)
    drawings = networks.plain_drawings(cell, tmp_path)["test"]

    class Grey(torch.nn.Module):
        classes, task = PHANTOM_CLASSES, "multilabel"

        def forward(self, x):
            return x.mean((1, 2, 3))[:, None].expand(-1, 8) * 100 + self.bias

    network = Grey()
    network.bias = torch.nn.Parameter(torch.zeros(()))
    use = networks.use_of(network.eval(), cell, drawings)["brightness"]
    grey = drawings.images.mean((1, 2, 3))
    column = drawings.labels[:, PHANTOM_CLASSES.index("Effusion")] == 1
    distance = grey[column].mean() - grey[~column].mean()
    # a tenth to a seventh of white; what is white already gains less
    assert 0.05 * 255 < use["mean"] * distance < 0.14 * 255
    assert use["n"] == 8
    assert use["low"] < use["mean"] < use["high"]


def test_spray_finds_two_kinds_of_maps_and_none_where_there_is_one():
    """A linear network's maps are weight × pixel: half of the positives have a bright corner, or none has."""
    generator = np.random.default_rng(0)
    labels = np.zeros((160, 8), np.float32)
    labels[:80, 0] = 1
    weight = torch.zeros(8, 64 * 64)
    weight[0] = 1
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64 * 64, 8, bias=False))
    network[1].weight.data = weight

    def suspects(corner):
        images = generator.integers(0, 60, (160, 1, 64, 64), dtype=np.uint8)
        images[:80] += 60
        images[:40, :, :16, :16] += corner
        return clusters(network.eval(), images, labels, seed=0)

    first, second = suspects(120)[:2]
    truth = np.arange(160) < 40
    for cluster in (first, second):
        assert cluster.finding == PHANTOM_CLASSES[0]
        np.testing.assert_array_equal(cluster.region, np.pad(np.ones((16, 16), bool), ((0, 48), (0, 48))))
    np.testing.assert_array_equal(first.members | second.members, first.looked_at)
    assert np.array_equal(first.members, truth) or np.array_equal(second.members, truth)
    assert suspects(0) == []


def record(name, group, use, discover):
    plants = [{"kind": "tube", "finding": "Mass"}] if use else []
    verdicts = {"tube": {"verdict": use}} if use else {}
    return {"name": name, "seed": 5000, "group": group, "plants": plants, "use": verdicts, "discover": discover}


def test_the_page_counts_what_the_files_say():
    def found(place, finding="Mass", tells=0.9):
        shortcut = {"class": finding, "tube": {"tells": tells, "iou": 0.6}}
        other = {"class": "Mass", "tube": {"tells": 0.5, "iou": 0.0}}
        return {"count": place + 1, "suspects": [other] * place + [shortcut]}

    nothing = {"count": 0, "suspects": []}
    records = [
        record("a", "one", "goes by it", found(0)),
        record("b", "one", "goes by it", found(1)),
        record("c", "one", "goes by it", found(2)),  # not among the first two
        record("d", "one", "goes by it", found(0, "Nodule")),
        record("e", "one", "goes by it", found(0, tells=0.7)),
        record("f", "one", "between", found(0)),
        record("g", "unused", "leaves it", found(0)),
        record("h", "none", "", nothing),
        record("i", "none", "", nothing),
    ]
    text = page(json.loads(json.dumps(records)))
    assert "| `tube` | 0.40 [0.05, 0.85] (2 of 5) |" in text
    assert "| networks with any suspect | 0.33 [0.01, 0.91] (1 of 3) |" in text
    assert "| `tube` | 0.60 (n = 2: too few for an interval) |" in text
    assert "- SpRAy was not run on 9 of the networks." in text


def test_the_network_of_a_cell_is_trained_once(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(networks, "train", lambda *arguments: calls.append(arguments))
    drawings = SimpleNamespace(images=np.zeros((20, 1, 64, 64), np.uint8), labels=np.zeros((20, 8), np.float32))
    for _ in range(2):
        networks.trained(CELL, drawings, tmp_path)
    assert len(calls) == 2  # plainly, and on the cell's own images
    assert (calls[1][1] != 0).any()


def test_what_retraining_closes_is_the_sum_of_the_gaps():
    def one(before, after, others=-0.004):
        figures = {
            at: {"tells": 0.7 + gap, "by_lot": 0.7, "others": 0.9} for at, gap in (("before", before), ("after", after))
        }
        figures["after"]["others"] += others
        return {"tube": figures}

    records = [
        record("a", "one", "goes by it", {}) | {"retraining": one(0.1, 0.02)},
        record("b", "one", "goes by it", {}) | {"retraining": one(0.3, 0.0, -0.002)},
        record("c", "one", "goes by it", {}) | {"retraining": {"tube": {"reason": "not found"}}},
        record("d", "one", "between", {}) | {"retraining": one(0.1, 0.1)},
    ]
    cells = retraining.summary(records, ["tube"]).split(" | ")
    assert cells[0].startswith("0.95")
    assert cells[1].startswith("-0.003")
    assert cells[3] == "2, 1 not found or at no place"
    assert retraining.summary(records[2:], ["tube"]) == "– | – | – | 0, 1 not found or at no place"
    many = [records[0]] * 6
    assert retraining.summary(many, ["tube"]).startswith("0.80 [0.80, 0.80]")


def test_a_cell_without_its_shortcut_among_the_suspects_is_not_retrained(tmp_path, monkeypatch):
    monkeypatch.setattr(retraining, "TEST", 30)
    nothing = SimpleNamespace(unexpected=[], save=lambda _: None)
    monkeypatch.setattr(retraining.pl, "discover", lambda *_, **__: nothing)
    drawings = networks.plain_drawings(CELL, tmp_path)
    figures = retraining.by_retraining(
        networks.fresh(0), CELL, drawings, scoring.Truth.of(CELL), tmp_path, tells=0.8, first=2
    )
    assert figures == {"tube": {"reason": "not found"}}
    part = retraining._training_part(retraining._parts(CELL)["train"], CELL, drawings)
    assert set(part.regions.labels) <= set(PHANTOM_CLASSES)
    plain = retraining._parts(CELL)["train"]
    np.testing.assert_array_equal(
        np.stack([part.read(i) for i in range(20)]), np.stack([plain.read(i) for i in range(20)])
    )
