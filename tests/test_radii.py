"""Radii are what the attack finds, on disk and in the summary; failures and bad networks are none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from helpers.radii import BATCH, COUNT, QUICK, Net, run, toy
from pellucid.attacks import Misclassified, minimal
from pellucid.evaluation import Bootstrap
from pellucid.evaluation.robustness.ara import area
from pellucid.evaluation.robustness.ara_summary import areas_of, curve_of, summarize_ara
from pellucid.evaluation.robustness.radii import AttackConfig
from pellucid.evaluation.robustness.radius_check import as_checked
from pellucid.models.inference import as_pixels
from pellucid.types import InputError
from pellucid.utils.digests import read_sealed


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, run(folder)["attack"]


def test_the_radii_are_what_the_attack_finds(undisturbed):
    _, found = undisturbed
    pixels, dataset = toy()
    for start in range(0, COUNT, BATCH):
        rows = slice(start, start + BATCH)
        labels = torch.from_numpy(dataset.targets[rows])
        result = minimal(Net(), as_pixels(pixels[rows]), Misclassified(labels), method="woods2019", **QUICK.options)
        np.testing.assert_array_equal(found.radius[rows], result.radius.numpy())
        np.testing.assert_array_equal(found.found[rows], result.found.numpy())
        np.testing.assert_array_equal(found.correct_at_start[rows], ~result.met_at_start.numpy())
        np.testing.assert_array_equal(found.gradient_evaluations[rows], result.gradient_evaluations.numpy())
        np.testing.assert_array_equal(found.forward_passes[rows], result.forward_passes.numpy())
    assert (~found.correct_at_start).sum() == 8
    assert (found.radius[~found.correct_at_start] == 0).all()
    assert (found.gradient_evaluations[~found.correct_at_start] == 0).all()
    assert found.found.all()


def test_the_file_has_a_row_an_image_by_its_own_name(undisturbed):
    folder, found = undisturbed
    text = (folder / "radii.csv").read_text().splitlines()
    assert text[0] == "kind,id,label,found,correct_at_start,radius,gradient_evaluations,forward_passes,digest"
    text = [line.rpartition(",")[0] for line in text]  # the digests have tests of their own
    assert len(text) == COUNT + 1
    assert text[1] == 'attack,"image 0, of toys",,1,0,0.0,0,1'
    assert text[2] == f'attack,"image 1, of toys",,1,1,{float(found.radius[1])!r},12,14'


def test_an_unknown_protocol_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'woods2019'"):
        AttackConfig("wood2019")


def test_the_advice_leads_to_more_effort_as_long_as_there_is_some():
    assert "`--effort 2` instead of 1" in AttackConfig().advice
    assert "`--effort 4` instead of 2" in AttackConfig(effort=2).advice
    assert "no more effort" in AttackConfig(effort=4).advice
    assert AttackConfig(effort=4).all_options == {"effort": 4}
    assert AttackConfig("ddn").all_options == {}


def test_a_network_that_returns_nan_is_refused_and_leaves_no_radius(tmp_path):
    net = Net()
    net.layers[3].bias.data[0] = torch.nan
    with pytest.raises(InputError, match="not finite"):
        run(tmp_path, net=net)
    assert not (tmp_path / "radii.csv").exists()
    found = run(tmp_path)["attack"]  # and the folder is not blocked by it
    assert found.found.all()


def test_a_failure_is_no_radius(tmp_path):
    found = run(tmp_path, protocol=AttackConfig("woods2019", seed=3, options={"steps": 2, "length": 1e-4}))["attack"]
    assert np.isnan(found.radius[~found.found]).all()
    assert 0 < (~found.found).sum() <= found.correct_at_start.sum()
    again = run(tmp_path, protocol=AttackConfig("woods2019", seed=3, options={"steps": 2, "length": 1e-4}))["attack"]
    np.testing.assert_array_equal(found.radius, again.radius)


def test_several_labels_an_image_are_attacked_one_by_one(tmp_path):
    pixels, dataset = toy("multilabel")
    found = run(
        tmp_path, pixels=pixels, dataset=dataset, net=Net(task="multilabel"), kinds=("attack", "btr"), batch_size=16
    )
    unknown = int(np.isnan(dataset.targets).sum())
    assert len(found["attack"].radius) == 3 * COUNT - unknown
    rows = [line.rsplit(",", 7)[1] for line in (tmp_path / "radii.csv").read_text().splitlines()[1:]]
    assert set(rows) == {"a", "b", "c"}
    draws = Bootstrap(dataset.patients, 100)
    for kind in ("attack", "btr"):
        own = found[kind]
        areas = areas_of(own, dataset, draws)
        curve = curve_of(own, dataset)
        values = []
        for k, name in enumerate("abc"):
            mask = own.label == k
            present = dataset.targets[own.image[mask], k] == 1
            positive, negative = own.radius[mask][present], own.radius[mask][~present]
            steps = np.unique(np.concatenate([[0], positive, negative]))
            kept = [((positive > r).mean() + (negative > r).mean()) / 2 for r in steps]
            values.append(float(np.sum(np.maximum(np.array(kept[:-1]) - 0.5, 0) * np.diff(steps))))
            assert areas.labels[name].replicates.value == pytest.approx(values[-1], abs=1e-12)
            assert areas.labels[name].n == mask.sum()
        assert areas.overall.replicates.value == pytest.approx(np.mean(values))
        right = [
            ((own.radius[own.label == k] > 0)[dataset.targets[own.image[own.label == k], k] == v]).mean()
            for k in range(3)
            for v in (0, 1)
        ]
        assert curve.accuracy[0] == pytest.approx(np.mean(right))
    assert areas.overall.replicates.value > 0


def test_the_summary_says_what_was_found_and_what_it_cost(tmp_path):
    pixels, dataset = toy()
    found = run(tmp_path, kinds=("attack", "btr"))
    draws = Bootstrap(dataset.patients, 200)
    results = summarize_ara(Net(), pixels, dataset, found, QUICK, draws, tmp_path, about={"data": "toy"})
    assert results == read_sealed(tmp_path / "ara.json")
    assert results["data"] == "toy"
    checked = as_checked(found, {kind: one["alarm"] for kind, one in results["kinds"].items()}, dataset)
    for kind, radii in checked.items():
        told, right = results["kinds"][kind], radii.correct_at_start
        smaller = radii.radius < found[kind].radius
        assert 0 < smaller.sum() == told["alarm"]["better"]  # twelve steps are too few
        assert (radii.radius[smaller] <= 0.95 * found[kind].radius[smaller] * (1 + 1e-6)).all()
        assert "Take the protocol tight" in told["alarm"]["message"]
        assert told["ara"] == told["lower"] == told["upper"] == pytest.approx(area(radii.radius, told["naive"]))
        low, high = told["interval"]
        assert low < told["ara"] < high
        assert told["mean_radius"] == pytest.approx(radii.radius[right].mean())
        assert told["median_radius"] == pytest.approx(np.median(radii.radius[right]))
        assert (told["found"], told["n"], told["failed"]) == (COUNT, COUNT, 0)
        assert told["gradient_evaluations_per_image"] == pytest.approx(12 * right.mean())
        assert told["gradient_evaluations_per_attacked"] == 12
        assert told["protocol"] == "woods2019"
        assert told["seconds"] > 0
        assert told["alarm"]["n"] == min(32, right.sum())
    assert results["kinds"]["attack"]["criterion"] == "misclassified"
    # a second process reads it, even with a network that it could not attack
    again = summarize_ara(nn.Identity(), pixels, dataset, found, QUICK, draws, tmp_path)
    assert again == results
