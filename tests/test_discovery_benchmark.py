"""The benchmark of discover: its truth is what was planted, and its page counts what the files say."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from discovery import __main__ as command
from discovery import methods, networks, retraining, scoring
from discovery.grid import JUDGING, SEEDS, STRENGTHS, Cell, Plant, cells_of
from discovery.intervals import figure_by_seeds, share_interval, share_text
from discovery.packing import packed, ranks, unpacked
from discovery.page import page
from discovery.scoring import Found, is_shortcut, stratified_auroc
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


def test_the_judging_seeds_have_the_networks_that_the_targets_ask_for():
    cells = [cell for seed in range(JUDGING, JUDGING + SEEDS) for cell in cells_of(seed)]
    assert len({cell.name for cell in cells}) == len(cells)
    groups = Counter(cell.group for cell in cells)
    assert groups == {"none": 60, "unused": 80, "one": 200, "two": 40}
    single = [(cell.prevalence, cell.plants[0]) for cell in cells if cell.group == "one"]
    assert Counter(plant.kind for _, plant in single) == dict.fromkeys(KINDS, 20) | {"side_marker": 40, "jpeg": 40}
    for kind in KINDS:  # each prevalence with each strength once, and with each finding
        own = [(prevalence, plant) for prevalence, plant in single if plant.kind == kind]
        assert len({(prevalence, plant.strength, plant.elsewhere) for prevalence, plant in own}) == 4 * len(STRENGTHS)
        assert len({(prevalence, plant.finding) for prevalence, plant in own}) == 12
    frequencies = [plant.frequency for _, plant in single]
    assert min(frequencies) < 0.055
    assert max(frequencies) > 0.5
    without_marks = [cell for cell in cells if cell.without_marks]
    assert len({cell.prevalence for cell in without_marks}) == 4
    assert {cell.group for cell in without_marks} == {"none", "one"}
    for cell in cells:
        if cell.group == "two":
            assert len({plant.finding for plant in cell.plants}) == len({plant.kind for plant in cell.plants}) == 2


def test_what_is_judged_hides_the_truth_and_shows_the_same_pixels(tmp_path):
    drawings = networks.plain_drawings(CELL, tmp_path)
    images = networks.with_shortcuts(drawings["test"], CELL, "test", seen="judged")
    data, truth = methods.judged_images(CELL), scoring.Truth.of(CELL)
    assert data.metadata == {}
    assert set(data.regions.labels) <= set(PHANTOM_CLASSES)
    assert methods.judged_images(CELL, marks=False).regions is None
    np.testing.assert_array_equal(images[:, 0], np.stack([data.read(i) for i in range(30)]))
    np.testing.assert_array_equal(truth.has["tube"], (images != drawings["test"].images).any((1, 2, 3)))
    np.testing.assert_array_equal(truth.labels, drawings["test"].labels == 1)
    assert sorted(truth.masks["tube"]) == np.flatnonzero(truth.has["tube"]).tolist()
    planted = np.stack([truth.masks["tube"][row] for row in sorted(truth.masks["tube"])])
    union = planted.any(0)
    (plant,) = CELL.plants

    def figures(region, strength=None):
        return truth.figures(
            plant, Found("Effusion", ranks(truth.has["tube"] * 1.0 if strength is None else strength), region)
        )

    best = figures(union)
    assert best["tells"] == best["tells_within"] == 1
    assert best["iou"]["region_union"] == 1
    each = [one.sum() / union.sum() for one in planted]  # each lies in the union
    assert best["iou"]["region"] == best["iou"]["marked"] == pytest.approx(np.mean(each))
    assert best["denser"]["region"] == pytest.approx(64 * 64 / union.sum())
    assert is_shortcut(best, "tube")
    # all of the image holds it no more densely than the image, nothing holds nothing, and elsewhere it is not
    for region in (np.ones((64, 64), bool), np.zeros((64, 64), bool), ~union):
        assert not is_shortcut(figures(region), "tube")
    assert is_shortcut(figures(~union), "brightness")  # which lies nowhere
    # the finding's own label, with which the shortcut goes, is not the shortcut
    own = figures(union, truth.labels[:, PHANTOM_CLASSES.index("Effusion")] * 1.0)
    assert own["tells"] > 0.8
    assert own["tells_within"] == 0.5
    assert not is_shortcut(own, "tube")


def test_a_suspect_at_varying_places_is_held_against_each_image():
    cell = Cell("5000-side_marker", 5000, 0.3, (Plant("side_marker", "Effusion", 0.9, 0.1, 0.34),), True)
    truth = scoring.Truth.of(cell)
    masks = truth.masks["side_marker"]
    boxes = []
    for row, mask in masks.items():
        down, across = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        boxes.append((row, across[0], down[0], np.ptp(across) + 1, np.ptp(down) + 1))
    boxes = np.array(boxes[1:])  # of one image it was missed
    found = Found("Effusion", ranks(truth.has["side_marker"] * 1.0), np.any(list(masks.values()), axis=0), boxes=boxes)
    overlaps = [masks[row].sum() / (width * height) for row, _, _, width, height in boxes.tolist()]
    figures = truth.figures(cell.plants[0], found)
    assert figures["iou"]["marked"] == pytest.approx(sum(overlaps) / len(masks))
    stored = json.loads(json.dumps({"kind": "patch"} | found.to_json()))
    assert truth.figures(cell.plants[0], Found.from_json(stored)) == figures


def test_of_too_few_images_nothing_is_told():
    truth = scoring.Truth.of(CELL)
    has = truth.has["tube"]
    rows = np.concatenate([np.flatnonzero(has)[:4], np.flatnonzero(~has)])
    strength = np.zeros(30, np.int64)
    strength[rows] = 1 + has[rows]
    of_few = truth.figures(CELL.plants[0], Found("Effusion", strength, np.ones((64, 64), bool)))
    assert np.isnan(of_few["tells"])
    assert not is_shortcut(of_few, "brightness")
    strength[np.flatnonzero(has)[4]] = 2
    assert truth.figures(CELL.plants[0], Found("Effusion", strength, np.ones((64, 64), bool)))["tells"] == 1


def test_the_stratified_auroc_is_that_of_all_pairs_within_a_stratum():
    generator = np.random.default_rng(0)
    for _ in range(20):
        strength, strata = generator.integers(0, 6, 40).astype(float), generator.integers(0, 3, 40)
        has = generator.random(40) < generator.random()
        wins = [
            (strength[i] > strength[j]) + 0.5 * (strength[i] == strength[j])
            for i in np.flatnonzero(has)
            for j in np.flatnonzero(~has)
            if strata[i] == strata[j]
        ]
        assert stratified_auroc(strength, has, strata) == pytest.approx(np.mean(wins))
    assert np.isnan(stratified_auroc(np.arange(4.0), np.array([1, 1, 0, 0], bool), np.array([1, 1, 0, 0])))


def test_arrays_are_read_as_they_were_packed():
    generator = np.random.default_rng(0)
    for values in (generator.random((7, 9)) < 0.5, generator.integers(0, 65536, (3, 5)), np.zeros((0, 5), np.int64)):
        again = unpacked(json.loads(json.dumps(packed(values))))
        assert again.shape == values.shape
        np.testing.assert_array_equal(again, values)
    assert ranks(np.array([0.5, np.nan, -1.0, 0.5])).tolist() == [2, 0, 1, 2]


def test_networks_of_a_seed_do_not_count_as_so_many_seeds():
    hits, seeds = [True, False, True, True, False, True, True, False], list(range(8))
    alone = share_interval(hits, seeds)
    assert share_interval(hits * 5, seeds * 5) == pytest.approx(alone)
    low, high = share_interval([True] * 60, [seed % 20 for seed in range(60)])
    assert low == pytest.approx(0.05 ** (1 / 20))
    assert high == 1
    low, high = share_interval([False] * 20, list(range(20)))
    assert (low, high) == pytest.approx((0, 1 - 0.05 ** (1 / 20)))
    assert share_text([True, False], [1, 1]).startswith("0.50 [0.00, 1.00]")
    same = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    once = figure_by_seeds(same, range(7), np.mean)
    twice = figure_by_seeds(np.repeat(same, 2), np.repeat(range(7), 2), np.mean)
    assert once.split(" (")[0] == twice.split(" (")[0]


def test_the_interval_of_a_share_holds_it_where_seeds_differ():
    generator = np.random.default_rng(0)
    seeds, inside = np.repeat(np.arange(20), 5), 0
    for _ in range(1000):
        of_seed = generator.beta(4 * 0.8, 4 * 0.2, 20)  # of a correlation of .2 within a seed
        low, high = share_interval((generator.random(100) < of_seed[seeds]).tolist(), seeds.tolist())
        inside += low <= 0.8 <= high
    assert inside >= 925


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
    has = {"brightness": np.arange(30) % 2 == 0}
    use = networks.use_of(network.eval(), cell, drawings, has)["brightness"]
    grey = drawings.images.mean((1, 2, 3))
    column = drawings.labels[:, PHANTOM_CLASSES.index("Effusion")] == 1
    distance = grey[column].mean() - grey[~column].mean()
    # a tenth to a seventh of white; what is white already gains less
    assert 0.05 * 255 < use["mean"] * distance < 0.14 * 255
    assert use["n"] == 8
    assert use["low"] < use["mean"] < use["high"]
    # every class rises; of the others as much may go through it as the shortcut is more frequent with them
    most = []
    for name, of in use["by_class"].items():
        positive = drawings.labels[:, PHANTOM_CLASSES.index(name)] == 1
        weight = (
            1 if name == "Effusion" else abs(has["brightness"][positive].mean() - has["brightness"][~positive].mean())
        )
        most.append(weight * max(abs(of["low"]), abs(of["high"])))
    assert use["most"] == pytest.approx(max(most))
    assert use["verdict"] == ("goes by it" if use["low"] >= 0.1 else "between")


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
    assert all(cluster.p == 0.05 for cluster in suspects(120))
    assert all(cluster.p > 0.05 for cluster in suspects(0))


def figures(tells=0.9, iou=0.6, denser=5.0):
    return {
        "tells": 0.95,
        "tells_within": tells,
        "denser": {"marked": denser, "region": 0.0},
        "iou": {"marked": iou, "marked_union": 0.5, "region": 0.2, "region_union": 0.1},
    }


def record(name, group, use, discover, seed=9000, **more):
    plants = [{"kind": "tube", "finding": "Mass", "strength": 0.8, "elsewhere": 0.1}] if use else []
    verdicts = {"tube": {"verdict": use}} if use else {}
    one = {"name": name, "seed": seed, "group": group, "prevalence": 0.1, "plants": plants, "use": verdicts}
    return one | {"discover": discover} | more


def listed(place, finding="Mass", **of):
    other = {"class": "Mass", "kind": "place", "tube": figures(tells=0.5)}
    suspects = [other] * place + [{"class": finding, "kind": "place", "tube": figures(**of)}]
    return {"count": len(suspects), "suspects": suspects}


NOTHING = {"count": 0, "suspects": []}


def test_the_page_counts_what_the_files_say():
    records = [
        record("a", "one", "goes by it", listed(0), 9000),
        record("b", "one", "goes by it", listed(1), 9001),
        record("c", "one", "goes by it", listed(2), 9002),  # not among the first two
        record("d", "one", "goes by it", listed(0, "Nodule"), 9003),
        record("e", "one", "goes by it", listed(0, tells=0.7), 9004),
        record("f", "one", "goes by it", listed(0, denser=1.9), 9005),
        record("g", "one", "between", listed(0), 9006),
        record("h", "unused", "leaves it", listed(0), 9007),
        record("i", "none", "", NOTHING, 9008),
        record("j", "none", "", NOTHING, 9009, **{"discover-unmarked": listed(0)}),
    ]
    text = page(json.loads(json.dumps(records)))
    lines = dict(
        line[2:].split(" | ", 1) for line in text.split("## Where it lies")[0].splitlines() if line[:2] == "| "
    )
    assert "(2 of 6; seeds: 6)" in lines["`tube`"].split(" | ")[0]
    assert "(4 of 6; seeds: 6)" in lines["`tube`"].split(" | ")[1]
    assert "(2 of 6; seeds: 6)" in lines["findings on 10%"]
    assert "(0 networks)" in lines["findings on 7%"]
    assert "(2 of 6; seeds: 6)" in lines["on 80% of the finding's images and 10% of the others"]
    assert "(1 of 1; seeds: 1)" in lines["*between: neither goes by it nor leaves it*"]
    assert "(1 of 3; seeds: 3)" in lines["**any suspect, no shortcut or none used**"]
    assert "0.00 [0.00, 0.78] (0 of 2; seeds: 2)" in lines["any suspect, no shortcut on the images"]
    assert "(4 of 6; seeds: 6)" in lines["one that is no shortcut, beside a shortcut that is used"]
    every, of_those = text.split("those of which it was found")
    assert "| `tube` | 0.00 [0.00, 0.60] (n = 6; seeds: 6) |" in every
    assert "| `tube` | 0.60 (n = 2; seeds: 2: too few for an interval) | 0.20 (n" in of_those
    assert "`discover` on 1 of these networks once more" in text
    assert "No setting was chosen on any of them" in text
    assert "- SpRAy was not run on 10 of the networks." in text
    assert "judge nothing" in page([record("a", "one", "goes by it", listed(0), 7000)])


def test_of_spray_the_finding_s_own_clusters_are_looked_at_and_chance_makes_no_alarm():
    def cluster(name, tells, p=0.5):
        return {"class": name, "p": p, "tube": figures(tells=tells)}

    def spray(*clusters):
        return {"spray": {"suspects": list(clusters)}}

    records = [
        record("a", "one", "goes by it", NOTHING, **spray(*[cluster("Nodule", 0.5)] * 3, cluster("Mass", 0.9))),
        record("b", "one", "goes by it", NOTHING, 9001, **spray(*[cluster("Mass", 0.5)] * 2, cluster("Mass", 0.9))),
        record("c", "one", "goes by it", NOTHING, 9002, **spray(cluster("Mass", 0.5, 0.05))),
        record("d", "none", "", NOTHING, 9003, **spray(cluster("Mass", 0.5, 0.05))),
        record("e", "none", "", NOTHING, 9004, **spray(cluster("Mass", 0.5, 0.1))),
    ]
    text = page(records)
    row = next(line for line in text.splitlines() if line.startswith("| `tube`")).split(" | ")
    assert "(1 of 3; " in row[2]
    assert "(2 of 3; " in row[4]
    row = next(line for line in text.splitlines() if line.startswith("| any suspect, no shortcut on")).split(" | ")
    assert "(1 of 2; " in row[2]
    row = next(line for line in text.splitlines() if line.startswith("| one that is no")).split(" | ")
    assert "(1 of 3; " in row[2]


def test_a_file_keeps_what_a_criterion_needs(tmp_path, monkeypatch):
    """A run writes it, another goes on from it, and it is scored again without a network."""
    calls = []
    monkeypatch.setattr(networks, "train", lambda *_: calls.append("train"))
    suspect = Found("Effusion", np.arange(1, 31), np.eye(64, dtype=bool), np.ones((64, 64), bool))

    def look(_network, cell, *, marks):
        calls.append(marks)
        about = {"kind": "place", "name": "somewhere", "cost": 0.2, "p": float("nan")}
        return {"count": 1, "expected": [], "suspects": [about | suspect.to_json()], "counts": {}, "unanswered": {}}

    monkeypatch.setattr(command, "by_discover", look)
    command.measure(CELL, ["spray", "discover"], tmp_path, tmp_path)
    command.measure(CELL, ["spray", "discover"], tmp_path, tmp_path)
    assert calls == ["train", "train", True]
    path = tmp_path / f"{CELL.name}.json"
    text = path.read_text()
    stored = json.loads(text)
    assert set(stored["seconds"]) == {"network", "spray", "discover"}
    truth = scoring.Truth.of(CELL)
    expected = truth.figures(CELL.plants[0], suspect)
    assert stored["discover"]["suspects"][0]["tube"]["tells_within"] == pytest.approx(
        expected["tells_within"], abs=1e-4
    )
    for one in stored["discover"]["suspects"]:
        one["tube"] = None
    path.write_text(json.dumps(stored))
    command.rescore(tmp_path, 0)
    assert path.read_text() == text
    assert "| **kinds that a map can show** |" in page([stored | json.loads(text)])


def test_a_cell_is_read_from_its_file_and_another_of_its_name_has_other_weights(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(command, "measure", lambda cell, *_: calls.append(cell))
    (tmp_path / "cells").mkdir()
    stored = {"name": CELL.name, "seed": 5000, "group": "one", "prevalence": 0.3, "plants": [vars(CELL.plants[0])]}
    (tmp_path / "cells" / "a.json").write_text(json.dumps(stored))
    arguments = ["discovery", "--work", str(tmp_path), "--cells", str(tmp_path / "cells"), "--seeds", "5000:5001"]
    monkeypatch.setattr("sys.argv", arguments)
    command.main()
    assert calls == [CELL]
    assert calls[0].key == CELL.key
    assert replace(CELL, associated=False).key != CELL.key != replace(CELL, prevalence=0.2).key


def test_what_a_cell_is_looked_at_by():
    cells = {cell.name: cell for cell in cells_of(8000)}
    alone, pair = cells["8000-letter"], next(cell for cell in cells.values() if cell.group == "two")
    assert command.asked_of(alone, ["discover-unmarked", "spray"]) == ["spray", "discover-unmarked"]
    assert command.asked_of(pair, ["discover-unmarked", "spray"]) == ["spray"]
    assert command.asked_of(pair, ["retraining"]) == ["discover", "retraining"]


def test_the_network_of_a_cell_is_trained_once(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(networks, "train", lambda *arguments: calls.append(arguments))
    drawings = SimpleNamespace(images=np.zeros((20, 1, 64, 64), np.uint8), labels=np.zeros((20, 8), np.float32))
    for _ in range(2):
        networks.trained(CELL, drawings, tmp_path)
    assert len(calls) == 2  # plainly, and on the cell's own images
    assert (calls[1][1] != 0).any()


def test_what_retraining_closes_is_the_sum_of_the_gaps_without_their_signs():
    def one(before, after, others=-0.004):
        of = {
            at: {"tells": 0.7 + gap, "by_lot": 0.7, "others": 0.9} for at, gap in (("before", before), ("after", after))
        }
        of["after"]["others"] += others
        return {"retraining": {"tube": of | {"others": [others - 0.01, others + 0.01]}}}

    records = [
        record("a", "one", "goes by it", {}, 9000, **one(0.1, -0.02)),
        record("b", "one", "goes by it", {}, 9001, **one(0.3, 0.02, -0.022)),
        record("c", "one", "goes by it", {}, 9002, retraining={"tube": {"reason": "not found"}}),
        record("d", "one", "between", {}, 9003, **one(0.1, 0.1)),
    ]
    cells = retraining.summary(records, ["tube"]).split(" | ")
    assert cells[0].startswith("0.90")  # an overshoot does not make up for what is left
    assert cells[1].startswith("-0.013")
    assert cells[2].startswith("0.50")
    assert cells[3] == "-0.022 [-0.032, -0.012]; 1 of 2 surely lose more than 0.01"
    assert cells[5] == "2, 1 not found or at no place"
    assert retraining.summary(records[2:], ["tube"]) == "– | – | – | – | – | 0, 1 not found or at no place"
    many = [records[0] | {"seed": seed} for seed in range(6)]
    assert retraining.summary(many, ["tube"]).startswith("0.80 [0.80, 0.80] (n = 6; seeds: 6)")
    assert "## With the suspect taken away" in page([one | {"discover": NOTHING} for one in records])


def test_the_change_of_the_other_findings_has_an_interval_over_images():
    """Held against AUROCs of images that are drawn again and again, one by one."""
    generator = np.random.default_rng(0)
    labels = (generator.random((80, 2)) < 0.4).astype(np.float32)
    before, after = (labels + generator.normal(size=(80, 2)) for _ in range(2))
    low, high = retraining.change_of_auroc(before, after, labels)
    changes = []
    for _ in range(300):
        rows = generator.integers(80, size=80)
        areas = [
            np.mean([stratified_auroc(odds[rows, k], labels[rows, k] == 1, rows * 0) for k in range(2)])
            for odds in (before, after)
        ]
        changes.append(areas[1] - areas[0])
    assert (low, high) == pytest.approx(np.quantile(changes, [0.025, 0.975]), abs=0.02)
    assert retraining.change_of_auroc(before, before, labels) == (0, 0)


def test_only_what_is_used_and_found_at_a_place_is_taken_away(tmp_path, monkeypatch):
    of_whole = listed(0)
    of_whole["suspects"][0]["kind"] = "whole image"
    cases = [(listed(0), ""), (listed(2), "not found"), (of_whole, "found at no place")]
    for found, reason in cases:
        assert retraining.worth_taking_away(record("a", "one", "goes by it", found), 2) == {"tube": reason}
    assert retraining.worth_taking_away(record("a", "one", "between", listed(0)), 2) == {}
    monkeypatch.setattr(retraining.pl, "discover", lambda *_, **__: pytest.fail("nothing is worth looking for"))
    drawings = networks.plain_drawings(CELL, tmp_path)
    of = retraining.by_retraining(
        networks.fresh(0),
        CELL,
        drawings,
        scoring.Truth.of(CELL),
        tmp_path,
        record("a", "one", "goes by it", listed(2)),
        first=2,
    )
    assert of == {"tube": {"reason": "not found"}}
    part = retraining._training_part(retraining._parts(CELL)["train"], CELL, drawings)
    assert set(part.regions.labels) <= set(PHANTOM_CLASSES)
    plain = retraining._parts(CELL)["train"]
    np.testing.assert_array_equal(
        np.stack([part.read(i) for i in range(20)]), np.stack([plain.read(i) for i in range(20)])
    )
